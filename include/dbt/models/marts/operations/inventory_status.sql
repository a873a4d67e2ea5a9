-- Grain: one row per product, with its current stock.
with products as (

    select * from {{ ref('dim_products') }}
    where is_current

),

orders as (

    select * from {{ ref('fact_sales') }}
    where order_amount > 0

),

dates as (

    select * from {{ ref('dim_date') }}

),

as_of as (

    select date_key from dates
    where is_as_of

),

recent_sales as (

    select
        orders.product_id,
        sum(orders.order_quantity) as units_sold
    from orders
    inner join as_of
        on orders.date_key > as_of.date_key - 30 and orders.date_key <= as_of.date_key
    group by orders.product_id

),

final as (

    select
        products.product_id,
        products.product_name,
        products.category_name,
        products.stock_level,
        products.reorder_point,
        products.inventory_status,
        products.product_status,
        coalesce(recent_sales.units_sold, 0) as units_sold_30d,
        round(products.stock_level * 30.0 / nullif(recent_sales.units_sold, 0), 1)
            as days_of_stock,
        (select as_of.date_key from as_of) - products.launch_date as days_since_launch
    from products
    left join recent_sales
        on products.product_id = recent_sales.product_id

)

select * from final
