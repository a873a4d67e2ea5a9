-- Grain: one row per product and month that has orders with an amount. Additive: revenue,
-- gross_profit, order_count, units_sold.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'month', 'period_column': 'order_month'},
    indexes=[{'columns': ['order_month']}],
) }}

with orders as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'month', 'date_key') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

by_version as (

    select
        product_key,
        {{ first_day_of('month', 'date_key') }} as order_month,
        sum(order_amount) as revenue,
        sum(gross_profit) as gross_profit,
        count(*) as order_count,
        sum(order_quantity) as units_sold,
        max(date_key) as last_order_date
    from orders
    where order_amount > 0
    group by 1, 2

),

-- A product that changes its category within a month has the category of its last order there.
final as (

    select
        products.product_id,
        by_version.order_month,
        (array_agg(products.category_name order by by_version.last_order_date desc))[1]
            as category_name,
        sum(by_version.revenue) as revenue,
        sum(by_version.gross_profit) as gross_profit,
        sum(by_version.order_count)::bigint as order_count,
        sum(by_version.units_sold)::bigint as units_sold
    from by_version
    inner join products
        on by_version.product_key = products.product_key
    group by 1, 2

)

select * from final
