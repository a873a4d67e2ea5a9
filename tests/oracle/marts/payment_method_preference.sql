-- An order whose lines were paid in two ways is an order of both, with the amount paid so.
with order_part as (

    select
        payment_method,
        order_id,
        sum(order_amount) as amount
    from shop.counted_line
    group by payment_method, order_id

),

by_payment_method as (

    select
        payment_method,
        count(*) as total_orders,
        sum(amount) as total_revenue,
        min(amount) as min_order_value,
        max(amount) as max_order_value
    from order_part
    group by payment_method

)

select
    *,
    ratio(total_revenue, total_orders) as avg_order_value,
    percent(
        total_orders, (select count(distinct order_id) from shop.counted_line)
    ) as order_percent,
    percent(total_revenue, sum(total_revenue) over ()) as revenue_percent
from by_payment_method
