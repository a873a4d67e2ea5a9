-- Each mart has the number of different orders, not of lines, of the facts: group by group, since
-- an order may be in several. `lines` has the group's columns in the facts, `columns` in the mart;
-- `of_lines` which lines the mart counts, `of_rows` which of its rows are compared.
--
-- An incremental build compares only the claimed months, and no marts that have no months. A full
-- refresh and dbt by hand compare everything.
{%- set claimed_months = claimed_periods(var('sources_of_sales'), 'month') %}
{%- set is_all = running_build().mode != 'incremental' or running_build().refreshed | length > 0 %}
{%- set marts = [
    {
        'name': 'daily_revenue', 'orders': 'daily_orders',
        'lines': ['date_key'], 'columns': ['order_date'], 'of_lines': 'is_in_a_day',
        'month': first_day_of('month', 'order_date'),
    },
    {
        'name': 'order_profitability_monthly', 'orders': 'orders',
        'lines': ['month', 'category_name', 'discount_band', 'shipping_band'],
        'columns': ['revenue_month', 'category_name', 'discount_band', 'shipping_band'],
        'month': 'revenue_month',
    },
    {
        'name': 'product_category_revenue_monthly', 'orders': 'order_count',
        'lines': ['month', 'category_name', 'subcategory'],
        'columns': ['revenue_month', 'category_name', 'subcategory'], 'month': 'revenue_month',
    },
    {
        'name': 'product_performance_monthly', 'orders': 'order_count',
        'lines': ['month', 'product_id'], 'columns': ['revenue_month', 'product_id'],
        'month': 'revenue_month',
    },
    {
        'name': 'product_revenue_payment_analysis', 'orders': 'order_count',
        'lines': ['month', 'category_name', 'payment_method'],
        'columns': ['revenue_month', 'category_name', 'payment_method'], 'month': 'revenue_month',
    },
    {
        'name': 'seasonal_sales_analysis', 'orders': 'monthly_orders',
        'lines': ['month', 'category_name'], 'columns': ['sales_month', 'category_name'],
        'month': 'sales_month',
    },
    {
        'name': 'revenue_trend', 'part': 'categories', 'orders': 'orders',
        'lines': ['month', 'category_name'], 'columns': ['period_start', 'category_name'],
        'of_lines': 'is_in_a_day', 'month': 'period_start',
        'of_rows': "grain = 'month' and category_name is distinct from " ~ all_categories(),
    },
    {
        'name': 'revenue_trend', 'part': 'total', 'orders': 'orders',
        'lines': ['month'], 'columns': ['period_start'],
        'of_lines': 'is_in_a_day', 'month': 'period_start',
        'of_rows': "grain = 'month' and category_name = " ~ all_categories(),
    },
] %}
{%- if is_all %}
{%- set marts = marts + [
    {
        'name': 'payment_method_preference', 'orders': 'total_orders',
        'lines': ['payment_method'], 'columns': ['payment_method'],
    },
    {
        'name': 'customer_segments', 'orders': 'total_orders',
        'lines': ['customer_id'], 'columns': ['customer_id'], 'of_lines': 'not is_guest',
    },
] %}
{%- endif %}

with as_of as (

    select date_key from {{ ref('dim_date') }}
    where is_as_of

),

products as (

    select * from {{ ref('dim_products') }}

),

lines as (

    select
        sales.order_id,
        sales.line_number,
        sales.product_id,
        sales.customer_id,
        sales.payment_method,
        products.category_name,
        products.subcategory,
        {{ discount_band('sales.discount_rate') }} as discount_band,
        {{ shipping_band('sales.shipping_cost', 'sales.order_amount') }} as shipping_band,
        sales.is_guest,
        sales.date_key <= (select as_of.date_key from as_of) as is_in_a_day,
        {{ first_day_of('month', 'sales.date_key') }} as month,
        sales.date_key
    from {{ ref('fact_sales') }} as sales
    inner join products
        on sales.product_key = products.product_key
    where
        {{ is_counted('sales') }}
        and (
            {{ is_all }}
            or (
                sales.date_key >= (select min(day) from unnest({{ claimed_months }}) as day)
                and {{ first_day_of('month', 'sales.date_key') }} = any({{ claimed_months }})
            )
        )

),

baskets as (

    {{ orders_of_several_lines('lines') }}

),

-- A line that is alone in its order is an order in each of its groups.
single_lines as (

    select lines.*
    from lines
    left join baskets
        on lines.order_id = baskets.order_id
    where baskets.order_id is null

),

lines_of_baskets as (

    select lines.*
    from lines
    inner join baskets
        on lines.order_id = baskets.order_id

),

expected as (

    {%- for mart in marts %}
    select
        '{{ [mart.name, mart.part] | select | join(" ") }}' as mart,
        jsonb_build_array({{ mart.lines | join(', ') }}) as order_group,
        orders
    from (
        select
            {{ mart.lines | join(', ') }},
            sum(orders) as orders
        from (
            select
                {{ mart.lines | join(', ') }},
                count(*) as orders
            from single_lines
            where {{ mart.of_lines or 'true' }}
            group by {{ mart.lines | join(', ') }}
            union all
            select
                {{ mart.lines | join(', ') }},
                count(distinct order_id) as orders
            from lines_of_baskets
            where {{ mart.of_lines or 'true' }}
            group by {{ mart.lines | join(', ') }}
        ) as orders
        group by {{ mart.lines | join(', ') }}
    ) as order_groups
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

actual as (

    {%- for mart in marts %}
    select
        '{{ [mart.name, mart.part] | select | join(" ") }}' as mart,
        jsonb_build_array({{ mart.columns | join(', ') }}) as order_group,
        {{ mart.orders }} as orders
    from {{ ref(mart.name) }}
    where
        ({{ is_all }} or {{ mart.month or 'null' }} = any({{ claimed_months }}))
        and {{ mart.of_rows or 'true' }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

-- Days and customers without orders, and months with refunds alone, have 0.
select
    coalesce(expected.mart, actual.mart) as mart,
    coalesce(expected.order_group, actual.order_group) as order_group,
    expected.orders as orders_expected,
    actual.orders as orders_actual
from expected
full join actual
    on
        expected.mart = actual.mart
        and expected.order_group = actual.order_group
where coalesce(expected.orders, 0) <> coalesce(actual.orders, 0)
