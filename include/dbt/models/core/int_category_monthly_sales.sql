-- Grain: one row per month and group of lines: all lines, a category, a subcategory, a payment
-- method of a category, or a payment method (`grouped_by`). Additive within one `grouped_by`: units
-- and money, but not orders: an order may be in several groups.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'month', 'period_column': 'order_month'},
) }}

with lines as (

    select * from {{ ref('fact_sales') }}
    {{ only_claimed(claimed_from, 'month', 'date_key') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

split_orders as (

    select distinct order_id
    from {{ ref('int_split_order_sales') }}

),

counted as not materialized (

    select
        {{ first_day_of('month', 'lines.date_key') }} as order_month,
        products.category_name,
        products.subcategory,
        lines.payment_method,
        lines.order_id,
        lines.line_number,
        lines.order_quantity,
        lines.order_amount,
        case when lines.gross_profit is not null then lines.order_amount end as known_cost_amount,
        lines.gross_profit
    from lines
    inner join products
        on lines.product_key = products.product_key
    where {{ is_counted('lines') }}

),

baskets as (

    {{ orders_of_several_lines('counted') }}

),

-- Orders of several lines, by order first: then an order is a row, and rows can be counted.
by_order as (

    select
        counted.order_month,
        grouping(counted.category_name, counted.subcategory, counted.payment_method)
            as grouped_columns,
        counted.category_name,
        counted.subcategory,
        counted.payment_method,
        counted.order_id,
        sum(counted.order_quantity) as units,
        sum(counted.order_amount) as revenue,
        sum(counted.known_cost_amount) as known_cost_revenue,
        sum(counted.gross_profit) as gross_profit
    from counted
    inner join baskets
        on counted.order_id = baskets.order_id
    group by
        counted.order_month,
        counted.order_id,
        grouping sets (
            (),
            (counted.category_name),
            (counted.category_name, counted.subcategory),
            (counted.category_name, counted.payment_method),
            (counted.payment_method)
        )

),

-- A line that is alone in its order is an order in each of its groups. The smallest and the largest
-- order are those of the month. An order with lines on several days is not among them: the mart
-- adds it with all its lines.
by_group as (

    select
        counted.order_month,
        grouping(counted.category_name, counted.subcategory, counted.payment_method)
            as grouped_columns,
        counted.category_name,
        counted.subcategory,
        counted.payment_method,
        count(*) as orders,
        sum(counted.order_quantity) as units,
        sum(counted.order_amount) as revenue,
        sum(counted.known_cost_amount) as known_cost_revenue,
        sum(counted.gross_profit) as gross_profit,
        min(counted.order_amount) filter (
            where counted.order_id not in (select split_orders.order_id from split_orders)
        ) as min_order_revenue,
        max(counted.order_amount) filter (
            where counted.order_id not in (select split_orders.order_id from split_orders)
        ) as max_order_revenue
    from counted
    left join baskets
        on counted.order_id = baskets.order_id
    where baskets.order_id is null
    group by
        counted.order_month,
        grouping sets (
            (),
            (counted.category_name),
            (counted.category_name, counted.subcategory),
            (counted.category_name, counted.payment_method),
            (counted.payment_method)
        )
    union all
    select
        order_month,
        grouped_columns,
        category_name,
        subcategory,
        payment_method,
        count(*) as orders,
        sum(units) as units,
        sum(revenue) as revenue,
        sum(known_cost_revenue) as known_cost_revenue,
        sum(gross_profit) as gross_profit,
        min(revenue) filter (
            where order_id not in (select split_orders.order_id from split_orders)
        ) as min_order_revenue,
        max(revenue) filter (
            where order_id not in (select split_orders.order_id from split_orders)
        ) as max_order_revenue
    from by_order
    group by order_month, grouped_columns, category_name, subcategory, payment_method

),

final as (

    select
        order_month,
        case grouped_columns
            when 7 then 'month'
            when 3 then 'category'
            when 1 then 'subcategory'
            when 2 then 'category and payment method'
            when 6 then 'payment method'
        end as grouped_by,
        category_name,
        subcategory,
        payment_method,
        sum(orders)::bigint as orders,
        sum(units)::bigint as units,
        sum(revenue) as revenue,
        coalesce(sum(known_cost_revenue), 0) as known_cost_revenue,
        sum(gross_profit) as gross_profit,
        min(min_order_revenue) as min_order_revenue,
        max(max_order_revenue) as max_order_revenue
    from by_group
    group by order_month, grouped_columns, category_name, subcategory, payment_method

)

select * from final
