-- Grain: one row per category and month that has sales.
with sales as (

    select * from {{ ref('int_category_monthly_sales') }}
    where grouped_by = 'category'

),

dates as (

    select * from {{ ref('dim_date') }}

),

monthly as (

    select
        order_month as sales_month,
        {{ first_day_of('quarter', 'order_month') }} as sales_quarter,
        category_name,
        revenue as monthly_revenue,
        orders as monthly_orders
    from sales

),

-- Frames by calendar, not by row: the previous month is the calendar month before, with or without
-- sales.
compared as (

    select
        *,
        sum(monthly_revenue) over (
            partition by category_name
            order by sales_month
            range between interval '1 month' preceding and interval '1 month' preceding
        ) as revenue_one_month_before,
        sum(monthly_revenue) over (partition by category_name, sales_quarter) as quarterly_revenue,
        sum(monthly_revenue) over (
            partition by category_name
            order by sales_quarter
            range between interval '3 months' preceding and interval '3 months' preceding
        ) as revenue_one_quarter_before,
        min(sales_month) over category as first_month,
        min(sales_quarter) over category as first_quarter,
        max(monthly_revenue) over category as best_revenue,
        min(monthly_revenue) over category as worst_revenue,
        sum(monthly_revenue) over category as category_revenue,
        count(*) over category as category_months,
        stddev_samp(monthly_revenue) over category as revenue_deviation
    from monthly
    window category as (partition by category_name)

),

measured as (

    select
        *,
        case
            when sales_month > first_month then coalesce(revenue_one_month_before, 0)
        end as previous_month_revenue,
        case
            when sales_quarter > first_quarter then coalesce(revenue_one_quarter_before, 0)
        end as previous_quarter_revenue
    from compared

),

-- To compare with the mean, revenue times the number of months is compared with the sum: nothing is
-- rounded before the last division.
final as (

    select
        measured.sales_month,
        measured.category_name,
        dates.year,
        dates.quarter,
        dates.season,
        measured.monthly_revenue,
        measured.monthly_orders,
        round(measured.monthly_revenue / measured.monthly_orders, 2) as avg_order_value,
        measured.previous_month_revenue,
        {{ growth_percent('measured.monthly_revenue', 'measured.previous_month_revenue') }}
            as mom_growth_percent,
        measured.quarterly_revenue,
        measured.previous_quarter_revenue,
        {{ growth_percent('measured.quarterly_revenue', 'measured.previous_quarter_revenue') }}
            as qoq_growth_percent,
        {{ percent_of(
            'measured.revenue_deviation * measured.category_months', 'measured.category_revenue'
        ) }} as coefficient_of_variation_percent,
        case
            when measured.monthly_revenue = measured.best_revenue then 'Best Month'
            when measured.monthly_revenue = measured.worst_revenue then 'Worst Month'
            when
                measured.monthly_revenue * measured.category_months > measured.category_revenue
                then 'Above Average'
            else 'Below Average'
        end as performance_category,
        {{ percent_of(
            'measured.monthly_revenue * measured.category_months', 'measured.category_revenue'
        ) }} as percent_of_average
    from measured
    inner join dates
        on measured.sales_month = dates.date_key

)

select * from final
