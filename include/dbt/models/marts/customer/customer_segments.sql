-- Grain: one row per current customer, with or without orders. Guests are no customers.
with customers as (

    select * from {{ ref('dim_customer') }}
    where is_current and customer_id is not null

),

sales as (

    select * from {{ ref('int_customer_sales') }}

),

refunds as (

    select * from {{ ref('int_customer_yearly_refunded_sales') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

as_of as (

    select date_key from dates
    where is_as_of

),

refunded as (

    select
        customer_id,
        sum(refunded_amount) as refunded_amount
    from refunds
    group by customer_id

),

valued as (

    select
        sales.customer_id,
        sales.orders,
        sales.last_order_date,
        sales.revenue - coalesce(refunded.refunded_amount, 0) as lifetime_value
    from sales
    left join refunded
        on sales.customer_id = refunded.customer_id

),

-- A score counts the customers with smaller values, so equal customers have equal scores.
scores as (

    select
        customer_id,
        {{ quintile_of('last_order_date') }} as recency_score,
        {{ quintile_of('orders') }} as frequency_score,
        {{ quintile_of('lifetime_value') }} as monetary_score
    from valued

),

measured as (

    select
        customers.customer_id,
        customers.customer_name,
        coalesce(sales.orders, 0) as total_orders,
        coalesce(sales.revenue, 0) as lifetime_revenue,
        coalesce(refunded.refunded_amount, 0) as refunded_amount,
        coalesce(sales.revenue, 0) - coalesce(refunded.refunded_amount, 0) as lifetime_value,
        sales.first_order_date,
        sales.last_order_date,
        sales.last_order_date - sales.first_order_date as customer_lifetime_days,
        (select as_of.date_key from as_of) - sales.first_order_date as days_since_first_order,
        scores.recency_score,
        scores.frequency_score,
        scores.monetary_score,
        -- The mean of the two scores, halves rounded up.
        (scores.frequency_score + scores.monetary_score + 1) / 2 as value_score
    from customers
    left join sales
        on customers.customer_id = sales.customer_id
    left join refunded
        on customers.customer_id = refunded.customer_id
    left join scores
        on customers.customer_id = scores.customer_id

),

final as (

    select
        customer_id,
        customer_name,
        total_orders,
        lifetime_revenue,
        refunded_amount,
        lifetime_value,
        round(lifetime_revenue / nullif(total_orders, 0), 2) as avg_order_value,
        case
            when lifetime_value >= {{ var('high_value_threshold') }} then 'High Value'
            when lifetime_value >= {{ var('medium_value_threshold') }} then 'Medium Value'
            else 'Low Value'
        end as customer_tier,
        first_order_date,
        last_order_date,
        customer_lifetime_days,
        case
            when days_since_first_order >= 30
                then round(total_orders * 30.0 / (days_since_first_order + 1), 2)
        end as orders_per_30_days,
        round(customer_lifetime_days::numeric / nullif(total_orders - 1, 0), 2)
            as avg_days_between_orders,
        (select as_of.date_key from as_of) - last_order_date as days_since_last_order,
        recency_score,
        frequency_score,
        monetary_score,
        case
            when total_orders = 0 then 'No Orders'
            when recency_score = 5 and value_score >= 4 then 'Champions'
            when recency_score >= 3 and value_score >= 4 then 'Loyal'
            when recency_score >= 4 and value_score >= 2 then 'Potential Loyalists'
            when recency_score >= 4 then 'Promising'
            when recency_score = 3 and value_score = 3 then 'Needs Attention'
            when recency_score = 3 then 'About to Sleep'
            when value_score = 5 then 'Cannot Lose'
            when value_score >= 3 then 'At Risk'
            else 'Hibernating'
        end as rfm_segment
    from measured

)

select * from final
