-- From the first order to today, as in daily_revenue: what is before or after is in no row.
with line as (

    select
        'category' as group_kind,
        *
    from shop.counted_line
    where order_date <= getvariable('as_of_date')
    union all by name
    select
        'all' as group_kind,
        * exclude (category_name)
    from shop.counted_line
    where order_date <= getvariable('as_of_date')

),

shown_refund as (

    select * from shop.refund
    where
        refund_date >= (select min(order_date) from shop.counted_line)
        and refund_date <= getvariable('as_of_date')

),

refund as (

    select
        'category' as group_kind,
        category_name,
        refund_date,
        refund_amount
    from shown_refund
    union all
    select
        'all' as group_kind,
        null as category_name,
        refund_date,
        refund_amount
    from shown_refund

),

groups as (

    select group_kind, category_name from line
    union
    select group_kind, category_name from refund

),

rows_to_show as (

    select distinct
        period.*,
        groups.group_kind,
        groups.category_name
    from shop.period
    inner join shop.period_day
        on
            period.grain = period_day.grain
            and period.period_start = period_day.period_start
    cross join groups
    where
        period_day.calendar_day >= (select min(order_date) from shop.counted_line)
        and period_day.calendar_day <= getvariable('as_of_date')

),

sold as (

    select
        period_day.grain,
        period_day.period_start,
        line.group_kind,
        line.category_name,
        sum(line.order_amount) as revenue,
        sum(line.order_amount) filter (line.gross_profit is not null) as known_cost_revenue,
        sum(line.gross_profit) as gross_profit,
        count(distinct line.order_id) as orders,
        count(distinct line.customer_id) as customers,
        sum(line.order_quantity) as units
    from line
    inner join shop.period_day on line.order_date = period_day.calendar_day
    group by all

),

refunded as (

    select
        period_day.grain,
        period_day.period_start,
        refund.group_kind,
        refund.category_name,
        sum(refund.refund_amount) as refunded_amount
    from refund
    inner join shop.period_day on refund.refund_date = period_day.calendar_day
    group by all

),

compared as (

    select
        compared_day.grain,
        compared_day.period_start,
        line.group_kind,
        line.category_name,
        coalesce(sum(line.order_amount) filter (compared_day.other = 'previous'), 0) as previous,
        coalesce(sum(line.order_amount) filter (compared_day.other = 'last year'), 0) as last_year
    from line
    inner join shop.compared_day on line.order_date = compared_day.calendar_day
    group by all

),

filled as (

    select
        rows_to_show.*,
        coalesce(sold.revenue, 0) as revenue,
        coalesce(refunded.refunded_amount, 0) as refunded_amount,
        coalesce(sold.known_cost_revenue, 0) as known_cost_revenue,
        case when sold.orders is null then 0 else sold.gross_profit end as gross_profit,
        coalesce(sold.orders, 0) as orders,
        coalesce(sold.customers, 0) as customers,
        coalesce(sold.units, 0) as units,
        case when previous.is_comparable then coalesce(compared.previous, 0) end
            as previous_period_revenue,
        case when last_year.is_comparable then coalesce(compared.last_year, 0) end
            as last_year_revenue
    from rows_to_show
    left join sold
        on
            rows_to_show.grain = sold.grain
            and rows_to_show.period_start = sold.period_start
            and rows_to_show.group_kind = sold.group_kind
            and rows_to_show.category_name is not distinct from sold.category_name
    left join refunded
        on
            rows_to_show.grain = refunded.grain
            and rows_to_show.period_start = refunded.period_start
            and rows_to_show.group_kind = refunded.group_kind
            and rows_to_show.category_name is not distinct from refunded.category_name
    left join compared
        on
            rows_to_show.grain = compared.grain
            and rows_to_show.period_start = compared.period_start
            and rows_to_show.group_kind = compared.group_kind
            and rows_to_show.category_name is not distinct from compared.category_name
    inner join shop.comparison as previous
        on
            rows_to_show.grain = previous.grain
            and rows_to_show.period_start = previous.period_start
            and previous.other = 'previous'
    inner join shop.comparison as last_year
        on
            rows_to_show.grain = last_year.grain
            and rows_to_show.period_start = last_year.period_start
            and last_year.other = 'last year'

)

select
    grain,
    period_start,
    case when group_kind = 'all' then 'All categories' else category_name end as category_name,
    revenue,
    refunded_amount,
    revenue - refunded_amount as net_revenue,
    gross_profit,
    percent(gross_profit, known_cost_revenue) as gross_margin_percent,
    percent(known_cost_revenue, revenue) as known_cost_percent,
    orders,
    customers,
    units,
    ratio(revenue, orders) as avg_order_value,
    days_elapsed,
    days_in_period,
    is_complete,
    previous_period_revenue,
    percent(revenue - previous_period_revenue, previous_period_revenue) as growth_percent,
    last_year_revenue,
    percent(revenue - last_year_revenue, last_year_revenue) as year_over_year_percent,
    case when not is_complete then ratio(revenue * days_in_period, days_elapsed) end as run_rate
from filled
