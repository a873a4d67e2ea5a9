-- Grain: one row per day that orders are of, and rule that held on it.
-- Additive within a rule: orders_checked, violations, amount_at_risk.
{% set claimed_from = var('sources_of_sales') %}
{% set days_in_average = 28 %}
{% set days_before = 365 + days_in_average - 1 %}
{% set rebuilt = claimed_days_and_after(claimed_from, days_before) %}

{{ config(
    materialized='incremental',
    unique_key=['order_date', 'rule'],
    meta={
        'claimed_from': claimed_from,
        'period': 'day',
        'period_column': 'order_date',
        'days_after': days_before,
    },
) }}

-- A rule that asks for first orders is rebuilt whole: an order of any day may be a first one.
with rules as (

    select
        *,
        {{ review_rules('asks_for_first_order') }} as asks_for_first_order
    from {{ ref('review_rules') }}

),

days as (

    select * from {{ ref('int_daily_order_sales') }}

),

checked as (

    select
        rules.rule,
        rules.asks_for_first_order,
        days.order_date,
        days.orders
    from days
    inner join rules
        on
            coalesce(days.order_date >= rules.valid_from, true)
            and coalesce(days.order_date < rules.valid_to, true)
    {%- if is_incremental() %}
    where
        rules.asks_for_first_order
        or days.order_date >= (
            select min(day) from unnest({{ rebuilt }}) as day
        ) - {{ days_in_average - 1 }}
    {%- endif %}

),

orders as (

    select * from {{ ref('int_reviewed_sales') }}
    {%- if is_incremental() %}
    where
        breaks_rule_as_first_order
        or order_date >= (
            select min(day) from unnest({{ rebuilt }}) as day
        ) - {{ days_in_average - 1 }}
    {%- endif %}

),

broken as (

    select
        orders.order_date,
        rule,
        count(*) as violations,
        sum(orders.order_amount) as amount_at_risk
    from orders
    cross join unnest(orders.broken_rules) as rule
    group by orders.order_date, rule

),

counted as (

    select
        checked.order_date,
        checked.rule,
        checked.asks_for_first_order,
        checked.orders as orders_checked,
        coalesce(broken.violations, 0) as violations,
        coalesce(broken.amount_at_risk, 0.00) as amount_at_risk
    from checked
    left join broken
        on
            checked.order_date = broken.order_date
            and checked.rule = broken.rule

),

of_28_days as (

    select
        *,
        sum(orders_checked) over days_of_rule as orders_28d,
        sum(violations) over days_of_rule as violations_28d
    from counted
    window days_of_rule as (
        partition by rule order by order_date
        range between interval '{{ days_in_average - 1 }} days' preceding and current row
    )

),

final as (

    select
        order_date,
        rule,
        orders_checked,
        violations::integer as violations,
        {{ percent_of('orders_checked - violations', 'orders_checked') }} as compliance_percent,
        amount_at_risk,
        {{ percent_of('orders_28d - violations_28d', 'orders_28d') }} as compliance_28d_percent
    from of_28_days
    {%- if is_incremental() %}
    where asks_for_first_order or order_date = any({{ rebuilt }})
    {%- endif %}

)

select * from final
