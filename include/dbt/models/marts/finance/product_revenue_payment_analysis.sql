-- Grain: one row per month, category and payment method.
with sales as (

    select * from {{ ref('int_category_monthly_sales') }}
    where grouped_by = 'category and payment method'

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
        revenue_month,
        category_name,
        payment_method,
        revenue,
        order_count,
        category_revenue,
        {{ percent_of('revenue', 'category_revenue') }} as payment_method_percent
    from with_category

)

select * from final
