-- Grain: one row per amount of orders and day that orders are of. Additive: orders.
{% set claimed_from = ['sales_fact'] %}
{% set claimed = claimed_periods(claimed_from, 'day') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'order_date'},
    indexes=[{'columns': ['order_date']}],
) }}

with lines as (

    {{ lines_of_whole_orders(claimed if is_incremental() else none) }}

),

orders as (

    select
        order_id,
        min(date_key) as order_date,
        sum(order_amount) as order_amount
    from lines
    group by order_id

),

final as (

    select
        {{ amount_class('order_amount') }} as amount_class,
        order_amount,
        count(*)::integer as orders,
        order_date
    from orders
    {%- if is_incremental() %}
    where order_date = any({{ claimed }})
    {%- endif %}
    group by order_date, order_amount

)

select * from final
