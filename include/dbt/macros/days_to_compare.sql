{# The query for the days on which a test compares raw with the facts in an incremental build: the days that
   the build has claimed, since it writes no others, and the days of the rows that its loads wrote, since a
   lost dirty date would be one of them. Other days were compared when they were built.

   The rows are found by created_at, which has an index in raw, between two bounds: Postgres would read all
   of raw to join the windows. #}
{% macro days_to_compare(raw_table, day, claimed_from) -%}
with batches as (

        select
            loads.batch_id,
            loads.window_start,
            loads.window_end
        from {{ source('ops', 'build') }} as builds
        inner join {{ source('ops', 'load_batch') }} as loads
            on builds.run_id = loads.built_by
        where builds.finished_at is null and loads.source = '{{ raw_table }}'

    )

    select unnest({{ claimed_periods(claimed_from, 'day') }}) as {{ day }}
    union
    select {{ day }} from {{ source('shop', raw_table) }}
    where
        created_at >= (select min(batches.window_start) from batches)
        and created_at < (select max(batches.window_end) from batches)
        and _batch_id = any(array(select batches.batch_id from batches))
{%- endmacro %}
