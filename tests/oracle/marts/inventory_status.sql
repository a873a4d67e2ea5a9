with units as (

    select
        product_id,
        sum(order_quantity) as units_sold_30d
    from shop.counted_line
    where order_date between getvariable('as_of_date') - 29 and getvariable('as_of_date')
    group by product_id

),

last_90_days as (

    select
        product_id,
        sum(contribution_amount) as contribution
    from shop.counted_line
    where order_date between getvariable('as_of_date') - 89 and getvariable('as_of_date')
    group by product_id

),

-- A class by the contribution of all products that have more of it.
class as (

    select
        this.product_id,
        case
            when this.contribution <= 0 then 'C'
            when 5 * coalesce(sum(more.contribution), 0) < 4 * any_value(total.contribution) then 'A'
            when 20 * coalesce(sum(more.contribution), 0) < 19 * any_value(total.contribution)
                then 'B'
            else 'C'
        end as abc_class
    from last_90_days as this
    cross join (
        select sum(greatest(contribution, 0)) as contribution
        from last_90_days
    ) as total
    left join last_90_days as more on this.contribution < more.contribution
    where this.contribution is not null
    group by this.product_id, this.contribution

),

-- Every day on which a product could be bought: since its launch, covered, and not without stock.
days as (

    select
        current_product.product_id,
        unnest(
            generate_series(
                greatest(
                    getvariable('as_of_date') - 89,
                    getvariable('first_day'),
                    current_product.launch_date
                ),
                getvariable('as_of_date'),
                interval 1 day
            )
        )::date as day
    from shop.current_product

),

sold as (

    select
        days.product_id,
        days.day,
        coalesce(sum(counted_line.order_quantity), 0) as units,
        any_value(day_without_stock.day) is not null as is_without_stock
    from days
    left join shop.day_without_stock
        on
            days.product_id = day_without_stock.product_id
            and days.day = day_without_stock.day
    left join shop.counted_line
        on days.product_id = counted_line.product_id and days.day = counted_line.order_date
    group by days.product_id, days.day

),

demand as (

    select
        product_id,
        sum(units) filter (where not is_without_stock) as units,
        count(*) filter (where not is_without_stock) as days,
        count(*) filter (where is_without_stock) as days_without_stock,
        1.645 * coalesce(stddev_samp(units) filter (where not is_without_stock), 0) * sqrt(21.0)
            as safety_stock
    from sold
    group by product_id

),

stock as (

    select
        *,
        case
            when stock_level is null then 'Unknown'
            when stock_level <= 0 then 'Out of Stock'
            when stock_level <= coalesce(reorder_point, 0) then 'Needs Reorder'
            else 'In Stock'
        end as inventory_status,
        -- A source's count below zero is a mistake of its bookkeeping: there is nothing on the shelf.
        case when stock_level < 0 then 0 else stock_level end as units_in_stock
    from shop.current_product

)

select
    stock.product_id,
    stock.product_name,
    stock.category_name,
    stock.brand,
    stock.supplier_id,
    stock.stock_level,
    stock.reorder_point,
    stock.inventory_status,
    case
        when stock.is_removed then 'Removed'
        when stock.is_discontinued then 'Discontinued'
        when stock.inventory_status = 'Needs Reorder' then 'Low Stock'
        when stock.inventory_status = 'In Stock' then 'Available'
        else stock.inventory_status
    end as product_status,
    coalesce(units.units_sold_30d, 0) as units_sold_30d,
    ratio_1(30 * stock.units_in_stock, units.units_sold_30d) as days_of_stock,
    stock.units_in_stock * stock.cost_price as stock_value,
    getvariable('as_of_date') - stock.launch_date as days_since_launch,
    class.abc_class,
    case
        when stock.stock_level is null then null
        when stock.stock_level <= 0 then false
        when last_90_days.product_id is not null then false
        when getvariable('as_of_date') - stock.launch_date < 90 then false
        when getvariable('as_of_date') - getvariable('first_day') >= 89 then true
    end as is_dead_stock,
    rounded_quotient(demand.units::hugeint, demand.days, 10000)::decimal(38, 0) * 0.0001
        as daily_demand,
    coalesce(demand.days_without_stock, 0) as days_stocked_out_90d,
    case when demand.days > 0 then demand.safety_stock::decimal(38, 2) end as safety_stock,
    case
        when product_status in ('Discontinued', 'Removed') then 0
        when demand.days > 0 and stock.stock_level is not null
            then greatest(
                ceil(
                    21 * demand.units::double / demand.days
                    + demand.safety_stock
                    - stock.units_in_stock
                ),
                0
            )::bigint
    end as suggested_order_quantity
from stock
left join units on stock.product_id = units.product_id
left join last_90_days on stock.product_id = last_90_days.product_id
left join class on stock.product_id = class.product_id
left join demand on stock.product_id = demand.product_id
