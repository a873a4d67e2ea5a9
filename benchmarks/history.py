"""
Build one day on histories of different length: on a stack of its own.

For each number of years, creates a warehouse with 4,000 order lines a day and builds it once: baskets of one to three
lines, guests, cancelled orders, refunds. Then the same new days are loaded into each of them and built: new orders,
some late ones, refunds, changed customers and prices. Prints medians of a day's `dbt build` and the ratio to the
shortest history; the same for the CPU time of dbt and Postgres, which other work on the machine does not make longer;
and writes the query plans of the five slowest models to a file. Needs about 1 GB of disk per year, below STACK_DIR if
that is set.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"

from benchmarks.own_stack import FOLDER, own_stack
from benchmarks.usage import postgres_process
from ecommerce.build import lease
from ecommerce.build.dbt_project import DBT_PROJECT, project_digest
from ecommerce.common.database_schema import ensure_schema
from ecommerce.common.sources import SOURCES, Source
from ecommerce.common.windows import Window
from ecommerce.extract.reader_protocol import ResumePoints, TopicRead
from ecommerce.load.batches import RunIdentity
from ecommerce.load.loader import load
from ecommerce.publish.publication import publish
from include.demo import database, dbt
from include.demo.state import State
from tests.integration.support import checks_passed

HISTORY = Path(__file__).with_suffix(".sql")
LAST_DAY = date(2025, 12, 31)
LINES = 4_000
DAG = "history"

#: Source → query for its rows of day %(day)s, made from those in raw. The same share of rows changes every day.
_NEW_ROWS = {
    # Some orders come very late.
    "sales_fact": """
        select *
        from history.lines_of(%(day)s, %(lines)s)
        union all
        select
            order_id || 'L', line_number, product_id, customer_id, order_date - 30 * right(order_id, 1)::integer,
            order_amount, order_quantity, payment_method, discount_applied, shipping_cost, tax_amount, order_status,
            created_at
        from history.lines_of(%(day)s, 6)
    """,
    "refund": "select * from history.refunds_of(%(day)s, %(day)s)",
    "kafka_stream": """
        select *, 'customer_interactions', 0, %(first_offset)s + row_number() over (), "timestamp", null
        from history.events_of(%(day)s, %(lines)s / 4)
    """,
    "customer": """
        select
            customer_id,
            customer_name
                || case when hashtext(customer_id || %(day)s) %% 2500 = 0 then ' of ' || %(day)s else '' end,
            customer_email,
            start_date,
            end_date,
            status
        from (select distinct on (customer_id) * from raw.customer order by customer_id, _batch_id desc)
        union all
        select
            history.customer_id(70000 + n + 5 * (%(day)s::date - '2025-01-01')), 'New', 'n@example.com', %(day)s::date,
            null, 'active'
        from generate_series(1, 5) as n
    """,
    # Some prices are valid from a day before.
    "product_category": """
        select
            product_id, category_id, category_name, subcategory, brand, supplier_id,
            case when is_changed then cost_price + 0.01 else cost_price end,
            retail_price, margin_percent, stock_level, reorder_point, discontinued, launch_date,
            case when is_changed then %(day)s::date - abs(hashtext(product_id) %% 4) else last_updated end
        from (
            select distinct on (product_id) *, hashtext(product_id || %(day)s) %% 350 = 0 as is_changed
            from raw.product_category
            order by product_id, _batch_id desc
        )
    """,
    "weather_data": """
        select %(day)s::date, 11.5, 1.5, city
        from unnest(array['Berlin', 'Hamburg', 'Madrid', 'Paris', 'Rome']) as city
    """,
}


@dataclass
class Rows:
    """A reader of rows in memory, so that a load is measured without the query that made them."""

    columns: Sequence[str]
    rows: list[tuple[str | None, ...]]
    topics: Sequence[TopicRead] = ()

    def read(self, resume: ResumePoints) -> Iterator[tuple[str | None, ...]]:
        """Iterate over all rows."""
        return iter(self.rows)


@dataclass
class Build:
    """Seconds of one build: of dbt, of each node, of CPU time (dbt and Postgres), and of the publication after it."""

    dbt: float
    nodes: dict[str, float]
    cpu: float
    publication: float = 0.0


@dataclass
class Shop:
    """A warehouse with a history of some years, and what its builds took."""

    years: int
    dsn: str
    whole: Build | None = None
    days: list[Build] = field(default_factory=list)

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """Connect as the owner of the warehouse."""
        with psycopg.connect(self.dsn, autocommit=True, options="-c timezone=UTC -c datestyle=ISO") as connection:
            yield connection

    def fill(self) -> float:
        """Create the history in raw; the seconds it took."""
        started = time.monotonic()
        with self.connect() as connection:
            ensure_schema(connection)
            for name, value in (("years", self.years), ("lines", LINES), ("last_day", LAST_DAY)):
                connection.execute("select set_config(%s, %s, false)", [f"history.{name}", str(value)])
            connection.execute(HISTORY.read_text().encode())
            connection.execute("vacuum (analyze, parallel 0)")
        return time.monotonic() - started

    def receive(self, day: date) -> None:
        """Load the sources' new rows of a day."""
        window = Window.of_days(day, day)
        with self.connect() as connection:
            connection.execute("select setseed(%s)", [day.timetuple().tm_yday / 1000])
            for name, query in _NEW_ROWS.items():
                load(connection, SOURCES[name], window, partial(self._reader, connection, query),
                     run=RunIdentity(DAG, f"day {day}", 1))  # fmt: skip

    def _reader(self, connection: psycopg.Connection, query: str, source: Source, window: Window) -> Rows:
        last = connection.execute("select coalesce(max(_offset), 0) from raw.kafka_stream where _partition = 0")
        ((first_offset,),) = last.fetchall()
        columns = [column.name for column in source.loaded_columns]
        rows = connection.execute(
            sql.SQL("select {} from ({}) as today ({})").format(
                sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns),
                sql.SQL(query),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
            ),
            {"day": window.start, "lines": LINES, "first_offset": first_offset},
        ).fetchall()
        return Rows(columns, rows)

    def build(self, run_id: str, *, full_refresh: bool = False, explain: Path | None = None) -> Build:
        """Claim, build and publish; append the plans of the slowest models to the file ``explain``."""
        with self.connect() as connection:
            claim = lease.take(connection, DAG, run_id, project=project_digest(), full_refresh=full_refresh)
            if claim is None:
                sys.exit(f"another run has the claim of the warehouse of {self.years} years")
            print(f"  {self.years:>2} years, {run_id}: {claim}")
            build = self._dbt(postgres_process(connection))
            if explain:
                self._explain(connection, build, explain)
            with checks_passed(connection, run_id):
                started = time.monotonic()
                publish(connection, run_id)
                build.publication = time.monotonic() - started
        return build

    def _dbt(self, server: psutil.Process) -> Build:
        """Run and measure `dbt build`; the server counts the CPU time of a connection when the connection has ended."""
        env = {
            **dbt.environment(self.dsn),
            "DBT_TARGET_PATH": str(self.target),
            "DBT_LOG_PATH": str(self.target),
        }
        started, cpu = time.monotonic(), _cpu_of_ended_children(server, psutil.Process())
        subprocess.run(
            [
                Path(sys.executable).with_name("dbt"), "--quiet", "build", "--exclude-resource-type", "unit_test",
                "--project-dir", DBT_PROJECT, "--profiles-dir", DBT_PROJECT,
            ],
            env=env,
            check=True,
        )  # fmt: skip
        seconds = time.monotonic() - started
        # A connection that has not ended yet is not counted.
        time.sleep(1)
        cpu = _cpu_of_ended_children(server, psutil.Process()) - cpu
        results = json.loads((self.target / "run_results.json").read_text())["results"]
        return Build(seconds, {result["unique_id"]: result["execution_time"] for result in results}, cpu)

    @property
    def target(self) -> Path:
        """The folder of dbt's files for this warehouse."""
        return FOLDER / f"target_{self.years}"

    def _explain(self, connection: psycopg.Connection, build: Build, report: Path) -> None:
        """Append the plans of the five slowest models; before the publication, which clears the dirty dates."""
        nodes = json.loads((self.target / "manifest.json").read_text())["nodes"]
        models = [node for node in build.nodes if node.startswith("model.")]
        with report.open("a") as file:
            for node in sorted(models, key=lambda node: -build.nodes[node])[:5]:
                compiled = (self.target / "compiled" / "ecommerce" / nodes[node]["original_file_path"]).read_text()
                plan = connection.execute(f"explain (analyze, buffers) {compiled}".encode()).fetchall()
                print(f"\n{self.years} years, {node}: {build.nodes[node]:.2f} s in the run", file=file)
                print("\n".join(line for (line,) in plan), file=file)


