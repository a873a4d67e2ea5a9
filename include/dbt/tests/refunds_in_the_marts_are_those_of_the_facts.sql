-- To the cent, in two steps. First, int_daily_refunded_sales has the sum of the refunds, day by
-- day. Second, each mart with refunds has the sum of these days, month by month if it has months,
-- and its net figures are what is left: product_performance_monthly without those of no product,
-- customer_segments without those of guests, daily_revenue and revenue_trend from the first order
-- to the as-of date.
--
-- The sums by product and month, and by customer and year, are compared with the facts as well.
--
-- In an incremental build, the first step compares only the claimed days, and the years that they
-- are in, and product_performance_monthly, which has a row per product, only the months from the
-- first claimed one on. A full refresh and dbt by hand compare everything.
{%- set claimed_days = claimed_periods(var('sources_of_refunds'), 'day') %}
{%- set claimed_months = claimed_periods(var('sources_of_refunds'), 'month', onward=true) %}
{%- set claimed_years = claimed_periods(var('sources_of_refunds'), 'year') %}
{%- set is_all = running_build().mode != 'incremental' or running_build().refreshed | length > 0 %}

with as_of as (

    select date_key from {{ ref('dim_date') }}
    where is_as_of

),

order_days as (

    select * from {{ ref('int_daily_sales') }}

),

days as (

    select
        date_key,
        sum(refunded_amount) as refunded_amount
    from {{ ref('int_daily_refunded_sales') }}
    group by date_key

),

of_customers as (

    select
        refund_year,
        sum(refunded_amount) as refunded_amount
    from {{ ref('int_customer_yearly_refunded_sales') }}
    group by refund_year

),

of_products as (

    select
        refund_month,
        sum(refunded_amount) as refunded_amount
    from {{ ref('int_product_monthly_refunded_sales') }}
    group by refund_month

),

expected as (

    select
        'int_daily_refunded_sales' as mart,
        date_key as period,
        sum(refund_amount) as refunded_amount
    from {{ ref('fact_refunds') }}
    where {{ is_all }} or date_key = any({{ claimed_days }})
    group by date_key
    union all
    select
        'int_product_monthly_refunded_sales' as mart,
        {{ first_day_of('month', 'date_key') }} as period,
        sum(refund_amount) as refunded_amount
    from {{ ref('fact_refunds') }}
    where
        product_id is not null
        and (
            {{ is_all }}
            or date_key >= (select min(first_day) from unnest({{ claimed_months }}) as first_day)
        )
    group by period
    union all
    select
        'int_customer_yearly_refunded_sales' as mart,
        {{ first_day_of('year', 'date_key') }} as period,
        sum(refund_amount) as refunded_amount
    from {{ ref('fact_refunds') }}
    where
        customer_id is not null
        and (
            {{ is_all }}
            or (
                date_key >= (select min(first_day) from unnest({{ claimed_years }}) as first_day)
                and {{ first_day_of('year', 'date_key') }} = any({{ claimed_years }})
            )
        )
    group by period
    union all
    select
        'product_category_revenue_monthly' as mart,
        {{ first_day_of('month', 'date_key') }} as period,
        sum(refunded_amount) as refunded_amount
    from days
    group by period
    union all
    select
        'product_performance_monthly' as mart,
        refund_month as period,
        refunded_amount
    from of_products
    where {{ is_all }} or refund_month = any({{ claimed_months }})
    union all
    select
        'daily_revenue' as mart,
        date_key as period,
        refunded_amount
    from days
    where
        date_key >= (select min(order_days.date_key) from order_days)
        and date_key <= (select as_of.date_key from as_of)
    union all
    select
        trend.mart,
        trend.period,
        sum(days.refunded_amount) as refunded_amount
    from days
    cross join lateral {{ trend_parts_of('days.date_key') }} as trend
    where
        days.date_key >= (select min(order_days.date_key) from order_days)
        and days.date_key <= (select as_of.date_key from as_of)
    group by trend.mart, trend.period
    union all
    select
        'customer_segments' as mart,
        null as period,
        coalesce(sum(refunded_amount), 0) as refunded_amount
    from of_customers

),

actual as (

    select
        'int_daily_refunded_sales' as mart,
        date_key as period,
        refunded_amount,
        true as is_net
    from days
    where {{ is_all }} or date_key = any({{ claimed_days }})
    union all
    select
        'int_product_monthly_refunded_sales' as mart,
        refund_month as period,
        refunded_amount,
        true as is_net
    from of_products
    where {{ is_all }} or refund_month = any({{ claimed_months }})
    union all
    select
        'int_customer_yearly_refunded_sales' as mart,
        refund_year as period,
        refunded_amount,
        true as is_net
    from of_customers
    where {{ is_all }} or refund_year = any({{ claimed_years }})
    union all
    select
        'product_category_revenue_monthly' as mart,
        revenue_month as period,
        sum(refunded_amount) as refunded_amount,
        bool_and(net_revenue = total_revenue - refunded_amount) as is_net
    from {{ ref('product_category_revenue_monthly') }}
    group by revenue_month
    union all
    select
        'product_performance_monthly' as mart,
        revenue_month as period,
        sum(refunded_amount) as refunded_amount,
        bool_and(net_revenue = revenue - refunded_amount) as is_net
    from {{ ref('product_performance_monthly') }}
    where {{ is_all }} or revenue_month = any({{ claimed_months }})
    group by revenue_month
    union all
    select
        'daily_revenue' as mart,
        order_date as period,
        refunded_amount,
        net_revenue = daily_revenue - refunded_amount as is_net
    from {{ ref('daily_revenue') }}
    union all
    select
        {{ trend_part() }} as mart,
        period_start as period,
        sum(refunded_amount) as refunded_amount,
        bool_and(net_revenue = revenue - refunded_amount) as is_net
    from {{ ref('revenue_trend') }}
    group by mart, period
    union all
    select
        'customer_segments' as mart,
        null as period,
        coalesce(sum(refunded_amount), 0) as refunded_amount,
        coalesce(bool_and(lifetime_value = lifetime_revenue - refunded_amount), true) as is_net
    from {{ ref('customer_segments') }}

)

-- A period without a refund has no expected one.
select
    coalesce(expected.mart, actual.mart) as mart,
    coalesce(expected.period, actual.period) as period,
    expected.refunded_amount as refunded_expected,
    actual.refunded_amount as refunded_actual,
    actual.is_net
from expected
full join actual
    on
        expected.mart = actual.mart
        and coalesce(expected.period, '-infinity') = coalesce(actual.period, '-infinity')
where
    coalesce(expected.refunded_amount, 0) <> coalesce(actual.refunded_amount, 0)
    or actual.is_net is distinct from true
