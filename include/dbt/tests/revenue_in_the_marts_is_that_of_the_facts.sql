-- To the cent: each mart that adds up revenue holds that of the orders with an amount, month by
-- month where it has months. daily_revenue ends with the as-of date.
with as_of as (

    select date_key from {{ ref('dim_date') }}
    where is_as_of

),

by_day as (

    select
        date_key,
        count(*) as orders,
        sum(order_amount) as revenue,
        sum(gross_profit) as gross_profit
    from {{ ref('fact_sales') }}
    where order_amount > 0
    group by date_key

),

by_month as (

    select
        {{ first_day_of('month', 'date_key') }} as month,
        sum(orders) as orders,
        sum(revenue) as revenue,
        sum(gross_profit) as gross_profit
    from by_day
    group by month

),

expected as (

    select
        marts.mart,
        by_month.month,
        by_month.orders,
        by_month.revenue,
        by_month.gross_profit
    from by_month
    cross join (
        values
        ('product_category_revenue_monthly'),
        ('product_revenue_payment_analysis'),
        ('seasonal_sales_analysis')
    ) as marts (mart)
    union all
    select
        'daily_revenue' as mart,
        {{ first_day_of('month', 'date_key') }} as month,
        sum(orders) as orders,
        sum(revenue) as revenue,
        sum(gross_profit) as gross_profit
    from by_day
    where date_key <= (select as_of.date_key from as_of)
    group by month
    union all
    select
        marts.mart,
        null::date as month,
        coalesce(sum(by_month.orders), 0) as orders,
        coalesce(sum(by_month.revenue), 0) as revenue,
        sum(by_month.gross_profit) as gross_profit
    from (values ('payment_method_preference'), ('customer_segments')) as marts (mart)
    left join by_month
        on true
    group by marts.mart

),

found as (

    select
        'product_category_revenue_monthly' as mart,
        revenue_month as month,
        sum(order_count) as orders,
        sum(total_revenue) as revenue,
        sum(total_gross_profit) as gross_profit
    from {{ ref('product_category_revenue_monthly') }}
    group by revenue_month
    union all
    select
        'product_revenue_payment_analysis' as mart,
        revenue_month as month,
        sum(order_count) as orders,
        sum(revenue) as revenue,
        null as gross_profit
    from {{ ref('product_revenue_payment_analysis') }}
    group by revenue_month
    union all
    select
        'seasonal_sales_analysis' as mart,
        sales_month as month,
        sum(monthly_orders) as orders,
        sum(monthly_revenue) as revenue,
        null as gross_profit
    from {{ ref('seasonal_sales_analysis') }}
    group by sales_month
    union all
    select
        'daily_revenue' as mart,
        {{ first_day_of('month', 'order_date') }} as month,
        sum(daily_orders) as orders,
        sum(daily_revenue) as revenue,
        sum(daily_gross_profit) as gross_profit
    from {{ ref('daily_revenue') }}
    group by month
    union all
    select
        'payment_method_preference' as mart,
        null as month,
        coalesce(sum(total_orders), 0) as orders,
        coalesce(sum(total_revenue), 0) as revenue,
        null as gross_profit
    from {{ ref('payment_method_preference') }}
    union all
    select
        'customer_segments' as mart,
        null as month,
        coalesce(sum(total_orders), 0) as orders,
        coalesce(sum(lifetime_value), 0) as revenue,
        null as gross_profit
    from {{ ref('customer_segments') }}

)

-- A month of zero-filled days has no revenue to expect; a month without a known cost no profit.
select
    coalesce(expected.mart, found.mart) as mart,
    coalesce(expected.month, found.month) as month,
    expected.orders as orders_expected,
    found.orders as orders_found,
    expected.revenue as revenue_expected,
    found.revenue as revenue_found,
    expected.gross_profit as gross_profit_expected,
    found.gross_profit as gross_profit_found
from expected
full join found
    on
        expected.mart = found.mart
        and coalesce(expected.month, '-infinity') = coalesce(found.month, '-infinity')
where
    coalesce(expected.orders, 0) <> coalesce(found.orders, 0)
    or coalesce(expected.revenue, 0) <> coalesce(found.revenue, 0)
    or (
        expected.mart in ('product_category_revenue_monthly', 'daily_revenue')
        and coalesce(expected.gross_profit, 0) <> coalesce(found.gross_profit, 0)
    )
