with orders as (

    select
        *,
        max(order_date) over (partition by product_id, order_month) as last_order_date
    from shop.counted_order

),

months as (

    select
        order_month as revenue_month,
        product_id,
        first(category_name) filter (where order_date = last_order_date) as category_name,
        sum(order_amount) as revenue,
        sum(gross_profit) as gross_profit,
        count(*) as order_count,
        sum(order_quantity) as units_sold
    from orders
    group by order_month, product_id

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
    group by product_id

),

with_previous as (

    select
        months.*,
        categories.category_revenue,
        case
            when months.revenue_month > first_months.first_month
                then coalesce(previous_months.revenue, 0)
        end as previous_month_revenue
    from months
    inner join first_months on months.product_id = first_months.product_id
    inner join categories
        on
            months.revenue_month = categories.revenue_month
            and months.category_name is not distinct from categories.category_name
    left join months as previous_months
        on
            months.product_id = previous_months.product_id
            and months.revenue_month = previous_months.revenue_month + interval 1 month

)

select
    with_previous.revenue_month,
    with_previous.product_id,
    current_product.product_name,
    with_previous.category_name,
    with_previous.revenue,
    with_previous.gross_profit,
    with_previous.order_count,
    with_previous.units_sold,
    with_previous.category_revenue,
    rank() over (
        partition by with_previous.revenue_month, with_previous.category_name
        order by with_previous.revenue desc
    ) as category_rank,
    percent(with_previous.revenue, with_previous.category_revenue) as category_revenue_percent,
    with_previous.previous_month_revenue,
    percent(
        with_previous.revenue - with_previous.previous_month_revenue,
        with_previous.previous_month_revenue
    ) as mom_growth_percent
from with_previous
inner join shop.current_product on with_previous.product_id = current_product.product_id
