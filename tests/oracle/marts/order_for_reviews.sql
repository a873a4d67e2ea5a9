-- Of an order whose counted lines differ: the customer of the lowest line, and the earliest day. A line
-- with a discount of 1 has no list amount, so the order's discount is that of its other lines.
with orders as (

    select
        order_id,
        first(customer_id order by line_number) as customer_id,
        min(order_date) as order_date,
        sum(order_amount) as order_amount,
        sum(order_amount::double / (1 - discount_rate)::double)
            filter (where discount_rate < 1) as list_amount,
        sum(order_amount) filter (where discount_rate < 1) as listed_order_amount,
        sum(shipping_cost) as shipping_cost,
        sum(gross_profit) as gross_profit,
        sum(contribution_amount) as contribution_amount,
        bool_or(discount_rate > 0.30) as is_high_discount
    from shop.counted_line
    group by order_id

),

flagged as (

    select
        *,
        shipping_cost * 10 > order_amount as is_high_shipping
    from orders

)

select
    flagged.order_id,
    flagged.customer_id,
    current_customer.customer_name,
    flagged.order_date,
    flagged.order_amount,
    (
        100 * (flagged.list_amount - flagged.listed_order_amount::double) / flagged.list_amount
    )::decimal(38, 2) as discount_percent,
    percent(flagged.shipping_cost, flagged.order_amount) as shipping_percent,
    flagged.is_high_discount,
    flagged.is_high_shipping,
    flagged.gross_profit,
    flagged.contribution_amount,
    case
        when flagged.is_high_discount and flagged.is_high_shipping then 'High'
        else 'Medium'
    end as review_priority
from flagged
left join shop.current_customer on flagged.customer_id = current_customer.customer_id
where flagged.is_high_discount or flagged.is_high_shipping
