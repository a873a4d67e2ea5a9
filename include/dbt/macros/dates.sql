{% macro shop_day(instant) -%}
ops.shop_day({{ instant }})
{%- endmacro %}

{% macro shop_midnight(date) -%}
ops.shop_midnight({{ date }})
{%- endmacro %}

{% macro first_day_of(period, date) -%}
date_trunc('{{ period }}', {{ date }}::timestamp)::date
{%- endmacro %}

{% macro months_between(earlier, later) -%}
(
            12 * (extract(year from {{ later }}) - extract(year from {{ earlier }}))
            + extract(month from {{ later }}) - extract(month from {{ earlier }})
        )::integer
{%- endmacro %}

{# A row per grain: the week, month, quarter and year that a date lies in. For a lateral join. #}
{% macro periods_of(date) -%}
(
        values
        {%- for grain in ['week', 'month', 'quarter', 'year'] %}
        ('{{ grain }}', {{ first_day_of(grain, date) }}){{ ',' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}
