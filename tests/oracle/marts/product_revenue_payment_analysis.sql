with by_payment_method as (

    select
        order_month as revenue_month,
        category_name,
        payment_method,
        sum(order_amount) as revenue,
        count(distinct order_id) as order_count
    from shop.counted_line
    group by order_month, category_name, payment_method

)

select
    by_payment_method.*,
    sum(revenue) over category_month as category_revenue,
    percent(revenue, sum(revenue) over category_month) as payment_method_percent,
    period.is_complete
from by_payment_method
inner join shop.period
    on period.grain = 'month' and by_payment_method.revenue_month = period.period_start
window category_month as (partition by revenue_month, category_name)
