-- Money that went back: the shop's own table of refunds, and returned items, which are rows with a negative total.
select
    'refund-' || refunds.id as refund_id,
    refunds.order_id::text as order_id,
    null::integer as line_number,
    null::text as product_id,
    null::text as customer_id,
    refunds.recorded_at as refund_date,
    refunds.amount as refund_amount,
    null::integer as refund_quantity,
    refunds.reason,
    refunds.recorded_at as created_at
from shop.refunds
union all
select
    'return-' || order_items.order_id || '-' || order_items.position as refund_id,
    order_items.order_id::text as order_id,
    -- The line that was sold; null refunds the order without a line.
    order_items.returned_position as line_number,
    order_items.product_id::text as product_id,
    orders.customer_id::text as customer_id,
    order_items.recorded_at as refund_date,
    -order_items.total as refund_amount,
    -order_items.quantity as refund_quantity,
    'returned' as reason,
    order_items.recorded_at as created_at
from shop.order_items
inner join shop.orders
    on order_items.order_id = orders.id
where order_items.total < 0
