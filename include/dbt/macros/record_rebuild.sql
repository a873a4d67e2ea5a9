{# What a build did to a model, in `ops.rebuild`: one row a run and model, written in the model's own
   transaction. Without a build under way (dbt by hand) nothing is recorded, nor of tables that are only
   to be compared with. #}
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

{# After a model that was built whole: the strategy of an incremental build has recorded it itself. #}
{% macro record_whole_build() -%}
{%- if execute and not is_incremental() -%}
{{ record_rebuild('all', [], load_result('main')['response'].rows_affected, 'null') }}
{%- endif -%}
{%- endmacro %}

{# A table that was just made has no statistics, and the next model plans its joins by them. One that
   grew by some days keeps what it has: autovacuum looks after it. #}
{% macro analyze_new_table() -%}
{%- if not is_incremental() -%}
analyze {{ this }}
{%- endif -%}
{%- endmacro %}
