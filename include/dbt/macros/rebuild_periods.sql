{# How an incremental model is rebuilt: the claimed periods are computed again, and only the rows that differ
   are written. A claimed period is a day, week, month or year with a dirty date that the
   build under way has claimed. The model's `meta` names the sources whose dirty dates it follows, the length
   of its periods, and the column with the first day of a period:

       meta={'claimed_from': ['sales_fact', 'product'], 'period': 'month', 'period_column': 'order_month'}

   A model that depends on the as-of date or the first covered day names `as_of` as well: the days that
   the last complete build did not cover (stg_claimed_days) count as dirty for it. One that depends on what was in
   stock on a day names `stock`: the days whose stock a load has changed (stg_claimed_stock_days).

   With `'onward': true` all periods after the first claimed one are rebuilt as well: for a model whose
   rows look back at earlier ones. A model of days that looks back at 365 of them has `'days_after': 365` instead: the
   365 days after each claimed one are rebuilt with it. `'also': 'name'` is a macro with a query for further days. #}

{# The first days of the claimed periods, as an array: Postgres computes it once, before the query
   starts, and can use it with raw's index, which a join through the views of staging could not. With
   `onward` it is a list and not a range too, since Postgres expects a range with an unknown beginning to
   be a third of the table. #}
{% macro claimed_periods(sources, period, onward=false) -%}
array(
        {% if onward -%}
        select
            generate_series(
                min({{ first_day_of(period, 'claimed_day') }})::timestamp,
                '{{ var("last_day") }}'::timestamp,
                '1 {{ period }}'
            )::date
        from {{ ref('stg_claimed_days') }}
        {%- else -%}
        select distinct {{ first_day_of(period, 'claimed_day') }} from {{ ref('stg_claimed_days') }}
        {%- endif %}
        where source_name in ('{{ sources | join("', '") }}')
        {%- if 'stock' in sources %}
        union
        select {{ first_day_of(period, 'claimed_day') }} from {{ ref('stg_claimed_stock_days') }}
        {%- endif %}
    )
{%- endmacro %}

{# The claimed days and so many days after each of them, as an array; `also` is a query for further days. #}
{% macro claimed_days_and_after(sources, days_after, also=none) -%}
array(
        select day::date
        from (
            select unnest(range_agg(daterange(claimed_day, claimed_day + {{ days_after + 1 }}))) as days
            from {{ ref('stg_claimed_days') }}
            where source_name in ('{{ sources | join("', '") }}')
        ) as claimed
        cross join
            generate_series(
                lower(claimed.days)::timestamp, upper(claimed.days)::timestamp - interval '1 day', '1 day'
            ) as day
        {%- if also %}
        union
        {{ also }}
        {%- endif %}
    )
{%- endmacro %}

{# The periods that a build under way rebuilds of the model, by the model's `meta`. #}
{% macro rebuilt_periods() -%}
{%- set sources = config.meta_require('claimed_from') -%}
{%- set days_after, also = config.meta_get('days_after'), config.meta_get('also') -%}
{%- if days_after -%}
{{ claimed_days_and_after(sources, days_after, context[also]() if also else none) }}
{%- else -%}
{{ claimed_periods(sources, config.meta_require('period'), config.meta_get('onward', false)) }}
{%- endif -%}
{%- endmacro %}

{# Limits an import to the claimed periods in an incremental run. `day` may be finer than the period:
   then all days of a claimed period are read. With `onward`, `day` is the first day of a period. #}
{% macro only_claimed(sources, period, day, onward=false) -%}
{%- set claimed = claimed_periods(sources, period, onward) -%}
{%- if is_incremental() -%}
where {{ day }} = any(
    {%- if period == 'day' or onward %}{{ claimed }}
    {%- else %}array(
        select generate_series(
            claimed.first_day::timestamp,
            claimed.first_day::timestamp + '1 {{ period }} -1 day',
            '1 day'
        )::date
        from unnest({{ claimed }}) as claimed (first_day)
    )
    {%- endif -%}
    )
{%- endif -%}
{%- endmacro %}

{# A model may also compute rows outside the claimed periods: they replace the rows with the same
   `unique_key`. Rows that are the same as before are not written.

   Rows are matched by a hash, since nullable columns cannot be joined by equality, and then compared byte
   for byte, since 0.10 equals 0.1 but is another value; `is true` keeps the planner from sorting all
   their bytes. The rows to delete are named by an array of their ctids, since a join would read the whole
   table. The insert waits for the number of deleted rows, so that a key is free when its new row comes. #}
{% macro rebuild_periods_sql(built, columns) -%}
{%- set target = this -%}
{%- set columns = columns | join(', ') -%}
{%- set key = config.get('unique_key') or [] -%}
{%- set key = [key] if key is string else key -%}
{%- set period = config.meta_require('period') -%}
{%- set period_column = config.meta_require('period_column') -%}
{%- set sources = config.meta_require('claimed_from') -%}
{%- set claimed = rebuilt_periods() -%}
with current_rows as (

    select
        ctid as row_id,
        row({{ columns }}) as content
    from {{ target }}
    where {{ period_column }} = any({{ claimed }})
    {%- if key %}
    union all
    select
        same_key.row_id,
        same_key.content
    from {{ built }} as built
    -- As a join the planner would read the whole table.
    cross join lateral (
        select
            ctid as row_id,
            row({{ columns }}) as content
        from {{ target }} as target
        where
            {% for name in key -%}
            target.{{ name }} = built.{{ name }} and
            {% endfor -%}
            target.{{ period_column }} <> all({{ claimed }})
        offset 0
    ) as same_key
    where built.{{ period_column }} <> all({{ claimed }})
    {%- endif %}

),

new_rows as (

    select
        ctid as row_id,
        row({{ columns }}) as content
    from {{ built }}

),

unchanged as (

    select
        current_rows.row_id as current_row_id,
        new_rows.row_id as new_row_id
    from current_rows
    inner join new_rows
        on hash_record_extended(current_rows.content, 0) = hash_record_extended(new_rows.content, 0)
    where (current_rows.content *= new_rows.content) is true

),

deleted as (

    delete from {{ target }}
    where ctid = any(array(
        select row_id from current_rows
        where not exists (select from unchanged where unchanged.current_row_id = current_rows.row_id)
    ))
    returning 1

),

inserted as (

    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ built }} as built
    where
        not exists (select from unchanged where unchanged.new_row_id = built.ctid)
        and (select count(*) from deleted) >= 0
    returning 1

)

{{ record_rebuild(period, sources, '(select count(*) from inserted)', '(select count(*) from deleted)') }}
{%- endmacro %}
