-- Grain: one row per month, category and subcategory with sales or refunds.
with sales as (

    select * from {{ ref('int_category_monthly_sales') }}
    where grouped_by = 'subcategory'

),

refunds as (

    select * from {{ ref('int_daily_refunded_sales') }}

),

periods as (

    select * from {{ ref('int_periods') }}
    where grain = 'month'

),

movements as (

    select
        order_month as revenue_month,
        category_name,
        subcategory,
        revenue,
        0 as refunded_amount,
        known_cost_revenue,
        gross_profit,
        orders,
        units
    from sales
    union all
    select
        {{ first_day_of('month', 'date_key') }} as revenue_month,
        category_name,
        subcategory,
        0 as revenue,
        sum(refunded_amount) as refunded_amount,
        0 as known_cost_revenue,
        null as gross_profit,
        0 as orders,
        0 as units
    from refunds
    group by 1, 2, 3

),

-- An order is in one of the added rows only: its numbers may be added.
monthly as (

    select
        revenue_month,
        category_name,
        subcategory,
        sum(revenue) as total_revenue,
        sum(refunded_amount) as refunded_amount,
        sum(known_cost_revenue) as known_cost_revenue,
        sum(gross_profit) as gross_profit,
        sum(orders)::bigint as order_count,
        sum(units)::bigint as units_sold
    from movements
    group by 1, 2, 3

),

-- Profit is 0 in a month with refunds alone, and null in one whose sales have no known cost.
final as (

    select
        monthly.revenue_month,
        monthly.category_name,
        monthly.subcategory,
        monthly.total_revenue,
        monthly.refunded_amount,
        monthly.total_revenue - monthly.refunded_amount as net_revenue,
        case when monthly.order_count = 0 then 0 else monthly.gross_profit end
            as total_gross_profit,
        {{ percent_of('monthly.gross_profit', 'monthly.known_cost_revenue') }}
            as gross_margin_percent,
        {{ percent_of('monthly.known_cost_revenue', 'monthly.total_revenue') }}
            as known_cost_percent,
        monthly.order_count,
        monthly.units_sold,
        periods.is_complete
    from monthly
    inner join periods
        on monthly.revenue_month = periods.period_start

)

select * from final
