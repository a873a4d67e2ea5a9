-- Grain: one row per refund. Additive: refund_amount, refund_quantity.
{% set claimed_from = var('sources_of_refunds') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
    indexes=[{'columns': ['date_key']}],
) }}

with refunds as (

    select * from {{ ref('stg_refunds') }}
    {{ only_claimed(claimed_from, 'day', 'refund_date') }}

),

-- From an array, since Postgres would read all lines to join them.
lines as (

    select * from {{ ref('stg_sales_fact') }}
    where order_id = any(array(select refunds.order_id from refunds))

),

customers as (

    select * from {{ ref('dim_customer') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

keys as (

    {{ refund_keys('refunds', 'lines') }}

),

-- As in fact_sales: a refund whose customer or product arrives after the dimensions were built is
-- added by the next build.
final as (

    select
        refunds.refund_id,
        coalesce(customers.customer_key, {{ fixed_member_key() }}) as customer_key,
        coalesce(products.product_key, {{ fixed_member_key() }}) as product_key,
        refunds.order_id,
        refunds.line_number,
        keys.customer_id,
        keys.product_id,
        refunds.reason,
        refunds.refund_amount,
        refunds.refund_quantity,
        refunds.refund_date as date_key
    from refunds
    inner join keys
        on refunds.refund_id = keys.refund_id
    left join customers
        on
            keys.customer_id = customers.customer_id
            and {{ valid_at('customers', shop_midnight('keys.valid_on')) }}
    left join products
        on
            keys.product_id = products.product_id
            and {{ valid_at('products', shop_midnight('keys.valid_on')) }}
    where
        (keys.customer_id is null or customers.customer_key is not null)
        and (keys.product_id is null or products.product_key is not null)

)

select * from final
