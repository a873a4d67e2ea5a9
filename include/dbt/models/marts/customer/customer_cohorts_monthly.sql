-- Grain: one row per cohort and month, from the cohort's own month to the as-of month.
with active as (

    select * from {{ ref('int_cohort_monthly_sales') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

as_of as (

    select date_key from dates
    where is_as_of

),

periods as (

    select * from {{ ref('int_periods') }}
    where grain = 'month'

),

-- All customers of a cohort are active in its first month.
cohorts as (

    select
        cohort_month,
        active_customers as cohort_customers
    from active
    where order_month = cohort_month

),

-- Months without orders are included, with zeros, up to the as-of month; later months only if they
-- have orders with a future date.
months as (

    select
        cohorts.cohort_month,
        month::date as order_month
    from cohorts
    cross join as_of
    cross join
        generate_series(
            cohorts.cohort_month::timestamp, as_of.date_key::timestamp, '1 month'
        ) as month
    union
    select
        cohort_month,
        order_month
    from active

),

filled as (

    select
        months.cohort_month,
        months.order_month,
        cohorts.cohort_customers,
        coalesce(active.active_customers, 0) as active_customers,
        coalesce(active.revenue, 0) as revenue
    from months
    inner join cohorts
        on months.cohort_month = cohorts.cohort_month
    left join active
        on
            months.cohort_month = active.cohort_month
            and months.order_month = active.order_month

),

final as (

    select
        filled.cohort_month,
        filled.order_month,
        {{ months_between('filled.cohort_month', 'filled.order_month') }} as months_since_first,
        filled.cohort_customers,
        filled.active_customers,
        {{ percent_of('filled.active_customers', 'filled.cohort_customers') }} as retention_percent,
        filled.revenue,
        sum(filled.revenue) over (
            partition by filled.cohort_month order by filled.order_month
        ) as cumulative_revenue,
        periods.is_complete
    from filled
    inner join periods
        on filled.order_month = periods.period_start

)

select * from final
