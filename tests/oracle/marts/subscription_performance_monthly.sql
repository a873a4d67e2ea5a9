-- A month opens at the end of the day before it and closes at the end of its last day, or of the
-- as-of date. Every plan has a row per month from the first start of any plan.
with months as (

    select
        unnest(
            generate_series(
                date_trunc('month', min(start_date)), getvariable('as_of_date'), interval 1 month
            )
        )::date as revenue_month
    from shop.subscription

),

plans as (

    select distinct plan_type from shop.subscription

),

plan_months as (

    select
        months.revenue_month,
        plans.plan_type,
        months.revenue_month - 1 as opening_day,
        least(last_day(months.revenue_month), getvariable('as_of_date')) as closing_day
    from months
    cross join plans

),

moves as (

    select
        plan_months.revenue_month,
        plan_months.plan_type,
        subscription.monthly_fee,
        subscription.start_date <= plan_months.opening_day
        and coalesce(subscription.end_date > plan_months.opening_day, true) as is_open_before,
        subscription.start_date <= plan_months.closing_day
        and coalesce(subscription.end_date > plan_months.closing_day, true) as is_open_after,
        subscription.start_date
        between plan_months.revenue_month and plan_months.closing_day as is_new,
        subscription.end_date
        between plan_months.revenue_month and plan_months.closing_day as is_churned
    from plan_months
    inner join shop.subscription
        on plan_months.plan_type is not distinct from subscription.plan_type

)

select
    revenue_month,
    plan_type,
    coalesce(sum(monthly_fee) filter (where is_open_before), 0) as opening_mrr,
    coalesce(sum(monthly_fee) filter (where is_new), 0) as new_mrr,
    coalesce(sum(monthly_fee) filter (where is_churned), 0) as churned_mrr,
    coalesce(sum(monthly_fee) filter (where is_open_after), 0) as closing_mrr,
    count(*) filter (where is_open_after) as active_subscriptions,
    count(*) filter (where is_new) as new_subscriptions,
    count(*) filter (where is_churned) as churned_subscriptions,
    percent(
        count(*) filter (where is_churned), count(*) filter (where is_open_before)
    ) as churn_percent
from moves
group by revenue_month, plan_type
