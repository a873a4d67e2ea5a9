-- Grain: one row per day and key that an order, refund or event of that day has and no version log.
{% set claimed_from = (var('sources_of_refunds') + var('sources_of_events')) | unique | list %}

{{ config(
    materialized='incremental',
    meta={
        'claimed_from': claimed_from,
        'period': 'day',
        'period_column': 'date_key',
        'also_without': claimed_from,
    },
) }}

with lines as (

    select * from {{ ref('stg_sales_fact') }}
    {{ only_claimed(claimed_from, 'day', 'order_date') }}

),

refunds as (

    select * from {{ ref('stg_refunds') }}
    {{ only_claimed(claimed_from, 'day', 'refund_date') }}

),

-- From an array, since Postgres would read all lines to join them.
refunded_lines as (

    select * from {{ ref('stg_sales_fact') }}
    where order_id = any(array(select refunds.order_id from refunds))

),

keys_of_refunds as (

    {{ refund_keys('refunds', 'refunded_lines') }}

),

events as (

    select * from {{ ref('stg_kafka_stream') }}
    {{ only_claimed(claimed_from, 'day', 'event_date') }}

),

customer_versions as (

    select * from {{ ref('stg_customer_versions') }}

),

product_versions as (

    select * from {{ ref('stg_product_versions') }}

),

category_versions as (

    select * from {{ ref('stg_product_category_versions') }}

),

referenced as (

    select
        order_date as date_key,
        customer_id,
        product_id
    from lines
    union all
    select
        refund_date as date_key,
        customer_id,
        product_id
    from keys_of_refunds
    union all
    select
        event_date as date_key,
        customer_id,
        product_id
    from events

),

unknown_customers as (

    select distinct
        date_key,
        customer_id,
        null as product_id
    from referenced
    where
        customer_id is not null
        and not exists (
            select from customer_versions
            where customer_versions.customer_id = referenced.customer_id
        )

),

unknown_products as (

    select distinct
        date_key,
        null as customer_id,
        product_id
    from referenced
    where
        product_id is not null
        and not exists (
            select from product_versions
            where product_versions.product_id = referenced.product_id
        )
        and not exists (
            select from category_versions
            where category_versions.product_id = referenced.product_id
        )

),

final as (

    select * from unknown_customers
    union all
    select * from unknown_products

)

select * from final
