with months as (

    select
        counted_line.order_month as sales_month,
        counted_line.category_name,
        date_trunc('quarter', counted_line.order_month)::date as sales_quarter,
        sum(counted_line.order_amount) as monthly_revenue,
        sum(counted_line.order_amount)
            filter (counted_line.order_date <= getvariable('as_of_date')) as revenue_to_date,
        count(distinct counted_line.order_id) as monthly_orders
    from shop.counted_line
    group by all

),

quarters as (

    select
        sales_quarter,
        category_name,
        sum(monthly_revenue) as quarterly_revenue,
        sum(revenue_to_date) as revenue_to_date
    from months
    group by sales_quarter, category_name

),

categories as (

    select
        category_name,
        min(sales_month) as first_month,
        min(sales_quarter) as first_quarter
    from months
    group by category_name

),

-- Only of complete months: what ranks, and what is a mean.
complete_months as (

    select
        months.category_name,
        count(*) as months,
        sum(months.monthly_revenue) as revenue,
        max(months.monthly_revenue) as best_revenue,
        min(months.monthly_revenue) as worst_revenue,
        sum(in_cents(months.monthly_revenue) * in_cents(months.monthly_revenue)) as sum_of_squares
    from months
    inner join shop.period
        on period.grain = 'month' and months.sales_month = period.period_start
    where period.is_complete
    group by months.category_name

),

-- Sample stddev / mean = sqrt(n (n Σx² - (Σx)²) / (n - 1)) / Σx: exact up to the last division.
variations as (

    select
        category_name,
        case
            when months > 1
                then
                    100 * sqrt(
                        (
                            months
                            * (months * sum_of_squares - in_cents(revenue) * in_cents(revenue))
                        )::double
                        / (months - 1)
                    ) / in_cents(revenue)::double
        end::decimal(38, 2) as coefficient_of_variation_percent
    from complete_months

),

-- What the category sold on the days that a month or quarter is compared with.
compared as (

    select
        compared_day.grain,
        compared_day.period_start,
        counted_line.category_name,
        sum(counted_line.order_amount) as revenue
    from shop.counted_line
    inner join shop.compared_day
        on
            counted_line.order_date = compared_day.calendar_day
            and compared_day.other = 'previous'
    group by all

),

with_previous as (

    select
        months.* exclude (revenue_to_date),
        month_period.is_complete,
        month_period.days_elapsed,
        case
            when month_period.is_running then coalesce(months.revenue_to_date, 0)
            else months.monthly_revenue
        end as compared_month_revenue,
        case
            when quarter_period.is_running then coalesce(quarters.revenue_to_date, 0)
            else quarters.quarterly_revenue
        end as compared_quarter_revenue,
        month_comparison.is_comparable as is_month_comparable,
        quarter_comparison.is_comparable as is_quarter_comparable,
        complete_months.months as category_months,
        complete_months.revenue as category_revenue,
        complete_months.best_revenue,
        complete_months.worst_revenue,
        quarters.quarterly_revenue,
        case
            when months.sales_month > categories.first_month
                then coalesce(previous_month.revenue, 0)
        end as previous_month_revenue,
        case
            when months.sales_quarter > categories.first_quarter
                then coalesce(previous_quarter.revenue, 0)
        end as previous_quarter_revenue,
        variations.coefficient_of_variation_percent
    from months
    inner join categories on months.category_name is not distinct from categories.category_name
    inner join quarters
        on
            months.category_name is not distinct from quarters.category_name
            and months.sales_quarter = quarters.sales_quarter
    inner join shop.period as month_period
        on month_period.grain = 'month' and months.sales_month = month_period.period_start
    inner join shop.period as quarter_period
        on quarter_period.grain = 'quarter' and months.sales_quarter = quarter_period.period_start
    inner join shop.comparison as month_comparison
        on
            month_comparison.grain = 'month'
            and month_comparison.other = 'previous'
            and months.sales_month = month_comparison.period_start
    inner join shop.comparison as quarter_comparison
        on
            quarter_comparison.grain = 'quarter'
            and quarter_comparison.other = 'previous'
            and months.sales_quarter = quarter_comparison.period_start
    left join complete_months
        on months.category_name is not distinct from complete_months.category_name
    left join variations on months.category_name is not distinct from variations.category_name
    left join compared as previous_month
        on
            previous_month.grain = 'month'
            and months.category_name is not distinct from previous_month.category_name
            and months.sales_month = previous_month.period_start
    left join compared as previous_quarter
        on
            previous_quarter.grain = 'quarter'
            and months.category_name is not distinct from previous_quarter.category_name
            and months.sales_quarter = previous_quarter.period_start

)

select
    sales_month,
    category_name,
    year(sales_month) as year,
    quarter(sales_month) as quarter,
    case
        when month(sales_month) in (12, 1, 2) then 'Winter'
        when month(sales_month) in (3, 4, 5) then 'Spring'
        when month(sales_month) in (6, 7, 8) then 'Summer'
        else 'Fall'
    end as season,
    monthly_revenue,
    monthly_orders,
    ratio(monthly_revenue, monthly_orders) as avg_order_value,
    is_complete,
    days_elapsed,
    previous_month_revenue,
    case
        when is_month_comparable
            then percent(compared_month_revenue - previous_month_revenue, previous_month_revenue)
    end as mom_growth_percent,
    quarterly_revenue,
    previous_quarter_revenue,
    case
        when is_quarter_comparable
            then percent(
                compared_quarter_revenue - previous_quarter_revenue, previous_quarter_revenue
            )
    end as qoq_growth_percent,
    coefficient_of_variation_percent,
    case
        when not is_complete then 'Incomplete'
        when monthly_revenue = best_revenue then 'Best Month'
        when monthly_revenue = worst_revenue then 'Worst Month'
        when monthly_revenue * category_months > category_revenue then 'Above Average'
        else 'Below Average'
    end as performance_category,
    case
        when is_complete then percent(monthly_revenue * category_months, category_revenue)
    end as percent_of_average
from with_previous
