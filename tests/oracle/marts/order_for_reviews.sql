with flagged as (

    select
        counted_order.*,
        current_customer.customer_name,
        counted_order.discount_rate > 0.30 as is_high_discount,
        counted_order.shipping_cost * 10 > counted_order.order_amount as is_high_shipping
    from shop.counted_order
    inner join shop.current_customer on counted_order.customer_id = current_customer.customer_id

)

select
    order_id,
    customer_id,
    customer_name,
    order_date,
    order_amount,
    to_cents(discount_rate * 100) as discount_percent,
    percent(shipping_cost, order_amount) as shipping_percent,
    is_high_discount,
    is_high_shipping,
    case
        when is_high_discount and is_high_shipping then 'High'
        else 'Medium'
    end as review_priority
from flagged
where is_high_discount or is_high_shipping
