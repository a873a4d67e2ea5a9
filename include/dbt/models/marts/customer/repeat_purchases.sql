-- Grain: one row per order number from 1 to 10 and cohort, and one for all cohorts, whose
-- cohort_month is null.
with monthly as (

    select * from {{ ref('int_repeat_monthly_sales') }}

),

by_days as (

    select
        cohort_month,
        order_number,
        days_since_previous,
        sum(customers)::bigint as customers,
        sum(revenue) as revenue
    from monthly
    group by grouping sets (
        (cohort_month, order_number, days_since_previous), (order_number, days_since_previous)
    )

),

-- A percentile is the first number of days within which that share of the customers ordered again.
ranked as (

    select
        *,
        sum(customers) over days_so_far as customers_so_far,
        sum(customers) over (partition by cohort_month, order_number) as all_customers
    from by_days
    window days_so_far as (partition by cohort_month, order_number order by days_since_previous)

),

reached as (

    select
        cohort_month,
        order_number,
        sum(customers)::bigint as customers,
        sum(revenue) as revenue,
        min(days_since_previous) filter (where 4 * customers_so_far >= all_customers) as p25_days,
        min(days_since_previous) filter (where 2 * customers_so_far >= all_customers)
            as median_days,
        min(days_since_previous) filter (where 4 * customers_so_far >= 3 * all_customers)
            as p75_days
    from ranked
    group by cohort_month, order_number

),

cohorts as (

    select cohort_month
    from reached
    where order_number = 1

),

-- An order number that nobody has reached has a row as well: its repeat rate is 0.
filled as (

    select
        cohorts.cohort_month,
        numbers.order_number,
        coalesce(reached.customers, 0) as customers,
        reached.revenue,
        reached.p25_days,
        reached.median_days,
        reached.p75_days
    from cohorts
    cross join generate_series(1, 10) as numbers (order_number)
    left join reached
        on
            cohorts.cohort_month is not distinct from reached.cohort_month
            and numbers.order_number = reached.order_number

),

final as (

    select
        cohort_month,
        order_number,
        customers,
        {{ percent_of(
            'customers',
            'lag(customers) over (partition by cohort_month order by order_number)'
        ) }} as repeat_rate_percent,
        median_days as median_days_since_previous,
        p25_days as p25_days_since_previous,
        p75_days as p75_days_since_previous,
        round(revenue / nullif(customers, 0), 2) as avg_order_value
    from filled

)

select * from final
