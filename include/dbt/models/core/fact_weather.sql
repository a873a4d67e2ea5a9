-- Grain: one row per city and day. Temperatures do not add up; precipitation adds up over days.
{% set claimed_from = ['weather_data'] %}

{{ config(
    materialized='incremental',
    incremental_strategy='rebuild_days',
    on_schema_change='fail',
    meta={'claimed_from': claimed_from, 'day_column': 'date_key'},
    indexes=[{'columns': ['date_key', 'city'], 'unique': true}],
) }}

with weather as (

    select * from {{ ref('stg_weather_data') }}
    {{ only_claimed_days(claimed_from, 'weather_date') }}

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
