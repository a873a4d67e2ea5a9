-- Grain: one row per product, with its current stock.
with products as (

    select * from {{ ref('dim_products') }}
    where is_current and product_id is not null

),

lines as (

    select * from {{ ref('fact_sales') }}
    where {{ is_counted() }}

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
        lines.product_id,
        sum(lines.order_quantity) as units_sold
    from lines
    inner join as_of
        on lines.date_key > as_of.date_key - 30 and lines.date_key <= as_of.date_key
    group by lines.product_id

),

final as (

    select
        products.product_id,
        products.product_name,
        products.category_name,
        products.brand,
        products.supplier_id,
        products.stock_level,
        products.reorder_point,
        products.inventory_status,
        products.product_status,
        coalesce(recent_sales.units_sold, 0) as units_sold_30d,
        -- greatest() ignores null, but an unknown stock is not 0.
        round(
            case when products.stock_level is not null then greatest(products.stock_level, 0) end
            * 30.0 / nullif(recent_sales.units_sold, 0),
            1
        ) as days_of_stock,
        (select as_of.date_key from as_of) - products.launch_date as days_since_launch,
        case when products.stock_level is not null then greatest(products.stock_level, 0) end
        * products.cost_price as stock_value
    from products
    left join recent_sales
        on products.product_id = recent_sales.product_id

)

select * from final
