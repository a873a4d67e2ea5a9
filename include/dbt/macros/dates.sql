{# The session's time zone may be any: conversions between dates and instants name UTC. #}

{# The UTC date of an instant. #}
{% macro utc_date(instant) -%}
({{ instant }} at time zone 'UTC')::date
{%- endmacro %}

{# The instant at which a UTC date begins. #}
{% macro utc_midnight(date) -%}
({{ date }}::timestamp at time zone 'UTC')
{%- endmacro %}

{# The first day of a date's month or quarter. #}
{% macro first_day_of(period, date) -%}
date_trunc('{{ period }}', {{ date }}::timestamp)::date
{%- endmacro %}

{# Calendar months from one first day of a month to another. #}
{% macro months_between(earlier, later) -%}
(
            12 * (extract(year from {{ later }}) - extract(year from {{ earlier }}))
            + extract(month from {{ later }}) - extract(month from {{ earlier }})
        )::integer
{%- endmacro %}
