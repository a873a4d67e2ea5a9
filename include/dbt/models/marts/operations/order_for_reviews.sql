-- Grain: one row per order that has a high discount, a high shipping cost or both.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    unique_key='order_id',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'order_date'},
    indexes=[{'columns': ['order_date', 'review_priority']}, {'columns': ['customer_id']}],
) }}

with orders as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'day', 'date_key') }}

),

customers as (

    select * from {{ ref('dim_customer') }}
    where is_current

),

renamed as (

    select * from {{ ref('stg_claimed_customers') }}

),

flagged as (

    select
        *,
        discount_rate > {{ var('high_discount_threshold') }} as is_high_discount,
        shipping_cost > {{ var('high_shipping_threshold') }} * order_amount as is_high_shipping
    from orders
    where order_amount > 0

),

final as (

    select
        flagged.order_id,
        flagged.customer_id,
        customers.customer_name,
        flagged.date_key as order_date,
        flagged.order_amount,
        round(100 * flagged.discount_rate, 2) as discount_percent,
        {{ percent_of('flagged.shipping_cost', 'flagged.order_amount') }} as shipping_percent,
        flagged.is_high_discount,
        flagged.is_high_shipping,
        case
            when flagged.is_high_discount and flagged.is_high_shipping then 'High'
            else 'Medium'
        end as review_priority
    from flagged
    inner join customers
        on flagged.customer_id = customers.customer_id
    where flagged.is_high_discount or flagged.is_high_shipping
    {%- if is_incremental() %}
    union all
    -- The name is the current one: it changes on the other orders of a renamed customer, too.
    select
        current_rows.order_id,
        current_rows.customer_id,
        customers.customer_name,
        current_rows.order_date,
        current_rows.order_amount,
        current_rows.discount_percent,
        current_rows.shipping_percent,
        current_rows.is_high_discount,
        current_rows.is_high_shipping,
        current_rows.review_priority
    from {{ this }} as current_rows
    inner join customers
        on current_rows.customer_id = customers.customer_id
    where
        current_rows.customer_id = any(array(select renamed.customer_id from renamed))
        and current_rows.order_date <> all({{ claimed_periods(claimed_from, 'day') }})
    {%- endif %}

)

select * from final
