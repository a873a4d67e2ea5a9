-- Grain: one row per order line. Additive: order_quantity, order_amount, list_amount,
-- discount_amount, shipping_cost, tax_amount, cost_amount, gross_profit, contribution_amount.
{% set claimed_from = var('sources_of_sales') %}

{{ config(
    materialized='incremental',
    meta={'claimed_from': claimed_from, 'period': 'day', 'period_column': 'date_key'},
    indexes=[{'columns': ['date_key']}],
) }}

with lines as (

    select * from {{ ref('stg_sales_fact') }}
    {{ only_claimed(claimed_from, 'day', 'order_date') }}

),

customers as (

    select * from {{ ref('dim_customer') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

-- The dimensions have a member for every key that was in raw when they were built. A line that
-- arrives later made its day a dirty date, so the next build adds it.
joined as (

    select
        lines.order_id,
        lines.line_number,
        coalesce(customers.customer_key, {{ fixed_member_key() }}) as customer_key,
        products.product_key,
        lines.customer_id,
        lines.product_id,
        lines.payment_method,
        lines.order_quantity,
        lines.order_amount,
        round(lines.order_amount / nullif(1 - lines.discount_rate, 0), 2) as list_amount,
        lines.discount_rate,
        lines.shipping_cost,
        lines.tax_amount,
        lines.is_quantity_imputed,
        lines.is_cancelled,
        lines.order_date,
        {{ shop_day('lines.created_at') }} as recorded_date,
        lines.order_quantity * products.cost_price as cost_amount
    from lines
    left join customers
        on
            lines.customer_id = customers.customer_id
            and {{ valid_at('customers', shop_midnight('lines.order_date')) }}
    inner join products
        on
            lines.product_id = products.product_id
            and {{ valid_at('products', shop_midnight('lines.order_date')) }}
    where lines.customer_id is null or customers.customer_key is not null

),

final as (

    select
        order_id,
        line_number,
        customer_key,
        product_key,
        customer_id,
        product_id,
        payment_method,
        order_quantity,
        order_amount,
        list_amount,
        discount_rate,
        list_amount - order_amount as discount_amount,
        shipping_cost,
        tax_amount,
        cost_amount,
        order_amount - cost_amount as gross_profit,
        {{ percent_of('order_amount - cost_amount', 'order_amount') }} as gross_margin_percent,
        order_amount - cost_amount - shipping_cost as contribution_amount,
        is_quantity_imputed,
        customer_id is null as is_guest,
        is_cancelled,
        order_date as date_key,
        recorded_date
    from joined

)

select * from final
