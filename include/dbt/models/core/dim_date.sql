-- Grain: one row per day, 1970-01-01 to 2069-12-31.
with as_of as (

    select * from {{ ref('stg_as_of') }}

),

holidays as (

    select * from {{ ref('stg_holidays') }}

),

days as (

    select day::date as date_key
    from
        generate_series(
            '{{ var("first_day") }}'::timestamp, '{{ var("last_day") }}'::timestamp, '1 day'
        ) as day

),

country as (

    select count(*) > 0 as has_holidays from holidays

),

final as (

    select
        days.date_key,
        to_char(days.date_key, 'FMDay') as day_name,
        to_char(days.date_key, 'FMMonth') as month_name,
        holidays.holiday_name,
        case
            when extract(month from days.date_key) in (12, 1, 2) then 'Winter'
            when extract(month from days.date_key) <= 5 then 'Spring'
            when extract(month from days.date_key) <= 8 then 'Summer'
            else 'Fall'
        end as season,
        to_char(days.date_key, 'YYYY-MM') as year_month,
        to_char(days.date_key, 'YYYY-"Q"Q') as year_quarter,
        extract(year from days.date_key)::integer as year,
        extract(quarter from days.date_key)::integer as quarter,
        extract(month from days.date_key)::integer as month,
        extract(day from days.date_key)::integer as day,
        extract(isodow from days.date_key)::integer as day_of_week,
        extract(week from days.date_key)::integer as week_of_year,
        extract(isoyear from days.date_key)::integer as iso_year,
        extract(isodow from days.date_key) >= 6 as is_weekend,
        -- Each country that a profile may name has holidays, so without any it names none.
        case
            when (select country.has_holidays from country)
                then holidays.holiday_date is not null
        end as is_holiday,
        coalesce(days.date_key = as_of.as_of_date, false) as is_as_of,
        coalesce(
            days.date_key between as_of.first_covered_date and as_of.as_of_date, false
        ) as is_covered,
        days.date_key - 52 * 7 as same_day_last_year
    from days
    cross join as_of
    left join holidays
        on days.date_key = holidays.holiday_date

)

select * from final
