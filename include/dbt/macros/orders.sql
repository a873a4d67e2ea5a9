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
