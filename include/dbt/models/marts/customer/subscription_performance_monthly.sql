-- Grain: one row per month and plan, for every month from the first start to the as-of month.
with subscriptions as (

    select * from {{ ref('fact_subscriptions') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

as_of as (

    select date_key from dates
    where is_as_of

),

-- Starts and ends after the as-of date have not happened yet.
starts as (

    select
        plan_type,
        monthly_fee,
        start_date,
        end_date
    from subscriptions
    where start_date <= (select as_of.date_key from as_of)

),

-- A subscription that ends before it starts was never active: it ends on its start date, so that
-- every churned fee was a new fee before.
ends as (

    select
        plan_type,
        monthly_fee,
        greatest(end_date, start_date) as end_date
    from starts
    where end_date <= (select as_of.date_key from as_of)

),

months as (

    select month::date as revenue_month
    from generate_series(
        (select date_trunc('month', min(starts.start_date)::timestamp) from starts),
        (select as_of.date_key::timestamp from as_of),
        '1 month'
    ) as month

),

plans as (

    select distinct plan_type
    from starts

),

movements as (

    select
        {{ first_day_of('month', 'start_date') }} as revenue_month,
        plan_type,
        monthly_fee as new_mrr,
        0 as churned_mrr,
        1 as new_subscriptions,
        0 as churned_subscriptions
    from starts
    union all
    select
        {{ first_day_of('month', 'end_date') }} as revenue_month,
        plan_type,
        0 as new_mrr,
        monthly_fee as churned_mrr,
        0 as new_subscriptions,
        1 as churned_subscriptions
    from ends
    union all
    select
        months.revenue_month,
        plans.plan_type,
        0 as new_mrr,
        0 as churned_mrr,
        0 as new_subscriptions,
        0 as churned_subscriptions
    from months
    cross join plans

),

monthly as (

    select
        revenue_month,
        plan_type,
        sum(new_mrr) as new_mrr,
        sum(churned_mrr) as churned_mrr,
        sum(new_subscriptions) as new_subscriptions,
        sum(churned_subscriptions) as churned_subscriptions
    from movements
    group by 1, 2

),

-- A subscription that started by the end of a month and has not ended is active at its end.
balances as (

    select
        *,
        sum(new_mrr - churned_mrr) over to_month as closing_mrr,
        sum(new_subscriptions - churned_subscriptions) over to_month as active_subscriptions
    from monthly
    window to_month as (partition by plan_type order by revenue_month)

),

final as (

    select
        revenue_month,
        plan_type,
        closing_mrr - new_mrr + churned_mrr as opening_mrr,
        new_mrr,
        churned_mrr,
        closing_mrr,
        active_subscriptions::bigint as active_subscriptions,
        new_subscriptions,
        churned_subscriptions,
        {{ percent_of(
            'churned_subscriptions',
            'active_subscriptions - new_subscriptions + churned_subscriptions'
        ) }} as churn_percent
    from balances

)

select * from final
