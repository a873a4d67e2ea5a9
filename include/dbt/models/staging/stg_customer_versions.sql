with versions as (

    select * from {{ source('shop', 'customer') }}

),

final as (

    select
        {{ clean_text('customer_id') }} as customer_id,
        {{ clean_text('customer_name') }} as customer_name,
        {{ clean_text('customer_email') }} as customer_email,
        {{ clean_text('status') }} as customer_status,
        _batch_id as batch_id,
        coalesce(
            {{ clean_text('customer_email') }} ~ '^[^@]+@[^@]*[.][^@]*$', false
        ) as is_valid_email,
        _is_deleted as is_deleted,
        start_date as customer_since_date,
        end_date as customer_end_date,
        _valid_from as changed_at
    from versions

)

select * from final
