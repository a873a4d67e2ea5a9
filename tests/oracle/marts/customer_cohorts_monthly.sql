-- Every past month of a cohort has a row; a future month only if it has orders.
-- Guests are in no cohort.
with member as (

    select
        customer_id,
        min(order_month) as cohort_month
    from shop.counted_line
    where customer_id is not null
    group by customer_id

),

cohort as (

    select
        cohort_month,
        count(*) as cohort_customers
    from member
    group by cohort_month

),

lines as (

    select
        member.cohort_month,
        counted_line.*
    from shop.counted_line
    inner join member on counted_line.customer_id = member.customer_id

),

months as (

    select
        cohort_month,
        unnest(
            generate_series(cohort_month, getvariable('as_of_date'), interval 1 month)
        )::date as order_month
    from cohort
    union
    select
        cohort_month,
        order_month
    from lines

),

up_to as (

    select
        months.cohort_month,
        months.order_month,
        sum(lines.order_amount) as cumulative_revenue,
        coalesce(
            sum(lines.order_amount) filter (where lines.order_month = months.order_month), 0
        ) as revenue,
        count(distinct lines.customer_id)
            filter (where lines.order_month = months.order_month) as active_customers
    from months
    inner join lines
        on
            months.cohort_month = lines.cohort_month
            and months.order_month >= lines.order_month
    group by months.cohort_month, months.order_month

)

select
    up_to.cohort_month,
    up_to.order_month,
    datediff('month', up_to.cohort_month, up_to.order_month) as months_since_first,
    cohort.cohort_customers,
    up_to.active_customers,
    percent(up_to.active_customers, cohort.cohort_customers) as retention_percent,
    up_to.revenue,
    up_to.cumulative_revenue,
    period.is_complete
from up_to
inner join cohort on up_to.cohort_month = cohort.cohort_month
inner join shop.period
    on period.grain = 'month' and up_to.order_month = period.period_start
