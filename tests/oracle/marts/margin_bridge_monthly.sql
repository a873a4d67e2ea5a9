-- Lines with known cost, a line twice: in its month, and in the one that is compared with it. Of a running month, what
-- comes after today is in neither.
with line as (

    select
        *,
        coalesce(list_price(order_amount, discount_rate), order_amount) as list_amount
    from shop.counted_line

),

side as (

    select
        period.period_start as revenue_month,
        'now' as side,
        line.*
    from shop.period
    inner join line on period.grain = 'month' and period.period_start = line.order_month
    where not period.is_running or line.order_date <= getvariable('as_of_date')
    union all
    select
        compared_day.period_start as revenue_month,
        'before' as side,
        line.*
    from shop.compared_day
    inner join line on compared_day.calendar_day = line.order_date
    where compared_day.grain = 'month' and compared_day.other = 'previous'

),

total as (

    select
        revenue_month,
        sum(order_amount) filter (side = 'now') as revenue,
        sum(order_amount) filter (side = 'now' and gross_profit is not null) as known_revenue,
        case
            when count(*) filter (side = 'now') = 0 then 0
            else sum(contribution_amount) filter (side = 'now')
        end as contribution,
        coalesce(sum(order_quantity) filter (side = 'now' and gross_profit is not null), 0) as units,
        sum(order_amount) filter (side = 'before') as revenue_before,
        sum(order_amount) filter (side = 'before' and gross_profit is not null) as known_revenue_before,
        case
            when count(*) filter (side = 'before') = 0 then 0
            else sum(contribution_amount) filter (side = 'before')
        end as contribution_before,
        coalesce(sum(order_quantity) filter (side = 'before' and gross_profit is not null), 0) as units_before
    from side
    group by revenue_month

),

-- Products that were sold in both.
product as (

    select
        revenue_month,
        product_id,
        sum(order_quantity) filter (side = 'now') as units,
        sum(list_amount) filter (side = 'now') as listed,
        sum(order_amount) filter (side = 'now') as paid,
        sum(order_amount - gross_profit) filter (side = 'now') as cost,
        sum(shipping_cost) filter (side = 'now') as shipping,
        sum(order_quantity) filter (side = 'before') as units_before,
        sum(list_amount) filter (side = 'before') as listed_before,
        sum(order_amount) filter (side = 'before') as paid_before,
        sum(order_amount - gross_profit) filter (side = 'before') as cost_before,
        sum(shipping_cost) filter (side = 'before') as shipping_before
    from side
    where gross_profit is not null
    group by revenue_month, product_id
    having count(distinct side) = 2

),

effect as (

    select
        revenue_month,
        to_cents(sum(
            share_of(listed, paid_before, listed_before) - share_of(units, paid_before, units_before)
        )) as list_price_effect,
        to_cents(sum(paid - share_of(listed, paid_before, listed_before))) as discount_effect,
        to_cents(sum(share_of(units, cost_before, units_before) - cost)) as cost_effect,
        to_cents(sum(share_of(units, shipping_before, units_before) - shipping)) as shipping_effect
    from product
    group by revenue_month

),

compared as (

    select
        period.period_start as revenue_month,
        period.is_complete,
        comparison.is_comparable,
        case when total.revenue_month is null then 0 else total.contribution end as contribution,
        case
            when comparison.is_comparable
                then case when total.revenue_month is null then 0 else total.contribution_before end
        end as contribution_before,
        coalesce(total.units, 0) as units,
        coalesce(total.units_before, 0) as units_before,
        total.revenue,
        total.known_revenue,
        total.revenue_before,
        total.known_revenue_before,
        coalesce(effect.list_price_effect, 0) as list_price_effect,
        coalesce(effect.discount_effect, 0) as discount_effect,
        coalesce(effect.cost_effect, 0) as cost_effect,
        coalesce(effect.shipping_effect, 0) as shipping_effect
    from shop.period
    inner join shop.comparison
        on
            period.grain = comparison.grain
            and period.period_start = comparison.period_start
            and comparison.other = 'previous'
    left join total on period.period_start = total.revenue_month
    left join effect on period.period_start = effect.revenue_month
    where
        period.grain = 'month'
        and period.period_start >= (select min(order_month) from shop.counted_line)
        and period.period_start <= getvariable('as_of_date')

),

-- Nothing to take an average of: then all is volume. Null where one of the two is unknown.
with_volume as (

    select
        *,
        case
            when units_before = 0 then contribution - contribution_before
            else ratio((units - units_before) * contribution_before, units_before) + 0 * contribution
        end as volume_effect
    from compared

)

select
    revenue_month,
    contribution_before as previous_contribution,
    volume_effect,
    contribution - contribution_before - volume_effect - list_price_effect - discount_effect - cost_effect
    - shipping_effect as mix_effect,
    case when volume_effect is not null then list_price_effect end as list_price_effect,
    case when volume_effect is not null then discount_effect end as discount_effect,
    case when volume_effect is not null then cost_effect end as cost_effect,
    case when volume_effect is not null then shipping_effect end as shipping_effect,
    contribution,
    percent(coalesce(known_revenue, 0), revenue) as known_cost_percent,
    case
        when is_comparable then percent(coalesce(known_revenue_before, 0), revenue_before)
    end as previous_known_cost_percent,
    is_complete
from with_volume
