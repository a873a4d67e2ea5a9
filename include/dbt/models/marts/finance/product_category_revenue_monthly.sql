-- Grain: one row per month, category and subcategory.
with orders as (

    select * from {{ ref('fact_sales') }}
    where order_amount > 0

),

products as (

    select * from {{ ref('dim_products') }}

),

final as (

    select
        {{ first_day_of('month', 'orders.date_key') }} as revenue_month,
        products.category_name,
        products.subcategory,
        sum(orders.order_amount) as total_revenue,
        sum(orders.gross_profit) as total_gross_profit,
        {{ percent_of('sum(orders.gross_profit)', 'sum(orders.order_amount)') }}
            as gross_margin_percent,
        count(*) as order_count,
        sum(orders.order_quantity) as units_sold
    from orders
    inner join products
        on orders.product_key = products.product_key
    group by 1, 2, 3

)

select * from final
