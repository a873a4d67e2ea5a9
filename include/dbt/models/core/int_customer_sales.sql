-- Grain: one row per customer who has orders with an amount.
with years as (

    select * from {{ ref('int_customer_yearly_sales') }}

),

final as (

    select
        customer_id,
        sum(orders)::bigint as orders,
        sum(revenue) as revenue,
        (array_agg(first_day_revenue order by order_year))[1] as first_day_revenue,
        min(first_order_date) as first_order_date,
        max(last_order_date) as last_order_date
    from years
    group by customer_id

)

select * from final
