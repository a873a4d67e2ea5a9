{# How each test of a dbt command ended, in `ops.check_result`, with up to a hundred of its failing rows
   in `ops.check_failure`: what a publication asks for. An on-run-end hook sees the results however dbt
   was called: once a build, or once a task. Without a build under way nothing is recorded. A test that
   was skipped has no result. #}
{% macro record_tests(results) -%}
{%- set tests = [] -%}
{%- for result in results if result.node.resource_type == 'test' and result.status | string != 'skipped' -%}
{%- do tests.append(result) -%}
{%- endfor -%}
{%- if execute and tests and target.name != 'verify' -%}
with judged (subject, status, observed, message) as (
    values
    {%- for result in tests %}
    (
        '{{ test_subject(result.node) }}',
        '{{ result.status if result.status | string in ('pass', 'warn') else 'fail' }}',
        {{ result.failures if result.failures is not none else 'null' }}::numeric,
        '{{ (result.message or 'no row at fault') | replace("'", "''") }}'
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
    judged.subject,
    judged.status,
    judged.observed,
    0,
    judged.message
from judged
cross join ops.build
where build.finished_at is null;
{% for result in tests if result.status | string in ('fail', 'warn') %}
insert into ops.check_failure (check_result_id, bad_row)
select
    judged.check_result_id,
    to_jsonb(bad)
from (
    select max(check_result.check_result_id) as check_result_id
    from ops.check_result
    inner join ops.build on check_result.run_id = build.run_id
    where
        build.finished_at is null
        and check_result.check_name = 'dbt_test'
        and check_result.subject = '{{ test_subject(result.node) }}'
) as judged
cross join (
    select * from (
{{ result.node.compiled_code }}
    ) as found limit 100
) as bad
where judged.check_result_id is not null;
{% endfor %}
{%- endif -%}
{%- endmacro %}

{# The table that a test is of, if it is of one, and its name: as `ecommerce.audit.dbt_tests` has it. #}
{% macro test_subject(node) -%}
{%- set attached = graph.nodes[node.unique_id].get('attached_node') -%}
{%- set table = graph.nodes.get(attached) or graph.sources.get(attached) -%}
{{ table.schema ~ '.' ~ table.name ~ ' ' if table }}{{ node.name }}
{%- endmacro %}
