-- Grain: one row per day, category and subcategory with refunds. Additive: refunded_amount.
{% set claimed_from = var('sources_of_refunds') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
) }}

with refunds as (

    select * from {{ ref('fact_refunds') }}
    {{ only_claimed(claimed_from, 'day', 'date_key') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

final as (

    select
        refunds.date_key,
        products.category_name,
        products.subcategory,
        sum(refunds.refund_amount) as refunded_amount
    from refunds
    inner join products
        on refunds.product_key = products.product_key
    group by 1, 2, 3

)

select * from final
