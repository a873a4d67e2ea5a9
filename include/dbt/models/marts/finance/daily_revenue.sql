-- Grain: one row per day, from the first order to the as-of date.
with order_days as (

    select * from {{ ref('int_daily_sales') }}

),

refunds as (

    select * from {{ ref('int_daily_refunded_sales') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

customers as (

    select * from {{ ref('int_customer_sales') }}

),

refund_days as (

    select
        date_key,
        sum(refunded_amount) as refunded_amount
    from refunds
    group by date_key

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

    select
        date_key,
        same_day_last_year
    from dates
    where
        date_key >= (select min(order_days.date_key) from order_days)
        and date_key <= (select as_of.date_key from as_of)

),

covered_days as (

    select date_key from dates
    where is_covered

),

-- Profit is 0 on a day without orders, and null on a day whose orders have no known cost. A day of
-- last year that no load has covered is unknown, a covered one without orders has no revenue.
filled as (

    select
        days.date_key as order_date,
        coalesce(order_days.revenue, 0) as daily_revenue,
        coalesce(refund_days.refunded_amount, 0) as refunded_amount,
        order_days.known_cost_revenue,
        case when order_days.date_key is null then 0 else order_days.gross_profit end
            as daily_gross_profit,
        coalesce(order_days.orders, 0) as daily_orders,
        coalesce(order_days.customers, 0) as daily_customers,
        coalesce(order_days.guest_orders, 0) as guest_orders,
        coalesce(order_days.guest_revenue, 0) as guest_revenue,
        case
            when covered_days.date_key is not null then coalesce(last_year.revenue, 0)
        end as same_day_last_year_revenue,
        coalesce(new_customer_days.revenue, 0) as new_customer_revenue,
        coalesce(new_customer_days.customers, 0) as new_customers
    from days
    left join order_days
        on days.date_key = order_days.date_key
    left join refund_days
        on days.date_key = refund_days.date_key
    left join new_customer_days
        on days.date_key = new_customer_days.date_key
    left join covered_days
        on days.same_day_last_year = covered_days.date_key
    left join order_days as last_year
        on days.same_day_last_year = last_year.date_key

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
        round(
            avg(daily_revenue) over (
                order by order_date rows between 27 preceding and current row
            ),
            2
        ) as revenue_28d_avg,
        lag(daily_revenue) over (order by order_date) as previous_day_revenue
    from filled

),

final as (

    select
        order_date,
        daily_revenue,
        refunded_amount,
        daily_revenue - refunded_amount as net_revenue,
        daily_gross_profit,
        {{ percent_of('daily_gross_profit', 'known_cost_revenue') }} as gross_margin_percent,
        {{ percent_of('known_cost_revenue', 'daily_revenue') }} as known_cost_percent,
        daily_orders,
        daily_customers,
        guest_orders,
        guest_revenue,
        round(daily_revenue / nullif(daily_orders, 0), 2) as avg_order_value,
        revenue_7d_avg,
        revenue_28d_avg,
        previous_day_revenue,
        {{ growth_percent('daily_revenue', 'previous_day_revenue') }} as daily_growth_percent,
        same_day_last_year_revenue,
        new_customer_revenue,
        daily_revenue - guest_revenue - new_customer_revenue as returning_customer_revenue,
        new_customers
    from compared

)

select * from final
