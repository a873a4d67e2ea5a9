-- Grain: one row per payment method.
with orders as (

    select * from {{ ref('fact_sales') }}
    where order_amount > 0

),

by_payment_method as (

    select
        payment_method,
        count(*) as total_orders,
        sum(order_amount) as total_revenue,
        min(order_amount) as min_order_value,
        max(order_amount) as max_order_value
    from orders
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
