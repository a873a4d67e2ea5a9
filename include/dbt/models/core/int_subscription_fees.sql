-- Grain: one row per subscription and period in which its fee is the same.
with versions as (

    select * from {{ ref('stg_subscription_versions') }}

),

subscriptions as (

    select * from {{ ref('stg_subscriptions') }}

),

fees as (

    select
        subscription_id,
        monthly_fee,
        batch_id,
        read_date as changed_at
    from versions
    where not is_deleted

),

-- Of several versions that were read on one day, the last.
history as (

    {{ history_of('fees', 'subscription_id') }}

),

compared as (

    select
        *,
        {{ is_change(['monthly_fee'], 'versions') }} as is_change
    from history
    window versions as (partition by subscription_id order by valid_from)

),

final as (

    select
        compared.subscription_id,
        compared.monthly_fee,
        compared.valid_from,
        {{ closes_at('compared.subscription_id') }} as valid_to
    from compared
    inner join subscriptions
        on compared.subscription_id = subscriptions.subscription_id
    where compared.is_change

)

select * from final
