-- Of the days on which the city has weather, from the first covered day to the as-of date.
with weather_day as (

    select
        city,
        weather_date,
        temperature::double as temperature,
        precipitation::double as precipitation,
        (
            select avg(near_weather.temperature::double)
            from shop.weather as near_weather
            inner join shop.sales_day on near_weather.weather_date = sales_day.order_date
            where
                near_weather.city = weather.city
                and near_weather.weather_date between weather.weather_date - 14
                and weather.weather_date + 14
        ) as usual_temperature
    from shop.weather
    where weather_date between getvariable('first_day') and getvariable('as_of_date')

),

figures as (

    select distinct
        weather_day.city,
        factors.factor,
        lags.lag_days
    from weather_day
    cross join (select unnest(['temperature', 'precipitation']) as factor) as factors
    cross join (select unnest([0, 1, 2, 3]) as lag_days) as lags

),

-- Rounded, so that a temperature which is the usual one differs by 0 from it.
pairs as (

    select
        figures.city,
        figures.factor,
        figures.lag_days,
        case figures.factor
            when 'temperature' then weather_day.temperature
            else weather_day.precipitation
        end as raw_weather,
        case figures.factor
            when 'temperature'
                then round(weather_day.temperature - weather_day.usual_temperature, 9)
            else weather_day.precipitation
        end as weather,
        comparable_day.revenue::double as revenue,
        comparable_day.sales_ratio
    from figures
    inner join weather_day on figures.city = weather_day.city
    inner join shop.comparable_day
        on weather_day.weather_date + figures.lag_days = comparable_day.order_date

),

correlations as (

    select
        city,
        factor,
        lag_days,
        count(*) as days,
        case
            when min(weather) < max(weather) and min(sales_ratio) < max(sales_ratio)
                then greatest(least(corr(weather, sales_ratio), 1), -1)
        end as correlation,
        case
            when min(raw_weather) < max(raw_weather) and min(revenue) < max(revenue)
                then corr(raw_weather, revenue)
        end as raw_correlation
    from pairs
    where weather is not null and sales_ratio is not null
    group by city, factor, lag_days

),

-- Fisher: atanh(r) is about normal, with a deviation of 1 / sqrt(n - 3).
intervals as (

    select
        *,
        tanh(atanh(correlation) - 1.959963984540054 / sqrt(days - 3))::decimal(38, 4) as ci_low,
        tanh(atanh(correlation) + 1.959963984540054 / sqrt(days - 3))::decimal(38, 4) as ci_high
    from correlations
    where days >= 30

)

select
    figures.city,
    figures.factor,
    figures.lag_days,
    coalesce(correlations.days, 0) as days,
    intervals.correlation::decimal(38, 4) as correlation,
    intervals.ci_low,
    intervals.ci_high,
    not intervals.ci_low <= 0 or not intervals.ci_high >= 0 as is_significant,
    intervals.raw_correlation::decimal(38, 4) as raw_correlation
from figures
left join correlations using (city, factor, lag_days)
left join intervals using (city, factor, lag_days)
