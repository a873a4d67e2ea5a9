-- A refund in Magento is a credit memo: one row a line of the order that is in it, and one row without a line for an
-- adjustment refund. A memo with a higher adjustment fee gives back less than its lines: it is one row without a line.
-- Not read: cancelled memos, shipping and tax that went back.
select
    concat(memos.entity_id, '-', coalesce(lines_sold.parent_item_id, lines_sold.item_id)) as refund_id,
    cast(memos.order_id as char) as order_id,
    cast(coalesce(lines_sold.parent_item_id, lines_sold.item_id) as signed) as line_number,
    null as product_id,
    cast(max(orders.customer_id) as char) as customer_id,
    memos.created_at as refund_date,
    -- The money of a configurable product is at the upper item, that of a bundle may be at its parts.
    sum(
        coalesce(items.base_row_total, 0)
        - coalesce(items.base_discount_amount, 0)
        + coalesce(items.base_discount_tax_compensation_amount, 0)
    ) as refund_amount,
    cast(sum(case when lines_sold.parent_item_id is null then items.qty end) as signed) as refund_quantity,
    max(memos.customer_note) as reason,
    memos.created_at
from sales_creditmemo as memos
inner join sales_order as orders
    on memos.order_id = orders.entity_id
inner join sales_creditmemo_item as items
    on memos.entity_id = items.parent_id
inner join sales_order_item as lines_sold
    on items.order_item_id = lines_sold.item_id
where memos.created_at >= %(start)s
    and memos.created_at < %(end)s
    and memos.state <> 3
    and orders.state not in ('pending_payment', 'canceled')
    and coalesce(memos.base_adjustment_positive, 0) >= coalesce(memos.base_adjustment_negative, 0)
group by
    memos.entity_id,
    memos.order_id,
    memos.created_at,
    coalesce(lines_sold.parent_item_id, lines_sold.item_id)
having refund_amount > 0

union all

select
    cast(memos.entity_id as char) as refund_id,
    cast(memos.order_id as char) as order_id,
    cast(null as signed) as line_number,
    null as product_id,
    cast(orders.customer_id as char) as customer_id,
    memos.created_at as refund_date,
    coalesce(memos.base_adjustment_positive, 0)
    - coalesce(memos.base_adjustment_negative, 0)
    + case
        when coalesce(memos.base_adjustment_positive, 0) < coalesce(memos.base_adjustment_negative, 0)
            then (
                select sum(
                    coalesce(items.base_row_total, 0)
                    - coalesce(items.base_discount_amount, 0)
                    + coalesce(items.base_discount_tax_compensation_amount, 0)
                )
                from sales_creditmemo_item as items
                where items.parent_id = memos.entity_id
            )
        else 0
    end as refund_amount,
    cast(null as signed) as refund_quantity,
    memos.customer_note as reason,
    memos.created_at
from sales_creditmemo as memos
inner join sales_order as orders
    on memos.order_id = orders.entity_id
where memos.created_at >= %(start)s
    and memos.created_at < %(end)s
    and memos.state <> 3
    and orders.state not in ('pending_payment', 'canceled')
having refund_amount > 0
