{# Whether marts count a line: its revenue, its units and its order. #}
{% macro is_counted(lines=none) -%}
{%- set prefix = lines ~ '.' if lines else '' -%}
({{ prefix }}order_amount > 0 and not {{ prefix }}is_cancelled)
{%- endmacro %}

{# How many orders too many the periods of a group add up to: each order counts once in each of its periods.
   Over lines of int_split_order_sales. #}
{% macro orders_counted_too_often(period='order_month') -%}
count(distinct (order_id, {{ period }})) - count(distinct order_id)
{%- endmacro %}

{# The orders of several lines. Only they can be in two groups, or in one twice: the number of other
   orders is that of their lines. Of two lines of an order one is not line 1, since (order_id,
   line_number) is a key; an order whose only line has another number may be among these, too. #}
{% macro orders_of_several_lines(lines) -%}
select distinct order_id
    from {{ lines }}
    where line_number is distinct from 1
{%- endmacro %}

{# The query for the lines that marts count, of all orders with such a line on one of the days of an array; without
   days of all orders. Of an order that also has lines on other days, those too. #}
{% macro lines_of_whole_orders(days=none) -%}
{#- Named outside of the condition, since dbt looks for references without an incremental run. -#}
{%- set split_order_sales = ref('int_split_order_sales') -%}
select * from {{ ref('fact_sales') }}
    where
        {{ is_counted() }}
        {%- if days %}
        and date_key = any({{ days }})
    union all
    select * from {{ ref('fact_sales') }}
    where
        {{ is_counted() }}
        and date_key <> all({{ days }})
        and order_id = any(
            array(
                select split_lines.order_id from {{ split_order_sales }} as split_lines
                where split_lines.date_key = any({{ days }})
            )
        )
        {%- endif %}
{%- endmacro %}

{# The amounts of a class have the first two digits in common: 120 for 120.00 to 129.99, 7.5 for 7.50 to 7.59. #}
{% macro amount_class(amount) -%}
trunc({{ amount }}, 2 - length(trunc({{ amount }})::text))
{%- endmacro %}
