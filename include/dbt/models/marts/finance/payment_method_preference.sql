-- Grain: one row per payment method.
with sales as (

    select * from {{ ref('int_category_monthly_sales') }}

),

by_payment_method as (

    select
        payment_method,
        sum(orders)::bigint as total_orders,
        sum(revenue) as total_revenue,
        min(min_order_amount) as min_order_value,
        max(max_order_amount) as max_order_value
    from sales
    group by payment_method

),

final as (

    select
        payment_method,
        total_orders,
        total_revenue,
        round(total_revenue / total_orders, 2) as avg_order_value,
        min_order_value,
        max_order_value,
        {{ percent_of('total_orders', 'sum(total_orders) over ()') }} as order_percent,
        {{ percent_of('total_revenue', 'sum(total_revenue) over ()') }} as revenue_percent
    from by_payment_method

)

select * from final
