"""The one stack of the tests that need all of it: Airflow to run the DAGs, over a small nasty shop."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from include.demo import airflow_services, database, processes, stack
from include.demo.state import ROOT, State
from tests.oracle.slice import write_slice

SCHEMAS = ("ops", "raw", "staging", "core", "quality", "marts_build", "marts")


@dataclass
class Demo:
    """A running stack with the slice in its sources."""

    state: State
    folder: Path
    first: date
    last: date

    @property
    def warehouse(self) -> str:
        """DSN of the warehouse."""
        return self.state.dsn()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command of the demo's command line, as `make` gives it."""
        return subprocess.run(
            [sys.executable, "-m", "include.demo", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": "plugins"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def query(self, query: str, *values: object, database: str = "warehouse") -> list[tuple]:
        """Rows of a query on one of the stack's databases."""
        with psycopg.connect(self.state.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def empty_warehouse(self) -> None:
        """As if nothing had ever been read."""
        with psycopg.connect(self.warehouse, autocommit=True) as connection:
            for schema in SCHEMAS:
                connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))
        database.make_schemas(self.state.dsn("warehouse", "postgres"))

    def marts(self) -> dict[str, tuple[int, str]]:
        """Each published mart → its rows and their hash."""
        names = self.query(
            "select relname from pg_class where relnamespace = to_regnamespace('marts') and relkind = 'r' order by 1"
        )
        return {
            name: self.query(
                "select count(*), md5(coalesce(string_agg(mart::text, E'\\n' order by mart::text), ''))"
                f" from marts.{name} as mart"
            )[0]
            for (name,) in names
        }


@pytest.fixture(scope="session")
def manifest() -> None:
    """The dbt manifest that the DAG is rendered from."""
    airflow_services.build_manifest()


@pytest.fixture(scope="session")
def demo(state: State, postgres: State, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The stack with all four Airflow services, its sources filled with the slice."""
    folder = tmp_path_factory.mktemp("slice")
    first, last = write_slice(folder)
    try:
        stack.up()
        running = stack.running()
        stack.empty_broker(running)
        stack.fill(running, folder, opening=lambda: None)
        yield Demo(running, folder, first, last)
    finally:
        airflow_services.stop()
        processes.stop("weather")
        processes.stop("kafka")


@pytest.fixture(scope="session")
def whole_range(demo: Demo) -> Demo:
    """The slice, read over its whole range in one run."""
    outcome = demo.command("demo", "--data", str(demo.folder), "--from", str(demo.first), "--to", str(demo.last))
    assert outcome.returncode == 0, outcome.stderr
    assert "daily_revenue" in outcome.stderr
    assert "login: admin" in outcome.stderr
    return demo
