-- Grain: one row per month, category, subcategory and payment method that has orders with an
-- amount. Additive but for min_order_amount and max_order_amount.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'month', 'period_column': 'order_month'},
) }}

with orders as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'month', 'date_key') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

-- By product first, so that the category is looked up once per product and month, not per order.
by_product as (

    select
        {{ first_day_of('month', 'date_key') }} as order_month,
        product_key,
        payment_method,
        count(*) as orders,
        sum(order_quantity) as units,
        sum(order_amount) as revenue,
        sum(gross_profit) as gross_profit,
        min(order_amount) as min_order_amount,
        max(order_amount) as max_order_amount
    from orders
    where order_amount > 0
    group by 1, 2, 3

),

final as (

    select
        by_product.order_month,
        products.category_name,
        products.subcategory,
        by_product.payment_method,
        sum(by_product.orders)::bigint as orders,
        sum(by_product.units)::bigint as units,
        sum(by_product.revenue) as revenue,
        sum(by_product.gross_profit) as gross_profit,
        min(by_product.min_order_amount) as min_order_amount,
        max(by_product.max_order_amount) as max_order_amount
    from by_product
    inner join products
        on by_product.product_key = products.product_key
    group by 1, 2, 3, 4

)

select * from final
