-- What the warehouse knows of a product beside its name: its category, prices and stock.
select
    product_id,
    category_id,
    category_name,
    subcategory,
    brand,
    supplier_id,
    cost_price,
    retail_price,
    stock_level,
    reorder_point,
    -- A comparison, since the two parts below make a number of a boolean.
    is_discontinued = 1 as discontinued,
    launch_date,
    last_updated
from (
    select
        cast(products.ID as char) as product_id,
        coalesce(cast(category.term_id as char), 'uncategorized') as category_id,
        -- The parent of the product's category, or that category itself if it has none.
        coalesce(parent.name, category.name, 'Uncategorized') as category_name,
        case when parent.term_id is not null then category.name end as subcategory,
        null as brand,
        null as supplier_id,
        -- Cost of goods sold, a feature of WooCommerce 10: a variation has its product's cost, its own, or both.
        case
            when own_cost.meta_value is null then cast(parent_cost.meta_value as decimal(18, 4))
            when is_additive.meta_value = 'yes'
                then cast(own_cost.meta_value as decimal(18, 4))
                + coalesce(cast(parent_cost.meta_value as decimal(18, 4)), 0)
            else cast(own_cost.meta_value as decimal(18, 4))
        end as cost_price,
        -- What it costs today, so the price of a sale while there is one.
        lookup.min_price as retail_price,
        cast(lookup.stock_quantity as signed) as stock_level,
        cast(coalesce(nullif(low_stock.meta_value, ''), low_stock_of_all.option_value) as signed) as reorder_point,
        products.post_status <> 'publish' or coalesce(main_products.post_status <> 'publish', false) as is_discontinued,
        -- A draft has the date 0000-00-00.
        case when products.post_date_gmt >= '1970-01-02' then products.post_date_gmt end as launch_date,
        case when products.post_modified_gmt >= '1970-01-02' then products.post_modified_gmt end as last_updated
    from wp_posts as products
    left join wp_posts as main_products
        on products.post_parent = main_products.ID and products.post_type = 'product_variation'
    left join (
        -- Of several categories the one that has a parent, then the oldest; as in product.sql.
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
        on coalesce(main_products.ID, products.ID) = categories.object_id
    left join wp_terms as category
        on categories.category_id = category.term_id
    left join wp_term_taxonomy as category_tree
        on categories.category_id = category_tree.term_id and category_tree.taxonomy = 'product_cat'
    left join wp_terms as parent
        on category_tree.parent = parent.term_id
    left join wp_wc_product_meta_lookup as lookup
        on products.ID = lookup.product_id
    left join wp_postmeta as own_cost
        on products.ID = own_cost.post_id and own_cost.meta_key = '_cogs_total_value' and own_cost.meta_value <> ''
    left join wp_postmeta as is_additive
        on products.ID = is_additive.post_id and is_additive.meta_key = '_cogs_value_is_additive'
    left join wp_postmeta as parent_cost
        on main_products.ID = parent_cost.post_id
        and parent_cost.meta_key = '_cogs_total_value'
        and parent_cost.meta_value <> ''
    left join wp_postmeta as low_stock
        on products.ID = low_stock.post_id and low_stock.meta_key = '_low_stock_amount'
    left join wp_options as low_stock_of_all
        on low_stock_of_all.option_name = 'woocommerce_notify_low_stock_amount'
    where products.post_type in ('product', 'product_variation')
        and products.post_status not in ('trash', 'auto-draft')

    union all

    -- The fees of orders, which are no product; without a cost, so they count in no margin.
    select 'fee', 'fee', 'Fees', null, null, null, null, null, null, null, false, null, null
) as products_and_fees
