with orders as (

    select
        customer_id,
        count(distinct order_id) as total_orders,
        sum(order_amount) as lifetime_revenue,
        min(order_date) as first_order_date,
        max(order_date) as last_order_date
    from shop.counted_line
    where customer_id is not null
    group by customer_id

),

refunds as (

    select
        customer_id,
        sum(refund_amount) as refunded_amount
    from shop.refund
    where customer_id is not null
    group by customer_id

),

totals as (

    select
        current_customer.customer_id,
        current_customer.customer_name,
        coalesce(orders.total_orders, 0) as total_orders,
        coalesce(orders.lifetime_revenue, 0) as lifetime_revenue,
        coalesce(refunds.refunded_amount, 0) as refunded_amount,
        coalesce(orders.lifetime_revenue, 0)
        - coalesce(refunds.refunded_amount, 0) as lifetime_value,
        orders.first_order_date,
        orders.last_order_date,
        getvariable('as_of_date') - orders.first_order_date as days_since_first_order
    from shop.current_customer
    left join orders on current_customer.customer_id = orders.customer_id
    left join refunds on current_customer.customer_id = refunds.customer_id

),

-- Grain: value of one of the three measures; its score depends on the number of customers below it.
score as (

    select
        measure,
        value,
        (1 + 5 * coalesce(sum(customers) over below, 0) // sum(customers) over all_values)::integer
            as score
    from (
        select
            measure,
            value,
            count(*) as customers
        from (
            select
                unnest(['recency', 'frequency', 'monetary']) as measure,
                unnest(
                    [
                        last_order_date - date '2000-01-01',
                        in_cents(total_orders),
                        in_cents(lifetime_value)
                    ]
                ) as value
            from totals
            where total_orders > 0
        )
        group by measure, value
    )
    window
        below as (
            partition by measure order by value
            rows between unbounded preceding and 1 preceding
        ),
        all_values as (partition by measure)

),

scores as (

    select
        totals.customer_id,
        recency.score as recency_score,
        frequency.score as frequency_score,
        monetary.score as monetary_score,
        ceil((frequency.score + monetary.score) / 2)::integer as value_score
    from totals
    inner join score as recency
        on
            recency.measure = 'recency'
            and totals.last_order_date - date '2000-01-01' = recency.value
    inner join score as frequency
        on frequency.measure = 'frequency' and in_cents(totals.total_orders) = frequency.value
    inner join score as monetary
        on monetary.measure = 'monetary' and in_cents(totals.lifetime_value) = monetary.value

)

select
    totals.* exclude (days_since_first_order),
    ratio(lifetime_revenue, total_orders) as avg_order_value,
    case
        when lifetime_value >= 1000 then 'High Value'
        when lifetime_value >= 500 then 'Medium Value'
        else 'Low Value'
    end as customer_tier,
    last_order_date - first_order_date as customer_lifetime_days,
    -- The day of the first order is the first day; the rate is known when the 30th has passed.
    case
        when days_since_first_order >= 30
            then ratio(30 * total_orders, days_since_first_order + 1)
    end as orders_per_30_days,
    ratio(last_order_date - first_order_date, total_orders - 1) as avg_days_between_orders,
    getvariable('as_of_date') - last_order_date as days_since_last_order,
    scores.recency_score,
    scores.frequency_score,
    scores.monetary_score,
    -- By recency, then by the mean of the other two.
    coalesce(
        [
            ['Hibernating', 'Hibernating', 'At Risk', 'At Risk', 'Cannot Lose'],
            ['Hibernating', 'Hibernating', 'At Risk', 'At Risk', 'Cannot Lose'],
            ['About to Sleep', 'About to Sleep', 'Needs Attention', 'Loyal', 'Loyal'],
            ['Promising', 'Potential Loyalists', 'Potential Loyalists', 'Loyal', 'Loyal'],
            ['Promising', 'Potential Loyalists', 'Potential Loyalists', 'Champions', 'Champions']
        ][scores.recency_score][scores.value_score],
        'No Orders'
    ) as rfm_segment
from totals
left join scores on totals.customer_id = scores.customer_id
