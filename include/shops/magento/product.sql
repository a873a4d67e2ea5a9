select
    cast(products.entity_id as char) as product_id,
    coalesce(nullif(names.value, ''), products.sku) as product_name,
    -- The product's deepest category; a variant that has none takes that of its configurable product.
    coalesce(cast((
        select categories.entity_id
        from catalog_category_product as assigned
        inner join catalog_category_entity as categories
            on assigned.category_id = categories.entity_id
        where assigned.product_id = products.entity_id
            and categories.level >= 2
        order by categories.level desc, categories.entity_id
        limit 1
    ) as char), cast((
        select categories.entity_id
        from catalog_product_super_link as links
        inner join catalog_category_product as assigned
            on links.parent_id = assigned.product_id
        inner join catalog_category_entity as categories
            on assigned.category_id = categories.entity_id
        where links.product_id = products.entity_id
            and categories.level >= 2
        order by categories.level desc, categories.entity_id
        limit 1
    ) as char), 'none') as product_category_id
from catalog_product_entity as products
left join catalog_product_entity_varchar as names
    on products.entity_id = names.entity_id
    and names.store_id = 0
    and names.attribute_id = (
        select eav_attribute.attribute_id
        from eav_attribute
        inner join eav_entity_type
            on eav_attribute.entity_type_id = eav_entity_type.entity_type_id
        where eav_entity_type.entity_type_code = 'catalog_product'
            and eav_attribute.attribute_code = 'name'
    )
