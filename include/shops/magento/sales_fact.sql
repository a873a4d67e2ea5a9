-- One row a line of an order as the customer sees it. A configurable product has two rows in sales_order_item, a bundle
-- has more: only the upper one (without parent_item_id) is a line, or the money would count twice.
-- Not read: orders that wait for a payment page (pending_payment). All amounts are in the base currency.
select
    cast(orders.entity_id as char) as order_id,
    items.item_id as line_number,
    -- Of a configurable product the variant that was sold, which has the stock and the cost.
    coalesce(cast(variants.product_id as char), cast(items.product_id as char), items.sku) as product_id,
    -- Null: the order of a guest.
    cast(orders.customer_id as char) as customer_id,
    orders.created_at as order_date,
    -- After discounts, without tax, and without the units that were cancelled before they were invoiced. Of a bundle
    -- the discount is noted at its parts. Where prices include tax, so does the discount: the tax in it is added again.
    cast(
        (
            items.base_row_total
            - coalesce(items.base_discount_amount, 0)
            + coalesce(items.base_discount_tax_compensation_amount, 0)
            - coalesce((
                select sum(
                    coalesce(parts.base_discount_amount, 0) - coalesce(parts.base_discount_tax_compensation_amount, 0)
                )
                from sales_order_item as parts
                where parts.order_id = orders.entity_id
                    and parts.parent_item_id = items.item_id
            ), 0)
        )
        * case
            when orders.state = 'canceled' or items.qty_ordered = 0 then 1
            else (items.qty_ordered - coalesce(items.qty_canceled, 0)) / items.qty_ordered
        end
        as decimal(20, 4)
    ) as order_amount,
    cast(
        items.qty_ordered - case when orders.state = 'canceled' then 0 else coalesce(items.qty_canceled, 0) end
        as signed
    ) as order_quantity,
    payments.method as payment_method,
    case
        when items.base_row_total > 0
            then least(greatest((
                coalesce(items.base_discount_amount, 0)
                - coalesce(items.base_discount_tax_compensation_amount, 0)
                + coalesce((
                    select sum(
                        coalesce(parts.base_discount_amount, 0)
                        - coalesce(parts.base_discount_tax_compensation_amount, 0)
                    )
                    from sales_order_item as parts
                    where parts.order_id = orders.entity_id
                        and parts.parent_item_id = items.item_id
                ), 0)
            ) / items.base_row_total, 0), 1)
    end as discount_applied,
    -- Magento has it per order: the line with the smallest number carries it.
    case
        when not exists (
            select 1
            from sales_order_item as earlier
            where earlier.order_id = orders.entity_id
                and earlier.parent_item_id is null
                and earlier.item_id < items.item_id
        )
            then orders.base_shipping_amount
            - coalesce(orders.base_shipping_discount_amount, 0)
            + coalesce(orders.base_shipping_discount_tax_compensation_amnt, 0)
    end as shipping_cost,
    cast(
        items.base_tax_amount
        * case
            when orders.state = 'canceled' or items.qty_ordered = 0 then 1
            else (items.qty_ordered - coalesce(items.qty_canceled, 0)) / items.qty_ordered
        end
        as decimal(20, 4)
    ) as tax_amount,
    -- The state, not the status: a shop can name its statuses as it likes. `canceled` is not counted.
    orders.state as order_status,
    orders.created_at
from sales_order as orders
inner join sales_order_item as items
    on orders.entity_id = items.order_id
left join sales_order_item as variants
    on items.order_id = variants.order_id
    and items.item_id = variants.parent_item_id
    and items.product_type = 'configurable'
left join sales_order_payment as payments
    on orders.entity_id = payments.parent_id
where items.parent_item_id is null
    and orders.state <> 'pending_payment'
