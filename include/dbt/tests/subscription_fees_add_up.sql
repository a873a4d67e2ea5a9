-- To the cent: the facts have the fees of all subscriptions, and the closing fees of the last
-- month, of each plan, of all plans and of the subscribers, are those of the subscriptions that
-- have begun and not ended by the as-of date.
with as_of as (

    select date_key from {{ ref('dim_date') }}
    where is_as_of

),

closing as (

    select
        sum(months.closing_mrr) filter (where months.plan_type = {{ all_plans() }}) as of_all_plans,
        sum(months.closing_mrr) filter (
            where months.plan_type is distinct from {{ all_plans() }}
        ) as of_plans
    from {{ ref('subscription_performance_monthly') }} as months
    cross join as_of
    where months.revenue_month = {{ first_day_of('month', 'as_of.date_key') }}

),

sums as (

    select
        (select sum(monthly_fee) from {{ ref('stg_subscriptions') }}) as fees_in_staging,
        (select sum(monthly_fee) from {{ ref('fact_subscriptions') }}) as fees_in_facts,
        (
            select sum(monthly_fee) from {{ ref('int_subscription_fees') }}
            where valid_to = 'infinity'
        ) as fees_read_last,
        (
            select sum(fees.monthly_fee)
            from {{ ref('fact_subscriptions') }} as subscriptions
            cross join as_of
            inner join {{ ref('int_subscription_fees') }} as fees
                on
                    subscriptions.subscription_id = fees.subscription_id
                    and {{ valid_at('fees', 'as_of.date_key') }}
            where
                subscriptions.start_date <= as_of.date_key
                and coalesce(subscriptions.end_date > as_of.date_key, true)
        ) as fees_active,
        (select sum(monthly_fee) from {{ ref('subscription_customers') }}) as fees_of_customers,
        closing.of_all_plans as fees_closing,
        closing.of_plans as fees_closing_by_plan
    from closing

)

select * from sums
where
    fees_in_staging is distinct from fees_in_facts
    or fees_in_facts is distinct from fees_read_last
    or coalesce(fees_active, 0) <> coalesce(fees_closing, 0)
    or coalesce(fees_active, 0) <> coalesce(fees_closing_by_plan, 0)
    or coalesce(fees_active, 0) <> coalesce(fees_of_customers, 0)
