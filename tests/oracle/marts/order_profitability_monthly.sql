-- A line without a list price (a discount of 100 %) adds nothing to list price and discount.
with banded as (

    select
        *,
        case
            when discount_rate = 0 then 'none'
            when discount_rate * 10 <= 1 then 'to 10 %'
            when discount_rate * 10 <= 2 then 'to 20 %'
            when discount_rate * 10 <= 3 then 'to 30 %'
            else 'over 30 %'
        end as discount_band,
        case
            when shipping_cost = 0 then 'free'
            when shipping_cost * 20 <= order_amount then 'to 5 %'
            when shipping_cost * 10 <= order_amount then 'to 10 %'
            else 'over 10 %'
        end as shipping_band,
        list_price(order_amount, discount_rate) as list_amount
    from shop.counted_line

)

select
    order_month as revenue_month,
    category_name,
    discount_band,
    shipping_band,
    count(distinct order_id) as orders,
    sum(order_quantity) as units,
    coalesce(sum(list_amount), 0) as list_amount,
    coalesce(sum(list_amount - order_amount), 0) as discount_amount,
    sum(order_amount) as revenue,
    sum(order_amount - gross_profit) as cost_amount,
    sum(gross_profit) as gross_profit,
    sum(shipping_cost) as shipping_cost,
    sum(contribution_amount) as contribution_amount,
    percent(sum(gross_profit), sum(order_amount) filter (gross_profit is not null)) as gross_margin_percent,
    percent(sum(contribution_amount), sum(order_amount) filter (gross_profit is not null)) as contribution_percent,
    percent(coalesce(sum(order_amount) filter (gross_profit is not null), 0), sum(order_amount)) as known_cost_percent,
    count(distinct order_id) filter (contribution_amount < 0) as loss_orders,
    coalesce(sum(abs(contribution_amount)) filter (contribution_amount < 0), 0) as loss_amount
from banded
group by order_month, category_name, discount_band, shipping_band
