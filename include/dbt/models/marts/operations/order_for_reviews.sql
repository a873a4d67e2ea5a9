-- Grain: one row per order that has a high discount, a high shipping cost or both.
with orders as (

    select * from {{ ref('fact_sales') }}
    where order_amount > 0

),

customers as (

    select * from {{ ref('dim_customer') }}
    where is_current

),

flagged as (

    select
        *,
        discount_rate > {{ var('high_discount_threshold') }} as is_high_discount,
        shipping_cost > {{ var('high_shipping_threshold') }} * order_amount as is_high_shipping
    from orders

),

final as (

    select
        flagged.order_id,
        flagged.customer_id,
        customers.customer_name,
        flagged.date_key as order_date,
        flagged.order_amount,
        round(100 * flagged.discount_rate, 2) as discount_percent,
        {{ percent_of('flagged.shipping_cost', 'flagged.order_amount') }} as shipping_percent,
        flagged.is_high_discount,
        flagged.is_high_shipping,
        case
            when flagged.is_high_discount and flagged.is_high_shipping then 'High'
            else 'Medium'
        end as review_priority
    from flagged
    inner join customers
        on flagged.customer_id = customers.customer_id
    where flagged.is_high_discount or flagged.is_high_shipping

)

select * from final
