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

{# A post-hook of core and marts, for a table that was built whole: records it, adds its declared keys
   (in core; in marts the contract has), and collects statistics, by which the next model plans its joins. After an
   incremental run autovacuum keeps them current, and the rebuild has recorded itself. One statement, since dbt takes
   longer for each than Postgres. The preview of a change records nothing: its role may not write to `ops`. #}
{% macro finish_new_table(add_keys=false) -%}
{%- if execute and not is_incremental() -%}
{% if target.name != 'preview' %}{{ record_rebuild('all', [], load_result('main')['response'].rows_affected, 'null') }};
{% endif %}{% if add_keys %}{{ add_declared_constraints() }}{% endif -%}
analyze {{ this }}
{%- endif -%}
{%- endmacro %}
