-- Grain: one row per week (ISO), month, quarter or year and category, or all categories, from the
-- first order to the as-of date. Rows add up only within one grain, and either over the categories
-- or over their total.
with sales as (

    select * from {{ ref('int_category_period_sales') }}

),

category_days as (

    select * from {{ ref('int_category_daily_sales') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

all_periods as (

    select * from {{ ref('int_periods') }}

),

days as (

    select
        (select min(category_days.date_key) from category_days) as first_day,
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

categories as (

    select distinct category_key
    from sales

),

-- As many days of the period before, and of the year before, as have elapsed of a running period.
cut as (

    select
        periods.grain,
        {{ category_key('category_days.category_name') }} as category_key,
        coalesce(sum(category_days.revenue) filter (
            where category_days.date_key between periods.previous_start and periods.previous_end
        ), 0) as previous_revenue,
        coalesce(sum(category_days.revenue) filter (
            where category_days.date_key between periods.last_year_start and periods.last_year_end
        ), 0) as last_year_revenue
    from periods
    inner join category_days
        on
            category_days.date_key between periods.previous_start and periods.previous_end
            or category_days.date_key between periods.last_year_start and periods.last_year_end
    where periods.is_running
    group by 1, 2

),

-- Profit is 0 in a period without orders, and null in one whose orders have no known cost. A period
-- before the first order has no row and no revenue.
filled as (

    select
        periods.grain,
        periods.period_start,
        categories.category_key,
        coalesce(sales.revenue, 0) as revenue,
        coalesce(sales.refunded_amount, 0) as refunded_amount,
        sales.known_cost_revenue,
        case when coalesce(sales.orders, 0) = 0 then 0 else sales.gross_profit end as gross_profit,
        coalesce(sales.orders, 0) as orders,
        coalesce(sales.customers, 0) as customers,
        coalesce(sales.units, 0) as units,
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
    cross join categories
    left join sales
        on
            periods.grain = sales.grain
            and periods.period_start = sales.period_start
            and categories.category_key = sales.category_key
    left join sales as previous
        on
            periods.grain = previous.grain
            and periods.previous_start = previous.period_start
            and categories.category_key = previous.category_key
    left join sales as last_year
        on
            periods.grain = last_year.grain
            and periods.last_year_start = last_year.period_start
            and categories.category_key = last_year.category_key
    left join cut
        on
            periods.grain = cut.grain
            and categories.category_key = cut.category_key

),

final as (

    select
        grain,
        period_start,
        nullif(category_key, '') as category_name,
        revenue,
        refunded_amount,
        revenue - refunded_amount as net_revenue,
        gross_profit,
        {{ percent_of('gross_profit', 'known_cost_revenue') }} as gross_margin_percent,
        {{ percent_of('known_cost_revenue', 'revenue') }} as known_cost_percent,
        orders,
        customers,
        units,
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
