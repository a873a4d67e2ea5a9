-- Grain: one row per week (ISO), month, quarter or year and category, or all categories, with sales
-- or refunds, from the first order to the as-of date. Rows add up only within one grain, and either
-- over the categories or over their total; numbers of orders and customers do not.
with category_days as (

    select * from {{ ref('int_category_daily_sales') }}

),

refunds as (

    select * from {{ ref('int_daily_refunded_sales') }}

),

split_lines as (

    select * from {{ ref('int_split_order_sales') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

weekly_customers as (

    select * from {{ ref('int_category_weekly_sales') }}

),

yearly_customers as (

    select * from {{ ref('int_category_yearly_sales') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

days as (

    select
        (select min(category_days.date_key) from category_days) as first_day,
        date_key as last_day
    from dates
    where is_as_of

),

daily as (

    select
        category_days.*,
        {{ category_key('category_days.category_name') }} as category_key
    from category_days
    inner join days
        on category_days.date_key between days.first_day and days.last_day

),

sold as (

    select
        period.grain,
        period.period_start,
        daily.category_key,
        sum(daily.revenue) as revenue,
        sum(daily.known_cost_revenue) as known_cost_revenue,
        sum(daily.gross_profit) as gross_profit,
        sum(daily.orders) as orders,
        sum(daily.units) as units
    from daily
    cross join lateral {{ periods_of('daily.date_key') }} as period (grain, period_start)
    group by 1, 2, 3

),

-- Days first: a day has refunds of many subcategories, and each goes into eight periods.
refunded_days as (

    select
        refunds.date_key,
        refunds.category_name,
        sum(refunds.refunded_amount) as refunded_amount
    from refunds
    inner join days
        on refunds.date_key between days.first_day and days.last_day
    group by 1, 2

),

refunded as (

    select
        period.grain,
        period.period_start,
        category.category_key,
        sum(refunded_days.refunded_amount) as refunded_amount
    from refunded_days
    cross join lateral {{ periods_of('refunded_days.date_key') }} as period (grain, period_start)
    cross join lateral {{ category_keys('refunded_days.category_name') }} as category (category_key)
    group by 1, 2, 3

),

-- An order with lines on several days counts on each of them, and once in a period.
too_many_orders as (

    select
        period.grain,
        period.period_start,
        category.category_key,
        {{ orders_counted_too_often('date_key') }} as orders
    from split_lines
    inner join days
        on split_lines.date_key <= days.last_day
    inner join products
        on
            split_lines.product_id = products.product_id
            and {{ valid_at('products', shop_midnight('split_lines.date_key')) }}
    cross join lateral {{ periods_of('split_lines.date_key') }} as period (grain, period_start)
    cross join lateral {{ category_keys('products.category_name') }} as category (category_key)
    group by 1, 2, 3

),

customers as (

    select
        'week' as grain,
        order_week as period_start,
        {{ category_key('category_name') }} as category_key,
        customers
    from weekly_customers
    union all
    select
        grain,
        period_start,
        {{ category_key('category_name') }} as category_key,
        customers
    from yearly_customers

),

final as (

    select
        coalesce(sold.grain, refunded.grain) as grain,
        coalesce(sold.period_start, refunded.period_start) as period_start,
        coalesce(sold.category_key, refunded.category_key) as category_key,
        coalesce(sold.orders - coalesce(too_many_orders.orders, 0), 0)::bigint as orders,
        coalesce(customers.customers, 0) as customers,
        coalesce(sold.units, 0)::bigint as units,
        coalesce(sold.revenue, 0) as revenue,
        coalesce(refunded.refunded_amount, 0) as refunded_amount,
        coalesce(sold.known_cost_revenue, 0) as known_cost_revenue,
        sold.gross_profit
    from sold
    full join refunded
        on
            sold.grain = refunded.grain
            and sold.period_start = refunded.period_start
            and sold.category_key = refunded.category_key
    left join too_many_orders
        on
            sold.grain = too_many_orders.grain
            and sold.period_start = too_many_orders.period_start
            and sold.category_key = too_many_orders.category_key
    left join customers
        on
            sold.grain = customers.grain
            and sold.period_start = customers.period_start
            and sold.category_key = customers.category_key

)

select * from final
