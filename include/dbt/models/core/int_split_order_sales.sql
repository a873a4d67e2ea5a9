-- Grain: one row per line that marts count, of the orders that have such lines on several days.
-- Additive: revenue. Nothing here is of a version of a product or customer.
{% set claimed_from = ['sales_fact'] %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
) }}

-- Other lines of these orders may lie on days that are not claimed. From an array, since Postgres
-- would read all lines to join them.
with claimed_lines as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'day', 'date_key') }}

),

counted as not materialized (

    select
        order_id,
        line_number,
        customer_id,
        product_id,
        payment_method,
        order_amount as revenue,
        {{ first_day_of('month', 'date_key') }} as order_month,
        date_key
    from {{ ref('fact_sales') }}
    where
        {{ is_counted() }}
        {%- if is_incremental() %}
        and order_id = any(array(select claimed_lines.order_id from claimed_lines))
        {%- endif %}

),

baskets as (

    {{ orders_of_several_lines('counted') }}

),

split_orders as (

    select counted.order_id
    from counted
    inner join baskets
        on counted.order_id = baskets.order_id
    group by counted.order_id
    having min(counted.date_key) <> max(counted.date_key)

),

final as (

    select
        counted.order_id,
        counted.line_number,
        counted.customer_id,
        counted.product_id,
        counted.payment_method,
        counted.revenue,
        counted.order_month,
        counted.date_key
    from counted
    inner join split_orders
        on counted.order_id = split_orders.order_id
    {{ only_claimed(claimed_from, 'day', 'counted.date_key') }}

)

select * from final
