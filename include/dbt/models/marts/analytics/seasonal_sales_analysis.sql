-- Grain: one row per category and month that has sales.
with sales as (

    select * from {{ ref('int_category_monthly_sales') }}
    where grouped_by = 'category'

),

category_days as (

    select * from {{ ref('int_category_daily_sales') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

as_of as (

    select date_key from dates
    where is_as_of

),

periods as (

    select * from {{ ref('int_periods') }}

),

months as (

    select * from periods
    where grain = 'month'

),

quarters as (

    select * from periods
    where grain = 'quarter'

),

monthly as (

    select
        sales.order_month as sales_month,
        quarters.period_start as sales_quarter,
        sales.category_name,
        sales.revenue as monthly_revenue,
        sales.orders as monthly_orders,
        months.days_elapsed,
        months.is_complete,
        months.is_running,
        months.is_previous_covered,
        quarters.is_running as is_running_quarter,
        quarters.is_previous_covered as is_previous_quarter_covered
    from sales
    inner join months
        on sales.order_month = months.period_start
    inner join quarters
        on {{ first_day_of('quarter', 'sales.order_month') }} = quarters.period_start

),

-- Of the running month and quarter: revenue after the as-of date, which is not compared, and that
-- of as many days of the period before.
cut as (

    select
        category_days.category_name,
        coalesce(sum(category_days.revenue) filter (
            where
            running.grain = 'month'
            and category_days.date_key between running.previous_start and running.previous_end
        ), 0) as previous_month_revenue,
        coalesce(sum(category_days.revenue) filter (
            where running.grain = 'month' and category_days.date_key > as_of.date_key
        ), 0) as month_revenue_ahead,
        coalesce(sum(category_days.revenue) filter (
            where
            running.grain = 'quarter'
            and category_days.date_key between running.previous_start and running.previous_end
        ), 0) as previous_quarter_revenue,
        coalesce(sum(category_days.revenue) filter (
            where running.grain = 'quarter' and category_days.date_key > as_of.date_key
        ), 0) as quarter_revenue_ahead
    from periods as running
    cross join as_of
    inner join category_days
        on category_days.date_key between running.previous_start and running.period_end
    where running.is_running and running.grain in ('month', 'quarter')
    group by category_days.category_name

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
        max(monthly_revenue) filter (where is_complete) over category as best_revenue,
        min(monthly_revenue) filter (where is_complete) over category as worst_revenue,
        sum(monthly_revenue) filter (where is_complete) over category as category_revenue,
        count(*) filter (where is_complete) over category as category_months,
        stddev_samp(monthly_revenue) filter (where is_complete) over category as revenue_deviation
    from monthly
    window category as (partition by category_name)

),

measured as (

    select
        compared.*,
        case
            when compared.sales_month > compared.first_month
                then coalesce(
                    case
                        when compared.is_running then cut.previous_month_revenue
                        else compared.revenue_one_month_before
                    end,
                    0
                )
        end as previous_month_revenue,
        case
            when compared.sales_quarter > compared.first_quarter
                then coalesce(
                    case
                        when compared.is_running_quarter then cut.previous_quarter_revenue
                        else compared.revenue_one_quarter_before
                    end,
                    0
                )
        end as previous_quarter_revenue,
        compared.monthly_revenue
        - case when compared.is_running then cut.month_revenue_ahead else 0 end
            as month_revenue_to_compare,
        compared.quarterly_revenue
        - case when compared.is_running_quarter then cut.quarter_revenue_ahead else 0 end
            as quarter_revenue_to_compare
    from compared
    left join cut
        on compared.category_name is not distinct from cut.category_name

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
        measured.is_complete,
        measured.days_elapsed,
        measured.previous_month_revenue,
        case
            when measured.is_previous_covered
                then {{ growth_percent(
                    'measured.month_revenue_to_compare', 'measured.previous_month_revenue'
                ) }}
        end as mom_growth_percent,
        measured.quarterly_revenue,
        measured.previous_quarter_revenue,
        case
            when measured.is_previous_quarter_covered
                then {{ growth_percent(
                    'measured.quarter_revenue_to_compare', 'measured.previous_quarter_revenue'
                ) }}
        end as qoq_growth_percent,
        {{ percent_of(
            'measured.revenue_deviation * measured.category_months', 'measured.category_revenue'
        ) }} as coefficient_of_variation_percent,
        case
            when not measured.is_complete then 'Incomplete'
            when measured.monthly_revenue = measured.best_revenue then 'Best Month'
            when measured.monthly_revenue = measured.worst_revenue then 'Worst Month'
            when
                measured.monthly_revenue * measured.category_months > measured.category_revenue
                then 'Above Average'
            else 'Below Average'
        end as performance_category,
        case
            when measured.is_complete
                then {{ percent_of(
                    'measured.monthly_revenue * measured.category_months',
                    'measured.category_revenue'
                ) }}
        end as percent_of_average
    from measured
    inner join dates
        on measured.sales_month = dates.date_key

)

select * from final
