-- To the cent, in two steps. First, int_daily_sales has the sum of the lines that count, day by
-- day. Second, each mart with revenue has the sum of these days, month by month if it has months;
-- daily_revenue and revenue_trend end with the as-of date, and the marts of customers leave out
-- guests. revenue_trend has it in each grain, of the categories and of their total. Numbers of
-- orders are those of days only: an order may be in several groups of a month.
--
-- In an incremental build, the first step compares only the claimed days, since the build writes no
-- other days of the facts and of int_daily_sales; other days were compared when they were built.
-- The second step compares all days, but product_performance_monthly and
-- order_profitability_monthly, which have many rows, only from the first claimed month on. A full
-- refresh and dbt by hand compare everything.
{%- set claimed_days = claimed_periods(var('sources_of_sales'), 'day') %}
{%- set claimed_months = claimed_periods(var('sources_of_sales'), 'month', onward=true) %}
{%- set is_all = running_build().mode != 'incremental' or running_build().refreshed | length > 0 %}

with as_of as (

    select date_key from {{ ref('dim_date') }}
    where is_as_of

),

days as (

    select * from {{ ref('int_daily_sales') }}

),

months as (

    select
        {{ first_day_of('month', 'date_key') }} as month,
        sum(revenue) as revenue,
        sum(revenue - guest_revenue) as customer_revenue,
        sum(gross_profit) as gross_profit
    from days
    group by month

),

expected as (

    select
        'int_daily_sales' as mart,
        date_key as period,
        count(distinct order_id) as orders,
        sum(order_amount) as revenue,
        sum(gross_profit) as gross_profit
    from {{ ref('fact_sales') }}
    where
        {{ is_counted() }}
        and ({{ is_all }} or date_key = any({{ claimed_days }}))
    group by date_key
    union all
    select
        marts.mart,
        months.month as period,
        null as orders,
        months.revenue,
        case when marts.mart = 'product_category_revenue_monthly' then months.gross_profit end
            as gross_profit
    from months
    cross join (
        values
        ('product_category_revenue_monthly'),
        ('product_revenue_payment_analysis'),
        ('seasonal_sales_analysis')
    ) as marts (mart)
    union all
    select
        'customer_cohorts_monthly' as mart,
        month as period,
        null as orders,
        customer_revenue as revenue,
        null as gross_profit
    from months
    union all
    select
        marts.mart,
        months.month as period,
        null as orders,
        months.revenue,
        months.gross_profit
    from months
    cross join (
        values
        ('order_profitability_monthly'),
        ('product_performance_monthly')
    ) as marts (mart)
    where {{ is_all }} or month = any({{ claimed_months }})
    union all
    select
        'daily_revenue' as mart,
        {{ first_day_of('month', 'date_key') }} as period,
        sum(orders) as orders,
        sum(revenue) as revenue,
        sum(gross_profit) as gross_profit
    from days
    where date_key <= (select as_of.date_key from as_of)
    group by period
    union all
    select
        trend.mart,
        trend.period,
        null as orders,
        sum(days.revenue) as revenue,
        sum(days.gross_profit) as gross_profit
    from days
    cross join lateral {{ trend_parts_of('days.date_key') }} as trend
    where days.date_key <= (select as_of.date_key from as_of)
    group by trend.mart, trend.period
    union all
    select
        'payment_method_preference' as mart,
        null as period,
        null as orders,
        coalesce(sum(revenue), 0) as revenue,
        null as gross_profit
    from months
    union all
    select
        'customer_segments' as mart,
        null as period,
        null as orders,
        coalesce(sum(customer_revenue), 0) as revenue,
        null as gross_profit
    from months

),

actual as (

    select
        'int_daily_sales' as mart,
        date_key as period,
        orders,
        revenue,
        gross_profit
    from days
    where {{ is_all }} or date_key = any({{ claimed_days }})
    union all
    select
        'product_category_revenue_monthly' as mart,
        revenue_month as period,
        null as orders,
        sum(total_revenue) as revenue,
        sum(total_gross_profit) as gross_profit
    from {{ ref('product_category_revenue_monthly') }}
    group by revenue_month
    union all
    select
        'product_revenue_payment_analysis' as mart,
        revenue_month as period,
        null as orders,
        sum(revenue) as revenue,
        null as gross_profit
    from {{ ref('product_revenue_payment_analysis') }}
    group by revenue_month
    union all
    select
        'seasonal_sales_analysis' as mart,
        sales_month as period,
        null as orders,
        sum(monthly_revenue) as revenue,
        null as gross_profit
    from {{ ref('seasonal_sales_analysis') }}
    group by sales_month
    union all
    select
        'customer_cohorts_monthly' as mart,
        order_month as period,
        null as orders,
        sum(revenue) as revenue,
        null as gross_profit
    from {{ ref('customer_cohorts_monthly') }}
    group by order_month
    union all
    select
        'product_performance_monthly' as mart,
        revenue_month as period,
        null as orders,
        sum(revenue) as revenue,
        sum(gross_profit) as gross_profit
    from {{ ref('product_performance_monthly') }}
    where {{ is_all }} or revenue_month = any({{ claimed_months }})
    group by revenue_month
    union all
    select
        'order_profitability_monthly' as mart,
        revenue_month as period,
        null as orders,
        sum(revenue) as revenue,
        sum(gross_profit) as gross_profit
    from {{ ref('order_profitability_monthly') }}
    where {{ is_all }} or revenue_month = any({{ claimed_months }})
    group by revenue_month
    union all
    select
        'daily_revenue' as mart,
        {{ first_day_of('month', 'order_date') }} as period,
        sum(daily_orders) as orders,
        sum(daily_revenue) as revenue,
        sum(daily_gross_profit) as gross_profit
    from {{ ref('daily_revenue') }}
    group by period
    union all
    select
        {{ trend_part() }} as mart,
        period_start as period,
        null as orders,
        sum(revenue) as revenue,
        sum(gross_profit) as gross_profit
    from {{ ref('revenue_trend') }}
    group by mart, period
    union all
    select
        'payment_method_preference' as mart,
        null as period,
        null as orders,
        coalesce(sum(total_revenue), 0) as revenue,
        null as gross_profit
    from {{ ref('payment_method_preference') }}
    union all
    select
        'customer_segments' as mart,
        null as period,
        null as orders,
        coalesce(sum(lifetime_revenue), 0) as revenue,
        null as gross_profit
    from {{ ref('customer_segments') }}

)

-- A period of zero-filled days has no expected revenue, a month without a known cost no profit, and
-- a month may have refunds alone.
select
    coalesce(expected.mart, actual.mart) as mart,
    coalesce(expected.period, actual.period) as period,
    expected.orders as orders_expected,
    actual.orders as orders_actual,
    expected.revenue as revenue_expected,
    actual.revenue as revenue_actual,
    expected.gross_profit as gross_profit_expected,
    actual.gross_profit as gross_profit_actual
from expected
full join actual
    on
        expected.mart = actual.mart
        and coalesce(expected.period, '-infinity') = coalesce(actual.period, '-infinity')
where
    coalesce(expected.orders, 0) <> coalesce(actual.orders, 0)
    or coalesce(expected.revenue, 0) <> coalesce(actual.revenue, 0)
    or coalesce(expected.gross_profit, 0) <> coalesce(actual.gross_profit, 0)
