-- Grain: one row per day, from the first order to the as-of date.
with order_days as (

    select * from {{ ref('int_daily_sales') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

customers as (

    select * from {{ ref('int_customer_sales') }}

),

-- All orders of a customer on the day of its first order count as a new customer's.
new_customer_days as (

    select
        first_order_date as date_key,
        count(*) as customers,
        sum(first_day_revenue) as revenue
    from customers
    group by first_order_date

),

as_of as (

    select date_key from dates
    where is_as_of

),

days as (

    select date_key
    from dates
    where
        date_key >= (select min(order_days.date_key) from order_days)
        and date_key <= (select as_of.date_key from as_of)

),

-- Profit is 0 on a day without orders, and null on a day whose orders have no known cost.
filled as (

    select
        days.date_key as order_date,
        coalesce(order_days.revenue, 0) as daily_revenue,
        case when order_days.date_key is null then 0 else order_days.gross_profit end
            as daily_gross_profit,
        coalesce(order_days.orders, 0) as daily_orders,
        coalesce(order_days.customers, 0) as daily_customers,
        coalesce(new_customer_days.revenue, 0) as new_customer_revenue,
        coalesce(new_customer_days.customers, 0) as new_customers
    from days
    left join order_days
        on days.date_key = order_days.date_key
    left join new_customer_days
        on days.date_key = new_customer_days.date_key

),

compared as (

    select
        *,
        round(
            avg(daily_revenue) over (
                order by order_date rows between 6 preceding and current row
            ),
            2
        ) as revenue_7d_avg,
        lag(daily_revenue) over (order by order_date) as previous_day_revenue
    from filled

),

final as (

    select
        order_date,
        daily_revenue,
        daily_gross_profit,
        daily_orders,
        daily_customers,
        round(daily_revenue / nullif(daily_orders, 0), 2) as avg_order_value,
        revenue_7d_avg,
        previous_day_revenue,
        {{ growth_percent('daily_revenue', 'previous_day_revenue') }} as daily_growth_percent,
        new_customer_revenue,
        daily_revenue - new_customer_revenue as returning_customer_revenue,
        new_customers
    from compared

)

select * from final
