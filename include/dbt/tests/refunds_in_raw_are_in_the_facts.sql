-- Day by day and to the cent: the refunds of raw are in fact_refunds. As for the order lines, a day
-- that was loaded after this build claimed its days is left to the next build, and an incremental
-- build compares only `days_to_compare`.
{%- set is_all = running_build().mode != 'incremental' or running_build().refreshed | length > 0 %}

with unclaimed as (

    select dirty_date from {{ source('ops', 'dirty_date') }}
    where claimed_by is null

),

compared as (

    {{ days_to_compare('refund', 'refund_date', var('sources_of_refunds')) }}

),

in_raw as (

    select
        refund_date,
        count(*) as refunds,
        sum(round(refund_amount, 2)) as refund_amount
    from {{ source('shop', 'refund') }}
    where {{ is_all }} or refund_date = any(array(select compared.refund_date from compared))
    group by refund_date

),

in_facts as (

    select
        date_key,
        count(*) as refunds,
        sum(refund_amount) as refund_amount
    from {{ ref('fact_refunds') }}
    where {{ is_all }} or date_key = any(array(select compared.refund_date from compared))
    group by date_key

)

select
    coalesce(in_raw.refund_date, in_facts.date_key) as refund_date,
    in_raw.refunds as refunds_in_raw,
    in_facts.refunds as refunds_in_facts,
    in_raw.refund_amount as amount_in_raw,
    in_facts.refund_amount as amount_in_facts
from in_raw
full join in_facts
    on in_raw.refund_date = in_facts.date_key
where
    (
        in_raw.refunds is distinct from in_facts.refunds
        or in_raw.refund_amount is distinct from in_facts.refund_amount
    )
    and coalesce(in_raw.refund_date, in_facts.date_key) not in (
        select unclaimed.dirty_date from unclaimed
    )
