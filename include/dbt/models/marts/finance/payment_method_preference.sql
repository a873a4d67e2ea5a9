-- Grain: one row per payment method.
with sales as (

    select * from {{ ref('int_category_monthly_sales') }}

),

split_lines as (

    select * from {{ ref('int_split_order_sales') }}

),

months as (

    select
        payment_method,
        sum(orders) as orders,
        sum(revenue) as revenue,
        min(min_order_revenue) as min_order_revenue,
        max(max_order_revenue) as max_order_revenue
    from sales
    where grouped_by = 'payment method'
    group by payment_method

),

split_orders as (

    select
        payment_method,
        order_id,
        {{ orders_counted_too_often() }} as too_many_orders,
        sum(revenue) as revenue
    from split_lines
    group by payment_method, order_id

),

-- The months do not have these orders among their smallest and largest.
corrections as (

    select
        payment_method,
        sum(too_many_orders) as too_many_orders,
        min(revenue) as min_order_revenue,
        max(revenue) as max_order_revenue
    from split_orders
    group by payment_method

),

-- An order that is paid in two ways counts for both, but once among all orders.
all_orders as (

    select
        sum(orders) - (select {{ orders_counted_too_often() }} from split_lines) as orders
    from sales
    where grouped_by = 'month'

),

by_payment_method as (

    select
        months.payment_method,
        (months.orders - coalesce(corrections.too_many_orders, 0))::bigint as total_orders,
        months.revenue as total_revenue,
        least(months.min_order_revenue, corrections.min_order_revenue) as min_order_value,
        greatest(months.max_order_revenue, corrections.max_order_revenue) as max_order_value
    from months
    left join corrections
        on months.payment_method = corrections.payment_method

),

final as (

    select
        payment_method,
        total_orders,
        total_revenue,
        round(total_revenue / total_orders, 2) as avg_order_value,
        min_order_value,
        max_order_value,
        {{ percent_of('total_orders', '(select all_orders.orders from all_orders)') }}
            as order_percent,
        {{ percent_of('total_revenue', 'sum(total_revenue) over ()') }} as revenue_percent
    from by_payment_method

)

select * from final
