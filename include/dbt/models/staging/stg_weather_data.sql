with days as (

    select * from {{ source('weather', 'weather_data') }}

),

final as (

    select
        {{ clean_text('city') }} as city,
        case
            when temperature < 0 then 'Freezing'
            when temperature <= 10 then 'Cold'
            when temperature <= 20 then 'Cool'
            when temperature <= 30 then 'Warm'
            when temperature > 30 then 'Hot'
        end as temperature_category,
        case
            when precipitation = 0 then 'No Rain'
            when precipitation < 2.5 then 'Light Rain'
            when precipitation < 7.5 then 'Moderate Rain'
            when precipitation >= 7.5 then 'Heavy Rain'
        end as precipitation_category,
        temperature as temperature_c,
        precipitation as precipitation_mm,
        date as weather_date
    from days

)

select * from final
