-- Grain: one row per day that orders are of. Additive: orders.
-- The median is that of the 365 days before. All their amounts would be too many to sort: it is
-- looked up in the class of amounts in which it must lie.
{% set claimed_from = ['sales_fact'] %}
{% set days_before = 365 %}
{% set rebuilt = claimed_days_and_after(claimed_from, days_before) %}

{{ config(
    materialized='incremental',
    meta={
        'claimed_from': claimed_from,
        'period': 'day',
        'period_column': 'order_date',
        'days_after': days_before,
    },
) }}

with amounts as (

    select * from {{ ref('int_daily_amount_sales') }}
    {%- if is_incremental() %}
    -- No day is so far before another one that is rebuilt.
    where order_date >= (select min(day) from unnest({{ rebuilt }}) as day) - {{ days_before }}
    {%- endif %}

),

amount_classes as (

    select
        amount_class,
        sum(orders) as orders,
        order_date
    from amounts
    group by amount_class, order_date

),

days as (

    select
        order_date,
        sum(orders) as orders
    from amount_classes
    {%- if is_incremental() %}
    where order_date = any({{ rebuilt }})
    {%- endif %}
    group by order_date

),

classes as (

    select distinct amount_class from amount_classes

),

-- An order is among those of the days before from the next day on, and after a year no more.
changes as (

    select
        amount_class,
        order_date + 1 as day,
        orders
    from amount_classes
    union all
    select
        amount_class,
        order_date + {{ days_before }} + 1 as day,
        -orders as orders
    from amount_classes
    union all
    select
        classes.amount_class,
        days.order_date as day,
        0 as orders
    from classes
    cross join days

),

running as (

    select
        amount_class,
        day,
        orders,
        sum(orders) over (
            partition by amount_class order by day
            range between unbounded preceding and current row
        ) as orders_before
    from changes

),

by_class as (

    select distinct
        amount_class,
        day as order_date,
        orders_before
    from running
    where orders_before > 0 and day in (select days.order_date from days)

),

places as (

    select
        *,
        sum(orders_before) over (partition by order_date order by amount_class) as last_place,
        sum(orders_before) over (partition by order_date) as all_orders
    from by_class

),

-- Of an even number of orders the median is the mean of the two in the middle.
middle as (

    select distinct
        places.order_date,
        places.amount_class,
        place - places.last_place + places.orders_before as place_in_class
    from places
    cross join
        unnest(array[div(places.all_orders + 1, 2), div(places.all_orders + 2, 2)]) as place
    where place > places.last_place - places.orders_before and place <= places.last_place

),

in_class as (

    select
        middle.order_date,
        middle.place_in_class,
        days_before.order_amount,
        sum(sum(days_before.orders)) over (
            partition by middle.order_date, middle.amount_class, middle.place_in_class
            order by days_before.order_amount
        ) as last_place,
        sum(days_before.orders) as orders
    from middle
    inner join amounts as days_before
        on
            middle.amount_class = days_before.amount_class
            and middle.order_date > days_before.order_date
            and middle.order_date - {{ days_before }} <= days_before.order_date
    group by
        middle.order_date,
        middle.amount_class,
        middle.place_in_class,
        days_before.order_amount

),

medians as (

    select
        order_date,
        avg(order_amount)::numeric(18, 3) as median_amount
    from in_class
    where place_in_class > last_place - orders and place_in_class <= last_place
    group by order_date

),

final as (

    select
        days.orders::integer as orders,
        medians.median_amount,
        days.order_date
    from days
    left join medians
        on days.order_date = medians.order_date

)

select * from final
