{# Multiplies before it divides, so that only the result is rounded. #}
{% macro percent_of(part, whole) -%}
round(100.0 * ({{ part }}) / nullif({{ whole }}, 0), 2)
{%- endmacro %}

{% macro growth_percent(current, previous) -%}
{{ percent_of(current ~ ' - ' ~ previous, previous) }}
{%- endmacro %}
