{# Whether marts count a line: its revenue, its units and its order. #}
{% macro is_counted(lines=none) -%}
{%- set prefix = lines ~ '.' if lines else '' -%}
({{ prefix }}order_amount > 0 and not {{ prefix }}is_cancelled)
{%- endmacro %}

{# How many orders too many the months of a group add up to: each order counts once in each of its months.
   Over lines of int_split_order_sales. #}
{% macro orders_counted_too_often() -%}
count(distinct (order_id, order_month)) - count(distinct order_id)
{%- endmacro %}
