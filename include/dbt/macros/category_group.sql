{# A key that is never null: of all categories, of those that are unknown, or of one. #}
{% macro category_group(relation) -%}
case
            when {{ relation }}.is_all_categories then 'all'
            when {{ relation }}.category_name is null then 'unknown'
            else 'category ' || {{ relation }}.category_name
        end
{%- endmacro %}
