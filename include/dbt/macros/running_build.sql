{# What the build that is under way was claimed as (`ops.build`), not what a command line says: each
   task may be a dbt process of its own, and a test has no --full-refresh. #}

{# `full`, `incremental`, or none where no build is under way. #}
{% macro running_build() -%}
{%- if execute -%}
{%- set found = run_query('select is_full_refresh from ops.build where finished_at is null') -%}
{%- if found.rows -%}
{%- do return('full' if found.rows[0][0] else 'incremental') -%}
{%- endif -%}
{%- endif -%}
{%- do return(none) -%}
{%- endmacro %}

{# dbt's own, which asks for the flag alone. #}
{% macro should_full_refresh() -%}
{%- do return(flags.FULL_REFRESH or running_build() == 'full') -%}
{%- endmacro %}

{# dbt's own, which asks for `where` alone. While an incremental build is under way, the tests of an
   incremental model look at the periods it has claimed: the others are as they were tested before, and
   testing them again would cost more every day. A full refresh, and dbt by hand, tests all of it. #}
{% macro get_where_subquery(relation) -%}
{%- if execute and graph.nodes[model.attached_node].config.materialized == 'incremental' -%}
{%- set meta = graph.nodes[model.attached_node].config.meta -%}
{%- if running_build() == 'incremental' -%}
{%- do return(
    '(select * from ' ~ relation ~ ' where ' ~ meta.period_column
    ~ (' >= any' if meta.onward else ' = any') ~ '(array('
    ~ 'select distinct ' ~ first_day_of(meta.period, 'dirty_date') ~ ' from ops.dirty_date'
    ~ " where claimed_by is not null and source in ('" ~ meta.claimed_from | join("', '") ~ "')"
    ~ '))) as claimed'
) -%}
{%- endif -%}
{%- endif -%}
{%- do return(default__get_where_subquery(relation)) -%}
{%- endmacro %}
