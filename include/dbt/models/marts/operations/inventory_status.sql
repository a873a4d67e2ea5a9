-- Grain: one row per product, with its current stock.
with products as (

    select * from {{ ref('dim_products') }}
    where is_current and product_id is not null

),

dates as (

    select * from {{ ref('dim_date') }}

),

bounds as (

    select
        max(date_key) filter (where is_as_of) as last_day,
        min(date_key) filter (where is_covered) as first_covered_day
    from dates

),

lines as (

    select * from {{ ref('fact_sales') }}
    where
        {{ is_counted() }}
        and date_key > (select bounds.last_day - 90 from bounds)
        and date_key <= (select bounds.last_day from bounds)

),

recent_sales as (

    select
        product_id,
        sum(order_quantity) as units_sold_90d,
        sum(order_quantity) filter (
            where date_key > (select bounds.last_day - 30 from bounds)
        ) as units_sold_30d,
        sum(contribution_amount) as contribution_90d
    from lines
    group by product_id

),

-- A product is asked about from its launch on, and not before the first covered day.
asked as (

    select
        products.product_id,
        bounds.last_day as date_key,
        greatest(bounds.last_day - 89, bounds.first_covered_day, products.launch_date) as first_day,
        bounds.last_day
    from products
    cross join bounds

),

demand as (

    {{ demand_of('asked') }}

),

-- The contribution of the products with more of it, and that of all that have any.
contributions as (

    select
        product_id,
        contribution_90d,
        coalesce(
            sum(contribution_90d) over (
                order by contribution_90d desc
                groups between unbounded preceding and 1 preceding
            ),
            0
        ) as contribution_before,
        sum(greatest(contribution_90d, 0)) over () as all_contribution
    from recent_sales
    where contribution_90d is not null

),

abc_classes as (

    select
        product_id,
        case
            when contribution_90d <= 0 then 'C'
            when contribution_before < 0.80 * all_contribution then 'A'
            when contribution_before < 0.95 * all_contribution then 'B'
            else 'C'
        end as abc_class
    from contributions

),

-- greatest() ignores null, but an unknown stock is not 0.
measured as (

    select
        products.*,
        case when products.stock_level is not null then greatest(products.stock_level, 0) end
            as units_in_stock,
        recent_sales.units_sold_30d,
        recent_sales.units_sold_90d,
        abc_classes.abc_class,
        demand.daily_demand,
        demand.days_on_sale,
        demand.days_stocked_out,
        {{ var('safety_factor') }} * coalesce(demand.daily_deviation, 0)
        * sqrt({{ var('lead_time_days') }} + {{ var('review_period_days') }}::numeric)
            as safety_stock,
        bounds.last_day - products.launch_date as days_since_launch,
        bounds.last_day - 89 >= bounds.first_covered_day as are_90_days_covered
    from products
    cross join bounds
    left join recent_sales
        on products.product_id = recent_sales.product_id
    left join abc_classes
        on products.product_id = abc_classes.product_id
    left join demand
        on products.product_id = demand.product_id

),

final as (

    select
        product_id,
        product_name,
        category_name,
        brand,
        supplier_id,
        stock_level,
        reorder_point,
        inventory_status,
        product_status,
        coalesce(units_sold_30d, 0) as units_sold_30d,
        round(units_in_stock * 30.0 / nullif(units_sold_30d, 0), 1) as days_of_stock,
        days_since_launch,
        units_in_stock * cost_price as stock_value,
        abc_class,
        case
            when stock_level is null then null
            when
                stock_level <= 0 or units_sold_90d is not null or days_since_launch < 90
                then false
            when are_90_days_covered then true
        end as is_dead_stock,
        round(daily_demand, 4) as daily_demand,
        days_stocked_out as days_stocked_out_90d,
        case when daily_demand is not null then round(safety_stock, 2) end as safety_stock,
        case
            when product_status in ('Discontinued', 'Removed') then 0
            else
                greatest(
                    ceil(
                        daily_demand
                        * ({{ var('lead_time_days') }} + {{ var('review_period_days') }})
                        + safety_stock
                        - units_in_stock
                    ),
                    case when daily_demand + units_in_stock is not null then 0 end
                )::bigint
        end as suggested_order_quantity
    from measured

)

select * from final
