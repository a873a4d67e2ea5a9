-- Grain: one row per month and customer that has orders with an amount. Additive: orders, revenue.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'month', 'period_column': 'order_month'},
) }}

with orders as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'month', 'date_key') }}

),

by_day as (

    select
        date_key,
        customer_id,
        count(*) as orders,
        sum(order_amount) as revenue
    from orders
    where order_amount > 0
    group by 1, 2

),

final as (

    select
        {{ first_day_of('month', 'date_key') }} as order_month,
        customer_id,
        sum(orders)::bigint as orders,
        sum(revenue) as revenue,
        (array_agg(revenue order by date_key))[1] as first_day_revenue,
        min(date_key) as first_order_date,
        max(date_key) as last_order_date
    from by_day
    group by 1, 2

)

select * from final
