{# rank() and not ntile(), which would put equal values into different fifths. #}
{% macro quintile_of(value) -%}
(5 * (rank() over (order by {{ value }}) - 1) / count(*) over () + 1)::integer
{%- endmacro %}
