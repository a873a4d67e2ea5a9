with days as (

    select
        weather.city,
        comparable_day.revenue,
        comparable_day.sales_ratio,
        case
            when weather.temperature < 0 then 'Freezing'
            when weather.temperature <= 10 then 'Cold'
            when weather.temperature <= 20 then 'Cool'
            when weather.temperature <= 30 then 'Warm'
            else 'Hot'
        end as temperature_category,
        case
            when weather.precipitation = 0 then 'No Rain'
            when weather.precipitation < 2.5 then 'Light Rain'
            when weather.precipitation < 7.5 then 'Moderate Rain'
            else 'Heavy Rain'
        end as precipitation_category
    from shop.weather
    inner join shop.comparable_day on weather.weather_date = comparable_day.order_date
    where weather.temperature is not null and weather.precipitation is not null

),

cities as (

    select
        city,
        avg(sales_ratio) as sales_ratio
    from days
    group by city

),

groups as (

    select
        city,
        temperature_category,
        precipitation_category,
        count(*) as days,
        sum(revenue) as revenue,
        avg(sales_ratio) as sales_ratio
    from days
    group by city, temperature_category, precipitation_category

)

select
    groups.city,
    groups.temperature_category,
    groups.precipitation_category,
    groups.days,
    ratio(groups.revenue, groups.days) as avg_daily_revenue,
    case when cities.sales_ratio > 0 then 100 * groups.sales_ratio / cities.sales_ratio end::decimal(38, 2)
        as revenue_index
from groups
inner join cities on groups.city = cities.city
