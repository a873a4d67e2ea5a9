"""Fixtures for tests that need the whole stack: Airflow runs the DAGs on a small shop with all edge cases."""

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
from tests.oracle.edge_case_shop import write_edge_case_shop

SCHEMAS = ("ops", "raw", "staging", "core", "quality", "marts_build", "marts")


@dataclass
class Demo:
    """A running stack whose sources are filled with the edge-case shop."""

    state: State
    folder: Path
    first: date
    last: date

    @property
    def warehouse(self) -> str:
        """The DSN of the warehouse."""
        return self.state.dsn()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the demo's command line, as `make` does."""
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
        """Run a query on one of the stack's databases; its rows."""
        with psycopg.connect(self.state.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def orders_of_one_line(self, day: date) -> list[str]:
        """Orders that the shop took and recorded on a day, each with one line that counts as revenue."""
        rows = self.query(
            """
            select order_id
            from sales_fact
            where created_at::date = %s
            group by order_id
            having
                count(*) = 1
                and min(order_date) = min(created_at)::date
                and min(order_amount) > 0
                and not bool_or(
                    lower(btrim(coalesce(order_status, ''))) in ('cancelled', 'canceled', 'voided', 'failed')
                )
            order by order_id
            """,
            day,
            database="shop",
        )
        return [order for (order,) in rows]

    def empty_warehouse(self) -> None:
        """Delete all data of the warehouse."""
        with psycopg.connect(self.warehouse, autocommit=True) as connection:
            for schema in SCHEMAS:
                connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))
        database.make_schemas(self.state.dsn("warehouse", "postgres"))

    def marts(self) -> dict[str, tuple[int, str]]:
        """Map each published mart to the number of its rows and their hash."""
        return self.tables("marts")

    def tables(self, schema: str) -> dict[str, tuple[int, str]]:
        """Map each table of a schema of the warehouse to the number of its rows and their hash."""
        names = self.query(
            """
            select relname
            from pg_class
            where relnamespace = to_regnamespace(%s) and relkind = 'r'
            order by relname
            """,
            schema,
        )
        return {
            name: self.query(
                f"""
                select count(*), md5(coalesce(string_agg(entry::text, E'\\n' order by entry::text), ''))
                from {schema}.{name} as entry
                """
            )[0]
            for (name,) in names
        }


@pytest.fixture(scope="session")
def manifest() -> None:
    """The dbt manifest, from which the DAG is rendered."""
    airflow_services.build_manifest()


@pytest.fixture(scope="session")
def demo(state: State, postgres: State, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The stack with all four Airflow services, its sources filled with the edge-case shop."""
    folder = tmp_path_factory.mktemp("edge_case_shop")
    first, last = write_edge_case_shop(folder)
    try:
        stack.up(folder)
        running = stack.running()
        stack.empty_broker(running)
        stack.fill(running, opening=lambda: None)
        yield Demo(running, folder, first, last)
    finally:
        airflow_services.stop()
        for service in ("weather", "kafka", "valkey"):
            processes.stop(service)


@pytest.fixture(scope="session")
def whole_range(demo: Demo) -> Demo:
    """The stack after one run over the whole range of the edge-case shop."""
    outcome = demo.command("demo", "--data", str(demo.folder), "--from", str(demo.first), "--to", str(demo.last))
    assert outcome.returncode == 0, outcome.stderr
    assert "daily_revenue" in outcome.stderr
    assert "login: admin" in outcome.stderr
    return demo
