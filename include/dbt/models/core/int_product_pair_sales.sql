-- Grain: one row per product and other product, of the pairs with the highest lift. Over the last
-- complete months, up to `counted_month`: while no day of them is claimed, nothing is computed.
{% set claimed_from = ['sales_fact', 'as_of'] %}
{% set claimed_months = claimed_periods(claimed_from, 'month', onward=true) %}

{{ config(
    materialized='incremental',
    meta={
        'claimed_from': claimed_from, 'period': 'month', 'period_column': 'counted_month', 'onward': true
    },
    post_hook="{{ delete_former_months() }}",
) }}

with periods as (

    select * from {{ ref('int_periods') }}
    where grain = 'month' and is_complete

),

last_month as (

    select max(period_start) as counted_month
    from periods

),

months as (

    select
        min(periods.period_start) as first_day,
        max(periods.period_end) as last_day,
        max(periods.period_start) as counted_month
    from periods
    cross join last_month
    where
        periods.period_start
        > last_month.counted_month - interval '{{ var("affinity_months") }} months'

),

lines as (

    select * from {{ ref('fact_sales') }}

),

-- The condition on the claimed months has no column of a line: Postgres evaluates it once, and
-- reads no line if it is false.
purchases as (

    select distinct
        customer_id,
        product_id,
        date_key
    from lines
    where
        {{ is_counted() }}
        and not is_guest
        and date_key between
        (select months.first_day from months) and (select months.last_day from months)
        {%- if is_incremental() %}
        and (select months.counted_month from months)
        = any({{ claimed_months }})
        {%- endif %}

),

product_customers as (

    select
        product_id,
        count(distinct customer_id) as customers
    from purchases
    group by product_id

),

-- Of all pairs there are too many: those of the products with the most customers.
products as (

    select
        product_id,
        customers,
        row_number() over (order by customers desc, product_id asc) as product_number
    from product_customers
    where customers >= {{ var('affinity_customers') }}
    order by customers desc, product_id asc
    limit {{ var('affinity_products') }}

),

-- Ranges, since a customer may buy both products on many days, and one pair of days is enough.
bought as (

    select
        purchases.customer_id,
        products.product_number,
        range_agg(daterange(purchases.date_key, purchases.date_key, '[]')) as days,
        range_agg(
            daterange(
                purchases.date_key,
                purchases.date_key + {{ var('affinity_days') }},
                '(]'
            )
        ) as days_after
    from purchases
    inner join products
        on purchases.product_id = products.product_id
    group by purchases.customer_id, products.product_number

),

bought_by_one as (

    select
        bought.product_number,
        others.product_number as other_number,
        bought.days_after && others.days as is_other_next,
        others.days_after && bought.days as is_other_first,
        bought.days && others.days as is_same_day
    from bought
    inner join bought as others
        on
            bought.customer_id = others.customer_id
            and bought.product_number < others.product_number

),

pairs as (

    select
        product_number,
        other_number,
        count(*) filter (where is_other_next or is_other_first or is_same_day) as customers,
        count(*) filter (where is_other_next) as customers_other_next,
        count(*) filter (where is_other_first) as customers_other_first
    from bought_by_one
    group by product_number, other_number
    having
        count(*) filter (where is_other_next or is_other_first or is_same_day)
        >= {{ var('affinity_customers') }}

),

both_ways as (

    select
        product_number,
        other_number,
        customers,
        customers_other_next as customers_next
    from pairs
    union all
    select
        other_number as product_number,
        product_number as other_number,
        customers,
        customers_other_first as customers_next
    from pairs

),

-- Within the pairs of one product, the lift orders as customers / other_customers does.
ranked as (

    select
        products.product_id,
        others.product_id as other_product_id,
        both_ways.customers,
        both_ways.customers_next,
        products.customers as product_customers,
        others.customers as other_customers,
        row_number() over (
            partition by products.product_id
            order by
                round(both_ways.customers::numeric / others.customers, 15) desc,
                both_ways.customers desc,
                others.product_id asc
        ) as place
    from both_ways
    inner join products
        on both_ways.product_number = products.product_number
    inner join products as others
        on both_ways.other_number = others.product_number

),

final as (

    select
        product_id,
        other_product_id,
        customers,
        customers_next,
        product_customers,
        other_customers,
        (select count(distinct purchases.customer_id) from purchases) as all_customers,
        (select months.counted_month from months) as counted_month
    from ranked
    where place <= {{ var('affinity_pairs') }}

)

select * from final
