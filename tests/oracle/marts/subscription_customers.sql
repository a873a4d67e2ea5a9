-- Only subscriptions that have begun. Of several, an active one says plan and status before others; of
-- these one that has not ended, and the newest.
with started as (

    select
        subscription.*,
        row_number() over (
            partition by customer_id
            order by
                subscription_status = 'active' desc,
                ended_on > getvariable('as_of_date') desc,
                start_date desc,
                subscription_id desc
        ) as place
    from shop.subscription
    where start_date <= getvariable('as_of_date')

),

-- A fee for each month that begins while the subscription is active.
days as (

    select
        customer_id,
        count(distinct date_trunc('month', day)) as months_active,
        sum(monthly_fee) filter (
            where day = (start_date + to_months(datediff('month', start_date, day)))::date
        ) as lifetime_fees,
        sum(monthly_fee) filter (where day = getvariable('as_of_date')) as monthly_fee,
        count(*) filter (where day = getvariable('as_of_date')) as active_subscriptions
    from shop.subscription_day
    where is_active
    group by customer_id

)

select
    started.customer_id,
    any_value(started.plan_type) filter (where started.place = 1) as plan_type,
    any_value(started.subscription_status) filter (where started.place = 1) as subscription_status,
    coalesce(any_value(days.active_subscriptions), 0) as active_subscriptions,
    coalesce(any_value(days.monthly_fee), 0) as monthly_fee,
    coalesce(any_value(days.lifetime_fees), 0) as lifetime_fees,
    coalesce(any_value(days.months_active), 0) as months_active,
    min(started.start_date) as first_start_date
from started
left join days on started.customer_id = days.customer_id
group by started.customer_id