def _cpu_of_ended_children(*processes: psutil.Process) -> float:
    """Sum the CPU seconds of the children of these processes that have ended."""
    return sum(sum(process.cpu_times()[2:4]) for process in processes)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--years", type=int, nargs="+", default=[1, 10], help="years of the histories to compare (default 1 10)"
    )
    parser.add_argument("--runs", type=int, default=5, help="measured days (default 5)")
    parser.add_argument(
        "--plans",
        type=Path,
        default=Path("history_plans.txt"),
        help="file for the query plans (default history_plans.txt)",
    )
    arguments = parser.parse_args()
    arguments.plans.unlink(missing_ok=True)
    with own_stack() as state:
        _measure(state, sorted(arguments.years), arguments.runs, arguments.plans)
    return 0


def _measure(state: State, years: list[int], runs: int, plans: Path) -> None:
    with psycopg.connect(state.dsn("postgres"), autocommit=True) as connection:
        # This data need not survive a power cut, and waiting for the disk is not part of the measurement.
        connection.execute("alter system set fsync = off")
        connection.execute("select pg_reload_conf()")
        for n in years:
            connection.execute(sql.SQL("create database {} owner warehouse").format(sql.Identifier(f"years_{n}")))
    for n in years:
        database.make_tables(state.dsn(f"years_{n}", "postgres"))
    shops = [Shop(n, state.dsn(f"years_{n}", "warehouse")) for n in years]
    for shop in shops:
        print(f"{shop.years} years of raw in {shop.fill():.0f} s", flush=True)
        shop.whole = shop.build("whole", full_refresh=True)
        with shop.connect() as connection:
            connection.execute("vacuum (analyze, parallel 0)")
    for n in range(runs + 1):
        # The first day fills the caches and is not counted.
        day = LAST_DAY + timedelta(days=n + 1)
        for shop in shops:
            shop.receive(day)
            build = shop.build(f"day {day}", explain=plans if n == runs else None)
            if n:
                shop.days.append(build)
    _report(shops)
    print(f"\nplans of the five slowest models: {plans}")


