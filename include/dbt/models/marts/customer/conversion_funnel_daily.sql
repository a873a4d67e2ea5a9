-- Grain: one row per day that has events.
{% set claimed_from = var('sources_of_events') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'event_date'},
) }}

with events as (

    select * from {{ ref('fact_customer_events') }}
    {{ only_claimed(claimed_from, 'day', 'date_key') }}

),

daily as (

    select
        date_key as event_date,
        count(*) filter (where interaction_type = 'view') as views,
        count(*) filter (where interaction_type = 'add_to_cart') as add_to_carts,
        count(*) filter (where interaction_type = 'purchase') as purchases,
        count(distinct customer_id) filter (where interaction_type = 'view') as viewers,
        count(distinct customer_id) filter (where interaction_type = 'add_to_cart') as carters,
        count(distinct customer_id) filter (where interaction_type = 'purchase') as buyers
    from events
    group by date_key

),

final as (

    select
        event_date,
        views,
        add_to_carts,
        purchases,
        viewers,
        carters,
        buyers,
        {{ percent_of('carters', 'viewers') }} as view_to_cart_percent,
        {{ percent_of('buyers', 'carters') }} as cart_to_purchase_percent,
        {{ percent_of('buyers', 'viewers') }} as view_to_purchase_percent
    from daily

)

select * from final
