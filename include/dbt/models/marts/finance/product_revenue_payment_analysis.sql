-- Grain: one row per month, category and payment method.
with sales as (

    select * from {{ ref('int_category_monthly_sales') }}
    where grouped_by = 'category and payment method'

),

periods as (

    select * from {{ ref('int_periods') }}
    where grain = 'month'

),

with_category as (

    select
        order_month as revenue_month,
        category_name,
        payment_method,
        revenue,
        orders as order_count,
        sum(revenue) over (partition by order_month, category_name) as category_revenue
    from sales

),

final as (

    select
        with_category.revenue_month,
        with_category.category_name,
        with_category.payment_method,
        with_category.revenue,
        with_category.order_count,
        with_category.category_revenue,
        {{ percent_of('with_category.revenue', 'with_category.category_revenue') }}
            as payment_method_percent,
        periods.is_complete
    from with_category
    inner join periods
        on with_category.revenue_month = periods.period_start

)

select * from final
