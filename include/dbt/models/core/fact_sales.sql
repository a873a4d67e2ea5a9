-- Grain: one row per order. Additive: order_quantity, order_amount, shipping_cost, cost_amount,
-- gross_profit.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
    indexes=[{'columns': ['date_key']}],
) }}

with orders as (

    select * from {{ ref('stg_sales_fact') }}
    {{ only_claimed(claimed_from, 'day', 'order_date') }}

),

customers as (

    select * from {{ ref('dim_customer') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

-- The dimensions have a member for every key that was in raw when they were built. An order that
-- arrives later made its day a dirty date, so the next build adds it.
joined as (

    select
        orders.order_id,
        customers.customer_key,
        products.product_key,
        orders.customer_id,
        orders.product_id,
        orders.payment_method,
        orders.order_quantity,
        orders.order_amount,
        orders.discount_rate,
        orders.shipping_cost,
        orders.is_quantity_imputed,
        orders.order_date,
        orders.order_quantity * products.cost_price as cost_amount
    from orders
    inner join customers
        on
            orders.customer_id = customers.customer_id
            and {{ valid_at('customers', utc_midnight('orders.order_date')) }}
    inner join products
        on
            orders.product_id = products.product_id
            and {{ valid_at('products', utc_midnight('orders.order_date')) }}

),

final as (

    select
        order_id,
        customer_key,
        product_key,
        customer_id,
        product_id,
        payment_method,
        order_quantity,
        order_amount,
        discount_rate,
        shipping_cost,
        cost_amount,
        order_amount - cost_amount as gross_profit,
        {{ percent_of('order_amount - cost_amount', 'order_amount') }} as gross_margin_percent,
        is_quantity_imputed,
        order_date as date_key
    from joined

)

select * from final
