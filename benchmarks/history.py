"""
How long a day takes on a long history: `python -m benchmarks.history [--years 1 10] [--runs 5]`.

Creates a shop with 4,000 orders a day in a Postgres of its own, once for each number of years, and builds it whole.
Then each of them loads one day after the other: new orders, some late ones, changed customers and prices. Prints
medians of a day's `dbt build` and of the processor time of dbt and Postgres (which other work on the machine does not
change), with their ratios to the shortest history, and writes the plans of the five slowest models to a file. Needs
about 1 GB of disk a year, below STACK_DIR if that is set.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

FOLDER = Path(tempfile.mkdtemp(prefix="ecommerce-history-", dir=os.environ.get("STACK_DIR")))
os.environ["STACK_DIR"] = str(FOLDER / "stack")
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"

import psutil  # noqa: E402
import psycopg  # noqa: E402
from psycopg import sql  # noqa: E402

from ecommerce.build import lease  # noqa: E402
from ecommerce.build.dbt_project import DBT_PROJECT, project_digest  # noqa: E402
from ecommerce.common.database_schema import ensure_schema  # noqa: E402
from ecommerce.common.sources import SOURCES, Source  # noqa: E402
from ecommerce.common.windows import Window  # noqa: E402
from ecommerce.extract.reader_protocol import ResumePoints, TopicRead  # noqa: E402
from ecommerce.load.batches import RunIdentity  # noqa: E402
from ecommerce.load.loader import load  # noqa: E402
from ecommerce.publish.publication import publish  # noqa: E402
from include.demo import database, dbt  # noqa: E402
from include.demo.state import State  # noqa: E402

HISTORY = Path(__file__).with_suffix(".sql")
LAST_DAY = date(2025, 12, 31)
ORDERS = 4_000
DAG = "history"

#: The rows that each source has on day %(day)s. The same share of rows changes every day.
_TODAY = {
    "sales_fact": "select * from history.orders_of(%(day)s, %(orders)s)"
    # Some orders come very late.
    " union all select order_id || 'L', product_id, customer_id, order_date - 30 * right(order_id, 1)::integer,"
    " order_amount, order_quantity, payment_method, discount_applied, shipping_cost, created_at"
    " from history.orders_of(%(day)s, 6)",
    "kafka_stream": "select *, 'customer_interactions', 0, %(first_offset)s + row_number() over (), \"timestamp\""
    " from history.events_of(%(day)s, %(orders)s / 4)",
    "customer": "select customer_id, customer_name || case when hashtext(customer_id || %(day)s) %% 2500 = 0"
    "  then ' of ' || %(day)s else '' end, customer_email, start_date, end_date, status"
    " from (select distinct on (customer_id) * from raw.customer order by customer_id, _batch_id desc)"
    " union all select history.customer_id(70000 + n + 5 * (%(day)s::date - '2025-01-01')), 'New', 'n@example.com',"
    "  %(day)s::date, null, 'active' from generate_series(1, 5) as n",
    "product_category": "select product_id, category_id, category_name, subcategory, brand, supplier_id,"
    "  case when is_changed then cost_price + 0.01 else cost_price end, retail_price, margin_percent, stock_level,"
    "  reorder_point, discontinued, launch_date,"
    # Some prices reach back.
    "  case when is_changed then %(day)s::date - abs(hashtext(product_id) %% 4) else last_updated end"
    " from (select distinct on (product_id) *, hashtext(product_id || %(day)s) %% 350 = 0 as is_changed"
    "  from raw.product_category order by product_id, _batch_id desc)",
    "weather_data": "select %(day)s::date, 11.5, 1.5, city"
    " from unnest(array['Berlin', 'Hamburg', 'Madrid', 'Paris', 'Rome']) as city",
}


@dataclass
class Rows:
    """A reader of rows that were fetched before, so that a load is timed without their creation."""

    columns: Sequence[str]
    rows: list[tuple[str | None, ...]]
    topics: Sequence[TopicRead] = ()

    def read(self, resume: ResumePoints) -> Iterator[tuple[str | None, ...]]:
        """Return all rows, whatever was read before."""
        return iter(self.rows)


@dataclass
class Build:
    """Seconds of one build: dbt from start to end, each node in it, all processors' time, the publication after it."""

    dbt: float
    nodes: dict[str, float]
    processor: float
    publication: float = 0.0


