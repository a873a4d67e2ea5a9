-- A product of the warehouse is a variant, which has the price, the cost and the stock.
select
    variants.id::text as product_id,
    case
        when variants.title is null or variants.title = 'Default Title' then products.title
        else products.title || ' - ' || variants.title
    end as product_name,
    coalesce(nullif(products.product_type, ''), 'Without type') as product_category_id
from shopify.product_variant as variants
inner join shopify.product as products
    on variants.product_id = products.id
where not coalesce(products._fivetran_deleted, false)
