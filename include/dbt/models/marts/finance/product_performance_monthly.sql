-- Grain: one row per month and product that has sales or refunds.
{% set claimed_from = var('sources_of_refunds_to_date') %}
{% set rebuilt = claimed_periods(claimed_from, 'month', onward=true) %}

{{ config(
    materialized='incremental',
    unique_key=['revenue_month', 'product_id'],
    meta={
        'claimed_from': claimed_from, 'period': 'month', 'period_column': 'revenue_month', 'onward': true
    },
    indexes=[{'columns': ['product_id', 'revenue_month', 'contribution_amount']}],
) }}

-- The first month to rebuild needs the month before it.
with sales as (

    select * from {{ ref('int_product_monthly_sales') }}
    {%- if is_incremental() %}
    where
        order_month = any({{ rebuilt }})
        or order_month = (
            select min(rebuilt.order_month) - interval '1 month'
            from unnest({{ rebuilt }}) as rebuilt (order_month)
        )::date
    {%- endif %}

),

refunds as (

    select * from {{ ref('int_product_monthly_refunded_sales') }}
    {%- if is_incremental() %}
    where refund_month = any({{ rebuilt }})
    {%- endif %}

),

current_products as (

    select * from {{ ref('dim_products') }}
    where is_current

),

periods as (

    select * from {{ ref('int_periods') }}
    where grain = 'month'

),

running as (

    select
        periods.*,
        as_of.date_key as as_of_date
    from periods
    cross join {{ ref('dim_date') }} as as_of
    where periods.is_running and as_of.is_as_of

),

-- Of the month before, as many days as have elapsed of the running one are compared; of the running
-- month, what is dated after the as-of date is not.
cut_lines as (

    select
        product_id,
        order_amount as previous_revenue,
        0 as revenue_ahead
    from {{ ref('fact_sales') }}
    where
        {{ is_counted() }}
        and date_key >= (select running.previous_start from running)
        and date_key <= (select running.previous_end from running)
    union all
    select
        product_id,
        0 as previous_revenue,
        order_amount as revenue_ahead
    from {{ ref('fact_sales') }}
    where
        {{ is_counted() }}
        and date_key > (select running.as_of_date from running)
        and date_key <= (select running.period_end from running)

),

cut as (

    select
        product_id,
        sum(previous_revenue) as previous_revenue,
        sum(revenue_ahead) as revenue_ahead
    from cut_lines
    group by product_id

),

renamed as (

    select * from {{ ref('stg_claimed_products') }}

),

products as (

    select
        *,
        (
            select min(sold.order_month) from {{ ref('int_product_monthly_sales') }} as sold
            where sold.product_id = current_products.product_id
        ) as first_month
    from current_products

),

-- A month with refunds alone has no revenue and no profit.
monthly as (

    select
        coalesce(sales.order_month, refunds.refund_month) as order_month,
        coalesce(sales.product_id, refunds.product_id) as product_id,
        case when sales.product_id is null then refunds.category_name else sales.category_name end
            as category_name,
        coalesce(sales.revenue, 0) as revenue,
        coalesce(refunds.refunded_amount, 0) as refunded_amount,
        case when sales.product_id is null then 0 else sales.gross_profit end as gross_profit,
        case when sales.product_id is null then 0 else sales.contribution_amount end
            as contribution_amount,
        coalesce(sales.order_count, 0) as order_count,
        coalesce(sales.units_sold, 0) as units_sold
    from sales
    full join refunds
        on
            sales.order_month = refunds.refund_month
            and sales.product_id = refunds.product_id

),

-- Frames by calendar, not by row: the previous month is the calendar month before, with or without
-- sales. Products that sold nothing have no revenue: they are the last, and have no rank.
compared as (

    select
        *,
        sum(revenue) over category as category_revenue,
        rank() over (category order by revenue desc) as revenue_rank,
        sum(revenue) over (
            partition by product_id
            order by order_month
            range between interval '1 month' preceding and interval '1 month' preceding
        ) as revenue_one_month_before
    from monthly
    window category as (partition by order_month, category_name)

),

measured as (

    select
        compared.*,
        products.product_name,
        case
            when compared.order_count > 0 and periods.is_complete then compared.revenue_rank
        end as category_rank,
        case
            when compared.order_month > products.first_month
                then coalesce(
                    case
                        when periods.is_running then cut.previous_revenue
                        else compared.revenue_one_month_before
                    end,
                    0
                )
        end as previous_month_revenue,
        compared.revenue
        - case when periods.is_running then coalesce(cut.revenue_ahead, 0) else 0 end
            as revenue_to_compare,
        periods.is_complete,
        periods.is_previous_covered
    from compared
    inner join products
        on compared.product_id = products.product_id
    inner join periods
        on compared.order_month = periods.period_start
    left join cut
        on compared.product_id = cut.product_id
    {%- if is_incremental() %}
    where compared.order_month = any({{ rebuilt }})
    {%- endif %}

),

final as (

    select
        order_month as revenue_month,
        product_id,
        product_name,
        category_name,
        revenue,
        refunded_amount,
        revenue - refunded_amount as net_revenue,
        gross_profit,
        contribution_amount,
        order_count,
        units_sold,
        category_revenue,
        category_rank,
        {{ percent_of('revenue', 'category_revenue') }} as category_revenue_percent,
        previous_month_revenue,
        case
            when is_previous_covered
                then {{ growth_percent('revenue_to_compare', 'previous_month_revenue') }}
        end as mom_growth_percent,
        is_complete
    from measured
    {%- if is_incremental() %}
    union all
    -- The name is the current one: it changes in the other months of a renamed product, too.
    select
        current_rows.revenue_month,
        current_rows.product_id,
        current_products.product_name,
        current_rows.category_name,
        current_rows.revenue,
        current_rows.refunded_amount,
        current_rows.net_revenue,
        current_rows.gross_profit,
        current_rows.contribution_amount,
        current_rows.order_count,
        current_rows.units_sold,
        current_rows.category_revenue,
        current_rows.category_rank,
        current_rows.category_revenue_percent,
        current_rows.previous_month_revenue,
        current_rows.mom_growth_percent,
        current_rows.is_complete
    from {{ this }} as current_rows
    inner join current_products
        on current_rows.product_id = current_products.product_id
    where
        current_rows.product_id = any(array(select renamed.product_id from renamed))
        and current_rows.revenue_month <> all({{ rebuilt }})
    {%- endif %}

)

select * from final
