-- Grain: one row per city, temperature category and precipitation category.
with weather as (

    select * from {{ ref('fact_weather') }}

),

sales_days as (

    select * from {{ ref('int_comparable_daily_sales') }}

),

days as (

    select
        weather.city,
        weather.temperature_category,
        weather.precipitation_category,
        sales_days.revenue,
        sales_days.sales_ratio
    from weather
    inner join sales_days
        on weather.date_key = sales_days.date_key
    where
        weather.temperature_c is not null
        and weather.precipitation_mm is not null

),

cities as (

    select
        city,
        count(sales_ratio) as ratio_days,
        sum(sales_ratio) as sales_ratio
    from days
    group by city

),

conditions as (

    select
        city,
        temperature_category,
        precipitation_category,
        count(*) as days,
        sum(revenue) as revenue,
        count(sales_ratio) as ratio_days,
        sum(sales_ratio) as sales_ratio
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
            'conditions.sales_ratio * cities.ratio_days',
            'conditions.ratio_days * cities.sales_ratio'
        ) }} as revenue_index
    from conditions
    inner join cities
        on conditions.city = cities.city

)

select * from final
