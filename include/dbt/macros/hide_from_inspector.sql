{# After a build: `inspector`, who may read core, may not read these columns of this model. The right on a whole table comes
   with every new table (include/sql/roles.sql), so it is taken back and given for the other columns. #}
{% macro hide_from_inspector(columns) -%}
{%- if execute -%}
{%- set shown = [] -%}
{%- for column in adapter.get_columns_in_relation(this) if column.name not in columns -%}
{%- do shown.append(column.quoted) -%}
{%- endfor -%}
do $$
begin
    if exists (select from pg_roles where rolname = 'inspector') then
        revoke select on {{ this }} from inspector;
        grant select ({{ shown | join(', ') }}) on {{ this }} to inspector;
    end if;
end
$$
{%- endif -%}
{%- endmacro %}
