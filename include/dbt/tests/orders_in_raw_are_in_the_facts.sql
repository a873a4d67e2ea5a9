-- To the cent, day by day: what raw accepted of the source's orders is in fact_sales. What was
-- refused is in ops.quarantine and in neither. A day that was loaded after this build had claimed
-- its days is marked but not built, and comes with the next.
--
-- While an incremental build is under way: the days that it has claimed, since it writes no others,
-- and the days of the orders that its loads wrote, since a mark that got lost would be one of them.
-- The rest is as it was when its own build tested it. A full refresh tests all of it, and so does
-- dbt by hand.
{%- set claimed = claimed_periods(var('sources_of_sales'), 'day') %}
{%- set is_all = running_build() != 'incremental' %}

with not_built as (

    select dirty_date from {{ source('ops', 'dirty_date') }}
    where claimed_by is null

),

batches as (

    select
        loads.batch_id,
        loads.window_start,
        loads.window_end
    from {{ source('ops', 'build') }} as builds
    inner join {{ source('ops', 'load_batch') }} as loads
        on builds.run_id = loads.built_by
    where builds.finished_at is null and loads.source = 'sales_fact'

),

-- By the time of recording, which raw has an index on. Between two bounds, since for a join with
-- the windows the planner would read all of raw.
written as (

    select order_date from {{ source('shop', 'sales_fact') }}
    where
        created_at >= (select min(batches.window_start) from batches)
        and created_at < (select max(batches.window_end) from batches)
        and _batch_id = any(array(select batches.batch_id from batches))

),

looked_at as (

    select unnest({{ claimed }}) as order_date
    union
    select order_date from written

),

accepted as (

    select
        order_date,
        count(*) as orders,
        sum(round(order_amount, 2)) as order_amount,
        sum(round(shipping_cost, 2)) as shipping_cost
    from {{ source('shop', 'sales_fact') }}
    where {{ is_all }} or order_date = any(array(select looked_at.order_date from looked_at))
    group by order_date

),

built as (

    select
        date_key,
        count(*) as orders,
        sum(order_amount) as order_amount,
        sum(shipping_cost) as shipping_cost
    from {{ ref('fact_sales') }}
    where {{ is_all }} or date_key = any(array(select looked_at.order_date from looked_at))
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
