-- Grain: one row per city, temperature category and precipitation category.
with weather as (

    select * from {{ ref('fact_weather') }}

),

order_days as (

    select * from {{ ref('int_daily_sales') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

as_of as (

    select date_key from dates
    where is_as_of

),

days as (

    select
        weather.city,
        weather.temperature_category,
        weather.precipitation_category,
        weather.temperature_c,
        weather.precipitation_mm,
        coalesce(order_days.revenue, 0) as revenue
    from weather
    left join order_days
        on weather.date_key = order_days.date_key
    where
        weather.temperature_c is not null
        and weather.precipitation_mm is not null
        and weather.date_key >= (select min(sales.date_key) from order_days as sales)
        and weather.date_key <= (select as_of.date_key from as_of)

),

cities as (

    select
        city,
        count(*) as days,
        sum(revenue) as revenue,
        {{ correlation('temperature_c', 'revenue') }} as correlation_temperature_revenue,
        {{ correlation('precipitation_mm', 'revenue') }} as correlation_precipitation_revenue
    from days
    group by city

),

conditions as (

    select
        city,
        temperature_category,
        precipitation_category,
        count(*) as days,
        sum(revenue) as revenue
    from days
    group by city, temperature_category, precipitation_category

),

final as (

    select
        conditions.city,
        conditions.temperature_category,
        conditions.precipitation_category,
        conditions.days,
        round(conditions.revenue / conditions.days, 2) as avg_daily_revenue,
        {{ percent_of(
            'conditions.revenue * cities.days', 'conditions.days * cities.revenue'
        ) }} as revenue_index,
        cities.correlation_temperature_revenue,
        cities.correlation_precipitation_revenue
    from conditions
    inner join cities
        on conditions.city = cities.city

)

select * from final
