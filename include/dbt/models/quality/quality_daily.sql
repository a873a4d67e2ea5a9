-- Grain: one row per day and subject that was checked on it.
with check_results as (

    select * from {{ ref('quality_judgements') }}

),

repairs as (

    select * from {{ ref('quality_repairs') }}

),

days as (

    select
        checked_on,
        subject_kind,
        subject_name,
        count(*) as checks,
        count(*) filter (where status = 'pass') as passed,
        count(*) filter (where status = 'warn') as warned,
        count(*) filter (where status = 'fail') as failed
    from check_results
    group by checked_on, subject_kind, subject_name

),

repaired_days as (

    select
        failed_on,
        subject_kind,
        subject_name,
        count(*) as failures_opened,
        count(repaired_at) as failures_repaired,
        round(avg(hours_to_repair), 2) as avg_hours_to_repair,
        round(
            (percentile_cont(0.5) within group (order by hours_to_repair))::numeric, 2
        ) as median_hours_to_repair
    from repairs
    group by failed_on, subject_kind, subject_name

),

final as (

    select
        days.checked_on,
        days.subject_kind,
        days.subject_name,
        days.checks,
        days.passed,
        days.warned,
        days.failed,
        {{ percent_of('days.passed', 'days.checks') }} as pass_percent,
        coalesce(repaired_days.failures_opened, 0) as failures_opened,
        coalesce(repaired_days.failures_repaired, 0) as failures_repaired,
        repaired_days.avg_hours_to_repair,
        repaired_days.median_hours_to_repair
    from days
    left join repaired_days
        on
            days.checked_on = repaired_days.failed_on
            and days.subject_kind = repaired_days.subject_kind
            and days.subject_name = repaired_days.subject_name

)

select * from final
