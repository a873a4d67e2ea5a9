-- A month with refunds alone has a row; a product's first month is the first in which it sold.
-- Refunds without a product are in no row. The category is that on the day of the product's last order in the month; of a month
-- with refunds alone, that of the last refund (of one day's, the one with the greatest id).
with movements as (

    select
        order_month as revenue_month,
        product_id,
        category_name,
        order_date as movement_date,
        order_id,
        order_amount,
        order_quantity,
        gross_profit,
        contribution_amount
    from shop.counted_line
    union all by name
    select
        refund_month as revenue_month,
        product_id,
        category_name,
        refund_date as movement_date,
        refund_id,
        refund_amount
    from shop.refund
    where product_id is not null

),

dated as (

    select
        *,
        coalesce(
            max(movement_date) filter (where order_id is not null) over product_month,
            max(movement_date) over product_month
        ) as category_date,
        count(order_id) over product_month > 0 as has_orders
    from movements
    window product_month as (partition by product_id, revenue_month)

),

months as (

    select
        revenue_month,
        product_id,
        first(category_name order by refund_id desc) filter (
            where movement_date = category_date and has_orders = (order_id is not null)
        ) as category_name,
        coalesce(sum(order_amount), 0) as revenue,
        coalesce(
            sum(order_amount) filter (movement_date <= getvariable('as_of_date')), 0
        ) as revenue_to_date,
        coalesce(sum(refund_amount), 0) as refunded_amount,
        known_sum(gross_profit, order_id) as gross_profit,
        known_sum(contribution_amount, order_id) as contribution_amount,
        count(distinct order_id) as order_count,
        coalesce(sum(order_quantity), 0) as units_sold
    from dated
    group by revenue_month, product_id

),

categories as (

    select
        revenue_month,
        category_name,
        sum(revenue) as category_revenue
    from months
    group by revenue_month, category_name

),

first_months as (

    select
        product_id,
        min(revenue_month) as first_month
    from months
    where order_count > 0
    group by product_id

),

-- What the product sold on the days that a month is compared with.
compared as (

    select
        compared_day.period_start as revenue_month,
        counted_line.product_id,
        sum(counted_line.order_amount) as revenue
    from shop.counted_line
    inner join shop.compared_day
        on
            counted_line.order_date = compared_day.calendar_day
            and compared_day.grain = 'month'
            and compared_day.other = 'previous'
    group by all

),

with_previous as (

    select
        months.*,
        period.is_complete,
        comparison.is_comparable,
        case when period.is_running then months.revenue_to_date else months.revenue end
            as compared_revenue,
        categories.category_revenue,
        case
            when months.revenue_month > first_months.first_month
                then coalesce(compared.revenue, 0)
        end as previous_month_revenue
    from months
    left join first_months on months.product_id = first_months.product_id
    inner join categories
        on
            months.revenue_month = categories.revenue_month
            and months.category_name is not distinct from categories.category_name
    inner join shop.period
        on period.grain = 'month' and months.revenue_month = period.period_start
    inner join shop.comparison
        on
            comparison.grain = 'month'
            and comparison.other = 'previous'
            and months.revenue_month = comparison.period_start
    left join compared
        on
            months.product_id = compared.product_id
            and months.revenue_month = compared.revenue_month

)

-- Ranked in complete months, among those that sold: of a month with refunds alone there is nothing to
-- rank.
select
    with_previous.revenue_month,
    with_previous.product_id,
    current_product.product_name,
    with_previous.category_name,
    with_previous.revenue,
    with_previous.refunded_amount,
    with_previous.revenue - with_previous.refunded_amount as net_revenue,
    with_previous.gross_profit,
    with_previous.contribution_amount,
    with_previous.order_count,
    with_previous.units_sold,
    with_previous.category_revenue,
    case
        when with_previous.is_complete and with_previous.order_count > 0 then (
            select 1 + count(*)
            from months as others
            where
                others.revenue_month = with_previous.revenue_month
                and others.category_name is not distinct from with_previous.category_name
                and others.revenue > with_previous.revenue
        )
    end as category_rank,
    percent(with_previous.revenue, with_previous.category_revenue) as category_revenue_percent,
    with_previous.previous_month_revenue,
    case
        when with_previous.is_comparable
            then percent(
                with_previous.compared_revenue - with_previous.previous_month_revenue,
                with_previous.previous_month_revenue
            )
    end as mom_growth_percent,
    with_previous.is_complete
from with_previous
inner join shop.current_product on with_previous.product_id = current_product.product_id
