"""The mistakes that are made in SQL: what each operator changes, and what it must leave alone."""

import pytest

from tests.mutants.sql_mutants import Edit, edits_of_dbt, edits_of_ddl, edits_of_query


def changed(text: str, edits: list[Edit], operator: str | None = None) -> list[str]:
    return [
        text[: edit.start] + edit.replacement + text[edit.end :]
        for edit in edits
        if operator is None or edit.operator == operator
    ]


QUERIES = [
    ("comparison", "select from a where b < c", ["select from a where b <= c"]),
    ("comparison", "select from a where b >= c", ["select from a where b > c"]),
    ("comparison", "update a set b = 1 where c = d", ["update a set b = 1 where c <> d"]),
    ("comparison", "update a set b = (select c where d = e)", ["update a set b = (select c where d <> e)"]),
    ("and becomes or", "select from a where b and c", ["select from a where b or c"]),
    ("and becomes or", "select from a where b between c and d", []),
    ("or becomes and", "select from a where b or c", ["select from a where b and c"]),
    (
        "condition dropped",
        "select from a where b = 1 and (c or d) group by e",
        [
            "select from a where true and (c or d) group by e",
            "select from a where b = 1 and true group by e",
            "select from a where b = 1 and (c or false) group by e",
        ],
    ),
    (
        "condition dropped",
        "select from a where b between c and d and e",
        ["select from a where true and e", "select from a where b between c and d and true"],
    ),
    ("condition dropped", "select from a inner join b on a.c = b.c", ["select from a inner join b on true"]),
    ("condition dropped", "select from a inner join b on true", []),
    ("condition dropped", "insert into a (b) values (1) on conflict (b) do nothing", []),
    ("condition dropped", "select distinct on (a) b from c", []),
    ("condition dropped", "select sum(a) filter (where b = c) from d", ["select sum(a) filter (where true) from d"]),
    ("inner join becomes left", "select from a inner join b using (c)", ["select from a left join b using (c)"]),
    ("left join becomes inner", "select from a left join b using (c)", ["select from a inner join b using (c)"]),
    ("another function", "select sum(a), b.sum from b", ["select max(a), b.sum from b"]),
    ("coalesce dropped", "select coalesce(f(a, b), 0)", ["select coalesce(f(a, b))"]),
    ("not added", "select a is null", ["select a is not null"]),
    ("not dropped", "select a is not null", ["select a is null"]),
    ("not added", "select from a where exists (select from b)", ["select from a where not exists (select from b)"]),
    ("not dropped", "select from a where b not in (1, 2)", ["select from a where b in (1, 2)"]),
    ("other order", "select from a order by b desc", ["select from a order by b asc"]),
    (
        "other order",
        "select from a order by b, c asc limit 1",
        ["select from a order by b desc, c asc limit 1", "select from a order by b, c desc limit 1"],
    ),
    ("other order", "select lag(a) over (order by b) from c", ["select lag(a) over (order by b desc) from c"]),
    ("nulls at the other end", "select from a order by b nulls last", ["select from a order by b nulls first"]),
    ("arithmetic", "select a + b, count(*), -1 from c", ["select a - b, count(*), -1 from c"]),
    ("arithmetic", "select a.* from a where (b) * 2 > c", ["select a.* from a where (b) / 2 > c"]),
    ("union all becomes union", "select 1 union all select 1", ["select 1 union select 1"]),
    ("union becomes union all", "select 1 union select 1", ["select 1 union all select 1"]),
    ("distinct dropped", "select distinct a from b", ["select a from b"]),
    ("distinct dropped", "select count(distinct a) from b", ["select count(a) from b"]),
    ("distinct dropped", "select distinct on (a) b from c", []),
    ("distinct dropped", "select a is distinct from b", []),
    ("number + 1", "select round(a::numeric(18, 2), 2) from b group by 1", [
        "select round(a::numeric(18, 3), 2) from b group by 1", "select round(a::numeric(18, 2), 3) from b group by 1",
    ]),
    ("number - 1", "select 0, 1.5, $1", ["select 0, 0.5, $1"]),
    ("number + 1", "select a - interval '7 days', '7'", ["select a - interval '8 days', '7'"]),
    ("else dropped", "select case when a then b else c end", ["select case when a then b else null end"]),
    ("else dropped", "select case when a then b else null end", []),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "query", "expected"), QUERIES)
