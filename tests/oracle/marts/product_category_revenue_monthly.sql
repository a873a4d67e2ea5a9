-- A month with refunds alone has a row; a refund without a product is in no category.
with movements as (

    select
        order_month as revenue_month,
        category_name,
        subcategory,
        order_id,
        order_amount,
        order_quantity,
        gross_profit
    from shop.counted_line
    union all by name
    select
        refund_month as revenue_month,
        category_name,
        subcategory,
        refund_amount
    from shop.refund

),

months as (

    select
        revenue_month,
        category_name,
        subcategory,
        coalesce(sum(order_amount), 0) as total_revenue,
        coalesce(sum(order_amount) filter (where gross_profit is not null), 0) as known_cost_revenue,
        coalesce(sum(refund_amount), 0) as refunded_amount,
        known_sum(gross_profit, order_id) as total_gross_profit,
        count(distinct order_id) as order_count,
        coalesce(sum(order_quantity), 0) as units_sold
    from movements
    group by revenue_month, category_name, subcategory

)

select
    revenue_month,
    category_name,
    subcategory,
    total_revenue,
    refunded_amount,
    total_revenue - refunded_amount as net_revenue,
    total_gross_profit,
    percent(total_gross_profit, known_cost_revenue) as gross_margin_percent,
    percent(known_cost_revenue, total_revenue) as known_cost_percent,
    order_count,
    units_sold,
    period.is_complete
from months
inner join shop.period
    on period.grain = 'month' and months.revenue_month = period.period_start
