{# The name of the row of all plans. #}
{% macro all_plans() -%}
'All plans'
{%- endmacro %}

{# A plan that is really called so, or like another that was renamed here, gets the addition `(plan)`: then no
   two plans have the same name, and none has that of the total. #}
{% macro plan_name(plan) -%}
{{ plan }} || case when {{ plan }} ~ '^All plans( \(plan\))*$' then ' (plan)' else '' end
{%- endmacro %}
