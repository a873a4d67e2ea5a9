{% macro clean_text(column) -%}
ops.clean_text({{ column }})
{%- endmacro %}
