with sold as (

    select
        product_id,
        order_date as date_key,
        sum(order_quantity) as units_sold
    from shop.counted_line
    where order_date <= getvariable('as_of_date')
    group by product_id, order_date

),

product_days as (

    select
        product_id,
        date_key
    from sold
    union
    select
        product_id,
        changed_on
    from shop.stock_version
    where not is_same
    union
    select
        product_id,
        day
    from shop.day_without_stock

),

known as (

    select
        product_days.product_id,
        product_days.date_key,
        arg_max(stock_version.inventory_status, stock_version.changed_on) as inventory_status,
        arg_max(
            struct_pack(level := stock_version.stock_level), stock_version.changed_on
        ).level as stock_level,
        arg_max(stock_version.is_stocked_out, stock_version.changed_on) as is_stocked_out
    from product_days
    inner join shop.stock_version
        on
            product_days.product_id = stock_version.product_id
            and product_days.date_key >= stock_version.changed_on
    group by product_days.product_id, product_days.date_key

),

-- The 90 days before a day without stock, as far as they are covered; those without stock are no days on
-- which the product could be bought.
days_on_sale as (

    select
        day_without_stock.product_id,
        day_without_stock.day as date_key,
        unnest(
            generate_series(
                greatest(day_without_stock.day - 90, getvariable('first_day')),
                day_without_stock.day - 1,
                interval 1 day
            )
        )::date as day_before
    from shop.day_without_stock

),

demand as (

    select
        days_on_sale.product_id,
        days_on_sale.date_key,
        coalesce(sum(sold.units_sold), 0) as units,
        count(*) as days
    from days_on_sale
    anti join shop.day_without_stock
        on
            days_on_sale.product_id = day_without_stock.product_id
            and days_on_sale.day_before = day_without_stock.day
    left join sold
        on
            days_on_sale.product_id = sold.product_id
            and days_on_sale.day_before = sold.date_key
    group by days_on_sale.product_id, days_on_sale.date_key

)

select
    product_days.date_key,
    product_days.product_id,
    coalesce(known.inventory_status, 'Unknown') as inventory_status,
    known.stock_level,
    coalesce(sold.units_sold, 0) as units_sold,
    case
        when demand.days > 0
            then greatest(
                ratio(demand.units - demand.days * coalesce(sold.units_sold, 0), demand.days), 0
            )
    end as estimated_lost_units,
    coalesce(known.is_stocked_out, false) as is_stocked_out
from product_days
left join known
    on
        product_days.product_id = known.product_id
        and product_days.date_key = known.date_key
left join sold
    on
        product_days.product_id = sold.product_id
        and product_days.date_key = sold.date_key
left join demand
    on
        product_days.product_id = demand.product_id
        and product_days.date_key = demand.date_key
