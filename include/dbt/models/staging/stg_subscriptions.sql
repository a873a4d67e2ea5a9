with versions as (

    select * from {{ ref('stg_subscription_versions') }}

),

as_of as (

    select * from {{ ref('stg_as_of') }}

),

known as (

    select distinct on (subscription_id) *
    from versions
    where not is_deleted
    order by subscription_id asc, batch_id desc

),

latest as (

    select distinct on (subscription_id) *
    from versions
    order by subscription_id asc, batch_id desc

),

-- A subscription that the source deletes while it runs has ended on the day that this was read. One
-- that is deleted before it begins never was.
ended as (

    select
        known.subscription_id,
        known.customer_id,
        known.plan_type,
        known.monthly_fee,
        known.is_cancelled,
        latest.is_deleted,
        known.start_date,
        -- least() ignores null.
        least(
            known.end_date, case when latest.is_deleted then latest.read_date end
        ) as end_date
    from known
    inner join latest
        on known.subscription_id = latest.subscription_id
    where not latest.is_deleted or latest.read_date > known.start_date

),

final as (

    select
        ended.subscription_id,
        ended.customer_id,
        ended.plan_type,
        case
            when ended.is_cancelled then 'cancelled'
            when
                ended.start_date <= as_of.as_of_date
                and coalesce(ended.end_date > as_of.as_of_date, true)
                then 'active'
            else 'expired'
        end as subscription_status,
        ended.monthly_fee,
        ended.is_deleted,
        ended.start_date,
        ended.end_date
    from ended
    cross join as_of

)

select * from final
