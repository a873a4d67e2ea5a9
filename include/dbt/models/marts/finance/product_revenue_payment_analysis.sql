-- Grain: one row per month, category and payment method.
with sales as (

    select * from {{ ref('int_category_monthly_sales') }}

),

by_payment_method as (

    select
        order_month as revenue_month,
        category_name,
        payment_method,
        sum(revenue) as revenue,
        sum(orders)::bigint as order_count
    from sales
    group by 1, 2, 3

),

with_category as (

    select
        *,
        sum(revenue) over (partition by revenue_month, category_name) as category_revenue
    from by_payment_method

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
