-- Each day that orders are of, with each rule: what broke it on the day, and on the 28 days to it.
with days as (

    select
        order_date,
        count(*) as orders
    from shop.whole_order
    group by order_date

),

rules as (

    select unnest([
        'below_cost', 'dated_back', 'discontinued_product', 'first_order_large', 'gone_customer',
        'high_discount', 'high_shipping', 'many_orders', 'price_off_list', 'unusual_amount'
    ]) as rule

),

counted as (

    select
        days.order_date,
        rules.rule,
        days.orders,
        count(broken_rule.order_id) as violations,
        coalesce(sum(broken_rule.order_amount), 0) as amount_at_risk
    from days
    cross join rules
    left join shop.broken_rule
        on days.order_date = broken_rule.order_date and rules.rule = broken_rule.rule
    group by days.order_date, rules.rule, days.orders

)

select
    today.order_date,
    today.rule,
    today.orders as orders_checked,
    today.violations,
    percent(today.orders - today.violations, today.orders) as compliance_percent,
    today.amount_at_risk,
    percent(
        sum(earlier.orders) - sum(earlier.violations), sum(earlier.orders)
    ) as compliance_28d_percent
from counted as today
inner join counted as earlier
    on
        today.rule = earlier.rule
        and earlier.order_date between today.order_date - 27 and today.order_date
group by all
