-- Grain: one row per day and category, or all categories, that has lines that marts count. Additive
-- over the categories or their total: units and money, but not orders: an order may have several
-- categories, and lines on several days.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
) }}

with lines as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'day', 'date_key') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

final as (

    select
        lines.date_key,
        case
            when grouping(products.category_name) = 1 then {{ all_categories() }}
            else products.category_name
        end as category_name,
        count(distinct lines.order_id) as orders,
        sum(lines.order_quantity)::bigint as units,
        sum(lines.order_amount) as revenue,
        coalesce(sum(lines.order_amount) filter (where lines.gross_profit is not null), 0)
            as known_cost_revenue,
        sum(lines.gross_profit) as gross_profit
    from lines
    inner join products
        on lines.product_key = products.product_key
    where {{ is_counted('lines') }}
    group by grouping sets ((lines.date_key, products.category_name), (lines.date_key))

)

select * from final
