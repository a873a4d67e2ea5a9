{# A model's schema is the one its folder names; the target `verify` builds beside it (see
   plugins/ecommerce/verify.py). #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ 'verify_' if target.name == 'verify' }}{{ custom_schema_name or target.schema }}
{%- endmacro %}
