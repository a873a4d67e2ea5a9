{% macro utc_date(instant) -%}
({{ instant }} at time zone 'UTC')::date
{%- endmacro %}

{% macro utc_midnight(date) -%}
({{ date }}::timestamp at time zone 'UTC')
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
