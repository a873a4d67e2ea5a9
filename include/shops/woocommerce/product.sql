-- Products, and each variation of a variable product: an order names the variation.
select
    cast(products.ID as char) as product_id,
    nullif(products.post_title, '') as product_name,
    coalesce(cast(categories.category_id as char), 'uncategorized') as product_category_id
from wp_posts as products
left join (
    -- Of several categories the one that has a parent, then the oldest.
    select
        wp_term_relationships.object_id,
        coalesce(
            min(case when wp_term_taxonomy.parent <> 0 then wp_term_taxonomy.term_id end),
            min(wp_term_taxonomy.term_id)
        ) as category_id
    from wp_term_relationships
    inner join wp_term_taxonomy
        on wp_term_relationships.term_taxonomy_id = wp_term_taxonomy.term_taxonomy_id
    where wp_term_taxonomy.taxonomy = 'product_cat'
    group by wp_term_relationships.object_id
) as categories
    -- A variation has the categories of its product.
    on case when products.post_type = 'product' then products.ID else products.post_parent end = categories.object_id
where products.post_type in ('product', 'product_variation')
    and products.post_status not in ('trash', 'auto-draft')

union all

select 'fee', 'Fees', 'fee'
