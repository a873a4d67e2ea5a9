with versions as (

    select * from {{ source('shop', 'product') }}

),

final as (

    select
        {{ clean_text('product_id') }} as product_id,
        {{ clean_text('product_name') }} as product_name,
        {{ clean_text('product_category_id') }} as category_id,
        _batch_id as batch_id,
        _is_deleted as is_deleted,
        _valid_from as changed_at
    from versions

)

select * from final
