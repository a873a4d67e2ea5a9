{# An on-run-end hook that writes the result of each dbt test to `ops.check_result`, and up to a hundred
   of its failing rows to `ops.check_failure`: a publication needs them. It works whether dbt runs once a
   build or once a task. Without a build under way nothing is written. A skipped test has no result. #}
{% macro record_tests(results) -%}
{%- set tests = [] -%}
{%- for result in results if result.node.resource_type == 'test' and result.status | string != 'skipped' -%}
{%- do tests.append(result) -%}
{%- endfor -%}
{%- if execute and tests and target.name != 'verify' -%}
with test_results (subject, status, observed, message) as (
    values
    {%- for result in tests %}
    (
        '{{ test_subject(result.node) }}',
        '{{ result.status if result.status | string in ('pass', 'warn') else 'fail' }}',
        {{ result.failures if result.failures is not none else 'null' }}::numeric,
        '{{ (result.message or 'no failing row') | replace("'", "''") }}'
    ){{ ',' if not loop.last }}
    {%- endfor %}
)

insert into ops.check_result (
    checked_at, run_id, check_name, subject, status, observed, expected, message
)
select
    clock_timestamp(),
    build.run_id,
    'dbt_test',
    test_results.subject,
    test_results.status,
    test_results.observed,
    0,
    test_results.message
from test_results
cross join ops.build
where build.finished_at is null;
{% for result in tests if result.status | string in ('fail', 'warn') %}
insert into ops.check_failure (check_result_id, bad_row)
select
    latest.check_result_id,
    to_jsonb(failing_row)
from (
    select max(check_result.check_result_id) as check_result_id
    from ops.check_result
    inner join ops.build on check_result.run_id = build.run_id
    where
        build.finished_at is null
        and check_result.check_name = 'dbt_test'
        and check_result.subject = '{{ test_subject(result.node) }}'
) as latest
cross join (
    select * from (
{{ result.node.compiled_code }}
    ) as failing_rows limit 100
) as failing_row
where latest.check_result_id is not null;
{% endfor %}
{%- endif -%}
{%- endmacro %}

{# A test's subject in `ops.check_result`: its table, if it has one, and its name. The same as in
   `ecommerce.audit.dbt_tests`. #}
{% macro test_subject(node) -%}
{%- set attached = graph.nodes[node.unique_id].get('attached_node') -%}
{%- set table = graph.nodes.get(attached) or graph.sources.get(attached) -%}
{{ table.schema ~ '.' ~ table.name ~ ' ' if table }}{{ node.name }}
{%- endmacro %}
