-- Grain: one row per year and customer that has lines that marts count. Additive: revenue, and
-- orders but for those of int_split_order_sales, which count once a month here.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'year', 'period_column': 'order_year'},
) }}

with months as (

    select * from {{ ref('int_customer_monthly_sales') }}
    {{ only_claimed(claimed_from, 'year', 'order_month') }}

),

final as (

    select
        {{ first_day_of('year', 'order_month') }} as order_year,
        customer_id,
        sum(orders)::bigint as orders,
        sum(revenue) as revenue,
        (array_agg(first_day_revenue order by order_month))[1] as first_day_revenue,
        min(first_order_date) as first_order_date,
        max(last_order_date) as last_order_date
    from months
    group by 1, 2

)

select * from final
