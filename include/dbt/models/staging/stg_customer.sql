with versions as (

    select * from {{ ref('stg_customer_versions') }}

),

latest as (

    select distinct on (customer_id) *
    from versions
    order by customer_id asc, batch_id desc, changed_at desc

),

final as (

    select
        customer_id,
        customer_name,
        customer_email,
        customer_status,
        is_valid_email,
        customer_since_date,
        customer_end_date
    from latest
    where not is_deleted

)

select * from final
