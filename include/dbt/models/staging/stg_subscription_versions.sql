with versions as (

    select * from {{ source('shop', 'subscription_data') }}

),

final as (

    select
        {{ clean_text('subscription_id') }} as subscription_id,
        {{ clean_text('customer_id') }} as customer_id,
        {{ name_beside_total(clean_text('plan_type'), all_plans(), 'plan') }} as plan_type,
        _batch_id as batch_id,
        coalesce(monthly_fee, 0)::numeric(18, 2) as monthly_fee,
        coalesce(
            lower({{ clean_text('status') }}) in ('cancelled', 'canceled'), false
        ) as is_cancelled,
        _is_deleted as is_deleted,
        subscription_start_date as start_date,
        subscription_end_date as end_date,
        {{ shop_day('_valid_from') }} as read_date
    from versions

)

select * from final
