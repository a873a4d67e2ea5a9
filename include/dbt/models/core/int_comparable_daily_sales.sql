-- Grain: one row per day from the first order to the as-of date. Additive: revenue.
with order_days as (

    select * from {{ ref('int_daily_sales') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

as_of as (

    select date_key from dates
    where is_as_of

),

days as (

    select
        dates.date_key,
        dates.day_of_week,
        coalesce(order_days.revenue, 0) as revenue
    from dates
    left join order_days
        on dates.date_key = order_days.date_key
    where
        dates.date_key >= (select min(sales.date_key) from order_days as sales)
        and dates.date_key <= (select as_of.date_key from as_of)

),

-- Every day has a row, so 14 rows are 14 days. Sums of `numeric` are exact: the order of the rows
-- does not change a mean.
with_baseline as (

    select
        *,
        case
            when count(*) over days_around >= 15 then avg(revenue) over days_around
        end as baseline_revenue
    from days
    window days_around as (order by date_key rows between 14 preceding and 14 following)

),

with_weekday_factor as (

    select
        *,
        avg(revenue / nullif(baseline_revenue, 0)) over (partition by day_of_week) as weekday_factor
    from with_baseline

),

final as (

    select
        date_key,
        revenue,
        baseline_revenue,
        weekday_factor,
        round(revenue / nullif(baseline_revenue * weekday_factor, 0), 12) as sales_ratio
    from with_weekday_factor

)

select * from final
