-- What the warehouse knows of a product beside its name: its category, prices and stock.
select
    id::text as product_id,
    category as category_id,
    category as category_name,
    brand,
    cost as cost_price,
    price as retail_price,
    stock as stock_level,
    reorder_level as reorder_point,
    not is_for_sale as discontinued,
    changed_at as last_updated
from shop.products
