-- Grain: one row per customer who has lines that marts count.
with years as (

    select * from {{ ref('int_customer_yearly_sales') }}

),

split_lines as (

    select * from {{ ref('int_split_order_sales') }}

),

too_many as (

    select
        customer_id,
        {{ orders_counted_too_often() }} as orders
    from split_lines
    where customer_id is not null
    group by customer_id

),

totals as (

    select
        customer_id,
        sum(orders)::bigint as orders,
        sum(revenue) as revenue,
        (array_agg(first_day_revenue order by order_year))[1] as first_day_revenue,
        min(first_order_date) as first_order_date,
        max(last_order_date) as last_order_date
    from years
    group by customer_id

),

final as (

    select
        totals.customer_id,
        totals.orders - coalesce(too_many.orders, 0) as orders,
        totals.revenue,
        totals.first_day_revenue,
        totals.first_order_date,
        totals.last_order_date
    from totals
    left join too_many
        on totals.customer_id = too_many.customer_id

)

select * from final
