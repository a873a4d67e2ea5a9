-- One row per day that has an event of any type.
with days as (

    select
        shop_day(event_at) as event_date,
        count(*) filter (where interaction_type = 'view') as views,
        count(*) filter (where interaction_type = 'add_to_cart') as add_to_carts,
        count(*) filter (where interaction_type = 'purchase') as purchases,
        count(distinct customer_id) filter (where interaction_type = 'view') as viewers,
        count(distinct customer_id) filter (where interaction_type = 'add_to_cart') as carters,
        count(distinct customer_id) filter (where interaction_type = 'purchase') as buyers
    from shop.event
    group by shop_day(event_at)

)

select
    *,
    percent(carters, viewers) as view_to_cart_percent,
    percent(buyers, carters) as cart_to_purchase_percent,
    percent(buyers, viewers) as view_to_purchase_percent
from days
