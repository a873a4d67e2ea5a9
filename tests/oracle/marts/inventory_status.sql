with units as (

    select
        product_id,
        sum(order_quantity) as units_sold_30d
    from shop.counted_order
    where order_date between getvariable('as_of_date') - 29 and getvariable('as_of_date')
    group by product_id

)

select
    current_product.product_id,
    current_product.product_name,
    current_product.category_name,
    current_product.stock_level,
    current_product.reorder_point,
    case
        when coalesce(current_product.stock_level, 0) = 0 then 'Out of Stock'
        when current_product.stock_level <= coalesce(current_product.reorder_point, 0)
            then 'Needs Reorder'
        else 'In Stock'
    end as inventory_status,
    case
        when current_product.is_discontinued then 'Discontinued'
        when coalesce(current_product.stock_level, 0) = 0 then 'Out of Stock'
        when current_product.stock_level <= coalesce(current_product.reorder_point, 0)
            then 'Low Stock'
        else 'Available'
    end as product_status,
    coalesce(units.units_sold_30d, 0) as units_sold_30d,
    ratio_1(30 * current_product.stock_level, units.units_sold_30d) as days_of_stock,
    getvariable('as_of_date') - current_product.launch_date as days_since_launch
from shop.current_product
left join units on current_product.product_id = units.product_id
