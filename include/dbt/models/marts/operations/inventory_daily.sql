-- Grain: one row per product and day, up to the as-of date, on which it was sold, its stock changed
-- or it was out of stock. Additive: units_sold, estimated_lost_units.
{% set claimed_from = ['sales_fact', 'as_of', 'stock'] %}

{{ config(
    materialized='incremental',
    unique_key=['date_key', 'product_id'],
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
    indexes=[{'columns': ['product_id']}, {'columns': ['is_stocked_out', 'date_key']}],
) }}

with dates as (

    select * from {{ ref('dim_date') }}

),

-- Without an as-of date no row, and so no day: the least() below ignores null, and a stock lasts
-- for ever.
bounds as (

    select
        max(date_key) filter (where is_as_of) as last_day,
        min(date_key) filter (where is_covered) as first_covered_day
    from dates
    having max(date_key) filter (where is_as_of) is not null

),

lines as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'day', 'date_key') }}

),

changes as (

    select * from {{ ref('int_stock_spells') }}
    {{ only_claimed(claimed_from, 'day', 'from_day') }}

),

spells as (

    select * from {{ ref('int_stock_spells') }}

),

{% if is_incremental() -%}
-- What a product would have sold depends on the 90 days before: a changed day changes the rows of
-- the 90 days after it.
estimated_days as (

    select distinct (claimed.claimed_day + days_later.days)::date as date_key
    from unnest({{ claimed_periods(claimed_from, 'day') }}) as claimed (claimed_day)
    cross join generate_series(0, 90) as days_later (days)

),

{% endif -%}
stocked_out as (

    select
        spells.product_id,
        day::date as date_key,
        greatest(day::date - 90, bounds.first_covered_day) as first_day,
        day::date - 1 as last_day
    from spells
    cross join bounds
    cross join
        generate_series(
            greatest(
                spells.from_day,
                {%- if is_incremental() %}
                (select min(estimated_days.date_key) from estimated_days),
                {%- endif %}
                bounds.first_covered_day
            )::timestamp,
            least(spells.to_day - 1, bounds.last_day)::timestamp,
            '1 day'
        ) as day
    where
        spells.is_stocked_out
        {%- if is_incremental() %}
        and day::date in (select estimated_days.date_key from estimated_days)
        {%- endif %}

),

demand as (

    {{ demand_of('stocked_out') }}

),

-- Of the claimed days, and of the other days that are estimated again.
sold as (

    select
        product_id,
        date_key,
        sum(order_quantity)::bigint as units_sold
    from lines
    where {{ is_counted() }} and date_key <= (select bounds.last_day from bounds)
    group by product_id, date_key

),

sold_without_stock as (

    select
        lines_without_stock.product_id,
        lines_without_stock.date_key,
        sum(lines_without_stock.order_quantity)::bigint as units_sold
    from {{ ref('fact_sales') }} as lines_without_stock
    inner join stocked_out
        on
            lines_without_stock.product_id = stocked_out.product_id
            and lines_without_stock.date_key = stocked_out.date_key
    where
        {{ is_counted('lines_without_stock') }}
        and lines_without_stock.date_key between
        (select min(earliest.date_key) from stocked_out as earliest)
        and (select max(latest.date_key) from stocked_out as latest)
    group by lines_without_stock.product_id, lines_without_stock.date_key

),

product_days as (

    select
        product_id,
        date_key
    from sold
    union
    select
        product_id,
        from_day as date_key
    from changes
    where from_day <= (select bounds.last_day from bounds)
    union
    select
        product_id,
        date_key
    from stocked_out

),

final as (

    select
        product_days.date_key,
        product_days.product_id,
        coalesce(spells.inventory_status, 'Unknown') as inventory_status,
        spells.stock_level,
        coalesce(sold.units_sold, sold_without_stock.units_sold, 0) as units_sold,
        -- greatest() ignores null, but an unknown demand is not 0.
        case
            when demand.daily_demand is not null
                then round(
                    greatest(
                        demand.daily_demand - coalesce(sold_without_stock.units_sold, 0), 0
                    ),
                    2
                )
        end as estimated_lost_units,
        coalesce(spells.is_stocked_out, false) as is_stocked_out
    from product_days
    left join spells
        on
            product_days.product_id = spells.product_id
            and product_days.date_key >= spells.from_day
            and product_days.date_key < spells.to_day
    left join sold
        on
            product_days.product_id = sold.product_id
            and product_days.date_key = sold.date_key
    left join sold_without_stock
        on
            product_days.product_id = sold_without_stock.product_id
            and product_days.date_key = sold_without_stock.date_key
    left join demand
        on
            product_days.product_id = demand.product_id
            and product_days.date_key = demand.date_key

)

select * from final
