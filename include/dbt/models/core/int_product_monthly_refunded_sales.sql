-- Grain: one row per product and month with refunds of it. Additive: refunded_amount.
{% set claimed_from = var('sources_of_refunds') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'month', 'period_column': 'refund_month'},
) }}

with refunds as (

    select * from {{ ref('fact_refunds') }}
    {{ only_claimed(claimed_from, 'month', 'date_key') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

of_a_product as (

    select
        product_id,
        product_key,
        refund_id,
        refund_amount,
        {{ first_day_of('month', 'date_key') }} as refund_month,
        date_key
    from refunds
    where product_id is not null

),

by_product as (

    select
        product_id,
        refund_month,
        sum(refund_amount) as refunded_amount
    from of_a_product
    group by product_id, refund_month

),

-- It decides the category; of several on one day, the one with the greatest refund_id.
last_refunds as (

    select distinct on (product_id, refund_month)
        product_id,
        refund_month,
        product_key
    from of_a_product
    order by product_id asc, refund_month asc, date_key desc, refund_id desc

),

final as (

    select
        by_product.product_id,
        by_product.refund_month,
        products.category_name,
        by_product.refunded_amount
    from by_product
    inner join last_refunds
        on
            by_product.product_id = last_refunds.product_id
            and by_product.refund_month = last_refunds.refund_month
    inner join products
        on last_refunds.product_key = products.product_key

)

select * from final
