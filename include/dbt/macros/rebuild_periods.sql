{# The incremental strategy `rebuild_periods`: what the dirty-date ledger has claimed is computed again,
   and what came out differently is written. A model names the sources whose marks it follows, how long
   its periods are, and the column that holds a period's first day:

       meta={'claimed_from': ['sales_fact', 'product'], 'period': 'month', 'period_column': 'order_month'}

   A day of one of those sources that is marked claims the whole period it lies in. With
   `'onward': true` it claims all that follow as well: for a model whose rows look back. #}

{# The first days of the claimed periods, as an array that is computed once, before the query starts: a
   join would not reach through the views of staging to raw's index. And a list, not a range, when they
   go onward: of a range whose beginning it does not know the planner thinks it is a third of the table. #}
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
    )
{%- endmacro %}

{# Limits an import to the claimed periods in an incremental run. `day` may be finer than the period:
   then every day of a claimed period is in. Of one that goes onward it is a period's first day. #}
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

{# Rows outside the claimed periods that the model computed as well replace those of the same
   `unique_key`. A row that came out as it was is not written: its day was claimed for another one.
   Rows are matched by hash, since a nullable column cannot be joined by equality, and byte for byte:
   0.10 equals 0.1 and is another row. `is true` keeps the planner from sorting them by all their bytes.
   The rows to delete are named by their places, as an array: a join would read the whole table. The
   insertion waits for the count of what was deleted, so that a key is free when its new row comes. #}
{% macro get_incremental_rebuild_periods_sql(arg_dict) -%}
{%- set target = arg_dict['target_relation'] -%}
{%- set built = arg_dict['temp_relation'] -%}
{%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
{%- set key = arg_dict['unique_key'] or [] -%}
{%- set key = [key] if key is string else key -%}
{%- set period = config.meta_require('period') -%}
{%- set period_column = config.meta_require('period_column') -%}
{%- set sources = config.meta_require('claimed_from') -%}
{%- set claimed = claimed_periods(sources, period, config.meta_get('onward', false)) -%}
with held as (

    select
        ctid as place,
        row({{ columns }}) as content
    from {{ target }}
    where {{ period_column }} = any({{ claimed }})
    {%- if key %}
    union all
    select
        same_key.place,
        same_key.content
    from {{ built }} as built
    -- Not to be made a join, for which the planner would read the whole table.
    cross join lateral (
        select
            ctid as place,
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

made as (

    select
        ctid as place,
        row({{ columns }}) as content
    from {{ built }}

),

unchanged as (

    select
        held.place as held_place,
        made.place as made_place
    from held
    inner join made
        on hash_record_extended(held.content, 0) = hash_record_extended(made.content, 0)
    where (held.content *= made.content) is true

),

removed as (

    delete from {{ target }}
    where ctid = any(array(
        select place from held
        where not exists (select from unchanged where unchanged.held_place = held.place)
    ))
    returning 1

),

added as (

    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ built }} as built
    where
        not exists (select from unchanged where unchanged.made_place = built.ctid)
        and (select count(*) from removed) >= 0
    returning 1

)

{{ record_rebuild(period, sources, '(select count(*) from added)', '(select count(*) from removed)') }}
{%- endmacro %}
