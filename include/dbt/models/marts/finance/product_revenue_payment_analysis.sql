-- Grain: one row per month, category and payment method.
with orders as (

    select * from {{ ref('fact_sales') }}
    where order_amount > 0

),

products as (

    select * from {{ ref('dim_products') }}

),

by_payment_method as (

    select
        {{ first_day_of('month', 'orders.date_key') }} as revenue_month,
        products.category_name,
        orders.payment_method,
        sum(orders.order_amount) as revenue,
        count(*) as order_count
    from orders
    inner join products
        on orders.product_key = products.product_key
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
