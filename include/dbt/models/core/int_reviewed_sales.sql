-- Grain: one row per order that breaks a rule, or would if it were its customer's first.
-- Additive: order_amount, list_amount, amount_of_list, shipping_cost, gross_profit,
-- contribution_amount.
{% set claimed_from = var('sources_of_sales') %}
{% set days_before = 365 %}
{% set other_days = days_of_other_first_orders() %}
{% set rebuilt = claimed_days_and_after(claimed_from, days_before, other_days) %}

{{ config(
    materialized='incremental',
    meta={
        'claimed_from': claimed_from,
        'period': 'day',
        'period_column': 'order_date',
        'days_after': days_before,
        'also': 'days_of_other_first_orders',
    },
    indexes=[{'columns': ['order_date']}, {'columns': ['breaks_rule_as_first_order']}],
) }}

with lines as (

    {{ lines_of_whole_orders(rebuilt if is_incremental() else none) }}

),

products as (

    select * from {{ ref('dim_products') }}

),

customers as (

    select * from {{ ref('dim_customer') }}

),

first_orders as (

    select * from {{ ref('int_customer_sales') }}

),

days as (

    select * from {{ ref('int_daily_order_sales') }}

),

rules as (

    select * from {{ ref('review_rules') }}

),

-- The customer of an order is that of its first line. A line whose rate is 1 has no list amount.
-- Materialized, since Postgres takes the orders of the claimed days for one row, and would then
-- compare each with each day of the history.
orders as {{ 'materialized ' if is_incremental() }}(

    select
        lines.order_id,
        (array_agg(lines.customer_id order by lines.line_number))[1] as customer_id,
        sum(lines.order_amount) as order_amount,
        sum(lines.order_amount / nullif(1 - lines.discount_rate, 0)) as list_amount,
        sum(lines.order_amount) filter (where lines.discount_rate < 1) as amount_of_list,
        sum(lines.shipping_cost) as shipping_cost,
        sum(lines.gross_profit) as gross_profit,
        sum(lines.contribution_amount) as contribution_amount,
        max(lines.discount_rate) as highest_discount_rate,
        max(lines.cost_amount - lines.order_amount) as largest_loss,
        max(
            abs(lines.list_amount - lines.order_quantity * products.retail_price)
            / nullif(lines.order_quantity * products.retail_price, 0)
        ) as largest_list_price_gap,
        max(lines.recorded_date - lines.date_key) as days_dated_back,
        bool_or(products.is_discontinued) as has_discontinued_product,
        bool_or(customers.is_deleted or customers.customer_end_date < lines.date_key)
            as is_customer_gone,
        min(lines.date_key) as order_date
    from lines
    inner join products
        on lines.product_key = products.product_key
    inner join customers
        on lines.customer_key = customers.customer_key
    group by lines.order_id

),

-- Null for a guest: nobody knows what else a guest has ordered.
measured as (

    select
        orders.*,
        case
            when orders.customer_id is not null
                then count(*) over (partition by orders.order_date, orders.customer_id)
        end as orders_of_customer_and_day,
        days.median_amount,
        coalesce(orders.order_date = first_orders.first_order_date, false) as is_first_order
    from orders
    inner join days
        on orders.order_date = days.order_date
    left join first_orders
        on orders.customer_id = first_orders.customer_id
    {%- if is_incremental() %}
    where orders.order_date = any({{ rebuilt }})
    {%- endif %}

),

final as (

    select
        measured.order_id,
        measured.customer_id,
        results.broken_rules,
        results.reasons,
        results.risk_score,
        measured.order_amount,
        measured.list_amount,
        measured.amount_of_list,
        measured.shipping_cost,
        measured.gross_profit,
        measured.contribution_amount,
        measured.is_first_order,
        results.breaks_rule_as_first_order,
        measured.order_date
    from measured
    cross join
        -- Order by order, which takes less time than to sort all orders with their rules.
        lateral (  -- noqa: ST05
            -- The reasons with the most points first.
            select
                coalesce(
                    array_agg(rule order by weight desc, rule asc) filter (where is_broken), '{}'
                ) as broken_rules,
                coalesce(
                    array_agg(description order by weight desc, rule asc) filter (where is_broken),
                    '{}'
                ) as reasons,
                least(coalesce(sum(weight) filter (where is_broken), 0), 100)::integer
                    as risk_score,
                coalesce(bool_or(is_broken_as_first_order), false) as breaks_rule_as_first_order
            from (
                select
                    rules.rule,
                    rules.description,
                    rules.weight,
                    {{ review_rules() }} as is_broken,
                    {{ review_rules('as_first_order') }} as is_broken_as_first_order
                from rules
                where
                    coalesce(measured.order_date >= rules.valid_from, true)
                    and coalesce(measured.order_date < rules.valid_to, true)
            ) as evaluated
            where is_broken or is_broken_as_first_order
        ) as results
    where results.broken_rules <> '{}' or results.breaks_rule_as_first_order

)

select * from final
