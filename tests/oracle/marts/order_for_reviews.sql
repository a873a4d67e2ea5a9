-- Orders that break a rule. Texts of lists are as Postgres writes them. Nobody has reviewed an order.
with reasons as (

    select
        order_id,
        least(sum(weight), 100)::integer as risk_score,
        list(rule order by weight desc, rule) as rules,
        '{' || string_agg(rule, ',' order by weight desc, rule) || '}' as broken_rules,
        '{' || string_agg('"' || description || '"', ',' order by weight desc, rule) || '}' as reasons
    from shop.broken_rule
    group by order_id

)

select
    orders.order_id,
    orders.customer_id,
    current_customer.customer_name,
    orders.order_date,
    orders.order_amount,
    (
        100 * (orders.list_amount - orders.listed_order_amount::double) / orders.list_amount
    )::decimal(38, 2) as discount_percent,
    percent(orders.shipping_cost, orders.order_amount) as shipping_percent,
    list_contains(reasons.rules, 'high_discount') as is_high_discount,
    list_contains(reasons.rules, 'high_shipping') as is_high_shipping,
    orders.gross_profit,
    orders.contribution_amount,
    case when orders.contribution_amount < 0 then -orders.contribution_amount else 0 end
        as expected_loss,
    reasons.risk_score,
    reasons.broken_rules,
    reasons.reasons,
    case when reasons.risk_score >= 50 then 'High' else 'Medium' end as review_priority,
    'open' as review_status,
    null::varchar as reviewed_by,
    null::varchar as review_note,
    null::varchar as reviewed_at
from shop.whole_order as orders
inner join reasons on orders.order_id = reasons.order_id
left join shop.current_customer on orders.customer_id = current_customer.customer_id
