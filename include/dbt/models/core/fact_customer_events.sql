-- Grain: one row per event of the topic customer_interactions. No measures: count the rows.
{% set claimed_from = var('sources_of_events') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
    indexes=[{'columns': ['date_key']}],
) }}

with events as (

    select * from {{ ref('stg_kafka_stream') }}
    {{ only_claimed(claimed_from, 'day', 'event_date') }}

),

customers as (

    select * from {{ ref('dim_customer') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

-- As in fact_sales: an event that arrives after the dimensions were built is added by the next
-- build.
final as (

    select
        events.event_id,
        customers.customer_key,
        products.product_key,
        events.customer_id,
        events.product_id,
        events.interaction_type,
        events.event_category,
        events.event_date as date_key,
        events.event_at
    from events
    inner join customers
        on
            events.customer_id = customers.customer_id
            and {{ valid_at('customers', 'events.event_at') }}
    inner join products
        on
            events.product_id = products.product_id
            and {{ valid_at('products', 'events.event_at') }}

)

select * from final
