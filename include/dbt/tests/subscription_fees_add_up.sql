-- To the cent: the facts have the fees of all subscriptions, and the closing fees of the last month
-- are those of the subscriptions that have begun and not ended by the as-of date.
with as_of as (

    select date_key from {{ ref('dim_date') }}
    where is_as_of

),

sums as (

    select
        (select sum(monthly_fee) from {{ ref('stg_subscriptions') }}) as fees_in_staging,
        (select sum(monthly_fee) from {{ ref('fact_subscriptions') }}) as fees_in_facts,
        (
            select sum(subscriptions.monthly_fee)
            from {{ ref('fact_subscriptions') }} as subscriptions
            cross join as_of
            where
                subscriptions.start_date <= as_of.date_key
                and coalesce(subscriptions.end_date > as_of.date_key, true)
        ) as fees_active,
        (
            select sum(months.closing_mrr)
            from {{ ref('subscription_performance_monthly') }} as months
            cross join as_of
            where months.revenue_month = {{ first_day_of('month', 'as_of.date_key') }}
        ) as fees_closing

)

select * from sums
where
    fees_in_staging is distinct from fees_in_facts
    or coalesce(fees_active, 0) <> coalesce(fees_closing, 0)
