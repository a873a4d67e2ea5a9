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
