with neighbours as (

    select
        *,
        lag(revenue) over (order by order_date) as previous_day_revenue,
        sum(revenue) over seven_days as revenue_7d,
        count(*) over seven_days as days_7d,
        sum(revenue) over four_weeks as revenue_28d,
        count(*) over four_weeks as days_28d
    from shop.sales_day
    window
        seven_days as (order by order_date rows between 6 preceding and current row),
        four_weeks as (order by order_date rows between 27 preceding and current row)

),

-- A day is covered from the first day of the earliest window on, whether it sold anything or not. Of
-- a day before it, orders may be known that were recorded late, but not all.
last_year as (

    select
        this_day.order_date,
        coalesce(day_before.revenue, 0) as revenue
    from shop.sales_day as this_day
    left join shop.sales_day as day_before on this_day.order_date - 364 = day_before.order_date
    where this_day.order_date - 364 >= getvariable('first_day')

),

refunds as (

    select
        refund_date,
        sum(refund_amount) as refunded_amount
    from shop.refund
    group by refund_date

),

first_day as (

    select
        customer_id,
        min(order_date) as order_date
    from shop.counted_line
    where customer_id is not null
    group by customer_id

),

new_and_returning as (

    select
        counted_line.order_date,
        sum(counted_line.order_amount)
            filter (where counted_line.order_date = first_day.order_date) as new_revenue,
        sum(counted_line.order_amount)
            filter (where counted_line.order_date > first_day.order_date) as returning_revenue,
        count(distinct counted_line.customer_id)
            filter (where counted_line.order_date = first_day.order_date) as new_customers
    from shop.counted_line
    inner join first_day on counted_line.customer_id = first_day.customer_id
    group by counted_line.order_date

)

select
    neighbours.order_date,
    neighbours.revenue as daily_revenue,
    coalesce(refunds.refunded_amount, 0) as refunded_amount,
    neighbours.revenue - coalesce(refunds.refunded_amount, 0) as net_revenue,
    neighbours.gross_profit as daily_gross_profit,
    percent(neighbours.gross_profit, neighbours.known_cost_revenue) as gross_margin_percent,
    percent(neighbours.known_cost_revenue, neighbours.revenue) as known_cost_percent,
    neighbours.orders as daily_orders,
    neighbours.customers as daily_customers,
    neighbours.guest_orders,
    neighbours.guest_revenue,
    ratio(neighbours.revenue, neighbours.orders) as avg_order_value,
    ratio(neighbours.revenue_7d, neighbours.days_7d) as revenue_7d_avg,
    ratio(neighbours.revenue_28d, neighbours.days_28d) as revenue_28d_avg,
    neighbours.previous_day_revenue,
    percent(
        neighbours.revenue - neighbours.previous_day_revenue, neighbours.previous_day_revenue
    ) as daily_growth_percent,
    last_year.revenue as same_day_last_year_revenue,
    coalesce(new_and_returning.new_revenue, 0) as new_customer_revenue,
    coalesce(new_and_returning.returning_revenue, 0) as returning_customer_revenue,
    coalesce(new_and_returning.new_customers, 0) as new_customers
from neighbours
left join last_year on neighbours.order_date = last_year.order_date
left join refunds on neighbours.order_date = refunds.refund_date
left join new_and_returning on neighbours.order_date = new_and_returning.order_date
