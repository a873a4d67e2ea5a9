{# How the build under way was claimed (`ops.build`): as `mode`, `full`, `incremental`, or none without a build; as
   `refreshed`, the models that are rebuilt from all rows, since they have changed. The command line does not tell it,
   since each task may be a dbt process of its own, and `dbt test` has no --full-refresh.

   It is asked once a dbt command, and kept in `graph`, which all nodes of a command share: each incremental model
   needs it eight times. A program that runs several commands may keep the graph, so the command's id stands beside. #}
{% macro running_build() -%}
{%- if execute -%}
{%- if graph.get('running_build', {}).get('invocation_id') != invocation_id -%}
{%- set build = run_query(
    'select is_full_refresh, array_to_string(refreshed_models, \' \') from ops.build where finished_at is null'
).rows -%}
{%- do graph.update({'running_build': {
    'invocation_id': invocation_id,
    'mode': ('full' if build[0][0] else 'incremental') if build else none,
    'refreshed': (build[0][1] or '').split() if build else []
}}) -%}
{%- endif -%}
{%- do return(graph['running_build']) -%}
{%- endif -%}
{%- do return({'mode': none, 'refreshed': []}) -%}
{%- endmacro %}

{# Replaces dbt's own macro, which looks only at the flag. #}
{% macro should_full_refresh() -%}
{%- do return(flags.FULL_REFRESH or running_build().mode == 'full' or model.name in running_build().refreshed) -%}
{%- endmacro %}

{# Replaces dbt's own macro, which looks only at `where`. In an incremental build, the tests of an
   incremental model read only the claimed periods: the others were tested when they were built, and
   testing them again would cost more every day. A full refresh, also of this model alone, and dbt by hand, test the
   whole table. #}
{% macro get_where_subquery(relation) -%}
{%- if execute and graph.nodes[model.attached_node].config.materialized == 'incremental' -%}
{%- set meta = graph.nodes[model.attached_node].config.meta -%}
{%- if running_build().mode == 'incremental'
    and graph.nodes[model.attached_node].name not in running_build().refreshed -%}
{%- set claimed = ' from ops.dirty_date where claimed_by is not null and source in (\''
    ~ meta.claimed_from | join("', '") ~ "')" -%}
{%- if meta.days_after -%}
{%- do return(
    '(select * from ' ~ relation ~ ' where ' ~ meta.period_column ~ ' <@ any(array('
    ~ 'select daterange(dirty_date, dirty_date + ' ~ (meta.days_after + 1) ~ ')' ~ claimed ~ '))) as claimed'
) -%}
{%- endif -%}
{%- do return(
    '(select * from ' ~ relation ~ ' where ' ~ meta.period_column
    ~ (' >= any' if meta.onward else ' = any') ~ '(array('
    ~ 'select distinct ' ~ first_day_of(meta.period, 'dirty_date') ~ claimed ~ '))) as claimed'
) -%}
{%- endif -%}
{%- endif -%}
{%- do return(default__get_where_subquery(relation)) -%}
{%- endmacro %}
