-- A month opens at the end of the day before it and closes at the end of its last day, or of the
-- as-of date. Every plan, and all plans together, have a row per month from the first start of any plan.
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

    select
        plan_type,
        false as is_total
    from shop.subscription
    where start_date <= getvariable('as_of_date')
    group by plan_type
    union all
    select
        'All plans' as plan_type,
        true as is_total

),

plan_months as (

    select
        months.revenue_month,
        plans.plan_type,
        plans.is_total,
        months.revenue_month - 1 as opening_day,
        least(last_day(months.revenue_month), getvariable('as_of_date')) as closing_day
    from months
    cross join plans

),

-- With the fee of the first and of the last active day.
edges as (

    select
        subscription.*,
        first_day.monthly_fee as first_fee,
        last_day.monthly_fee as last_fee,
        exists (
            select 1
            from shop.subscription as earlier
            where
                earlier.customer_id = subscription.customer_id
                and earlier.start_date < subscription.start_date
                and earlier.ended_on <= subscription.start_date
        ) as is_reactivated
    from shop.subscription
    inner join shop.subscription_day as first_day
        on
            subscription.subscription_id = first_day.subscription_id
            and subscription.start_date = first_day.day
    left join shop.subscription_day as last_day
        on
            subscription.subscription_id = last_day.subscription_id
            and greatest(subscription.ended_on - 1, subscription.start_date) = last_day.day

),

moves as (

    select
        plan_months.revenue_month,
        plan_months.plan_type,
        edges.first_fee,
        edges.last_fee,
        edges.is_reactivated,
        opening.monthly_fee as opening_fee,
        closing.monthly_fee as closing_fee,
        edges.start_date
        between plan_months.revenue_month and plan_months.closing_day as is_new,
        edges.ended_on
        between plan_months.revenue_month and plan_months.closing_day as is_churned
    from plan_months
    inner join edges
        on
            plan_months.is_total
            or plan_months.plan_type is not distinct from edges.plan_type
    left join shop.subscription_day as opening
        on
            edges.subscription_id = opening.subscription_id
            and plan_months.opening_day = opening.day
            and opening.is_active
    left join shop.subscription_day as closing
        on
            edges.subscription_id = closing.subscription_id
            and plan_months.closing_day = closing.day
            and closing.is_active

),

-- From one active day to the next.
fee_changes as (

    select
        plan_months.revenue_month,
        plan_months.plan_type,
        sum(greatest(changed.monthly_fee - changed.fee_of_day_before, 0)) as expansion_mrr,
        sum(greatest(changed.fee_of_day_before - changed.monthly_fee, 0)) as contraction_mrr
    from plan_months
    inner join shop.subscription_day as changed
        on
            changed.day between plan_months.revenue_month and plan_months.closing_day
            and (
                plan_months.is_total
                or plan_months.plan_type is not distinct from changed.plan_type
            )
    where changed.is_active and changed.fee_of_day_before is not null
    group by plan_months.revenue_month, plan_months.plan_type

),

monthly as (

    select
        revenue_month,
        plan_type,
        coalesce(sum(opening_fee), 0) as opening_mrr,
        coalesce(sum(first_fee) filter (where is_new and not is_reactivated), 0) as new_mrr,
        coalesce(sum(first_fee) filter (where is_new and is_reactivated), 0) as reactivated_mrr,
        coalesce(sum(last_fee) filter (where is_churned), 0) as churned_mrr,
        coalesce(sum(closing_fee), 0) as closing_mrr,
        count(opening_fee) as opening_subscriptions,
        count(closing_fee) as active_subscriptions,
        count(*) filter (where is_new) as new_subscriptions,
        count(*) filter (where is_churned) as churned_subscriptions
    from moves
    group by revenue_month, plan_type

),

complete as (

    select
        monthly.*,
        coalesce(fee_changes.expansion_mrr, 0) as expansion_mrr,
        coalesce(fee_changes.contraction_mrr, 0) as contraction_mrr
    from monthly
    left join fee_changes
        on
            monthly.revenue_month = fee_changes.revenue_month
            and monthly.plan_type is not distinct from fee_changes.plan_type

)

select
    revenue_month,
    plan_type,
    opening_mrr,
    new_mrr,
    reactivated_mrr,
    expansion_mrr,
    contraction_mrr,
    churned_mrr,
    closing_mrr,
    active_subscriptions,
    new_subscriptions,
    churned_subscriptions,
    percent(churned_subscriptions, opening_subscriptions) as churn_percent,
    percent(opening_mrr - contraction_mrr - churned_mrr, opening_mrr) as gross_retention_percent,
    percent(opening_mrr - contraction_mrr - churned_mrr + expansion_mrr, opening_mrr)
        as net_retention_percent,
    revenue_month >= getvariable('first_day')
    and last_day(revenue_month) <= getvariable('as_of_date') as is_complete
from complete
