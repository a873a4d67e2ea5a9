-- Grain: one row per day and category with lines that marts count. Additive: revenue.
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
        products.category_name,
        sum(lines.order_amount) as revenue
    from lines
    inner join products
        on lines.product_key = products.product_key
    where {{ is_counted('lines') }}
    group by lines.date_key, products.category_name

)

select * from final
