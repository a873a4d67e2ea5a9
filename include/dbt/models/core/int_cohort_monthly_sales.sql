-- Grain: one row per cohort and month in which customers of it have lines that marts count.
-- Additive: revenue; active_customers over the cohorts of a month.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={
        'claimed_from': claimed_from, 'period': 'month', 'period_column': 'order_month', 'onward': true
    },
) }}

-- A first order that is new, gone or moved in a month has no order before it: earlier months do not
-- change.
with customer_months as (

    select * from {{ ref('int_customer_monthly_sales') }}
    {{ only_claimed(claimed_from, 'month', 'order_month', onward=true) }}

),

customers as (

    select * from {{ ref('int_customer_sales') }}

),

-- A customer belongs to the cohort of the month of the first order.
final as (

    select
        {{ first_day_of('month', 'customers.first_order_date') }} as cohort_month,
        customer_months.order_month,
        count(*) as active_customers,
        sum(customer_months.revenue) as revenue
    from customer_months
    inner join customers
        on customer_months.customer_id = customers.customer_id
    group by 1, 2

)

select * from final