@dataclass
class Shop:
    """A warehouse with a history."""

    years: int
    dsn: str
    whole: Build | None = None
    days: list[Build] = field(default_factory=list)

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """A session by the warehouse's owner."""
        with psycopg.connect(self.dsn, autocommit=True, options="-c timezone=UTC -c datestyle=ISO") as connection:
            yield connection

    def fill(self) -> float:
        """Create the history; returns the seconds that it took."""
        started = time.monotonic()
        with self.connect() as connection:
            ensure_schema(connection)
            for name, value in (("years", self.years), ("orders", ORDERS), ("last_day", LAST_DAY)):
                connection.execute("select set_config(%s, %s, false)", [f"history.{name}", str(value)])
            connection.execute(HISTORY.read_text().encode())
            connection.execute("vacuum (analyze, parallel 0)")
        return time.monotonic() - started

    def receive(self, day: date) -> None:
        """Load the rows of a day, source by source."""
        window = Window.of_days(day, day)
        with self.connect() as connection:
            connection.execute("select setseed(%s)", [day.timetuple().tm_yday / 1000])
            for name, query in _TODAY.items():
                load(connection, SOURCES[name], window, self._read(connection, SOURCES[name], query, day),
                     run=RunIdentity(DAG, f"day {day}", 1))  # fmt: skip

    def _read(self, connection: psycopg.Connection, source: Source, query: str, day: date) -> Rows:
        last = connection.execute("select coalesce(max(_offset), 0) from raw.kafka_stream where _partition = 0")
        ((first_offset,),) = last.fetchall()
        columns = [column.name for column in source.loaded_columns]
        rows = connection.execute(
            sql.SQL("select {} from ({}) as today ({})").format(
                sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns),
                sql.SQL(query),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
            ),
            {"day": day, "orders": ORDERS, "first_offset": first_offset},
        ).fetchall()
        return Rows(columns, rows)

    def build(self, run_id: str, *, full_refresh: bool = False, explain: Path | None = None) -> Build:
        """Claim, build and publish."""
        with self.connect() as connection:
            claim = lease.take(connection, DAG, run_id, project=project_digest(), full_refresh=full_refresh)
            if claim is None:
                sys.exit(f"another run builds {self.years} years")
            print(f"  {self.years:>2} years, {run_id}: {claim}")
            server = psutil.Process(psutil.Process(connection.info.backend_pid).ppid())
            build = self._dbt(server)
            if explain:
                self._explain(connection, build, explain)
            started = time.monotonic()
            publish(connection, run_id)
            build.publication = time.monotonic() - started
        return build

    def _dbt(self, server: psutil.Process) -> Build:
        """Run and time dbt. Its sessions end with it; only then can their processor time be read."""
        env = {
            **dbt.environment(self.dsn),
            "DBT_TARGET_PATH": str(self.target),
            "DBT_LOG_PATH": str(self.target),
        }
        started, used = time.monotonic(), _used_by_children(server, psutil.Process())
        subprocess.run(
            [
                Path(sys.executable).with_name("dbt"), "--quiet", "build", "--exclude-resource-type", "unit_test",
                "--project-dir", DBT_PROJECT, "--profiles-dir", DBT_PROJECT,
            ],
            env=env,
            check=True,
        )  # fmt: skip
        seconds = time.monotonic() - started
        # A session that has not gone yet is not counted.
        time.sleep(1)
        used = _used_by_children(server, psutil.Process()) - used
        results = json.loads((self.target / "run_results.json").read_text())["results"]
        return Build(seconds, {result["unique_id"]: result["execution_time"] for result in results}, used)

    @property
    def target(self) -> Path:
        """Where dbt writes its artifacts for this warehouse."""
        return FOLDER / f"target_{self.years}"

    def _explain(self, connection: psycopg.Connection, build: Build, report: Path) -> None:
        """Append the plans of the five slowest models, run again before the publication deletes the dirty dates."""
        nodes = json.loads((self.target / "manifest.json").read_text())["nodes"]
        models = [node for node in build.nodes if node.startswith("model.")]
        with report.open("a") as file:
            for node in sorted(models, key=lambda node: -build.nodes[node])[:5]:
                compiled = (self.target / "compiled" / "ecommerce" / nodes[node]["original_file_path"]).read_text()
                plan = connection.execute(f"explain (analyze, buffers) {compiled}".encode()).fetchall()
                print(f"\n{self.years} years, {node}: {build.nodes[node]:.2f} s in the run", file=file)
                print("\n".join(line for (line,) in plan), file=file)


def _used_by_children(*processes: psutil.Process) -> float:
    """Seconds that the children of these processes which have ended had of a processor."""
    return sum(sum(process.cpu_times()[2:4]) for process in processes)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, nargs="+", default=[1, 10], help="histories to compare (default 1 10)")
    parser.add_argument("--runs", type=int, default=5, help="measured days (default 5)")
    parser.add_argument("--plans", type=Path, default=Path("history_plans.txt"), help="file for the plans")
    arguments = parser.parse_args()
    arguments.plans.unlink(missing_ok=True)
    state = State.create_beside()
    try:
        database.start(state)
        _measure(state, sorted(arguments.years), arguments.runs, arguments.plans)
    finally:
        database.stop()
        database.remove()
        shutil.rmtree(FOLDER, ignore_errors=True)
    return 0


def _measure(state: State, years: list[int], runs: int, plans: Path) -> None:
    with psycopg.connect(state.dsn("postgres"), autocommit=True) as connection:
        # Nothing here must survive a power cut, and waiting for a disk shared with others is not the question.
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
        # The first day warms what caches there are and is not counted.
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
    print("\nyears  full refresh     a day's dbt build, median   processors' time      publication")
    for shop in shops:
        whole = shop.whole.dbt if shop.whole else 0.0
        day, day_base = (statistics.median(build.dbt for build in one.days) for one in (shop, base))
        used, used_base = (statistics.median(build.processor for build in one.days) for one in (shop, base))
        published = statistics.median(build.publication for build in shop.days)
        print(
            f"{shop.years:>5} {whole:>8.1f} s {whole / shop.years:>5.1f} s/y"
            f" {day:>10.2f} s = {day / day_base:.2f} x {' ':>8} {used:>6.2f} s = {used / used_base:.2f} x"
            f" {published:>9.2f} s"
        )
    longest = shops[-1]
    print(f"\nseconds of a node, median of the days, {base.years} and {longest.years} years; the 15 slowest")
    medians = {
        node: [statistics.median(build.nodes.get(node, 0.0) for build in shop.days) for shop in (base, longest)]
        for node in longest.days[-1].nodes
    }
    for node, (short, long) in sorted(medians.items(), key=lambda entry: -entry[1][1])[:15]:
        print(f"  {node.removeprefix('model.').removeprefix('test.'):<80} {short:>6.2f} {long:>6.2f}")


if __name__ == "__main__":
    sys.exit(main())
