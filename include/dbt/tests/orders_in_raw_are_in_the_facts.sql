-- Day by day and to the cent: the order lines of raw are in fact_sales. Rejected rows are in
-- ops.quarantine, not in raw. A day that was loaded after this build claimed its days is a dirty
-- date without a claim, and is left to the next build.
--
-- An incremental build compares only `days_to_compare`. A full refresh and dbt by hand compare all
-- days.
{%- set is_all = running_build().mode != 'incremental' or running_build().refreshed | length > 0 %}

with unclaimed as (

    select dirty_date from {{ source('ops', 'dirty_date') }}
    where claimed_by is null

),

compared as (

    {{ days_to_compare('sales_fact', 'order_date', var('sources_of_sales')) }}

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
