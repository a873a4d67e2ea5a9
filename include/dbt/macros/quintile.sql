{# From 1 to 5: a fifth more of the rows have a smaller value, a point more. Equal values have equal
   scores, so the order of the rows decides nothing; of n rows without equals, each score has n / 5. #}
{% macro quintile_of(value) -%}
(5 * (rank() over (order by {{ value }}) - 1) / count(*) over () + 1)::integer
{%- endmacro %}
