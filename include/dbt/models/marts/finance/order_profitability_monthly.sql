-- Grain: one row per month, category, discount band and shipping band that has lines that marts
-- count. Additive: units and money, but not orders: an order may have lines of several groups.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'month', 'period_column': 'revenue_month'},
    indexes=[{'columns': ['revenue_month']}],
) }}

with lines as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'month', 'date_key') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

-- By order first: then an order is a row, and rows can be counted without sorting all lines.
by_order as (

    select
        {{ first_day_of('month', 'lines.date_key') }} as revenue_month,
        products.category_name,
        {{ discount_band('lines.discount_rate') }} as discount_band,
        {{ shipping_band('lines.shipping_cost', 'lines.order_amount') }} as shipping_band,
        lines.order_id,
        sum(lines.order_quantity) as units,
        sum(lines.list_amount) as list_amount,
        sum(lines.discount_amount) as discount_amount,
        sum(lines.order_amount) as revenue,
        coalesce(sum(lines.order_amount) filter (where lines.gross_profit is not null), 0)
            as known_cost_revenue,
        sum(lines.cost_amount) as cost_amount,
        sum(lines.gross_profit) as gross_profit,
        sum(lines.shipping_cost) as shipping_cost,
        sum(lines.contribution_amount) as contribution_amount,
        sum(-lines.contribution_amount) filter (where lines.contribution_amount < 0) as loss_amount
    from lines
    inner join products
        on lines.product_key = products.product_key
    where {{ is_counted('lines') }}
    group by 1, 2, 3, 4, 5

),

-- The list price of a line is unknown where its discount is 100 %.
by_band as (

    select
        revenue_month,
        category_name,
        discount_band,
        shipping_band,
        count(*) as orders,
        sum(units)::bigint as units,
        coalesce(sum(list_amount), 0) as list_amount,
        coalesce(sum(discount_amount), 0) as discount_amount,
        sum(revenue) as revenue,
        sum(known_cost_revenue) as known_cost_revenue,
        sum(cost_amount) as cost_amount,
        sum(gross_profit) as gross_profit,
        sum(shipping_cost) as shipping_cost,
        sum(contribution_amount) as contribution_amount,
        count(loss_amount) as loss_orders,
        coalesce(sum(loss_amount), 0) as loss_amount
    from by_order
    group by 1, 2, 3, 4

),

final as (

    select
        revenue_month,
        category_name,
        discount_band,
        shipping_band,
        orders,
        units,
        list_amount,
        discount_amount,
        revenue,
        cost_amount,
        gross_profit,
        shipping_cost,
        contribution_amount,
        {{ percent_of('gross_profit', 'known_cost_revenue') }} as gross_margin_percent,
        {{ percent_of('contribution_amount', 'known_cost_revenue') }} as contribution_percent,
        {{ percent_of('known_cost_revenue', 'revenue') }} as known_cost_percent,
        loss_orders,
        loss_amount
    from by_band

)

select * from final
