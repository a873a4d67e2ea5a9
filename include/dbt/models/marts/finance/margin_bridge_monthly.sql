-- Grain: one row per month, from that of the first order to that of the as-of date. Not additive.
{% set claimed_from = var('sources_of_sales_to_date') %}
{% set rebuilt = claimed_periods(claimed_from, 'month', onward=true) %}
{% set of_month = ['units', 'revenue', 'known_cost_revenue', 'contribution'] %}
{% set of_product = of_month + ['list_amount', 'cost', 'shipping'] %}

{{ config(
    materialized='incremental',
    meta={
        'claimed_from': claimed_from, 'period': 'month', 'period_column': 'revenue_month', 'onward': true
    },
) }}

with all_sales as not materialized (

    select * from {{ ref('int_product_monthly_sales') }}

),

-- The first month to rebuild needs the month before it. Only these are read, by the index.
sales as (

    select * from all_sales
    {%- if is_incremental() %}
    where
        order_month = any({{ rebuilt }})
        or order_month = (
            select min(rebuilt.order_month) - interval '1 month'
            from unnest({{ rebuilt }}) as rebuilt (order_month)
        )::date
    {%- endif %}

),

as_of as (

    select date_key from {{ ref('dim_date') }}
    where is_as_of

),

months as (

    select * from {{ ref('int_periods') }}
    where
        grain = 'month'
        and period_start >= (select min(all_sales.order_month) from all_sales)
        and period_start <= (select as_of.date_key from as_of)
        {%- if is_incremental() %}
        and period_start = any({{ rebuilt }})
        {%- endif %}

),

running as (

    select * from months
    where is_running

),

-- The months that are compared: of each month itself, and of the one before it.
sides as (

    select
        period_start as revenue_month,
        false as is_previous,
        period_start as order_month
    from months
    union all
    select
        period_start as revenue_month,
        true as is_previous,
        previous_start as order_month
    from months
    where not is_running

),

-- Of the month before the running one, as many days are compared as have elapsed of it; what is
-- dated after the as-of date is taken from the running one again.
cut_lines as (

    select
        *,
        date_key <= (select running.previous_end from running) as is_previous,
        case when date_key <= (select running.previous_end from running) then 1 else -1 end as sign
    from {{ ref('fact_sales') }}
    where
        {{ is_counted() }}
        and (
            date_key between (select running.previous_start from running)
            and (select running.previous_end from running)
            or date_key between (select as_of.date_key + 1 from as_of)
            and (select running.period_end from running)
        )

),

-- Shipping cost is gross profit less contribution, cost is revenue less gross profit.
compared as (

    select
        sides.revenue_month,
        sales.product_id,
        sides.is_previous,
        sales.known_cost_units as units,
        sales.known_cost_list_amount as list_amount,
        sales.known_cost_revenue,
        sales.known_cost_revenue - sales.gross_profit as cost,
        sales.gross_profit - sales.contribution_amount as shipping,
        sales.contribution_amount as contribution,
        sales.revenue
    from sides
    inner join sales
        on sides.order_month = sales.order_month
    union all
    select
        (select running.period_start from running) as revenue_month,
        product_id,
        is_previous,
        case when gross_profit is null then 0 else sign * order_quantity end as units,
        case when gross_profit is null then 0 else sign * coalesce(list_amount, order_amount) end
            as list_amount,
        case when gross_profit is null then 0 else sign * order_amount end as known_cost_revenue,
        sign * (order_amount - gross_profit) as cost,
        sign * (gross_profit - contribution_amount) as shipping,
        sign * contribution_amount as contribution,
        sign * order_amount as revenue
    from cut_lines

),

by_product as (

    select
        {%- for column in of_product %}
        sum({{ column }}) filter (where not is_previous) as {{ column }},
        sum({{ column }}) filter (where is_previous) as previous_{{ column }},
        {%- endfor %}
        revenue_month,
        product_id
    from compared
    group by revenue_month, product_id

),

-- What this month's units would have brought and cost at the previous discount, price, cost and
-- shipping of the product. Null for a product that was not sold in both months: it is mix.
at_previous_rates as (

    select
        *,
        round(list_amount * previous_known_cost_revenue / nullif(previous_list_amount, 0), 6)
            as at_previous_discount,
        round(units * previous_known_cost_revenue / nullif(previous_units, 0), 6)
            as at_previous_price,
        round(units * previous_cost / nullif(previous_units, 0), 6) as at_previous_cost,
        round(units * previous_shipping / nullif(previous_units, 0), 6) as at_previous_shipping
    from by_product

),

monthly as (

    select
        revenue_month,
        {%- for column in of_month %}
        sum({{ column }}) as {{ column }},
        sum(previous_{{ column }}) as previous_{{ column }},
        {%- endfor %}
        round(sum(at_previous_discount - at_previous_price), 2) as list_price_effect,
        round(sum(known_cost_revenue - at_previous_discount), 2) as discount_effect,
        round(sum(at_previous_cost - cost), 2) as cost_effect,
        round(sum(at_previous_shipping - shipping), 2) as shipping_effect
    from at_previous_rates
    group by revenue_month

),

-- Contribution is 0 in a month without orders, and null in one whose orders have no known cost.
filled as (

    select
        months.period_start as revenue_month,
        months.is_complete,
        months.is_previous_covered,
        coalesce(monthly.units, 0) as units,
        coalesce(monthly.previous_units, 0) as previous_units,
        monthly.revenue,
        monthly.known_cost_revenue,
        monthly.previous_revenue,
        monthly.previous_known_cost_revenue,
        case
            when coalesce(monthly.revenue, 0) = 0 then 0
            when monthly.known_cost_revenue > 0 then monthly.contribution
        end as contribution,
        case
            when not months.is_previous_covered then null
            when coalesce(monthly.previous_revenue, 0) = 0 then 0
            when monthly.previous_known_cost_revenue > 0 then monthly.previous_contribution
        end as previous_contribution,
        coalesce(monthly.list_price_effect, 0) as list_price_effect,
        coalesce(monthly.discount_effect, 0) as discount_effect,
        coalesce(monthly.cost_effect, 0) as cost_effect,
        coalesce(monthly.shipping_effect, 0) as shipping_effect
    from months
    left join monthly
        on months.period_start = monthly.revenue_month

),

with_volume as (

    select
        *,
        case
            when contribution is null then null
            when previous_units = 0 then contribution - previous_contribution
            else round((units - previous_units) * previous_contribution / previous_units, 2)
        end as volume_effect
    from filled

),

-- The mix is what is left, so that the row adds up to the cent: it has what rounding leaves.
final as (

    select
        revenue_month,
        previous_contribution,
        volume_effect,
        contribution - previous_contribution - volume_effect - list_price_effect - discount_effect
        - cost_effect - shipping_effect as mix_effect,
        case when volume_effect is not null then list_price_effect end as list_price_effect,
        case when volume_effect is not null then discount_effect end as discount_effect,
        case when volume_effect is not null then cost_effect end as cost_effect,
        case when volume_effect is not null then shipping_effect end as shipping_effect,
        contribution,
        {{ percent_of('known_cost_revenue', 'revenue') }} as known_cost_percent,
        case
            when is_previous_covered
                then {{ percent_of('previous_known_cost_revenue', 'previous_revenue') }}
        end as previous_known_cost_percent,
        is_complete
    from with_volume

)

select * from final
