with neighbours as (

    select
        *,
        lag(revenue) over (order by order_date) as previous_day_revenue,
        sum(revenue) over seven_days as revenue_7d,
        count(*) over seven_days as days_7d
    from shop.sales_day
    window seven_days as (order by order_date rows between 6 preceding and current row)

)

select
    order_date,
    revenue as daily_revenue,
    gross_profit as daily_gross_profit,
    orders as daily_orders,
    customers as daily_customers,
    ratio(revenue, orders) as avg_order_value,
    ratio(revenue_7d, days_7d) as revenue_7d_avg,
    previous_day_revenue,
    percent(revenue - previous_day_revenue, previous_day_revenue) as daily_growth_percent
from neighbours
