-- A refund in WooCommerce is an order of the type shop_order_refund, with negative amounts. Its products and fees are
-- one row each; what went back beyond them is one row without a line. A shop that refunds an amount without items does
-- not say how much of it is tax and shipping: it has the share that they have in the order.
-- Not read: tax and shipping that went back, and refunds of orders that are not counted, such as cancelled ones.
select
    concat(refunds.id, '-', items.order_item_id) as refund_id,
    cast(sales.id as char) as order_id,
    cast(refunded_item.meta_value as signed) as line_number,
    case
        when items.order_item_type = 'fee' then 'fee'
        else coalesce(nullif(variation_id.meta_value, '0'), nullif(product_id.meta_value, '0'), 'unknown')
    end as product_id,
    cast(nullif(sales.customer_id, 0) as char) as customer_id,
    refunds.date_created_gmt as refund_date,
    -- Without tax. Null in another currency than the shop's, as in sales_fact.sql.
    case
        when refunds.currency = shop_currency.option_value then -cast(line_total.meta_value as decimal(20, 6))
    end as refund_amount,
    abs(cast(cast(quantity.meta_value as decimal(20, 6)) as signed)) as refund_quantity,
    reason.meta_value as reason,
    refunds.date_created_gmt as created_at
from wp_wc_orders as refunds
inner join wp_wc_orders as sales
    on refunds.parent_order_id = sales.id
inner join wp_woocommerce_order_items as items
    on refunds.id = items.order_id
inner join wp_options as shop_currency
    on shop_currency.option_name = 'woocommerce_currency'
inner join wp_woocommerce_order_itemmeta as line_total
    on items.order_item_id = line_total.order_item_id and line_total.meta_key = '_line_total'
left join wp_woocommerce_order_itemmeta as refunded_item
    on items.order_item_id = refunded_item.order_item_id and refunded_item.meta_key = '_refunded_item_id'
left join wp_woocommerce_order_itemmeta as product_id
    on items.order_item_id = product_id.order_item_id and product_id.meta_key = '_product_id'
left join wp_woocommerce_order_itemmeta as variation_id
    on items.order_item_id = variation_id.order_item_id and variation_id.meta_key = '_variation_id'
left join wp_woocommerce_order_itemmeta as quantity
    on items.order_item_id = quantity.order_item_id and quantity.meta_key = '_qty'
left join wp_wc_orders_meta as reason
    on refunds.id = reason.order_id and reason.meta_key = '_refund_reason'
where refunds.type = 'shop_order_refund'
    and sales.status like 'wc-%'
    and sales.status not in ('wc-pending', 'wc-checkout-draft', 'wc-cancelled', 'wc-failed')
    and items.order_item_type in ('line_item', 'fee')
    and cast(line_total.meta_value as decimal(20, 6)) <> 0

union all

select
    refund_id,
    order_id,
    cast(null as signed) as line_number,
    null as product_id,
    customer_id,
    refund_date,
    case
        when is_in_shop_currency then round((refunded - refunded_by_lines) * goods_of_order / total_of_order, 2)
    end as refund_amount,
    cast(null as signed) as refund_quantity,
    reason,
    created_at
from (
    select
        cast(refunds.id as char) as refund_id,
        cast(sales.id as char) as order_id,
        cast(nullif(sales.customer_id, 0) as char) as customer_id,
        refunds.date_created_gmt as refund_date,
        refunds.currency = shop_currency.option_value as is_in_shop_currency,
        -- The total without tax and shipping. All of them are negative.
        -refunds.total_amount
        + coalesce(refunds.tax_amount, 0)
        + coalesce(details.shipping_total_amount, 0)
        + coalesce(details.shipping_tax_amount, 0) as refunded,
        (
            select coalesce(-sum(cast(line_total.meta_value as decimal(20, 6))), 0)
            from wp_woocommerce_order_items as items
            inner join wp_woocommerce_order_itemmeta as line_total
                on items.order_item_id = line_total.order_item_id and line_total.meta_key = '_line_total'
            where items.order_id = refunds.id
                and items.order_item_type in ('line_item', 'fee')
        ) as refunded_by_lines,
        sales.total_amount as total_of_order,
        sales.total_amount
        - coalesce(sales.tax_amount, 0)
        - coalesce(details_of_order.shipping_total_amount, 0)
        - coalesce(details_of_order.shipping_tax_amount, 0) as goods_of_order,
        reason.meta_value as reason,
        refunds.date_created_gmt as created_at
    from wp_wc_orders as refunds
    inner join wp_wc_orders as sales
        on refunds.parent_order_id = sales.id
    inner join wp_options as shop_currency
        on shop_currency.option_name = 'woocommerce_currency'
    left join wp_wc_order_operational_data as details
        on refunds.id = details.order_id
    left join wp_wc_order_operational_data as details_of_order
        on sales.id = details_of_order.order_id
    left join wp_wc_orders_meta as reason
        on refunds.id = reason.order_id and reason.meta_key = '_refund_reason'
    where refunds.type = 'shop_order_refund'
        and sales.status like 'wc-%'
        and sales.status not in ('wc-pending', 'wc-checkout-draft', 'wc-cancelled', 'wc-failed')
) as whole_refunds
-- Less than half a cent is rounding.
where refunded - refunded_by_lines >= 0.005
