with units as (

    select
        product_id,
        sum(order_quantity) as units_sold_30d
    from shop.counted_line
    where order_date between getvariable('as_of_date') - 29 and getvariable('as_of_date')
    group by product_id

),

stock as (

    select
        *,
        case
            when stock_level is null then 'Unknown'
            when stock_level <= 0 then 'Out of Stock'
            when stock_level <= coalesce(reorder_point, 0) then 'Needs Reorder'
            else 'In Stock'
        end as inventory_status,
        -- A source's count below zero is a mistake of its bookkeeping: there is nothing on the shelf.
        case when stock_level < 0 then 0 else stock_level end as units_in_stock
    from shop.current_product

)

select
    stock.product_id,
    stock.product_name,
    stock.category_name,
    stock.brand,
    stock.supplier_id,
    stock.stock_level,
    stock.reorder_point,
    stock.inventory_status,
    case
        when stock.is_removed then 'Removed'
        when stock.is_discontinued then 'Discontinued'
        when stock.inventory_status = 'Needs Reorder' then 'Low Stock'
        when stock.inventory_status = 'In Stock' then 'Available'
        else stock.inventory_status
    end as product_status,
    coalesce(units.units_sold_30d, 0) as units_sold_30d,
    ratio_1(30 * stock.units_in_stock, units.units_sold_30d) as days_of_stock,
    stock.units_in_stock * stock.cost_price as stock_value,
    getvariable('as_of_date') - stock.launch_date as days_since_launch
from stock
left join units on stock.product_id = units.product_id
