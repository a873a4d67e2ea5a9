{% macro clean_text(column) -%}
nullif(btrim({{ column }}), '')
{%- endmacro %}
