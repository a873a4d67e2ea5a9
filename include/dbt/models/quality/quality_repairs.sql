-- Grain: one row per check, subject and time that it failed, until it passed again.
with judgements as (

    select * from {{ ref('quality_judgements') }}

),

-- Most checks never fail, and their history is not looked at. Named a second time, so that Postgres
-- finds the failures by their index and does not keep all judgements for both.
ever_failed as (

    select distinct
        check_name,
        subject
    from {{ ref('quality_judgements') }}
    where status = 'fail'

),

-- Judgements with as many passes before them lie between two passes: the later one ends them.
stretches as (

    select
        judgements.*,
        count(*) filter (where judgements.status = 'pass') over (
            partition by judgements.check_name, judgements.subject
            order by judgements.checked_at, judgements.check_result_id
            rows between unbounded preceding and 1 preceding
        ) as passes_before
    from judgements
    inner join ever_failed
        on
            judgements.check_name = ever_failed.check_name
            and judgements.subject = ever_failed.subject

),

failures as (

    select
        check_name,
        subject,
        subject_kind,
        subject_name,
        min(checked_at) filter (where status = 'fail') as failed_at,
        max(checked_at) filter (where status = 'pass') as repaired_at
    from stretches
    group by check_name, subject, subject_kind, subject_name, passes_before
    having count(*) filter (where status = 'fail') > 0

),

final as (

    select
        check_name,
        subject,
        subject_kind,
        subject_name,
        (failed_at at time zone 'UTC')::date as failed_on,
        failed_at,
        repaired_at,
        round(extract(epoch from repaired_at - failed_at) / 3600, 2) as hours_to_repair
    from failures

)

select * from final
