select
    order_month as revenue_month,
    category_name,
    subcategory,
    sum(order_amount) as total_revenue,
    sum(gross_profit) as total_gross_profit,
    percent(sum(gross_profit), sum(order_amount)) as gross_margin_percent,
    count(*) as order_count,
    sum(order_quantity) as units_sold
from shop.counted_order
group by order_month, category_name, subcategory
