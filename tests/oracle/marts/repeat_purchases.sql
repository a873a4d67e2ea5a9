with orders as (

    select
        customer_id,
        order_id,
        min(order_date) as order_date,
        sum(order_amount) as revenue
    from shop.counted_line
    where customer_id is not null
    group by customer_id, order_id

),

-- All orders of a customer, in their order, as one list.
customers as (

    select
        customer_id,
        list(order_date order by order_date, order_id) as dates,
        list(revenue order by order_date, order_id) as revenues
    from orders
    group by customer_id

),

groups as (

    select
        date_trunc('month', dates[1])::date as cohort_month,
        *
    from customers
    union all
    select
        null as cohort_month,
        *
    from customers

),

-- Grain: group, order number and customer of the group, with what the customer has of it.
steps as (

    select
        groups.cohort_month,
        numbers.order_number,
        len(groups.dates) >= numbers.order_number as has_made_it,
        len(groups.dates) >= numbers.order_number - 1 as has_made_the_one_before,
        case when numbers.order_number > 1
            then groups.dates[numbers.order_number] - groups.dates[numbers.order_number - 1]
        end as days_between,
        groups.revenues[numbers.order_number] as revenue
    from groups
    cross join (select unnest(range(1, 11))::integer as order_number) as numbers

),

counted as (

    select
        cohort_month,
        order_number,
        count(*) filter (where has_made_it) as customers,
        count(*) filter (where has_made_the_one_before) as customers_before,
        list(days_between order by days_between) filter (where days_between is not null)
            as all_days,
        sum(revenue) as revenue
    from steps
    group by cohort_month, order_number

)

select
    cohort_month,
    order_number,
    customers,
    case
        when order_number > 1 then percent(customers, customers_before)
    end as repeat_rate_percent,
    all_days[(len(all_days) + 1) // 2] as median_days_since_previous,
    all_days[(len(all_days) + 3) // 4] as p25_days_since_previous,
    all_days[(3 * len(all_days) + 3) // 4] as p75_days_since_previous,
    ratio(revenue, customers) as avg_order_value
from counted