def _report(shops: list[Shop]) -> None:
    base = shops[0]
    print("\nyears  full refresh     a day's dbt build, median   CPU time               publication")
    for shop in shops:
        whole = shop.whole.dbt if shop.whole else 0.0
        day, day_base = (statistics.median(build.dbt for build in one.days) for one in (shop, base))
        cpu, cpu_base = (statistics.median(build.cpu for build in one.days) for one in (shop, base))
        published = statistics.median(build.publication for build in shop.days)
        print(
            f"{shop.years:>5} {whole:>8.1f} s {whole / shop.years:>5.1f} s/y"
            f" {day:>10.2f} s = {day / day_base:.2f} x {' ':>8} {cpu:>6.2f} s = {cpu / cpu_base:.2f} x"
            f" {published:>9.2f} s"
        )
    longest = shops[-1]
    print(f"\nseconds per node, median of the days, {base.years} and {longest.years} years; the 15 slowest")
    medians = {
        node: [statistics.median(build.nodes.get(node, 0.0) for build in shop.days) for shop in (base, longest)]
        for node in longest.days[-1].nodes
    }
    for node, (short, long) in sorted(medians.items(), key=lambda entry: -entry[1][1])[:15]:
        print(f"  {node.removeprefix('model.').removeprefix('test.'):<80} {short:>6.2f} {long:>6.2f}")


if __name__ == "__main__":
    sys.exit(main())
