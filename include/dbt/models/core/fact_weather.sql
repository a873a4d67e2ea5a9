-- Grain: one row per city and day. Temperatures do not add up; precipitation adds up over days.
{% set claimed_from = ['weather_data'] %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
) }}

with weather as (

    select * from {{ ref('stg_weather_data') }}
    {{ only_claimed(claimed_from, 'day', 'weather_date') }}

),

final as (

    select
        city,
        temperature_category,
        precipitation_category,
        temperature_c,
        precipitation_mm,
        weather_date as date_key
    from weather

)

select * from final
