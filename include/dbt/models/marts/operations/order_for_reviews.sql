-- Grain: one row per order that breaks a rule of review_rules.
{% set claimed_from = var('sources_of_sales') %}
{% set days_before = 365 %}
{% set rebuilt = claimed_days_and_after(claimed_from, days_before, days_of_other_reasons()) %}

{{ config(
    materialized='incremental',
    unique_key='order_id',
    meta={
        'claimed_from': claimed_from,
        'period': 'day',
        'period_column': 'order_date',
        'days_after': days_before,
        'also': 'days_of_other_reasons',
    },
    indexes=[
        {'columns': ['order_date', 'review_priority']},
        {'columns': ['customer_id']},
        {'columns': ['risk_score', 'expected_loss', 'order_date']},
    ],
) }}

with renamed as (

    select * from {{ ref('stg_claimed_customers') }}

),

customers as (

    select * from {{ ref('dim_customer') }}
    where is_current

),

reviews as (

    select * from {{ ref('int_order_reviews') }}

),

-- The name is the current one, and the review the last one: both change on other days, too.
{% if is_incremental() -%}
changed as (

    select order_id
    from {{ this }}
    where customer_id = any(array(select renamed.customer_id from renamed))
    union all
    select reviews.order_id
    from reviews
    inner join {{ this }} as current_rows
        on reviews.order_id = current_rows.order_id
    where current_rows.reviewed_at is distinct from reviews.reviewed_at
    union all
    select order_id
    from {{ ref('int_reviewed_sales') }}
    where order_date = any({{ rebuilt }})

),
{%- endif %}

orders as (

    select * from {{ ref('int_reviewed_sales') }}
    where
        broken_rules <> '{}'
        {%- if is_incremental() %}
        and order_id = any(array(select changed.order_id from changed))
        {%- endif %}

),

final as (

    select
        orders.order_id,
        orders.customer_id,
        customers.customer_name,
        orders.order_date,
        orders.order_amount,
        -- The list amounts are quotients, cut after some 20 digits. Rounding to fewer digits
        -- first lets a half be a half again.
        round(
            round(
                100 * (orders.list_amount - orders.amount_of_list) / orders.list_amount, 12
            ),
            2
        ) as discount_percent,
        {{ percent_of('orders.shipping_cost', 'orders.order_amount') }} as shipping_percent,
        'high_discount' = any(orders.broken_rules) as is_high_discount,
        'high_shipping' = any(orders.broken_rules) as is_high_shipping,
        orders.gross_profit,
        orders.contribution_amount,
        greatest(0.00, -orders.contribution_amount) as expected_loss,
        orders.risk_score,
        orders.broken_rules,
        orders.reasons,
        case
            when orders.risk_score >= {{ var('high_risk_score') }} then 'High'
            else 'Medium'
        end as review_priority,
        coalesce(reviews.review_status, 'open') as review_status,
        reviews.reviewed_by,
        reviews.review_note,
        reviews.reviewed_at
    from orders
    left join customers
        on orders.customer_id = customers.customer_id
    left join reviews
        on orders.order_id = reviews.order_id

)

select * from final
