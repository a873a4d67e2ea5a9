{# rank() and not ntile(): that would part equal values by the order of the rows. #}
{% macro quintile_of(value) -%}
(5 * (rank() over (order by {{ value }}) - 1) / count(*) over () + 1)::integer
{%- endmacro %}
