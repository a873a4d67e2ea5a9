-- Grain: one row per day that has orders with an amount. Additive but for customers.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
) }}

with orders as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'day', 'date_key') }}

),

final as (

    select
        date_key,
        count(*) as orders,
        count(distinct customer_id) as customers,
        sum(order_amount) as revenue,
        sum(gross_profit) as gross_profit
    from orders
    where order_amount > 0
    group by date_key

)

select * from final
