select
    id::text as product_id,
    name as product_name,
    category as product_category_id
from shop.products
