-- Grain: one row per current customer, with or without orders.
with customers as (

    select * from {{ ref('dim_customer') }}
    where is_current

),

years as (

    select * from {{ ref('int_customer_yearly_sales') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

as_of as (

    select date_key from dates
    where is_as_of

),

by_customer as (

    select
        customer_id,
        sum(orders)::bigint as total_orders,
        sum(revenue) as lifetime_value,
        min(first_order_date) as first_order_date,
        max(last_order_date) as last_order_date
    from years
    group by customer_id

),

measured as (

    select
        customers.customer_id,
        customers.customer_name,
        coalesce(by_customer.total_orders, 0) as total_orders,
        coalesce(by_customer.lifetime_value, 0) as lifetime_value,
        by_customer.first_order_date,
        by_customer.last_order_date,
        by_customer.last_order_date - by_customer.first_order_date as customer_lifetime_days
    from customers
    left join by_customer
        on customers.customer_id = by_customer.customer_id

),

final as (

    select
        customer_id,
        customer_name,
        total_orders,
        lifetime_value,
        round(lifetime_value / nullif(total_orders, 0), 2) as avg_order_value,
        case
            when lifetime_value >= {{ var('high_value_threshold') }} then 'High Value'
            when lifetime_value >= {{ var('medium_value_threshold') }} then 'Medium Value'
            else 'Low Value'
        end as customer_tier,
        first_order_date,
        last_order_date,
        customer_lifetime_days,
        round(total_orders * 30.0 / (customer_lifetime_days + 1), 2) as orders_per_30_days,
        round(customer_lifetime_days::numeric / nullif(total_orders - 1, 0), 2)
            as avg_days_between_orders,
        (select as_of.date_key from as_of) - last_order_date as days_since_last_order
    from measured

)

select * from final
