with months as (

    select
        order_month as sales_month,
        category_name,
        date_trunc('quarter', order_month)::date as sales_quarter,
        sum(order_amount) as monthly_revenue,
        count(distinct order_id) as monthly_orders
    from shop.counted_line
    group by order_month, category_name

),

quarters as (

    select
        sales_quarter,
        category_name,
        sum(monthly_revenue) as quarterly_revenue
    from months
    group by sales_quarter, category_name

),

categories as (

    select
        category_name,
        min(sales_month) as first_month,
        min(sales_quarter) as first_quarter,
        count(*) as months,
        sum(monthly_revenue) as revenue,
        max(monthly_revenue) as best_revenue,
        min(monthly_revenue) as worst_revenue,
        sum(in_cents(monthly_revenue) * in_cents(monthly_revenue)) as sum_of_squares
    from months
    group by category_name

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
    from categories

),

with_previous as (

    select
        months.*,
        categories.months as category_months,
        categories.revenue as category_revenue,
        categories.best_revenue,
        categories.worst_revenue,
        quarters.quarterly_revenue,
        case
            when months.sales_month > categories.first_month
                then coalesce(previous_months.monthly_revenue, 0)
        end as previous_month_revenue,
        case
            when months.sales_quarter > categories.first_quarter
                then coalesce(previous_quarters.quarterly_revenue, 0)
        end as previous_quarter_revenue,
        variations.coefficient_of_variation_percent
    from months
    inner join categories on months.category_name is not distinct from categories.category_name
    inner join variations on months.category_name is not distinct from variations.category_name
    inner join quarters
        on
            months.category_name is not distinct from quarters.category_name
            and months.sales_quarter = quarters.sales_quarter
    left join months as previous_months
        on
            months.category_name is not distinct from previous_months.category_name
            and months.sales_month = previous_months.sales_month + interval 1 month
    left join quarters as previous_quarters
        on
            months.category_name is not distinct from previous_quarters.category_name
            and months.sales_quarter = previous_quarters.sales_quarter + interval 3 months

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
    previous_month_revenue,
    percent(monthly_revenue - previous_month_revenue, previous_month_revenue) as mom_growth_percent,
    quarterly_revenue,
    previous_quarter_revenue,
    percent(
        quarterly_revenue - previous_quarter_revenue, previous_quarter_revenue
    ) as qoq_growth_percent,
    coefficient_of_variation_percent,
    case
        when monthly_revenue = best_revenue then 'Best Month'
        when monthly_revenue = worst_revenue then 'Worst Month'
        when monthly_revenue * category_months > category_revenue then 'Above Average'
        else 'Below Average'
    end as performance_category,
    percent(monthly_revenue * category_months, category_revenue) as percent_of_average
from with_previous
