{# Text without surrounding spaces; blank is null. #}
{% macro clean_text(column) -%}
nullif(btrim({{ column }}), '')
{%- endmacro %}
