-- Grain: one row per month, cohort, order number up to the 10th and days since the order before.
-- Additive: customers, revenue. The revenue of an order is in the months of its lines, the customer
-- in that of its first day.
{% set claimed_from = ['sales_fact'] %}

{{ config(
    materialized='incremental',
    meta={
        'claimed_from': claimed_from, 'period': 'month', 'period_column': 'line_month', 'onward': true
    },
) }}

-- What changes on a day changes the numbers of later orders, and not those of earlier ones.
with order_days as (

    select * from {{ ref('int_customer_order_sales') }}
    {{ only_claimed(claimed_from, 'month', 'line_month', onward=true) }}

),

final as (

    select
        line_month,
        cohort_month,
        order_number,
        days_since_previous,
        count(*) filter (where date_key = order_date) as customers,
        sum(revenue) as revenue
    from order_days
    where order_number <= 10
    group by line_month, cohort_month, order_number, days_since_previous

)

select * from final
