-- What the warehouse knows of a product beside its name: its category, prices and stock. Prices, names and brands are
-- values of attributes; store 0 has those that all store views share.
with attributes as (
    select
        eav_attribute.attribute_id,
        concat(eav_entity_type.entity_type_code, '.', eav_attribute.attribute_code) as code
    from eav_attribute
    inner join eav_entity_type
        on eav_attribute.entity_type_id = eav_entity_type.entity_type_id
    where (eav_entity_type.entity_type_code = 'catalog_product'
            and eav_attribute.attribute_code in ('price', 'cost', 'status', 'manufacturer'))
        or (eav_entity_type.entity_type_code = 'catalog_category' and eav_attribute.attribute_code = 'name')
),

category_names as (
    select
        texts.entity_id,
        texts.value as name
    from catalog_category_entity_varchar as texts
    inner join attributes
        on texts.attribute_id = attributes.attribute_id
    where attributes.code = 'catalog_category.name'
        and texts.store_id = 0
),

numbers as (
    select
        decimals.entity_id,
        max(case when attributes.code = 'catalog_product.price' then decimals.value end) as price,
        max(case when attributes.code = 'catalog_product.cost' then decimals.value end) as cost
    from catalog_product_entity_decimal as decimals
    inner join attributes
        on decimals.attribute_id = attributes.attribute_id
    where decimals.store_id = 0
    group by decimals.entity_id
),

choices as (
    select
        integers.entity_id,
        max(case when attributes.code = 'catalog_product.status' then integers.value end) as status,
        max(case when attributes.code = 'catalog_product.manufacturer' then integers.value end) as manufacturer
    from catalog_product_entity_int as integers
    inner join attributes
        on integers.attribute_id = attributes.attribute_id
    where integers.store_id = 0
    group by integers.entity_id
),

-- The product's deepest category; a variant that has none takes that of its configurable product. As in product.sql.
products as (
    select
        catalog_product_entity.*,
        coalesce((
            select categories.entity_id
            from catalog_category_product as assigned
            inner join catalog_category_entity as categories
                on assigned.category_id = categories.entity_id
            where assigned.product_id = catalog_product_entity.entity_id
                and categories.level >= 2
            order by categories.level desc, categories.entity_id
            limit 1
        ), (
            select categories.entity_id
            from catalog_product_super_link as links
            inner join catalog_category_product as assigned
                on links.parent_id = assigned.product_id
            inner join catalog_category_entity as categories
                on assigned.category_id = categories.entity_id
            where links.product_id = catalog_product_entity.entity_id
                and categories.level >= 2
            order by categories.level desc, categories.entity_id
            limit 1
        )) as category_id
    from catalog_product_entity
)

select
    cast(products.entity_id as char) as product_id,
    coalesce(cast(products.category_id as char), 'none') as category_id,
    -- A path is 1/2/15/27: all categories, the root of the store, then the category that is shown first.
    coalesce(main.name, 'Without category') as category_name,
    sub.name as subcategory,
    brands.value as brand,
    null as supplier_id,
    numbers.cost as cost_price,
    numbers.price as retail_price,
    -- A configurable product or a bundle has no stock of its own, nor has a product whose stock is not managed.
    case
        when products.type_id not in ('configurable', 'bundle', 'grouped')
            and (stock.use_config_manage_stock = 1 or stock.manage_stock = 1)
            then cast(floor(stock.qty) as signed)
    end as stock_level,
    cast(stock.notify_stock_qty as signed) as reorder_point,
    choices.status <=> 2 as discontinued,
    products.created_at as launch_date,
    products.updated_at as last_updated
from products
left join catalog_category_entity as categories
    on products.category_id = categories.entity_id
left join category_names as main
    on cast(substring_index(substring_index(categories.path, '/', 3), '/', -1) as unsigned) = main.entity_id
left join category_names as sub
    on categories.level >= 3
    and cast(substring_index(substring_index(categories.path, '/', 4), '/', -1) as unsigned) = sub.entity_id
left join numbers
    on products.entity_id = numbers.entity_id
left join choices
    on products.entity_id = choices.entity_id
left join eav_attribute_option_value as brands
    on choices.manufacturer = brands.option_id and brands.store_id = 0
left join cataloginventory_stock_item as stock
    on products.entity_id = stock.product_id and stock.stock_id = 1
