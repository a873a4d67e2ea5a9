{# A post-hook that keeps the personal columns of a model from the role `inspector`, which may read core.
   Default privileges (include/sql/roles.sql) let it read every new table, so that right is revoked and
   granted again on the other columns only. #}
{% macro hide_from_inspector() -%}
{%- if execute -%}
{%- set personal = run_query("select unnest(ops.personal_columns())").columns[0].values() -%}
{%- set visible = [] -%}
{%- for column in adapter.get_columns_in_relation(this) if column.name not in personal -%}
{%- do visible.append(column.quoted) -%}
{%- endfor -%}
{#- No `do` block: only the publisher may write code in the database (include/sql/roles.sql). #}
{%- if run_query("select 1 from pg_roles where rolname = 'inspector'").rows -%}
revoke select on {{ this }} from inspector;
grant select ({{ visible | join(', ') }}) on {{ this }} to inspector
{%- endif -%}
{%- endif -%}
{%- endmacro %}
