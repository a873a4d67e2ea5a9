with days as (

    select
        weather.city,
        weather.temperature,
        weather.precipitation,
        sales_day.revenue,
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
    inner join shop.sales_day on weather.weather_date = sales_day.order_date
    where weather.temperature is not null and weather.precipitation is not null

),

-- A value that is the same on all days has no correlation: null.
cities as (

    select
        city,
        count(*) as days,
        sum(revenue) as revenue,
        case
            when min(temperature) < max(temperature) and min(revenue) < max(revenue)
                then corr(temperature::double, revenue::double)
        end::decimal(38, 4) as correlation_temperature_revenue,
        case
            when min(precipitation) < max(precipitation) and min(revenue) < max(revenue)
                then corr(precipitation::double, revenue::double)
        end::decimal(38, 4) as correlation_precipitation_revenue
    from days
    group by city

),

groups as (

    select
        city,
        temperature_category,
        precipitation_category,
        count(*) as days,
        sum(revenue) as revenue
    from days
    group by city, temperature_category, precipitation_category

)

select
    groups.city,
    groups.temperature_category,
    groups.precipitation_category,
    groups.days,
    ratio(groups.revenue, groups.days) as avg_daily_revenue,
    percent(groups.revenue * cities.days, groups.days * cities.revenue) as revenue_index,
    cities.correlation_temperature_revenue,
    cities.correlation_precipitation_revenue
from groups
inner join cities on groups.city = cities.city
