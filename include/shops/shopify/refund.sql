-- One row a refunded line. What went back beyond the lines is one row without a line; a refund that gave back less than
-- its lines is one row without a line, too. Not read: shipping and tax that went back, gift cards, and refunds of
-- cancelled, voided, test or deleted orders, which are not counted.
with refunds as (
    select
        refund.*,
        orders.customer_id,
        coalesce(orders.taxes_included, false) as taxes_included
    from shopify.refund as refund
    inner join shopify."order" as orders
        on refund.order_id = orders.id
    where refund.created_at >= %(start)s
        and refund.created_at < %(end)s
        and orders.cancelled_at is null
        and coalesce(orders.financial_status, '') <> 'voided'
        and not coalesce(orders.test, false)
        and not coalesce(orders._fivetran_deleted, false)
),

-- Numbered as in sales_fact.sql.
order_lines as (
    select
        *,
        row_number() over (partition by order_id order by id) as line_number
    from shopify.order_line
    where order_id in (select refunds.order_id from refunds)
),

refunded_lines as (
    select
        line_refunds.id,
        line_refunds.refund_id,
        order_lines.line_number,
        coalesce(order_lines.variant_id::text, order_lines.product_id::text, order_lines.sku, 'custom') as product_id,
        line_refunds.quantity::bigint as quantity,
        -- Where prices include tax, so does the subtotal.
        line_refunds.subtotal::numeric
        - case when refunds.taxes_included then coalesce(line_refunds.total_tax::numeric, 0) else 0 end as amount
    from shopify.order_line_refund as line_refunds
    inner join refunds
        on line_refunds.refund_id = refunds.id
    inner join order_lines
        on line_refunds.order_line_id = order_lines.id
    where not coalesce(order_lines.gift_card, false)
),

-- Shopify notes money that went back beyond the lines as negative, money that was kept as positive.
beyond_lines as (
    select
        refund_id,
        -sum(amount::numeric) as amount
    from shopify.order_adjustment
    where refund_id in (select refunds.id from refunds)
        and kind = 'refund_discrepancy'
    group by refund_id
),

whole_refunds as (
    select
        refunds.id,
        case
            when beyond_lines.amount >= 0 then beyond_lines.amount
            else beyond_lines.amount + coalesce((
                select sum(refunded_lines.amount)
                from refunded_lines
                where refunded_lines.refund_id = refunds.id
            ), 0)
        end as amount
    from refunds
    inner join beyond_lines
        on refunds.id = beyond_lines.refund_id
),

rows_of_refunds as (
    select
        refunded_lines.refund_id || '-' || refunded_lines.id as refund_id,
        refunded_lines.refund_id as shopify_refund_id,
        refunded_lines.line_number,
        refunded_lines.product_id,
        refunded_lines.amount,
        refunded_lines.quantity
    from refunded_lines
    left join beyond_lines
        on refunded_lines.refund_id = beyond_lines.refund_id
    where coalesce(beyond_lines.amount, 0) >= 0

    union all

    select
        id::text,
        id,
        null,
        null,
        amount,
        null
    from whole_refunds
)

select
    rows_of_refunds.refund_id,
    refunds.order_id::text as order_id,
    rows_of_refunds.line_number,
    rows_of_refunds.product_id,
    refunds.customer_id::text as customer_id,
    refunds.created_at as refund_date,
    rows_of_refunds.amount as refund_amount,
    rows_of_refunds.quantity as refund_quantity,
    refunds.note as reason,
    refunds.created_at
from rows_of_refunds
inner join refunds
    on rows_of_refunds.shopify_refund_id = refunds.id
where rows_of_refunds.amount > 0