def test_operator_changes_query(operator: str, query: str, expected: list[str]) -> None:
    assert changed(query, edits_of_query(query), operator) == expected


@pytest.mark.parametrize(
    "query",
    [
        "select a -- where b < 1 and c\nfrom d",
        "select a /* sum(b) < 1 */ from c",
        "select 'a < b and sum(c) union all' from d",
        'select "a < b" from c',
        "select {sum} from {table} where {less}",
    ],
)
def test_comments_strings_and_placeholders_stay(query: str) -> None:
    assert {*changed(query, edits_of_query(query))} <= {query.replace("where {less}", "where true")}


def test_placeholders_are_operands() -> None:
    query = "select from a where b > %(c)s and d = %s"
    assert changed(query, edits_of_query(query), "condition dropped") == [
        "select from a where true and d = %s",
        "select from a where b > %(c)s and true",
    ]


TABLE = """create table a (
    b bigint not null check (b > 0),
    c text references d (e) on delete cascade,
    unique nulls not distinct (b, c)
);
"""


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [
        ("not null dropped", "not null check", "check"),
        ("check dropped", "check (b > 0)", "check (true)"),
        ("reference dropped", " references d (e) on delete cascade", " "),
        ("unique dropped", "unique nulls not distinct (b, c)", "check (true)"),
    ],
)
def test_operator_drops_constraint(operator: str, before: str, after: str) -> None:
    assert changed(TABLE, edits_of_ddl(TABLE), operator) == [TABLE.replace(before, after, 1)]


def test_index_is_changed_only_if_it_is_unique() -> None:
    index = "create unique index a on b (c) where d is null;"
    assert changed(index, edits_of_ddl(index)) == [
        index.replace("unique ", ""),
        index.replace("d is null", "true"),
        index.replace("is null", "is not null"),
    ]
    index = "create index if not exists a on b (c, (d + 1)) where e is null;"
    assert changed(index, edits_of_ddl(index)) == []


def test_grant_is_dropped_widened_and_taken_from_each_role() -> None:
    grant = "grant select on a to b, c;"
    assert sorted(changed(grant, edits_of_ddl(grant))) == [
        ";",
        "grant all on a to b, c;",
        "grant select on a to b;",
        "grant select on a to c;",
    ]


def test_default_privileges_are_dropped_as_a_whole() -> None:
    text = "alter default privileges for role a in schema b\ngrant select on tables to c;"
    assert ";" in changed(text, edits_of_ddl(text), "statement dropped")


def test_statement_of_a_body_becomes_null() -> None:
    body = "do $$\nbegin\n    execute format('grant usage on schema a to %I', b);\nend\n$$;"
    assert changed(body, edits_of_ddl(body)) == ["do $$\nbegin\n    null;\nend\n$$;"]


MODEL = """{# sum(a) < b #}
{{ config(materialized='table', rows=1) }}
select sum(a) as b
from {{ ref('c') }}
{{ only_claimed('c', 'day') }}
where
    d < '{{ var("last_day") }}'
    and {{ valid_at('c', 'e') }}
{% if is_incremental() -%}
    and f
{%- endif %}
"""


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [
        ("another function", "select sum(a)", "select max(a)"),
        ("comparison", "    d <", "    d <="),
        ("clause of a macro dropped", "{{ only_claimed('c', 'day') }}", ""),
        ("if negated", "if is_incremental()", "if not (is_incremental())"),
    ],
)
def test_model_is_changed_outside_of_jinja_and_by_its_conditions(operator: str, before: str, after: str) -> None:
    assert changed(MODEL, edits_of_dbt(MODEL), operator) == [MODEL.replace(before, after)]


def test_macro_may_be_a_condition() -> None:
    assert MODEL.replace("and {{ valid_at('c', 'e') }}", "and true") in changed(MODEL, edits_of_dbt(MODEL))
