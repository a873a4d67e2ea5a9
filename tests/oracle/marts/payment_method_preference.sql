with by_payment_method as (

    select
        payment_method,
        count(*) as total_orders,
        sum(order_amount) as total_revenue,
        min(order_amount) as min_order_value,
        max(order_amount) as max_order_value
    from shop.counted_order
    group by payment_method

)

select
    *,
    ratio(total_revenue, total_orders) as avg_order_value,
    percent(total_orders, sum(total_orders) over ()) as order_percent,
    percent(total_revenue, sum(total_revenue) over ()) as revenue_percent
from by_payment_method
