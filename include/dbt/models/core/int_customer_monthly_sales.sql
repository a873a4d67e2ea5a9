-- Grain: one row per month and customer that has lines that marts count. Guests are no customers.
-- Additive: revenue, and orders but for those of int_split_order_sales.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'month', 'period_column': 'order_month'},
) }}

with lines as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'month', 'date_key') }}

),

counted as (

    select
        customer_id,
        order_id,
        order_amount,
        {{ first_day_of('month', 'date_key') }} as order_month,
        date_key
    from lines
    where {{ is_counted() }} and not is_guest

),

orders as (

    select distinct
        order_month,
        customer_id,
        order_id
    from counted

),

by_customer as (

    select
        order_month,
        customer_id,
        count(*) as orders
    from orders
    group by 1, 2

),

by_day as (

    select
        order_month,
        customer_id,
        date_key,
        sum(order_amount) as revenue
    from counted
    group by 1, 2, 3

),

final as (

    select
        by_day.order_month,
        by_day.customer_id,
        min(by_customer.orders) as orders,
        sum(by_day.revenue) as revenue,
        (array_agg(by_day.revenue order by by_day.date_key))[1] as first_day_revenue,
        min(by_day.date_key) as first_order_date,
        max(by_day.date_key) as last_order_date
    from by_day
    inner join by_customer
        on
            by_day.order_month = by_customer.order_month
            and by_day.customer_id = by_customer.customer_id
    group by 1, 2

)

select * from final
