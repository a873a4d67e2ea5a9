with versions as (

    select * from {{ source('shop', 'product_category') }}

),

final as (

    select
        {{ clean_text('product_id') }} as product_id,
        {{ clean_text('category_id') }} as category_id,
        {{ name_beside_total(clean_text('category_name'), all_categories(), 'category') }}
            as category_name,
        {{ clean_text('subcategory') }} as subcategory,
        {{ clean_text('brand') }} as brand,
        {{ clean_text('supplier_id') }} as supplier_id,
        case
            when stock_level is null then 'Unknown'
            when stock_level <= 0 then 'Out of Stock'
            when stock_level <= coalesce(reorder_point, 0) then 'Needs Reorder'
            else 'In Stock'
        end as inventory_status,
        _batch_id as batch_id,
        cost_price::numeric(18, 2) as cost_price,
        retail_price::numeric(18, 2) as retail_price,
        round(margin_percent, 2) as margin_percent,
        stock_level,
        reorder_point,
        coalesce(discontinued, false) as is_discontinued,
        _is_deleted as is_deleted,
        launch_date,
        last_updated as last_updated_date,
        _valid_from as changed_at
    from versions

)

select * from final
