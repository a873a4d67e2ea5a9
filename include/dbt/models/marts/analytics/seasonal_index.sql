-- Grain: one row per category, all categories among them, and month of the year: twelve of a
-- category, or none.
with days as (

    select * from {{ ref('int_category_daily_sales') }}

),

periods as (

    select * from {{ ref('int_periods') }}

),

complete_months as (

    select
        period_start as month_start,
        extract(month from period_start)::integer as month_of_year,
        days_in_period as month_days,
        -- The day in the middle, of an even number the first of the two.
        period_start + (days_in_period - 1) / 2 as middle_day,
        period_end as month_end
    from periods
    where grain = 'month' and is_complete

),

-- A category begins with its first complete month that has sales: that it was not there before is
-- no season.
sales as (

    select
        date_key,
        category_name,
        revenue,
        {{ first_day_of('month', 'min(date_key) over (partition by category_name)') }} as first_day,
        (select max(month_end) from complete_months) as last_day
    from days
    where
        date_key >= (select min(month_start) from complete_months)
        and date_key <= (select max(month_end) from complete_months)

),

categories as (

    select
        category_name,
        first_day,
        last_day,
        {{ months_between('first_day', 'last_day') }} + 1 as months,
        sum(revenue) filter (where date_key < first_day + 365) as first_year_revenue,
        coalesce(sum(revenue) filter (where date_key > last_day - 365), 0) as last_year_revenue
    from sales
    group by category_name, first_day, last_day

),

-- Around a month near an end not all of the 365 days are there. Its usual revenue is that of the
-- first or last 365 days, moved to the middle of the month by the mean growth between the two:
-- without that, the first months of a growing shop would look weak, and the last ones strong.
-- Twelve months alone show no growth.
category_months as (

    select
        categories.category_name,
        categories.months,
        complete_months.month_of_year,
        complete_months.month_days,
        complete_months.middle_day,
        complete_months.middle_day - (categories.first_day + 182) as days_after_first_year,
        complete_months.middle_day - (categories.last_day - 182) as days_after_last_year,
        categories.first_year_revenue,
        categories.last_year_revenue
    from categories
    inner join complete_months
        on categories.first_day <= complete_months.month_start
    where categories.months >= 12

),

with_growth as (

    select
        *,
        case
            when months = 12 then 1
            else power(
                nullif(last_year_revenue, 0) / first_year_revenue,
                1.0 / (days_after_first_year - days_after_last_year)
            )
        end as growth_a_day
    from category_months

),

-- The middle days of the months stand among the days with sales, so that windows see both: a
-- category may be null, so that a join would compare each with each.
points as (

    select
        category_name,
        date_key,
        revenue,
        null::integer as months,
        null::integer as month_of_year,
        null::integer as month_days,
        null::boolean as is_near_end,
        null::numeric as yearly_revenue_near_end
    from sales

    union all

    select
        category_name,
        middle_day as date_key,
        0 as revenue,
        months,
        month_of_year,
        month_days,
        days_after_first_year < 0 or days_after_last_year > 0 as is_near_end,
        case
            when days_after_first_year < 0
                then first_year_revenue * power(growth_a_day, days_after_first_year)
            when days_after_last_year > 0
                then last_year_revenue * power(growth_a_day, days_after_last_year)
        end as yearly_revenue_near_end
    from with_growth

),

summed as (

    select
        *,
        sum(revenue) over (
            partition by category_name, {{ first_day_of('month', 'date_key') }}
        ) as month_revenue,
        sum(revenue) over (
            partition by category_name
            order by date_key
            range between interval '182 days' preceding and interval '182 days' following
        ) as revenue_around
    from points

),

-- 1 is a month that sells as much a day as the year around it.
detrended as (

    select
        category_name,
        months,
        month_of_year,
        365 * month_revenue
        / nullif(case when is_near_end then yearly_revenue_near_end else revenue_around end, 0)
        / month_days as ratio
    from summed
    where months is not null

),

months_of_year as (

    select
        category_name,
        month_of_year,
        min(months) as months,
        count(ratio) as years_used,
        percentile_cont(0.5) within group (order by ratio)::numeric as ratio,
        min(ratio) as lowest,
        max(ratio) as highest
    from detrended
    group by category_name, month_of_year

),

-- Of all twelve or of none: they could not average 100 otherwise.
scaled as (

    select
        *,
        avg(ratio) over (partition by category_name) as mean_ratio,
        count(ratio) over (partition by category_name) as months_with_ratio
    from months_of_year

),

residuals as (

    select
        detrended.category_name,
        1 - var_pop(detrended.ratio - months_of_year.ratio) / nullif(var_pop(detrended.ratio), 0)
            as strength
    from detrended
    inner join months_of_year
        on
            detrended.month_of_year = months_of_year.month_of_year
            and {{ category_key('detrended.category_name') }}
            = {{ category_key('months_of_year.category_name') }}
    group by detrended.category_name

),

final as (

    select
        scaled.category_name,
        scaled.month_of_year,
        {{ percent_of('scaled.ratio', 'scaled.mean_ratio') }} as index_percent,
        scaled.years_used,
        {{ percent_of('scaled.lowest', 'scaled.mean_ratio') }} as lowest,
        {{ percent_of('scaled.highest', 'scaled.mean_ratio') }} as highest,
        -- With one value of a month nothing is left over, whatever the season is.
        case
            when scaled.months < 24 then null
            when residuals.strength < 0 then 0
            else round(residuals.strength, 4)
        end as strength,
        scaled.months >= 24 as is_reliable
    from scaled
    inner join residuals
        on
            {{ category_key('scaled.category_name') }}
            = {{ category_key('residuals.category_name') }}
    where scaled.months_with_ratio = 12

)

select * from final
