-- Grain: one row per month, category and subcategory.
with sales as (

    select * from {{ ref('int_category_monthly_sales') }}

),

final as (

    select
        order_month as revenue_month,
        category_name,
        subcategory,
        sum(revenue) as total_revenue,
        sum(gross_profit) as total_gross_profit,
        {{ percent_of('sum(gross_profit)', 'sum(revenue)') }} as gross_margin_percent,
        sum(orders)::bigint as order_count,
        sum(units)::bigint as units_sold
    from sales
    group by 1, 2, 3

)

select * from final
