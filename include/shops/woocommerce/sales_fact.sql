-- One row a product or fee of an order. Not read: carts and drafts, orders that wait for payment, the trash.
select
    cast(orders.id as char) as order_id,
    items.order_item_id as line_number,
    case
        when items.order_item_type = 'fee' then 'fee'
        -- A variable product is sold as one of its variations. Zero: the product was deleted.
        else coalesce(nullif(variation_id.meta_value, '0'), nullif(product_id.meta_value, '0'), 'unknown')
    end as product_id,
    -- Zero: the order of a guest.
    cast(nullif(orders.customer_id, 0) as char) as customer_id,
    orders.date_created_gmt as order_date,
    -- After coupons, without tax. Null in another currency than the shop's: the row goes to the quarantine, since the
    -- warehouse would add it up as if it were the shop's.
    case
        when orders.currency = shop_currency.option_value
            then cast(nullif(line_total.meta_value, '') as decimal(20, 6))
    end as order_amount,
    cast(cast(quantity.meta_value as decimal(20, 6)) as signed) as order_quantity,
    orders.payment_method,
    case
        when cast(line_subtotal.meta_value as decimal(20, 6)) > 0
            then greatest(
                1 - cast(line_total.meta_value as decimal(20, 6)) / cast(line_subtotal.meta_value as decimal(20, 6)), 0
            )
    end as discount_applied,
    -- WooCommerce has it per order: the line with the smallest number carries it.
    case
        when not exists (
            select 1
            from wp_woocommerce_order_items as earlier
            where earlier.order_id = orders.id
                and earlier.order_item_type in ('line_item', 'fee')
                and earlier.order_item_id < items.order_item_id
        )
            then details.shipping_total_amount
    end as shipping_cost,
    cast(nullif(line_tax.meta_value, '') as decimal(20, 6)) as tax_amount,
    -- wc-cancelled becomes cancelled, wc-failed becomes failed.
    substring(orders.status, 4) as order_status,
    orders.date_created_gmt as created_at
from wp_wc_orders as orders
inner join wp_woocommerce_order_items as items
    on orders.id = items.order_id
inner join wp_options as shop_currency
    on shop_currency.option_name = 'woocommerce_currency'
left join wp_wc_order_operational_data as details
    on orders.id = details.order_id
left join wp_woocommerce_order_itemmeta as product_id
    on items.order_item_id = product_id.order_item_id and product_id.meta_key = '_product_id'
left join wp_woocommerce_order_itemmeta as variation_id
    on items.order_item_id = variation_id.order_item_id and variation_id.meta_key = '_variation_id'
left join wp_woocommerce_order_itemmeta as quantity
    on items.order_item_id = quantity.order_item_id and quantity.meta_key = '_qty'
left join wp_woocommerce_order_itemmeta as line_subtotal
    on items.order_item_id = line_subtotal.order_item_id and line_subtotal.meta_key = '_line_subtotal'
left join wp_woocommerce_order_itemmeta as line_total
    on items.order_item_id = line_total.order_item_id and line_total.meta_key = '_line_total'
left join wp_woocommerce_order_itemmeta as line_tax
    on items.order_item_id = line_tax.order_item_id and line_tax.meta_key = '_line_tax'
where orders.type = 'shop_order'
    and orders.status like 'wc-%'
    and orders.status not in ('wc-pending', 'wc-checkout-draft')
    and items.order_item_type in ('line_item', 'fee')
