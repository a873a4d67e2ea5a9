-- Grain: one row per month and product that has sales.
with orders as (

    select * from {{ ref('fact_sales') }}
    where order_amount > 0

),

products as (

    select * from {{ ref('dim_products') }}

),

current_products as (

    select * from {{ ref('dim_products') }}
    where is_current

),

by_version as (

    select
        product_key,
        {{ first_day_of('month', 'date_key') }} as revenue_month,
        sum(order_amount) as revenue,
        sum(gross_profit) as gross_profit,
        count(*) as order_count,
        sum(order_quantity) as units_sold,
        max(date_key) as last_order_date
    from orders
    group by 1, 2

),

-- A product that changes its category within a month is in that of its last order there.
monthly as (

    select
        products.product_id,
        by_version.revenue_month,
        (array_agg(products.category_name order by by_version.last_order_date desc))[1]
            as category_name,
        sum(by_version.revenue) as revenue,
        sum(by_version.gross_profit) as gross_profit,
        sum(by_version.order_count)::bigint as order_count,
        sum(by_version.units_sold)::bigint as units_sold
    from by_version
    inner join products
        on by_version.product_key = products.product_key
    group by 1, 2

),

-- Frames by calendar, not by row: the previous month is the one before, with or without sales.
compared as (

    select
        *,
        sum(revenue) over category as category_revenue,
        rank() over (category order by revenue desc) as category_rank,
        sum(revenue) over (
            product range between interval '1 month' preceding and interval '1 month' preceding
        ) as revenue_one_month_before,
        min(revenue_month) over product as first_month
    from monthly
    window
        category as (partition by revenue_month, category_name),
        product as (partition by product_id order by revenue_month)

),

measured as (

    select
        *,
        case
            when revenue_month > first_month then coalesce(revenue_one_month_before, 0)
        end as previous_month_revenue
    from compared

),

final as (

    select
        measured.revenue_month,
        measured.product_id,
        current_products.product_name,
        measured.category_name,
        measured.revenue,
        measured.gross_profit,
        measured.order_count,
        measured.units_sold,
        measured.category_revenue,
        measured.category_rank,
        {{ percent_of('measured.revenue', 'measured.category_revenue') }}
            as category_revenue_percent,
        measured.previous_month_revenue,
        {{ growth_percent('measured.revenue', 'measured.previous_month_revenue') }}
            as mom_growth_percent
    from measured
    inner join current_products
        on measured.product_id = current_products.product_id

)

select * from final
