-- Complete months, and their middle days: of an even number the first of the two.
with complete_month as (

    select
        month_start::date as month_start,
        last_day(month_start) as month_end,
        month_start::date + ((day(last_day(month_start)) - 1) // 2)::integer as middle_day
    from
        generate_series(
            date_trunc('month', getvariable('first_day')), getvariable('as_of_date'), interval 1 month
        ) as months (month_start)
    where
        month_start >= getvariable('first_day')
        and last_day(month_start) <= getvariable('as_of_date')

),

day_revenue as (

    select
        category_name,
        order_date,
        sum(order_amount)::double as revenue
    from (
        select category_name, order_date, order_amount from shop.counted_line
        union all
        select 'All categories', order_date, order_amount from shop.counted_line
    )
    where
        order_date >= (select min(month_start) from complete_month)
        and order_date <= (select max(month_end) from complete_month)
    group by category_name, order_date

),

-- From the first complete month in which the category sold something, to the last complete month.
category as (

    select
        category_name,
        date_trunc('month', min(order_date))::date as begins,
        (select max(month_end) from complete_month) as ends
    from day_revenue
    group by category_name

),

category_month as (

    select
        category.*,
        complete_month.*,
        count(*) over (partition by category_name) as months
    from category
    inner join complete_month on complete_month.month_start >= category.begins

),

-- What 365 days have sold around the first, the last and the month's own middle.
years as (

    select
        category_month.category_name,
        category_month.month_start,
        sum(revenue) filter (order_date between month_start and month_end) as month_revenue,
        sum(revenue) filter (order_date <= begins + 364) as first_year,
        sum(revenue) filter (order_date >= ends - 364) as last_year,
        sum(revenue) filter (order_date between middle_day - 182 and middle_day + 182) as own_year
    from category_month
    inner join day_revenue
        on category_month.category_name is not distinct from day_revenue.category_name
    group by category_month.category_name, category_month.month_start

),

-- The year's revenue as of the month: a month nearer to an end than half a year takes the first or the last 365
-- days, at the growth that lies between the middles of the two. Twelve months alone show no growth.
usual as (

    select
        category_month.*,
        coalesce(years.month_revenue, 0) as month_revenue,
        case
            when middle_day - 182 < begins and months = 12 then first_year
            when middle_day + 182 > ends and months = 12 then last_year
            when middle_day - 182 < begins
                then first_year * exp(
                    ln(last_year / first_year) * (middle_day - begins - 182) / (ends - begins - 364)
                )
            when middle_day + 182 > ends
                then last_year * exp(
                    ln(last_year / first_year) * (middle_day - ends + 182) / (ends - begins - 364)
                )
            else own_year
        end as year_revenue
    from category_month
    inner join years
        on
            category_month.category_name is not distinct from years.category_name
            and category_month.month_start = years.month_start
    where months >= 12

),

-- 1 is a month that sells as much a day as its year.
detrended as (

    select
        category_name,
        month(month_start) as month_of_year,
        months,
        month_revenue / day(month_end) * 365 / year_revenue as ratio
    from usual
    where year_revenue > 0

),

typical as (

    select
        category_name,
        month_of_year,
        median(ratio) as ratio,
        count(*) as years_used,
        min(ratio) as lowest,
        max(ratio) as highest
    from detrended
    group by category_name, month_of_year

),

-- Only categories with all twelve months of the year.
scale as (

    select
        category_name,
        100 / avg(ratio) as percent
    from typical
    group by category_name
    having count(*) = 12

),

strength as (

    select
        detrended.category_name,
        any_value(detrended.months) >= 24 as is_reliable,
        case
            when stddev_pop(detrended.ratio) > 1e-12
                then
                    greatest(
                        1 - var_pop(detrended.ratio - typical.ratio) / var_pop(detrended.ratio), 0
                    )
        end as strength
    from detrended
    inner join typical
        on
            detrended.category_name is not distinct from typical.category_name
            and detrended.month_of_year = typical.month_of_year
    group by detrended.category_name

)

select
    typical.category_name,
    typical.month_of_year,
    (typical.ratio * scale.percent)::decimal(38, 2) as index_percent,
    typical.years_used,
    (typical.lowest * scale.percent)::decimal(38, 2) as lowest,
    (typical.highest * scale.percent)::decimal(38, 2) as highest,
    case when strength.is_reliable then strength.strength end::decimal(38, 4) as strength,
    strength.is_reliable
from typical
inner join scale on typical.category_name is not distinct from scale.category_name
inner join strength on typical.category_name is not distinct from strength.category_name
