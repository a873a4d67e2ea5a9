with versions as (

    select * from {{ ref('stg_product_category_versions') }}

),

latest as (

    select distinct on (product_id) *
    from versions
    order by product_id asc, batch_id desc

),

final as (

    select
        product_id,
        category_id,
        category_name,
        subcategory,
        brand,
        supplier_id,
        inventory_status,
        cost_price,
        retail_price,
        margin_percent,
        stock_level,
        reorder_point,
        is_discontinued,
        launch_date,
        last_updated_date
    from latest
    where not is_deleted

)

select * from final
