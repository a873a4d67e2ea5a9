{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ 'verify_' if target.name == 'verify' }}{{ custom_schema_name or target.schema }}
{%- endmacro %}
