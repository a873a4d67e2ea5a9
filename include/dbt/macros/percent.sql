{# `part` as a percentage of `whole`, 2 places, null when `whole` is 0. The product comes first: one
   division, so one rounding before the last. #}
{% macro percent_of(part, whole) -%}
round(100.0 * ({{ part }}) / nullif({{ whole }}, 0), 2)
{%- endmacro %}

{# Growth from `previous` to `current` in percent, null when there was nothing to grow from. #}
{% macro growth_percent(current, previous) -%}
{{ percent_of(current ~ ' - ' ~ previous, previous) }}
{%- endmacro %}
