-- Grain: one row per city, factor of the weather and lag in days; of each city with weather of a
-- covered day.
with weather as (

    select * from {{ ref('fact_weather') }}

),

sales_days as (

    select * from {{ ref('int_comparable_daily_sales') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

-- The temperature follows the season, as the sales may do for other reasons. Its difference from
-- the 29 days around it does not.
weather_days as (

    select
        weather.city,
        weather.date_key,
        weather.temperature_c,
        weather.temperature_c - avg(weather.temperature_c) filter (
            where sales_days.date_key is not null
        ) over (
            partition by weather.city
            order by weather.date_key
            range between interval '14 days' preceding and interval '14 days' following
        ) as temperature_difference,
        weather.precipitation_mm,
        dates.is_covered
    from weather
    inner join dates
        on weather.date_key = dates.date_key
    left join sales_days
        on weather.date_key = sales_days.date_key

),

covered_days as (

    select * from weather_days
    where is_covered

),

lags as (

    select lag_days
    from generate_series(0, 3) as lag_days

),

-- One row for each figure of the mart, also where no day can be compared.
figures as (

    select distinct
        covered_days.city,
        factors.factor,
        lags.lag_days
    from covered_days
    cross join (values ('temperature'), ('precipitation')) as factors (factor)
    cross join lags

),

factor_days as (

    select
        city,
        date_key,
        'temperature' as factor,
        temperature_c as factor_value,
        temperature_difference as comparable_value
    from covered_days
    where temperature_difference is not null

    union all

    select
        city,
        date_key,
        'precipitation' as factor,
        precipitation_mm as factor_value,
        precipitation_mm as comparable_value
    from covered_days
    where precipitation_mm is not null

),

measured as (

    select
        factor_days.city,
        factor_days.factor,
        lags.lag_days,
        count(*) as days,
        case
            when count(*) >= 30
                then {{ correlation('factor_days.comparable_value', 'later_days.sales_ratio') }}
        end as correlation,
        case
            when count(*) >= 30
                then {{ correlation('factor_days.factor_value', 'later_days.revenue') }}
        end as raw_correlation
    from factor_days
    cross join lags
    inner join sales_days as later_days
        on factor_days.date_key + lags.lag_days = later_days.date_key
    where later_days.sales_ratio is not null
    group by factor_days.city, factor_days.factor, lags.lag_days

),

with_interval as (

    select
        city,
        factor,
        lag_days,
        days,
        round(correlation, 4) as correlation,
        round(raw_correlation, 4) as raw_correlation,
        case
            when correlation is not null
                then round({{ fisher_bound('correlation', 'days', '-') }}, 4)
        end as ci_low,
        case
            when correlation is not null
                then round({{ fisher_bound('correlation', 'days', '+') }}, 4)
        end as ci_high
    from measured

),

final as (

    select
        figures.city,
        figures.factor,
        figures.lag_days,
        coalesce(with_interval.days, 0) as days,
        with_interval.correlation,
        with_interval.ci_low,
        with_interval.ci_high,
        with_interval.ci_low > 0 or with_interval.ci_high < 0 as is_significant,
        with_interval.raw_correlation
    from figures
    left join with_interval
        on
            figures.city = with_interval.city
            and figures.factor = with_interval.factor
            and figures.lag_days = with_interval.lag_days

)

select * from final
