-- Grain: one row per version of a product, and one for refunds without a product.
{% set tracked = [
    'product_name', 'category_id', 'category_name', 'subcategory', 'brand', 'supplier_id',
    'cost_price', 'retail_price', 'margin_percent', 'is_discontinued',
] %}

with product_log as (

    select * from {{ ref('stg_product_versions') }}

),

category_log as (

    select * from {{ ref('stg_product_category_versions') }}

),

product_versions as (

    select * from product_log
    where not is_deleted

),

category_versions as (

    select * from category_log
    where not is_deleted

),

products as (

    select * from {{ ref('stg_products') }}

),

-- Inventory is type 1: every version has the latest values. A product whose row is gone has none.
inventory as (

    select * from {{ ref('stg_product_categories') }}

),

unknown_keys as (

    select * from {{ ref('int_unknown_keys') }}

),

product_openings as (

    {{ history_of('product_versions', 'product_id') }}

),

product_history as (

    select
        *,
        {{ closes_at('product_id') }} as valid_to
    from product_openings

),

category_openings as (

    {{ history_of('category_versions', 'product_id') }}

),

category_history as (

    select
        *,
        {{ closes_at('product_id') }} as valid_to
    from category_openings

),

-- A version of a product begins where a version of one of its two logs begins.
boundaries as (

    select
        product_id,
        valid_from
    from product_history
    union
    select
        product_id,
        valid_from
    from category_history

),

merged as (

    select
        boundaries.product_id,
        product_history.product_name,
        coalesce(category_history.category_id, product_history.category_id) as category_id,
        category_history.category_name,
        category_history.subcategory,
        category_history.brand,
        category_history.supplier_id,
        category_history.cost_price,
        category_history.retail_price,
        coalesce(
            category_history.margin_percent,
            {{ percent_of(
                'category_history.retail_price - category_history.cost_price',
                'category_history.retail_price'
            ) }}
        ) as margin_percent,
        coalesce(category_history.is_discontinued, false) as is_discontinued,
        boundaries.valid_from
    from boundaries
    left join product_history
        on
            boundaries.product_id = product_history.product_id
            and {{ valid_at('product_history', 'boundaries.valid_from') }}
    left join category_history
        on
            boundaries.product_id = category_history.product_id
            and {{ valid_at('category_history', 'boundaries.valid_from') }}

),

compared as (

    select
        *,
        {{ is_change(tracked, 'versions') }} as is_change
    from merged
    window versions as (partition by product_id order by valid_from)

),

known as (

    select
        product_id,
        {%- for column in tracked %}
        {{ column }},
        {%- endfor %}
        false as is_inferred,
        valid_from,
        {{ closes_at('product_id') }} as valid_to
    from compared
    where is_change

),

-- A refund that names no product points to one member, which has no product_id.
referenced as (

    select distinct product_id from unknown_keys
    where product_id is not null
    union all
    select null

),

inferred as (

    select
        referenced.product_id,
        {%- for column in tracked[:6] %}
        null as {{ column }},
        {%- endfor %}
        {%- for column in tracked[6:9] %}
        null::numeric as {{ column }},
        {%- endfor %}
        false as is_discontinued,
        referenced.product_id is not null as is_inferred,
        '-infinity'::timestamptz as valid_from,
        'infinity'::timestamptz as valid_to
    from referenced
    left join known
        on referenced.product_id = known.product_id
    where known.product_id is null

),

members as (

    select * from known
    union all
    select * from inferred

),

removed as (

    select product_id from product_log
    except
    select product_id from products

),

final as (

    select
        {{ surrogate_key('members.product_id', 'members.valid_from') }} as product_key,
        members.product_id,
        members.product_name,
        members.category_id,
        members.category_name,
        members.subcategory,
        members.brand,
        members.supplier_id,
        coalesce(inventory.inventory_status, 'Unknown') as inventory_status,
        case
            when removed.product_id is not null then 'Removed'
            when members.is_discontinued then 'Discontinued'
            when inventory.inventory_status = 'Out of Stock' then 'Out of Stock'
            when inventory.inventory_status = 'Needs Reorder' then 'Low Stock'
            when inventory.inventory_status = 'In Stock' then 'Available'
            else 'Unknown'
        end as product_status,
        members.cost_price,
        members.retail_price,
        members.retail_price - members.cost_price as profit_margin,
        members.margin_percent,
        inventory.stock_level,
        inventory.reorder_point,
        members.is_discontinued,
        members.is_inferred,
        members.valid_to = 'infinity' as is_current,
        launches.launch_date,
        members.valid_from,
        members.valid_to
    from members
    left join removed
        on members.product_id = removed.product_id
    left join inventory
        on members.product_id = inventory.product_id
    left join category_history as launches
        on members.product_id = launches.product_id and launches.valid_to = 'infinity'

)

select * from final
