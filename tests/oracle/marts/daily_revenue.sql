with neighbours as (

    select
        *,
        lag(revenue) over (order by order_date) as previous_day_revenue,
        sum(revenue) over seven_days as revenue_7d,
        count(*) over seven_days as days_7d
    from shop.sales_day
    window seven_days as (order by order_date rows between 6 preceding and current row)

),

first_day as (

    select
        customer_id,
        min(order_date) as order_date
    from shop.counted_order
    group by customer_id

),

new_and_returning as (

    select
        counted_order.order_date,
        sum(counted_order.order_amount)
            filter (where counted_order.order_date = first_day.order_date) as new_revenue,
        sum(counted_order.order_amount)
            filter (where counted_order.order_date > first_day.order_date) as returning_revenue,
        count(distinct counted_order.customer_id)
            filter (where counted_order.order_date = first_day.order_date) as new_customers
    from shop.counted_order
    inner join first_day on counted_order.customer_id = first_day.customer_id
    group by counted_order.order_date

)

select
    neighbours.order_date,
    revenue as daily_revenue,
    gross_profit as daily_gross_profit,
    orders as daily_orders,
    customers as daily_customers,
    ratio(revenue, orders) as avg_order_value,
    ratio(revenue_7d, days_7d) as revenue_7d_avg,
    previous_day_revenue,
    percent(revenue - previous_day_revenue, previous_day_revenue) as daily_growth_percent,
    coalesce(new_and_returning.new_revenue, 0) as new_customer_revenue,
    coalesce(new_and_returning.returning_revenue, 0) as returning_customer_revenue,
    coalesce(new_and_returning.new_customers, 0) as new_customers
from neighbours
left join new_and_returning on neighbours.order_date = new_and_returning.order_date
