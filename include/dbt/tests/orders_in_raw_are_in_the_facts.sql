-- To the cent, day by day: what raw accepted of the source's orders is in fact_sales. What was
-- refused is in ops.quarantine and in neither. A day that was loaded after this build had claimed
-- its days is marked but not built, and comes with the next.
with not_built as (

    select dirty_date from {{ source('ops', 'dirty_date') }}
    where claimed_by is null

),

accepted as (

    select
        order_date,
        count(*) as orders,
        sum(round(order_amount, 2)) as order_amount,
        sum(round(shipping_cost, 2)) as shipping_cost
    from {{ source('raw', 'sales_fact') }}
    group by order_date

),

built as (

    select
        date_key,
        count(*) as orders,
        sum(order_amount) as order_amount,
        sum(shipping_cost) as shipping_cost
    from {{ ref('fact_sales') }}
    group by date_key

)

select
    coalesce(accepted.order_date, built.date_key) as order_date,
    accepted.orders as orders_accepted,
    built.orders as orders_built,
    accepted.order_amount as amount_accepted,
    built.order_amount as amount_built,
    accepted.shipping_cost as shipping_accepted,
    built.shipping_cost as shipping_built
from accepted
full join built
    on accepted.order_date = built.date_key
where
    (
        accepted.orders is distinct from built.orders
        or accepted.order_amount is distinct from built.order_amount
        or coalesce(accepted.shipping_cost, 0) is distinct from built.shipping_cost
    )
    and coalesce(accepted.order_date, built.date_key) not in (
        select not_built.dirty_date from not_built
    )
