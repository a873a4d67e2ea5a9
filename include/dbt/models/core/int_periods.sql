-- Grain: one row per week (ISO), month, quarter and year of the calendar.
with as_of as (

    select * from {{ ref('stg_as_of') }}

),

grains as (

    select * from (
        values
        ('week', interval '7 days', interval '364 days'),
        ('month', interval '1 month', interval '1 year'),
        ('quarter', interval '3 months', interval '1 year'),
        ('year', interval '1 year', interval '1 year')
    ) as grains (grain, length, to_last_year)

),

bounds as (

    select
        grains.grain,
        period_start::date as period_start,
        (period_start + grains.length)::date - 1 as period_end,
        (period_start - grains.length)::date as previous_start,
        period_start::date - (period_start - grains.length)::date as previous_days,
        (period_start - grains.to_last_year)::date as last_year_start,
        (period_start - grains.to_last_year + grains.length)::date
        - (period_start - grains.to_last_year)::date as last_year_days
    from grains
    cross join
        generate_series(
            date_trunc(grains.grain, '{{ var("first_day") }}'::timestamp),
            '{{ var("last_day") }}'::timestamp,
            grains.length
        ) as period_start

),

-- Days after the as-of date, and before the first covered day, have not elapsed.
counted as (

    select
        bounds.*,
        bounds.period_end - bounds.period_start + 1 as days_in_period,
        as_of.first_covered_date,
        as_of.as_of_date,
        case
            when as_of.as_of_date is null then 0
            else greatest(
                least(bounds.period_end, as_of.as_of_date)
                - greatest(bounds.period_start, as_of.first_covered_date)
                + 1,
                0
            )
        end as days_elapsed
    from bounds
    cross join as_of

),

with_state as (

    select
        *,
        days_elapsed = days_in_period as is_complete,
        coalesce(as_of_date between period_start and period_end, false)
        and days_elapsed < days_in_period as is_running
    from counted

),

-- The running period is compared with as many days of another one as have elapsed of it.
final as (

    select
        grain,
        period_start,
        period_end,
        previous_start,
        previous_start
        + case when is_running then least(days_elapsed, previous_days) else previous_days end
        - 1 as previous_end,
        last_year_start,
        last_year_start
        + case when is_running then least(days_elapsed, last_year_days) else last_year_days end
        - 1 as last_year_end,
        days_in_period,
        days_elapsed,
        is_complete,
        is_running,
        (is_complete or is_running)
        and coalesce(previous_start >= first_covered_date, false) as is_previous_covered,
        (is_complete or is_running)
        and coalesce(last_year_start >= first_covered_date, false) as is_last_year_covered
    from with_state

)

select * from final
