-- Grain: one row per order that has a high discount, a high shipping cost or both.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    unique_key='order_id',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'order_date'},
    indexes=[{'columns': ['order_date', 'review_priority']}, {'columns': ['customer_id']}],
) }}

with claimed_lines as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'day', 'date_key') }}

),

-- An order on a claimed day may have lines on other days. From an array, since Postgres would read
-- all lines to join them.
lines as (

    select * from {{ ref('fact_sales') }}
    where
        {{ is_counted() }}
        {%- if is_incremental() %}
        and order_id = any(array(select claimed_lines.order_id from claimed_lines))
        {%- endif %}

),

customers as (

    select * from {{ ref('dim_customer') }}
    where is_current

),

renamed as (

    select * from {{ ref('stg_claimed_customers') }}

),

-- The customer of an order is that of its first line. A line whose rate is 1 has no list amount.
orders as (

    select
        order_id,
        (array_agg(customer_id order by line_number))[1] as customer_id,
        min(date_key) as order_date,
        sum(order_amount) as order_amount,
        sum(order_amount / nullif(1 - discount_rate, 0)) as list_amount,
        sum(order_amount) filter (where discount_rate < 1) as amount_of_list,
        sum(shipping_cost) as shipping_cost,
        sum(gross_profit) as gross_profit,
        sum(contribution_amount) as contribution_amount,
        bool_or(discount_rate > {{ var('high_discount_threshold') }}) as is_high_discount
    from lines
    group by order_id

),

flagged as (

    select
        *,
        shipping_cost > {{ var('high_shipping_threshold') }} * order_amount as is_high_shipping
    from orders

),

final as (

    select
        flagged.order_id,
        flagged.customer_id,
        customers.customer_name,
        flagged.order_date,
        flagged.order_amount,
        -- The list amounts are quotients, cut after some 20 digits. Rounding to fewer digits
        -- first lets a half be a half again.
        round(
            round(
                100 * (flagged.list_amount - flagged.amount_of_list) / flagged.list_amount, 12
            ),
            2
        ) as discount_percent,
        {{ percent_of('flagged.shipping_cost', 'flagged.order_amount') }} as shipping_percent,
        flagged.is_high_discount,
        flagged.is_high_shipping,
        flagged.gross_profit,
        flagged.contribution_amount,
        case
            when flagged.is_high_discount and flagged.is_high_shipping then 'High'
            else 'Medium'
        end as review_priority
    from flagged
    left join customers
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
        current_rows.gross_profit,
        current_rows.contribution_amount,
        current_rows.review_priority
    from {{ this }} as current_rows
    inner join customers
        on current_rows.customer_id = customers.customer_id
    where
        current_rows.customer_id = any(array(select renamed.customer_id from renamed))
        and current_rows.order_date <> all({{ claimed_periods(claimed_from, 'day') }})
        and not exists (
            select from orders
            where orders.order_id = current_rows.order_id
        )
    {%- endif %}

)

select * from final
