-- Grain: one row per customer, order and day with lines that marts count. Guests are no customers.
-- Additive: revenue. Nothing here is of a version of a product or customer.
{% set claimed_from = ['sales_fact'] %}

{{ config(
    materialized='incremental',
    unique_key=['customer_id', 'order_id', 'date_key'],
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
    indexes=[{'columns': ['date_key']}, {'columns': ['line_month']}],
) }}

with lines as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'day', 'date_key') }}

),

claimed_days as (

    select
        customer_id,
        order_id,
        date_key,
        sum(order_amount) as revenue
    from lines
    where {{ is_counted() }} and not is_guest
    group by customer_id, order_id, date_key

),

{% if is_incremental() -%}
-- An order that is new, gone or moved gives the later orders of its customer other numbers.
changed_customers as (

    select customer_id from claimed_days
    union
    select customer_id from {{ this }}
    {{ only_claimed(claimed_from, 'day', 'date_key') }}

),

{% endif -%}
order_days as (

    select * from claimed_days
    {%- if is_incremental() %}
    union all
    select
        customer_id,
        order_id,
        date_key,
        revenue
    from {{ this }}
    where
        customer_id = any(array(select changed_customers.customer_id from changed_customers))
        and date_key <> all({{ claimed_periods(claimed_from, 'day') }})
    {%- endif %}

),

dated as (

    select
        *,
        min(date_key) over (partition by customer_id, order_id) as order_date
    from order_days

),

-- The days of an order are peers: they have one number, and are one group.
final as (

    select
        customer_id,
        order_id,
        dense_rank() over orders_so_far as order_number,
        order_date - max(order_date) over (
            orders_so_far groups between 1 preceding and 1 preceding
        ) as days_since_previous,
        revenue,
        {{ first_day_of('month', 'first_value(order_date) over orders_so_far') }} as cohort_month,
        {{ first_day_of('month', 'date_key') }} as line_month,
        order_date,
        date_key
    from dated
    window orders_so_far as (partition by customer_id order by order_date, order_id)

)

select * from final
