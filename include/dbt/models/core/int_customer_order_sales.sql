-- Grain: one row per customer, order and day with lines that marts count. Guests are no customers.
-- Additive: revenue. Nothing here is of a version of a product or customer.
{% set claimed_from = ['sales_fact'] %}

{{ config(
    materialized='incremental',
    unique_key=['customer_id', 'order_id', 'date_key'],
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
    indexes=[
        {'columns': ['date_key']},
        {'columns': ['line_month']},
        {'columns': ['customer_id', 'order_date', 'order_id']},
    ],
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
-- With a line on a claimed day, now or before; and the first day of all its lines.
changed_orders as (

    select
        customer_id,
        date_key,
        (
            select min(kept.order_date) from {{ this }} as kept
            where
                kept.customer_id = claimed_days.customer_id
                and kept.order_id = claimed_days.order_id
        ) as order_date
    from claimed_days
    union all
    select
        customer_id,
        date_key,
        order_date
    from {{ this }}
    {{ only_claimed(claimed_from, 'day', 'date_key') }}

),

-- An order that is new, gone or moved gives the later orders of its customer other numbers. Those
-- before it stay: the cost of a day does not grow with a customer's history.
first_changed as (

    select min(least(date_key, order_date)) as first_day
    from changed_orders

),

customers as (

    select
        changed.customer_id,
        earlier.order_number,
        earlier.order_date,
        earlier.cohort_month
    from (select distinct changed_orders.customer_id from changed_orders) as changed
    left join lateral (
        select
            kept.order_number,
            kept.order_date,
            kept.cohort_month
        from {{ this }} as kept
        where
            kept.customer_id = changed.customer_id
            and kept.order_date < (select first_changed.first_day from first_changed)
        order by kept.order_date desc, kept.order_id desc
        limit 1
    ) as earlier on true

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
        customer_id = any(array(select customers.customer_id from customers))
        and order_date >= (select first_changed.first_day from first_changed)
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
numbered as (

    select
        *,
        dense_rank() over orders_so_far as order_number,
        max(order_date) over (
            orders_so_far groups between 1 preceding and 1 preceding
        ) as previous_date,
        {{ first_day_of('month', 'first_value(order_date) over orders_so_far') }} as cohort_month
    from dated
    window orders_so_far as (partition by customer_id order by order_date, order_id)

),

{% if is_incremental() -%}
continued as (

    select
        numbered.customer_id,
        numbered.order_id,
        numbered.revenue,
        numbered.order_date,
        numbered.date_key,
        coalesce(customers.order_number, 0) + numbered.order_number as order_number,
        coalesce(numbered.previous_date, customers.order_date) as previous_date,
        coalesce(customers.cohort_month, numbered.cohort_month) as cohort_month
    from numbered
    inner join customers
        on numbered.customer_id = customers.customer_id

),

{% endif -%}
final as (

    select
        customer_id,
        order_id,
        order_number,
        order_date - previous_date as days_since_previous,
        revenue,
        cohort_month,
        {{ first_day_of('month', 'date_key') }} as line_month,
        order_date,
        date_key
    from {{ 'continued' if is_incremental() else 'numbered' }}

)

select * from final
