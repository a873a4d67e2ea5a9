-- Grain: one row per month and plan, and one per month for all plans, for every month from the
-- first start to the as-of month. Without the row of all plans, amounts and counts are additive
-- over the plans.
with subscriptions as (

    select * from {{ ref('fact_subscriptions') }}

),

fees as (

    select * from {{ ref('int_subscription_fees') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

periods as (

    select * from {{ ref('int_periods') }}

),

as_of as (

    select date_key from dates
    where is_as_of

),

-- Starts and ends after the as-of date have not happened yet. One that was never active ends on the
-- day of its start: so every churned fee was a new fee before.
started as (

    select * from subscriptions
    where start_date <= (select as_of.date_key from as_of)

),

starts as (

    select
        started.plan_type,
        started.start_date as moved_on,
        fees.monthly_fee,
        started.is_reactivated
    from started
    inner join fees
        on
            started.subscription_id = fees.subscription_id
            and {{ valid_at('fees', 'started.start_date') }}

),

-- With the fee of the last active day.
ends as (

    select
        started.plan_type,
        started.ended_date as moved_on,
        fees.monthly_fee
    from started
    inner join fees
        on
            started.subscription_id = fees.subscription_id
            and {{ valid_at('fees', 'greatest(started.ended_date - 1, started.start_date)') }}
    where started.ended_date is not null

),

fee_changes as (

    select
        subscription_id,
        valid_from,
        monthly_fee - lag(monthly_fee) over (
            partition by subscription_id
            order by valid_from
        ) as added_fee
    from fees

),

-- While a subscription is active: the fee of its first day is a new fee, and that after its last
-- day is none.
changes as (

    select
        started.plan_type,
        fee_changes.valid_from as moved_on,
        fee_changes.added_fee
    from started
    inner join fee_changes
        on
            started.subscription_id = fee_changes.subscription_id
            and started.start_date < fee_changes.valid_from
            and coalesce(started.ended_date > fee_changes.valid_from, true)
    where fee_changes.valid_from <= (select as_of.date_key from as_of)

),

months as (

    select
        period_start as revenue_month,
        is_complete
    from periods
    where
        grain = 'month'
        and period_end >= (select min(started.start_date) from started)
        and period_start <= (select as_of.date_key from as_of)

),

plans as (

    select distinct plan_type
    from started

),

movements as (

    select
        plan_type,
        moved_on,
        case when is_reactivated then 'reactivated' else 'new' end as movement,
        monthly_fee as amount
    from starts
    union all
    select
        plan_type,
        moved_on,
        'changed' as movement,
        added_fee as amount
    from changes
    union all
    select
        plan_type,
        moved_on,
        'churned' as movement,
        monthly_fee as amount
    from ends
    union all
    select
        plans.plan_type,
        months.revenue_month as moved_on,
        'none' as movement,
        0 as amount
    from months
    cross join plans

),

monthly as (

    select
        {{ first_day_of('month', 'moved_on') }} as revenue_month,
        case when grouping(plan_type) = 1 then {{ all_plans() }} else plan_type end as plan_name,
        coalesce(sum(amount) filter (where movement = 'new'), 0) as new_mrr,
        coalesce(sum(amount) filter (where movement = 'reactivated'), 0) as reactivated_mrr,
        coalesce(sum(greatest(amount, 0)) filter (where movement = 'changed'), 0)
            as expansion_mrr,
        coalesce(sum(greatest(-amount, 0)) filter (where movement = 'changed'), 0)
            as contraction_mrr,
        coalesce(sum(amount) filter (where movement = 'churned'), 0) as churned_mrr,
        count(*) filter (where movement in ('new', 'reactivated')) as new_subscriptions,
        count(*) filter (where movement = 'churned') as churned_subscriptions
    from movements
    group by grouping sets ((revenue_month, plan_type), (revenue_month))

),

balances as (

    select
        *,
        sum(new_mrr + reactivated_mrr + expansion_mrr - contraction_mrr - churned_mrr) over to_month
            as closing_mrr,
        sum(new_subscriptions - churned_subscriptions) over to_month as active_subscriptions
    from monthly
    window to_month as (partition by plan_name order by revenue_month)

),

opened as (

    select
        *,
        closing_mrr - new_mrr - reactivated_mrr - expansion_mrr + contraction_mrr + churned_mrr
            as opening_mrr,
        active_subscriptions - new_subscriptions + churned_subscriptions as opening_subscriptions
    from balances

),

final as (

    select
        opened.revenue_month,
        opened.plan_name as plan_type,
        opened.opening_mrr,
        opened.new_mrr,
        opened.reactivated_mrr,
        opened.expansion_mrr,
        opened.contraction_mrr,
        opened.churned_mrr,
        opened.closing_mrr,
        opened.active_subscriptions::bigint as active_subscriptions,
        opened.new_subscriptions,
        opened.churned_subscriptions,
        {{ percent_of('opened.churned_subscriptions', 'opened.opening_subscriptions') }}
            as churn_percent,
        {{ percent_of(
            'opened.opening_mrr - opened.contraction_mrr - opened.churned_mrr', 'opened.opening_mrr'
        ) }} as gross_retention_percent,
        {{ percent_of(
            'opened.opening_mrr - opened.contraction_mrr - opened.churned_mrr'
            ~ ' + opened.expansion_mrr',
            'opened.opening_mrr'
        ) }} as net_retention_percent,
        months.is_complete
    from opened
    inner join months
        on opened.revenue_month = months.revenue_month

)

select * from final
