-- Grain: one row per subscription. Additive over the subscriptions of one day: monthly_fee.
with subscriptions as (

    select * from {{ ref('stg_subscriptions') }}

),

as_of as (

    select * from {{ ref('stg_as_of') }}

),

customers as (

    select * from {{ ref('dim_customer') }}

),

facts as (

    select
        subscriptions.subscription_id,
        customers.customer_key,
        subscriptions.customer_id,
        subscriptions.plan_type,
        subscriptions.subscription_status,
        subscriptions.monthly_fee,
        subscriptions.is_deleted,
        -- least() ignores null: without an end, the duration is up to the as-of date.
        greatest(
            least(subscriptions.end_date, as_of.as_of_date) - subscriptions.start_date, 0
        ) as duration_days,
        subscriptions.start_date,
        subscriptions.end_date,
        -- One that ends before it starts was never active: it ended on the day of its start.
        case
            when
                subscriptions.start_date <= as_of.as_of_date
                and subscriptions.end_date <= as_of.as_of_date
                then greatest(subscriptions.start_date, subscriptions.end_date)
        end as ended_date
    from subscriptions
    cross join as_of
    inner join customers
        on
            subscriptions.customer_id = customers.customer_id
            and {{ valid_at('customers', shop_midnight('subscriptions.start_date')) }}

),

-- Reactivated: the customer had an earlier subscription that had ended, also while another one
-- runs.
final as (

    select
        subscription_id,
        customer_key,
        customer_id,
        plan_type,
        subscription_status,
        monthly_fee,
        is_deleted,
        duration_days,
        start_date,
        end_date,
        ended_date,
        coalesce(
            min(ended_date) over (
                partition by customer_id
                order by start_date
                range between unbounded preceding and interval '1 day' preceding
            ) <= start_date,
            false
        ) as is_reactivated
    from facts

)

select * from final
