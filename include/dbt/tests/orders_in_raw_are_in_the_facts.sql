-- Day by day and to the cent: the order lines of raw are in fact_sales. Rejected rows are in
-- ops.quarantine, not in raw. A day that was loaded after this build claimed its days is a dirty
-- date without a claim, and is left to the next build.
--
-- An incremental build compares only the days that it has claimed, since it writes no others, and
-- the days of the lines that its loads wrote, since a lost dirty date would be one of them. Other
-- days were compared when they were built. A full refresh and dbt by hand compare all days.
{%- set claimed = claimed_periods(var('sources_of_sales'), 'day') %}
{%- set is_all = running_build() != 'incremental' %}

with unclaimed as (

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

-- By created_at, which has an index in raw. Between two bounds, since Postgres would read all of
-- raw to join the windows.
loaded as (

    select order_date from {{ source('shop', 'sales_fact') }}
    where
        created_at >= (select min(batches.window_start) from batches)
        and created_at < (select max(batches.window_end) from batches)
        and _batch_id = any(array(select batches.batch_id from batches))

),

compared as (

    select unnest({{ claimed }}) as order_date
    union
    select order_date from loaded

),

in_raw as (

    select
        order_date,
        count(*) as lines,
        count(distinct order_id) as orders,
        sum(round(order_amount, 2)) as order_amount,
        sum(round(shipping_cost, 2)) as shipping_cost,
        sum(round(tax_amount, 2)) as tax_amount
    from {{ source('shop', 'sales_fact') }}
    where {{ is_all }} or order_date = any(array(select compared.order_date from compared))
    group by order_date

),

in_facts as (

    select
        date_key,
        count(*) as lines,
        count(distinct order_id) as orders,
        sum(order_amount) as order_amount,
        sum(shipping_cost) as shipping_cost,
        sum(tax_amount) as tax_amount
    from {{ ref('fact_sales') }}
    where {{ is_all }} or date_key = any(array(select compared.order_date from compared))
    group by date_key

)

select
    coalesce(in_raw.order_date, in_facts.date_key) as order_date,
    in_raw.lines as lines_in_raw,
    in_facts.lines as lines_in_facts,
    in_raw.orders as orders_in_raw,
    in_facts.orders as orders_in_facts,
    in_raw.order_amount as amount_in_raw,
    in_facts.order_amount as amount_in_facts,
    in_raw.shipping_cost as shipping_in_raw,
    in_facts.shipping_cost as shipping_in_facts,
    in_raw.tax_amount as tax_in_raw,
    in_facts.tax_amount as tax_in_facts
from in_raw
full join in_facts
    on in_raw.order_date = in_facts.date_key
where
    (
        in_raw.lines is distinct from in_facts.lines
        or in_raw.orders is distinct from in_facts.orders
        or in_raw.order_amount is distinct from in_facts.order_amount
        or coalesce(in_raw.shipping_cost, 0) is distinct from in_facts.shipping_cost
        or in_raw.tax_amount is distinct from in_facts.tax_amount
    )
    and coalesce(in_raw.order_date, in_facts.date_key) not in (
        select unclaimed.dirty_date from unclaimed
    )
