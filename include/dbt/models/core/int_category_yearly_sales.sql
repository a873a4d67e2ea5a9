-- Grain: one row per month, quarter or year (`grain`) and category, or all categories, in which
-- customers bought. Not additive: a customer may buy in several categories and periods.
{% set claimed_from = var('sources_of_sales_to_date') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'year', 'period_column': 'order_year'},
) }}

with lines as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'year', 'date_key') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

as_of as (

    select date_key from dates
    where is_as_of

),

-- A bit per month in which the customer bought, so that a year is read once for all its periods.
-- Orders dated after the as-of date are not counted yet.
buyers as (

    select
        {{ first_day_of('year', 'lines.date_key') }} as order_year,
        products.category_name,
        lines.customer_id,
        bit_or(1 << (extract(month from lines.date_key)::integer - 1)) as months
    from lines
    inner join products
        on lines.product_key = products.product_key
    where
        {{ is_counted('lines') }}
        and not lines.is_guest
        and lines.date_key <= (select as_of.date_key from as_of)
    group by order_year, products.category_name, lines.customer_id

),

buyers_of_any_category as (

    select
        order_year,
        customer_id,
        bit_or(months) as months
    from buyers
    group by order_year, customer_id

),

by_months as (

    select
        order_year,
        category_name,
        months,
        count(*) as customers
    from buyers
    group by order_year, category_name, months
    union all
    select
        order_year,
        {{ all_categories() }} as category_name,
        months,
        count(*) as customers
    from buyers_of_any_category
    group by order_year, months

),

-- The periods of a year: how many months come before one, and the bits of its own.
periods as (

    select
        grain,
        months_before,
        ((1 << months_in_period) - 1) << months_before as months
    from (
        values ('month', 1), ('quarter', 3), ('year', 12)
    ) as grains (grain, months_in_period)
    cross join generate_series(0, 12 - months_in_period, months_in_period) as months_before

),

final as (

    select
        by_months.order_year,
        periods.grain,
        (by_months.order_year + make_interval(months => periods.months_before))::date
            as period_start,
        by_months.category_name,
        sum(by_months.customers)::bigint as customers
    from by_months
    inner join periods
        on by_months.months & periods.months <> 0
    group by
        by_months.order_year,
        periods.grain,
        period_start,
        by_months.category_name

)

select * from final
