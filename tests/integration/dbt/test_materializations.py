"""The project's own materializations: what they replace, what they leave alone, and what a failed build leaves."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cosmos import ProfileConfig

from dbt_triggerer.invocation import run_dbt
from dbt_triggerer.node_results import NodeResult
from ecommerce.build.dbt_project import DBT_PROJECT

pytestmark = pytest.mark.slow

#: Models of the small project that borrows the macros; `stg_claimed_days` is what the macros ask for the claimed days.
CLAIMED = "select 'orders' as source_name, date '2026-01-02' as claimed_day"
META = "meta={'claimed_from': ['orders'], 'period': 'day', 'period_column': 'day'}"


class Project:
    """A small dbt project with the macros of the real one, in a schema of its own."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.dsn = dsn
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
        output = {
            "type": "postgres", "host": parts["host"], "port": int(str(parts["port"])), "user": parts["user"],
            "password": parts.get("password", ""), "dbname": parts["dbname"], "schema": "small", "threads": 1,
            "search_path": "pg_catalog",
        }  # fmt: skip
        profiles = {"small": {"target": "small", "outputs": {"small": output}}}
        (folder / "models").mkdir(exist_ok=True)
        (folder / "profiles.yml").write_text(json.dumps(profiles))
        (folder / "dbt_project.yml").write_text(
            json.dumps(
                {
                    "name": "small", "version": "1.0.0", "profile": "small",
                    "macro-paths": [str(DBT_PROJECT / "macros")], "vars": {"last_day": "2026-12-31"},
                }
            )
        )  # fmt: skip
        self.model("stg_claimed_days", CLAIMED, materialized="view")

    def model(self, name: str, sql: str, **config: Any) -> None:
        """Write a model."""
        meta = config.pop("meta", "")
        settings = ", ".join([*(f"{key}={value!r}" for key, value in config.items()), *([meta] if meta else [])])
        hint = "-- depends_on: {{ ref('stg_claimed_days') }}" if config["materialized"] == "incremental" else ""
        (self.folder / "models" / f"{name}.sql").write_text(f"{{{{ config({settings}) }}}}\n{hint}\n{sql}\n")

    def build(self, *names: str) -> list[NodeResult]:
        """Run the models; all must succeed."""
        results = self.run(*names)
        assert [str(result) for result in results if result.is_bad] == []
        return results

    def run(self, *names: str) -> list[NodeResult]:
        profile = ProfileConfig(
            profile_name="small", target_name="small", profiles_yml_filepath=self.folder / "profiles.yml"
        )
        return run_dbt(["run", "--select", *names], project=self.folder, profile=profile)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(query.encode()).fetchall()

    def execute(self, query: str) -> None:
        with psycopg.connect(self.dsn) as connection:
            connection.execute(query.encode())

    def relations(self) -> set[str]:
        """Names of all relations of the schema."""
        return {
            name
            for (name,) in self.rows(
                "select relname from pg_class where relnamespace = 'small'::regnamespace and relkind in ('r', 'v')"
            )
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests: dbt parses the macros once."""
    return tmp_path_factory.mktemp("small")


@pytest.fixture
def project(warehouse_dsn: str, folder: Path) -> Project:
    with psycopg.connect(warehouse_dsn) as connection:
        connection.execute("drop schema if exists small cascade")
    for model in folder.glob("models/*.sql"):
        model.unlink()
    return Project(folder, warehouse_dsn)


def test_view_is_replaced_in_place(project: Project) -> None:
    project.model("shown", "select 1 as amount", materialized="view")
    project.build("shown")
    project.execute("create view small.reader as select amount from small.shown")
    before = project.rows("select 'small.shown'::regclass::oid")
    project.model("shown", "select 2 as amount", materialized="view")
    project.build("shown")
    assert project.rows("select amount from small.reader") == [(2,)]
    assert project.rows("select 'small.shown'::regclass::oid") == before


@pytest.mark.parametrize("columns", ["2 as total", "'two' as amount", "2 as first, 3 as amount"])
def test_view_whose_columns_change_is_made_anew(project: Project, columns: str) -> None:
    project.model("shown", "select 1 as amount", materialized="view")
    project.build("shown")
    project.execute("create view small.reader as select amount from small.shown")
    project.model("shown", f"select {columns}", materialized="view")
    project.build("shown")
    found = project.rows(
        "select string_agg(attname, ', ' order by attnum) from pg_attribute where attrelid = 'small.shown'::regclass"
    )
    assert found == [(", ".join(part.split(" as ")[1] for part in columns.split(", ")),)]
    assert project.relations() == {"shown"}


@pytest.mark.parametrize(("before", "after"), [("view", "table"), ("table", "view"), ("view", "incremental")])
def test_model_of_another_kind_replaces_the_old_relation(project: Project, before: str, after: str) -> None:
    sql = "select date '2026-01-02' as day, 1 as amount"
    project.model("changed", sql, materialized=before)
    project.build("stg_claimed_days", "changed")
    project.model("changed", sql, materialized=after, meta=META)
    project.build("changed")
    kind = "v" if after == "view" else "r"
    assert project.rows("select relkind from pg_class where oid = 'small.changed'::regclass") == [(kind,)]
    assert project.relations() == {"stg_claimed_days", "changed"}


def test_table_is_replaced_with_its_indexes_and_nothing_is_left_over(project: Project) -> None:
    for n in (1, 2, 3):
        project.model(
            "stock", f"select {n} as product", materialized="table", indexes=[{"columns": ["product"], "unique": True}]
        )
        project.build("stock")
        assert project.rows("select product from small.stock") == [(n,)]
    assert project.rows("select count(*) from pg_indexes where schemaname = 'small'") == [(1,)]
    assert project.relations() == {"stock"}


def test_table_of_a_failed_build_keeps_its_rows(project: Project) -> None:
    """The new table is complete when its key is added, which fails: the old one must still be there."""
    rule = {"post_hook": "alter table {{ this }} add primary key (product)"}
    project.model("stock", "select 1 as product", materialized="table", **rule)
    project.build("stock")
    project.model("stock", "select 7 as product from generate_series(1, 2)", materialized="table", **rule)
    (result,) = project.run("stock")
    assert result.is_bad
    assert "stock_pkey" in str(result.message)
    assert project.rows("select product from small.stock") == [(1,)]
    assert project.relations() == {"stock"}


def days(second: str, columns: str = "") -> str:
    """Two days, of which the second one is claimed."""
    return (
        f"select day, amount{columns} from (values (date '2026-01-01', {second}), (date '2026-01-02', {second})) "
        "as source (day, amount)"
    )


def test_incremental_model_rebuilds_the_claimed_day_only(project: Project) -> None:
    limit = "{{ only_claimed(['orders'], 'day', 'day') }}"
    project.model("sums", f"{days('1')} {limit}", materialized="incremental", meta=META)
    project.build("stg_claimed_days", "sums")
    project.model("sums", f"{days('2')} {limit}", materialized="incremental", meta=META)
    project.build("sums")
    assert project.rows("select day::text, amount from small.sums order by day") == [
        ("2026-01-01", 1),
        ("2026-01-02", 2),
    ]
    assert project.relations() == {"stg_claimed_days", "sums"}


def test_new_column_is_appended_where_the_model_says_so(project: Project) -> None:
    config: dict[str, Any] = {"materialized": "incremental", "meta": META, "on_schema_change": "append_new_columns"}
    project.model("sums", days("1"), **config)
    project.build("stg_claimed_days", "sums")
    # In another place than the last: columns are written by their names.
    project.model("sums", days("2").replace("day, amount", "day, 'x' as note, amount", 1), **config)
    project.build("sums")
    assert project.rows("select day::text, amount, note from small.sums order by day, amount") == [
        ("2026-01-01", 1, None),
        ("2026-01-01", 2, "x"),
        ("2026-01-02", 2, "x"),
    ]


@pytest.mark.parametrize("columns", [", 'x' as note", "::text as amount"])
def test_changed_columns_fail_where_the_model_says_so(project: Project, columns: str) -> None:
    config: dict[str, Any] = {"materialized": "incremental", "meta": META, "on_schema_change": "fail"}
    project.model("sums", days("1"), **config)
    project.build("stg_claimed_days", "sums")
    project.model("sums", days("2", columns), **config)
    (result,) = project.run("sums")
    assert result.is_bad
    assert "source and target schemas on this incremental model are out of sync" in str(result.message)
    assert project.rows("select day::text, amount from small.sums order by day") == [
        ("2026-01-01", 1),
        ("2026-01-02", 1),
    ]


def test_changed_model_is_built_from_all_rows_and_no_other(project: Project) -> None:
    only_claimed = " {{ only_claimed(['orders'], 'day', 'day') }}"
    for name in ("changed", "same"):
        project.model(name, days("1") + only_claimed, materialized="incremental", meta=META)
    project.execute("delete from ops.build")
    project.build("stg_claimed_days", "changed", "same")
    for name in ("changed", "same"):
        project.model(name, days("2") + only_claimed, materialized="incremental", meta=META)
    project.execute(
        """
        insert into ops.build (run_id, dag_id, claimed_at, is_full_refresh, project_digest, refreshed_models)
        values ('a_run', 'a_dag', now(), false, 'p', '{changed,another}')
        """
    )
    try:
        project.build("changed", "same")
    finally:
        project.execute("delete from ops.build")
    # Only 2 January is claimed.
    assert project.rows("select day::text, amount from small.changed order by day") == [
        ("2026-01-01", 2),
        ("2026-01-02", 2),
    ]
    assert project.rows("select day::text, amount from small.same order by day") == [
        ("2026-01-01", 1),
        ("2026-01-02", 2),
    ]


def test_build_is_asked_for_once_a_command(project: Project) -> None:
    """What the first answer was stands until the command ends, though the build has changed; the next asks again."""
    other = (
        "{% if execute %}{% do run_query('update ops.build set is_full_refresh = not is_full_refresh') %}{% endif %}"
    )
    answer = "{{ 1 if should_full_refresh() else 0 }}"
    project.model("mode", f"select {answer} as first, {other} {answer} as second", materialized="view")
    project.execute("delete from ops.build")
    project.build("mode")
    assert project.rows("select first, second from small.mode") == [(0, 0)]
    project.execute(
        """
        insert into ops.build (run_id, dag_id, claimed_at, is_full_refresh, project_digest)
        values ('a_run', 'a_dag', now(), true, 'p')
        """
    )
    try:
        project.build("mode")
        assert project.rows("select first, second from small.mode") == [(1, 1)]
        project.execute("update ops.build set is_full_refresh = false")
        project.build("mode")
        assert project.rows("select first, second from small.mode") == [(0, 0)]
    finally:
        project.execute("delete from ops.build")
