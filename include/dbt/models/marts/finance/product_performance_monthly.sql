-- Grain: one row per month and product that has sales.
with monthly as (

    select * from {{ ref('int_product_monthly_sales') }}

),

products as (

    select * from {{ ref('dim_products') }}
    where is_current

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
        min(order_month) over product as first_month
    from monthly
    window
        category as (partition by order_month, category_name),
        product as (partition by product_id order by order_month)

),

measured as (

    select
        *,
        case
            when order_month > first_month then coalesce(revenue_one_month_before, 0)
        end as previous_month_revenue
    from compared

),

final as (

    select
        measured.order_month as revenue_month,
        measured.product_id,
        products.product_name,
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
    inner join products
        on measured.product_id = products.product_id

)

select * from final
