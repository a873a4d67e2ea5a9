with versions as (

    select * from {{ ref('stg_product_versions') }}

),

latest as (

    select distinct on (product_id) *
    from versions
    order by product_id asc, batch_id desc, changed_at desc

),

final as (

    select
        product_id,
        product_name,
        category_id
    from latest
    where not is_deleted

)

select * from final
