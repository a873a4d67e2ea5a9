"""dbt on the command line: it builds an empty warehouse, and its documentation names every column."""

import json
import os
import subprocess
import sys
from typing import Any

import psycopg
import pytest

from ecommerce.build.dbt_project import DBT_PROJECT
from include.demo import dbt
from include.demo.state import ROOT, STACK, State

Catalog = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def built(warehouse_dsn: str) -> str:
    """The DSN of an empty warehouse after `dbt build` of all models, tests and unit tests."""
    assert dbt.run(warehouse_dsn, ["--quiet", "build"]) == 0
    return warehouse_dsn


@pytest.mark.slow
def test_build_of_an_empty_warehouse_makes_every_mart(built: str) -> None:
    models = {path.stem for path in (DBT_PROJECT / "models" / "marts").rglob("*.sql")}
    with psycopg.connect(built) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = 'marts_build'").fetchall()
        assert {name for (name,) in tables} == models
        for mart in models:
            assert connection.execute(f"select * from marts_build.{mart}".encode()).fetchall() == []


@pytest.mark.slow
def test_documentation_names_every_column_in_order(built: str) -> None:
    assert dbt.run(built, ["--quiet", "docs", "generate"]) == 0
    catalog: Catalog = json.loads((STACK / "dbt" / "catalog.json").read_text())
    manifest: Catalog = json.loads((STACK / "dbt" / "manifest.json").read_text())
    tables = {**manifest["sources"], **manifest["nodes"]}
    catalogued = {**catalog["sources"], **catalog["nodes"]}
    assert set(catalogued) == {
        name for name, entry in tables.items() if entry["resource_type"] in ("source", "model", "seed")
    }
    for name, table in catalogued.items():
        columns = sorted(table["columns"].values(), key=lambda column: column["index"])
        assert list(tables[name]["columns"]) == [column["name"] for column in columns], name


def test_command_line_connects_to_the_stack(postgres: State) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "include.demo", "dbt", "debug"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "plugins"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    assert "Connection test" in process.stdout
