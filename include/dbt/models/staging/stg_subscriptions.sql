with versions as (

    select * from {{ source('shop', 'subscription_data') }}

),

as_of as (

    select * from {{ ref('stg_as_of') }}

),

latest as (

    select distinct on (subscription_id) *
    from versions
    order by subscription_id asc, _batch_id desc

),

final as (

    select
        {{ clean_text('latest.subscription_id') }} as subscription_id,
        {{ clean_text('latest.customer_id') }} as customer_id,
        {{ clean_text('latest.plan_type') }} as plan_type,
        case
            when lower({{ clean_text('latest.status') }}) in ('cancelled', 'canceled')
                then 'cancelled'
            when
                latest.subscription_start_date <= as_of.as_of_date
                and coalesce(latest.subscription_end_date > as_of.as_of_date, true)
                then 'active'
            else 'expired'
        end as subscription_status,
        coalesce(latest.monthly_fee, 0)::numeric(18, 2) as monthly_fee,
        latest.subscription_start_date as start_date,
        latest.subscription_end_date as end_date
    from latest
    cross join as_of
    where not latest._is_deleted

)

select * from final
