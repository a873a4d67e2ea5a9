-- Grain: one row per product and month that has lines that marts count. Additive: money and
-- units, but not order_count: an order may have several products.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'month', 'period_column': 'order_month'},
    indexes=[{'columns': ['order_month']}],
) }}

with lines as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'month', 'date_key') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

counted as (

    select
        product_id,
        product_key,
        order_id,
        order_quantity,
        order_amount,
        coalesce(list_amount, order_amount) as list_amount,
        gross_profit,
        contribution_amount,
        {{ first_day_of('month', 'date_key') }} as order_month,
        date_key
    from lines
    where {{ is_counted() }}

),

orders as (

    select distinct
        product_id,
        order_month,
        order_id
    from counted

),

by_product as (

    select
        product_id,
        order_month,
        count(*) as order_count
    from orders
    group by 1, 2

),

by_version as (

    select
        product_id,
        product_key,
        order_month,
        sum(order_amount) as revenue,
        sum(gross_profit) as gross_profit,
        sum(contribution_amount) as contribution_amount,
        sum(order_quantity) as units_sold,
        coalesce(sum(order_amount) filter (where gross_profit is not null), 0)
            as known_cost_revenue,
        coalesce(sum(list_amount) filter (where gross_profit is not null), 0)
            as known_cost_list_amount,
        coalesce(sum(order_quantity) filter (where gross_profit is not null), 0)
            as known_cost_units,
        max(date_key) as last_order_date
    from counted
    group by 1, 2, 3

),

-- A product that changes its category within a month has the category of its last order there.
final as (

    select
        by_version.product_id,
        by_version.order_month,
        (array_agg(products.category_name order by by_version.last_order_date desc))[1]
            as category_name,
        sum(by_version.revenue) as revenue,
        sum(by_version.gross_profit) as gross_profit,
        sum(by_version.contribution_amount) as contribution_amount,
        min(by_product.order_count) as order_count,
        sum(by_version.units_sold)::bigint as units_sold,
        sum(by_version.known_cost_revenue) as known_cost_revenue,
        sum(by_version.known_cost_list_amount) as known_cost_list_amount,
        sum(by_version.known_cost_units)::bigint as known_cost_units
    from by_version
    inner join by_product
        on
            by_version.product_id = by_product.product_id
            and by_version.order_month = by_product.order_month
    inner join products
        on by_version.product_key = products.product_key
    group by 1, 2

)

select * from final
