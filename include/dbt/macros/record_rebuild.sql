{# Writes what a build did to a model to `ops.rebuild`: one row per run and model, in the transaction of
   the model. Without a build under way (dbt by hand) and in the target `verify` nothing is written. #}
{% macro record_rebuild(period, sources, inserted, deleted) -%}
insert into ops.rebuild (run_id, model, period, sources, rows_inserted, rows_deleted, rebuilt_at)
select
    run_id,
    '{{ this.identifier }}',
    '{{ period }}',
    '{{ '{' ~ sources | join(',') ~ '}' }}',
    {{ inserted }},
    {{ deleted }},
    clock_timestamp()
from ops.build
where finished_at is null and {{ target.name != 'verify' }}
on conflict (run_id, model) do update set
    period = excluded.period,
    sources = excluded.sources,
    rows_inserted = excluded.rows_inserted,
    rows_deleted = excluded.rows_deleted,
    rebuilt_at = excluded.rebuilt_at
{%- endmacro %}

{# A post-hook of models that were built whole; the incremental strategy records the others itself. #}
{% macro record_whole_build() -%}
{%- if execute and not is_incremental() -%}
{{ record_rebuild('all', [], load_result('main')['response'].rows_affected, 'null') }}
{%- endif -%}
{%- endmacro %}

{# A post-hook: a new table has no statistics, and the next model plans its joins by them. After an
   incremental run autovacuum keeps them current. #}
{% macro analyze_new_table() -%}
{%- if not is_incremental() -%}
analyze {{ this }}
{%- endif -%}
{%- endmacro %}
