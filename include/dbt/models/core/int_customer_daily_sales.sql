-- Grain: one row per customer and day with orders that marts count. Additive: revenue.
{% set claimed_from = ['sales_fact', 'product', 'product_category', 'customer'] %}

{{ config(
    materialized='incremental',
    incremental_strategy='rebuild_days',
    on_schema_change='fail',
    meta={'claimed_from': claimed_from, 'day_column': 'date_key'},
    indexes=[{'columns': ['date_key', 'customer_id'], 'unique': true}],
) }}

with orders as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed_days(claimed_from, 'date_key') }}

),

final as (

    select
        customer_id,
        sum(order_amount) as revenue,
        date_key
    from orders
    where order_amount > 0
    group by customer_id, date_key

)

select * from final
