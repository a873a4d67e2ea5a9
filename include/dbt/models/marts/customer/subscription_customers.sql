-- Grain: one row per customer with a subscription that has begun. Additive: the fees.
with subscriptions as (

    select * from {{ ref('fact_subscriptions') }}

),

fees as (

    select * from {{ ref('int_subscription_fees') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

as_of as (

    select date_key from dates
    where is_as_of

),

-- Active from its start to the day before `inactive_from`, which is at most the day after the as-of
-- date.
started as (

    select
        subscriptions.*,
        coalesce(subscriptions.ended_date, as_of.date_key + 1) as inactive_from
    from subscriptions
    inner join as_of
        on subscriptions.start_date <= as_of.date_key

),

-- Active ones before others, then those that have not ended, then the newest.
main_subscriptions as (

    select distinct on (customer_id)
        customer_id,
        plan_type,
        subscription_status
    from started
    order by
        customer_id asc, subscription_status = 'active' desc, ended_date is null desc,
        start_date desc, subscription_id desc

),

current_fees as (

    select
        started.customer_id,
        sum(fees.monthly_fee) as monthly_fee,
        count(*) as active_subscriptions
    from started
    inner join fees
        on
            started.subscription_id = fees.subscription_id
            and {{ valid_at('fees', '(select as_of.date_key from as_of)') }}
    where started.ended_date is null
    group by started.customer_id

),

-- A fee for each month that a subscription has begun: on the day of its start, and on that day of
-- each month after it, or on the last day of a shorter month.
begun_months as (

    select
        subscription_id,
        customer_id,
        start_date,
        inactive_from,
        generate_series(
            0, {{ months_between('start_date', 'inactive_from') }}
        ) as months_since_start
    from started
    where start_date < inactive_from

),

fee_days as (

    select
        subscription_id,
        customer_id,
        inactive_from,
        (start_date + make_interval(months => months_since_start))::date as fee_day
    from begun_months

),

paid as (

    select
        fee_days.customer_id,
        sum(fees.monthly_fee) as lifetime_fees
    from fee_days
    inner join fees
        on
            fee_days.subscription_id = fees.subscription_id
            and {{ valid_at('fees', 'fee_days.fee_day') }}
    where fee_days.fee_day < fee_days.inactive_from
    group by fee_days.customer_id

),

active_months as (

    select
        customer_id,
        generate_series(
            date_trunc('month', start_date::timestamp),
            (inactive_from - 1)::timestamp,
            '1 month'
        ) as active_month
    from started
    where start_date < inactive_from

),

durations as (

    select
        customer_id,
        count(distinct active_month) as months_active
    from active_months
    group by customer_id

),

first_starts as (

    select
        customer_id,
        min(start_date) as first_start_date
    from started
    group by customer_id

),

final as (

    select
        first_starts.customer_id,
        main_subscriptions.plan_type,
        main_subscriptions.subscription_status,
        coalesce(current_fees.active_subscriptions, 0) as active_subscriptions,
        coalesce(current_fees.monthly_fee, 0) as monthly_fee,
        coalesce(paid.lifetime_fees, 0) as lifetime_fees,
        coalesce(durations.months_active, 0) as months_active,
        first_starts.first_start_date
    from first_starts
    inner join main_subscriptions
        on first_starts.customer_id = main_subscriptions.customer_id
    left join current_fees
        on first_starts.customer_id = current_fees.customer_id
    left join paid
        on first_starts.customer_id = paid.customer_id
    left join durations
        on first_starts.customer_id = durations.customer_id

)

select * from final
