-- Grain: one row per day that has lines that marts count. Additive: revenue, known_cost_revenue,
-- gross_profit, guest_revenue.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
) }}

with lines as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'day', 'date_key') }}

),

final as (

    select
        date_key,
        count(distinct order_id) as orders,
        count(distinct customer_id) as customers,
        sum(order_amount) as revenue,
        coalesce(sum(order_amount) filter (where gross_profit is not null), 0)
            as known_cost_revenue,
        sum(gross_profit) as gross_profit,
        count(distinct order_id) filter (where is_guest) as guest_orders,
        coalesce(sum(order_amount) filter (where is_guest), 0) as guest_revenue
    from lines
    where {{ is_counted() }}
    group by date_key

)

select * from final
