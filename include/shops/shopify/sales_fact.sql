-- One row a line of an order, in the shop's currency. Not read: test orders, deleted ones, and gift cards, which are
-- money that the shop owes. Drafts and abandoned checkouts are in tables of their own.
-- The orders are chosen by their days here, since the connector makes no index but primary keys: so each table is read
-- once at most, and not once an order.
with orders as (
    select *
    from shopify."order"
    where created_at >= %(start)s
        and created_at < %(end)s
        and not coalesce(test, false)
        and not coalesce(_fivetran_deleted, false)
),

-- Numbered with the gift cards, so that a line keeps its number; refund.sql numbers them alike.
order_lines as (
    select
        *,
        row_number() over (partition by order_id order by id) as line_number
    from shopify.order_line
    where order_id in (select orders.id from orders)
),

-- Discounts of the line, and its share of those of the whole order.
discounts as (
    select
        order_line_id,
        sum(amount::numeric) as amount
    from shopify.discount_allocation
    where order_line_id in (select order_lines.id from order_lines)
    group by order_line_id
),

taxes as (
    select
        order_line_id,
        sum(price::numeric) as amount
    from shopify.tax_line
    where order_line_id in (select order_lines.id from order_lines)
    group by order_line_id
),

shipping_taxes as (
    select
        order_shipping_line_id,
        sum(price::numeric) as amount
    from shopify.order_shipping_tax_line
    group by order_shipping_line_id
),

shipping as (
    select
        shipping_lines.order_id,
        sum(shipping_lines.discounted_price::numeric) as price,
        sum(shipping_taxes.amount) as tax
    from shopify.order_shipping_line as shipping_lines
    left join shipping_taxes
        on shipping_lines.id = shipping_taxes.order_shipping_line_id
    where shipping_lines.order_id in (select orders.id from orders)
    group by shipping_lines.order_id
),

-- The first payment that succeeded.
payments as (
    select distinct on (order_id)
        order_id,
        gateway
    from shopify.transaction
    where order_id in (select orders.id from orders)
        and kind in ('sale', 'authorization', 'capture')
        and status = 'success'
    order by order_id, created_at, id
),

amounts as (
    select
        order_lines.id,
        order_lines.order_id,
        order_lines.line_number,
        order_lines.price::numeric * order_lines.quantity as list_amount,
        order_lines.price::numeric * order_lines.quantity - coalesce(discounts.amount, 0) as discounted_amount,
        coalesce(taxes.amount, 0) as tax_amount,
        -- Gift cards have no part in it: the first other line carries the shipping of the order.
        row_number() over (partition by order_lines.order_id order by order_lines.id) = 1 as is_first,
        coalesce(order_lines.variant_id::text, order_lines.product_id::text, order_lines.sku, 'custom') as product_id,
        order_lines.quantity
    from order_lines
    left join discounts
        on order_lines.id = discounts.order_line_id
    left join taxes
        on order_lines.id = taxes.order_line_id
    where not coalesce(order_lines.gift_card, false)
)

select
    orders.id::text as order_id,
    amounts.line_number,
    amounts.product_id,
    -- Null: nobody is named, as at the till.
    orders.customer_id::text as customer_id,
    orders.created_at as order_date,
    -- Where prices include tax, the tax is taken out.
    amounts.discounted_amount - case when orders.taxes_included then amounts.tax_amount else 0 end as order_amount,
    amounts.quantity::bigint as order_quantity,
    payments.gateway as payment_method,
    case
        when amounts.list_amount > 0
            then round(1 - amounts.discounted_amount / amounts.list_amount, 10)
    end as discount_applied,
    case
        when amounts.is_first
            then shipping.price - case when orders.taxes_included then coalesce(shipping.tax, 0) else 0 end
    end as shipping_cost,
    amounts.tax_amount,
    case when orders.cancelled_at is not null then 'cancelled' else orders.financial_status end as order_status,
    orders.created_at
from orders
inner join amounts
    on orders.id = amounts.order_id
left join shipping
    on orders.id = shipping.order_id
left join payments
    on orders.id = payments.order_id
