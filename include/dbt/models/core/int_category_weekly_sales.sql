-- Grain: one row per ISO week and category, or all categories, in which customers bought. Not
-- additive: a customer may buy in several categories and weeks.
{% set claimed_from = var('sources_of_sales_to_date') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'week', 'period_column': 'order_week'},
) }}

with lines as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'week', 'date_key') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

as_of as (

    select date_key from dates
    where is_as_of

),

-- Orders dated after the as-of date are not counted yet.
buyers as (

    select distinct
        {{ first_day_of('week', 'lines.date_key') }} as order_week,
        products.category_name,
        lines.customer_id
    from lines
    inner join products
        on lines.product_key = products.product_key
    where
        {{ is_counted('lines') }}
        and not lines.is_guest
        and lines.date_key <= (select as_of.date_key from as_of)

),

final as (

    select
        order_week,
        category_name,
        count(*) as customers
    from buyers
    group by order_week, category_name
    union all
    select
        order_week,
        {{ all_categories() }} as category_name,
        count(distinct customer_id) as customers
    from buyers
    group by order_week

)

select * from final
