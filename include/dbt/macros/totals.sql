{# The names of the rows of all plans and of all categories. #}
{% macro all_plans() -%}
'All plans'
{%- endmacro %}

{% macro all_categories() -%}
'All categories'
{%- endmacro %}

{# A plan or category that is really called like the row of all, or like another one that was renamed here, gets
   an addition. So no two have the same name, and none has that of the row of all. Staging does it, so that a
   name is the same wherever it is shown. #}
{% macro name_beside_total(name, total, addition) -%}
{{ name }}
        || case
            when {{ name }} ~ ('^' || {{ total }} || '( \({{ addition }}\))*$') then ' ({{ addition }})'
            else ''
        end
{%- endmacro %}

{# A key that is never null, so that rows can be joined by it: an empty text is no category. #}
{% macro category_key(category_name) -%}
coalesce({{ category_name }}, '')
{%- endmacro %}

{# Two rows: the key of the category, and that of all categories. For a lateral join. #}
{% macro category_keys(category_name) -%}
(values ({{ category_key(category_name) }}), ({{ all_categories() }}))
{%- endmacro %}

{# The parts of revenue_trend that a day is in, by name: of each grain the categories, and their total. For a
   lateral join in tests; `trend_part` names the part of a row. #}
{% macro trend_parts_of(date) -%}
(
            select
                concat_ws(' ', 'revenue_trend', period.grain, part.part) as mart,
                period.period_start as period
            from {{ periods_of(date) }} as period (grain, period_start)
            cross join (values ('categories'), ('total')) as part (part)
        )
{%- endmacro %}

{% macro trend_part() -%}
concat_ws(
            ' ',
            'revenue_trend',
            grain,
            case when category_name = {{ all_categories() }} then 'total' else 'categories' end
        )
{%- endmacro %}
