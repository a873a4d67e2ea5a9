{# Views, tables and incremental models, each in as few statements as Postgres allows. They replace dbt's own
   materializations, which rename the old relation to a backup, the new one to its name, and drop the backup after
   the commit. Postgres replaces a relation within the transaction, and in a run of 60 models on one day's rows dbt
   spends more time on such steps than Postgres on the rows. #}

{# A view whose columns stay is replaced in place: nothing that reads it is dropped. By a function of `ops`,
   since only the publisher may write code in the database (include/sql/roles.sql). #}
{% materialization view, adapter='postgres' -%}
{%- set existing = load_cached_relation(this) -%}
{%- set view = this.incorporate(type='view') -%}
{{ run_hooks(pre_hooks, inside_transaction=False) }}
{{ run_hooks(pre_hooks, inside_transaction=True) }}
{% call statement('main') -%}
{% if existing is not none and not existing.is_view %}{{ drop_in_transaction(existing) }}{% endif -%}
select ops.replace_view('{{ view }}', $query$
{{ sql }}
$query$)
{%- endcall %}
{{ finish(existing, view) }}
{{ return({'relations': [view]}) }}
{%- endmaterialization %}

{% materialization table, adapter='postgres' -%}
{%- set existing = load_cached_relation(this) -%}
{%- set table = this.incorporate(type='table') -%}
{{ run_hooks(pre_hooks, inside_transaction=False) }}
{{ run_hooks(pre_hooks, inside_transaction=True) }}
{{ replace_table(existing, table, sql) }}
{{ finish(existing, table) }}
{{ return({'relations': [table]}) }}
{%- endmaterialization %}

{# Rebuilds the claimed periods; the whole table in a full refresh. #}
{% materialization incremental, adapter='postgres' -%}
{%- set existing = load_cached_relation(this) -%}
{%- set table = this.incorporate(type='table') -%}
{{ run_hooks(pre_hooks, inside_transaction=False) }}
{{ run_hooks(pre_hooks, inside_transaction=True) }}
{% if is_incremental() %}
{{ rebuild_claimed_periods(table, sql) }}
{% else %}
{{ replace_table(existing, table, sql) }}
{% endif %}
{{ finish(existing, table) }}
{{ return({'relations': [table]}) }}
{%- endmaterialization %}

{# Builds a table beside its predecessor, and drops that in the same transaction. #}
{% macro replace_table(existing, table, sql) -%}
{%- set new = make_intermediate_relation(table) -%}
{% call statement('main') -%}
{{ get_create_table_as_sql(False, new, sql) }}
{%- endcall %}
{% do create_indexes(new) %}
{% call statement('replace_table') -%}
{% if existing is not none %}{{ drop_in_transaction(existing) }}{% endif -%}
alter table {{ new }} rename to {{ adapter.quote(table.identifier) }}
{%- endcall %}
{%- endmacro %}

{# Computes the claimed periods in a temporary table, and writes the rows that differ. #}
{% macro rebuild_claimed_periods(table, sql) -%}
{%- set built = make_temp_relation(table) -%}
{% call statement('build') -%}
{{ get_create_table_as_sql(True, built, sql) }}
{%- endcall %}
{%- set columns = columns_to_write(built, table) -%}
{% call statement('main') -%}
{{ rebuild_periods_sql(built, columns) }}
{%- endcall %}
{%- endmacro %}

{# The quoted names of the columns of both tables. If they differ, dbt does what the model's `on_schema_change` says. #}
{% macro columns_to_write(built, table) -%}
{%- set query -%}
select
    quote_ident(attname) as column_name,
    count(*) = 2 and count(distinct format_type(atttypid, atttypmod)) = 1 as is_same
from pg_attribute
where
    attrelid in ('{{ built }}'::regclass, '{{ table }}'::regclass)
    and attnum > 0
    and not attisdropped
group by attname
order by min(attnum), attname
{%- endset -%}
{%- set columns = run_query(query).rows -%}
{%- if columns | rejectattr('is_same') | list -%}
{%- set changed = process_schema_changes(config.get('on_schema_change'), built, table) -%}
{%- do return((changed or adapter.get_columns_in_relation(table)) | map(attribute='quoted') | list) -%}
{%- endif -%}
{%- do return(columns | map(attribute='column_name') | list) -%}
{%- endmacro %}

{% macro drop_in_transaction(relation) -%}
drop {{ relation.type }} {{ relation }} cascade;
{% endmacro %}

{# What follows in each materialization once the relation has its rows. #}
{% macro finish(existing, relation) -%}
{{ run_hooks(post_hooks, inside_transaction=True) }}
{% do apply_grants(relation, config.get('grants'), should_revoke=should_revoke(existing, full_refresh_mode=true)) %}
{% do persist_docs(relation, model) %}
{% do adapter.commit() %}
{{ run_hooks(post_hooks, inside_transaction=False) }}
{%- endmacro %}
