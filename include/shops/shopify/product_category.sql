-- What the warehouse knows of a variant beside its name: its category, prices and stock.
select
    variants.id::text as product_id,
    coalesce(nullif(products.product_type, ''), 'Without type') as category_id,
    coalesce(nullif(products.product_type, ''), 'Without type') as category_name,
    null::text as subcategory,
    products.vendor as brand,
    null::text as supplier_id,
    items.unit_cost_amount::numeric as cost_price,
    variants.price::numeric as retail_price,
    -- The stock of all locations; unknown where Shopify does not track it.
    case when coalesce(items.tracked, true) then variants.inventory_quantity::bigint end as stock_level,
    null::integer as reorder_point,
    products.status is distinct from 'active' as discontinued,
    coalesce(products.published_at, products.created_at) as launch_date,
    greatest(products.updated_at, variants.updated_at) as last_updated
from shopify.product_variant as variants
inner join shopify.product as products
    on variants.product_id = products.id
left join shopify.inventory_item as items
    on variants.inventory_item_id = items.id and not coalesce(items._fivetran_deleted, false)
where not coalesce(products._fivetran_deleted, false)
