-- Grain: one row per product and run of days, [from_day, to_day), on which its stock is the same.
with versions as (

    select * from {{ ref('stg_product_category_versions') }}

),

compared as (

    select
        product_id,
        stock_level,
        inventory_status,
        batch_id,
        coalesce(stock_level <= 0 and not is_discontinued, false) as is_stocked_out,
        {{ shop_day('changed_at') }} as from_day,
        row_number() over log = 1
        or (stock_level is distinct from lag(stock_level) over log)
        or (inventory_status is distinct from lag(inventory_status) over log)
        or (is_discontinued is distinct from lag(is_discontinued) over log) as is_change
    from versions
    window log as (partition by product_id order by batch_id)

),

-- Of several changes on a day, the last. Before the first version was read, the stock is not known.
last_of_day as (

    select distinct on (product_id, from_day) *
    from compared
    where is_change
    order by product_id asc, from_day asc, batch_id desc

),

final as (

    select
        product_id,
        inventory_status,
        stock_level,
        is_stocked_out,
        from_day,
        lead(from_day, 1, 'infinity') over (partition by product_id order by from_day) as to_day
    from last_of_day

)

select * from final
