-- One row an item of an order. A row with a negative total is a return: refund.sql has it.
select
    orders.id::text as order_id,
    order_items.position as line_number,
    order_items.product_id::text as product_id,
    -- Null: the order of a guest.
    orders.customer_id::text as customer_id,
    orders.placed_at as order_date,
    order_items.total as order_amount,
    order_items.quantity as order_quantity,
    orders.payment as payment_method,
    -- The warehouse has fractions, 0.15 for 15 %.
    order_items.discount_percent / 100.0 as discount_applied,
    -- The shop has it per order: the first line carries it.
    case when order_items.position = 1 then orders.shipping end as shipping_cost,
    order_items.tax as tax_amount,
    orders.status as order_status,
    order_items.recorded_at as created_at
from shop.order_items
inner join shop.orders
    on order_items.order_id = orders.id
where order_items.total >= 0
