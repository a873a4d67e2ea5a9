with totals as (

    select
        current_customer.customer_id,
        current_customer.customer_name,
        count(counted_order.order_id) as total_orders,
        coalesce(sum(counted_order.order_amount), 0) as lifetime_value,
        min(counted_order.order_date) as first_order_date,
        max(counted_order.order_date) as last_order_date
    from shop.current_customer
    left join shop.counted_order on current_customer.customer_id = counted_order.customer_id
    group by current_customer.customer_id, current_customer.customer_name

)

select
    *,
    ratio(lifetime_value, total_orders) as avg_order_value,
    case
        when lifetime_value >= 1000 then 'High Value'
        when lifetime_value >= 500 then 'Medium Value'
        else 'Low Value'
    end as customer_tier,
    last_order_date - first_order_date as customer_lifetime_days,
    ratio(30 * total_orders, last_order_date - first_order_date + 1) as orders_per_30_days,
    ratio(last_order_date - first_order_date, total_orders - 1) as avg_days_between_orders,
    getvariable('as_of_date') - last_order_date as days_since_last_order
from totals
