-- Grain: one row per week (ISO), month, quarter or year and category, or all categories, from the
-- first order to the as-of date. Rows add up only within one grain, and either over the categories
-- or over their total.
with category_days as (

    select * from {{ ref('int_category_daily_sales') }}

),

order_days as (

    select * from {{ ref('int_daily_sales') }}

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

all_periods as (

    select * from {{ ref('int_periods') }}

),

days as (

    select
        (select min(order_days.date_key) from order_days) as first_day,
        date_key as last_day
    from dates
    where is_as_of

),

periods as (

    select all_periods.*
    from all_periods
    inner join days
        on
            all_periods.period_end >= days.first_day
            and all_periods.period_start <= days.last_day

),

movements as (

    select
        date_key,
        false as is_all_categories,
        category_name,
        revenue,
        0 as refunded_amount,
        known_cost_revenue,
        gross_profit,
        orders,
        units
    from category_days
    union all
    select
        date_key,
        false as is_all_categories,
        category_name,
        0 as revenue,
        refunded_amount,
        0 as known_cost_revenue,
        null as gross_profit,
        0 as orders,
        0 as units
    from refunds

),

movements_and_totals as (

    select * from movements
    union all
    -- An order of two categories is one of all: orders do not add up.
    select
        date_key,
        true as is_all_categories,
        null as category_name,
        revenue,
        refunded_amount,
        known_cost_revenue,
        gross_profit,
        0 as orders,
        units
    from movements
    union all
    select
        date_key,
        true as is_all_categories,
        null as category_name,
        0 as revenue,
        0 as refunded_amount,
        0 as known_cost_revenue,
        null as gross_profit,
        orders,
        0 as units
    from order_days

),

-- `group_key` is never null, so that rows can be joined by it.
daily as (

    select
        movements_and_totals.date_key,
        movements_and_totals.is_all_categories,
        movements_and_totals.category_name,
        {{ category_group('movements_and_totals') }} as group_key,
        sum(movements_and_totals.revenue) as revenue,
        sum(movements_and_totals.refunded_amount) as refunded_amount,
        sum(movements_and_totals.known_cost_revenue) as known_cost_revenue,
        sum(movements_and_totals.gross_profit) as gross_profit,
        sum(movements_and_totals.orders) as orders,
        sum(movements_and_totals.units) as units
    from movements_and_totals
    inner join days
        on movements_and_totals.date_key between days.first_day and days.last_day
    group by 1, 2, 3, 4

),

summed as (

    select
        period.grain,
        period.period_start,
        daily.group_key,
        sum(daily.revenue) as revenue,
        sum(daily.refunded_amount) as refunded_amount,
        sum(daily.known_cost_revenue) as known_cost_revenue,
        sum(daily.gross_profit) as gross_profit,
        sum(daily.orders) as orders,
        sum(daily.units) as units
    from daily
    cross join lateral {{ periods_of('daily.date_key') }} as period (grain, period_start)
    group by 1, 2, 3

),

split_groups as (

    select
        split_lines.order_id,
        split_lines.date_key,
        category_group.is_all_categories,
        category_group.category_name
    from split_lines
    inner join days
        on split_lines.date_key <= days.last_day
    inner join products
        on
            split_lines.product_id = products.product_id
            and {{ valid_at('products', shop_midnight('split_lines.date_key')) }}
    cross join lateral (
        values (false, products.category_name), (true, null)
    ) as category_group (is_all_categories, category_name)

),

-- An order with lines on several days counts on each of them, and once in a period.
too_many_orders as (

    select
        period.grain,
        period.period_start,
        {{ category_group('split_groups') }} as group_key,
        {{ orders_counted_too_often('date_key') }} as orders
    from split_groups
    cross join lateral {{ periods_of('split_groups.date_key') }} as period (grain, period_start)
    group by 1, 2, 3

),

customers as (

    select
        'week' as grain,
        order_week as period_start,
        {{ category_group('weekly_customers') }} as group_key,
        customers
    from weekly_customers
    union all
    select
        grain,
        period_start,
        {{ category_group('yearly_customers') }} as group_key,
        customers
    from yearly_customers

),

category_groups as (

    select distinct
        group_key,
        is_all_categories,
        category_name
    from daily

),

-- As many days of the period before, and of the year before, as have elapsed of a running period.
cut as (

    select
        periods.grain,
        daily.group_key,
        coalesce(sum(daily.revenue) filter (
            where daily.date_key between periods.previous_start and periods.previous_end
        ), 0) as previous_revenue,
        coalesce(sum(daily.revenue) filter (
            where daily.date_key between periods.last_year_start and periods.last_year_end
        ), 0) as last_year_revenue
    from periods
    inner join daily
        on
            daily.date_key between periods.previous_start and periods.previous_end
            or daily.date_key between periods.last_year_start and periods.last_year_end
    where periods.is_running
    group by 1, 2

),

-- Profit is 0 in a period without orders, and null in one whose orders have no known cost. A period
-- before the first order has no row and no revenue.
filled as (

    select
        periods.grain,
        periods.period_start,
        category_groups.is_all_categories,
        category_groups.category_name,
        coalesce(summed.revenue, 0) as revenue,
        coalesce(summed.refunded_amount, 0) as refunded_amount,
        summed.known_cost_revenue,
        case when coalesce(summed.orders, 0) = 0 then 0 else summed.gross_profit end
            as gross_profit,
        coalesce(summed.orders, 0) - coalesce(too_many_orders.orders, 0) as orders,
        coalesce(customers.customers, 0) as customers,
        coalesce(summed.units, 0) as units,
        periods.days_elapsed,
        periods.days_in_period,
        periods.is_complete,
        case
            when periods.is_previous_covered and periods.is_running
                then coalesce(cut.previous_revenue, 0)
            when periods.is_previous_covered then coalesce(previous.revenue, 0)
        end as previous_period_revenue,
        case
            when periods.is_last_year_covered and periods.is_running
                then coalesce(cut.last_year_revenue, 0)
            when periods.is_last_year_covered then coalesce(last_year.revenue, 0)
        end as last_year_revenue
    from periods
    cross join category_groups
    left join summed
        on
            periods.grain = summed.grain
            and periods.period_start = summed.period_start
            and category_groups.group_key = summed.group_key
    left join too_many_orders
        on
            periods.grain = too_many_orders.grain
            and periods.period_start = too_many_orders.period_start
            and category_groups.group_key = too_many_orders.group_key
    left join customers
        on
            periods.grain = customers.grain
            and periods.period_start = customers.period_start
            and category_groups.group_key = customers.group_key
    left join summed as previous
        on
            periods.grain = previous.grain
            and periods.previous_start = previous.period_start
            and category_groups.group_key = previous.group_key
    left join summed as last_year
        on
            periods.grain = last_year.grain
            and periods.last_year_start = last_year.period_start
            and category_groups.group_key = last_year.group_key
    left join cut
        on
            periods.grain = cut.grain
            and category_groups.group_key = cut.group_key

),

-- A category that happens to have the name of the total gets another one.
final as (

    select
        grain,
        period_start,
        case
            when is_all_categories then 'All categories'
            when category_name = 'All categories' then 'All categories (a category)'
            else category_name
        end as category_name,
        revenue,
        refunded_amount,
        revenue - refunded_amount as net_revenue,
        gross_profit,
        {{ percent_of('gross_profit', 'known_cost_revenue') }} as gross_margin_percent,
        {{ percent_of('known_cost_revenue', 'revenue') }} as known_cost_percent,
        orders::bigint as orders,
        customers,
        units::bigint as units,
        round(revenue / nullif(orders, 0), 2) as avg_order_value,
        days_elapsed,
        days_in_period,
        is_complete,
        previous_period_revenue,
        {{ growth_percent('revenue', 'previous_period_revenue') }} as growth_percent,
        last_year_revenue,
        {{ growth_percent('revenue', 'last_year_revenue') }} as year_over_year_percent,
        case
            when not is_complete
                then round(revenue * days_in_period / nullif(days_elapsed, 0), 2)
        end as run_rate
    from filled

)

select * from final
