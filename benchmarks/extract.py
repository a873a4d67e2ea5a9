"""
Load orders from Postgres into raw, beside psql, dlt and GenericTransfer: on a stack of its own.

Fills `sales_fact` in a Postgres of its own (from a shop folder, or with --rows of made-up orders) and, in turn:

- **psql pipe**: `psql -c 'copy … to stdout' | psql -c 'copy … from stdin'` into a bare table, the yardstick of a load;
- **load**: this project's load of the whole range into an empty `raw`, with all its parts (rows validated, lineage
  columns, primary key and indexes, ledger, dirty dates);
- **psql read**: `psql -c 'copy … to stdout'` into nothing, the yardstick of reading again;
- **load again**: the same window when nothing has changed.

`--others` also measures dlt (`sql_table`, backends pyarrow and connectorx; installed into a folder of its own) and
Airflow's `GenericTransfer`, each into a bare table. Prints medians of seconds, rows a second and ratios to the
yardsticks of the same run.

`--memory` loads 100 thousand, a million and ten million rows instead, each in a process of its own, and prints the peak
of its memory. `--indexes` loads once, and compares raw's index of blocks with a B-tree a column, as the orders lie and
with one in a hundred recorded up to 60 days late: what making it takes, how large it is, and how fast four days are
found by it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import logging
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import psycopg
from psycopg import sql

os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"

from benchmarks.made_up_orders import MADE_UP_ORDERS
from benchmarks.own_stack import FOLDER, own_stack
from ecommerce.common.connections import LOADER, warehouse
from ecommerce.common.sources import SOURCES
from ecommerce.common.value_rules import SQL_TYPES
from ecommerce.common.windows import Window
from ecommerce.extract.readers import reader_of
from ecommerce.load.batches import RunIdentity
from ecommerce.load.loader import load
from include.demo import database
from include.demo.shop.fill_sources import fill_shop
from include.demo.state import State

SALES = SOURCES["sales_fact"]
COLUMNS = ", ".join(column.name for column in SALES.columns)
DLT = "dlt[sql-database,postgres]==1.31.*"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a shop folder (see README); without it, made-up orders")
    parser.add_argument("--rows", type=int, default=1_000_000, help="made-up orders (default 1,000,000)")
    parser.add_argument("--runs", type=int, default=5, help="measured runs (default 5)")
    parser.add_argument(
        "--parallel", type=int, default=1, help="connections of the source that share a read (default 1)"
    )
    parser.add_argument("--others", action="store_true", help="dlt and GenericTransfer as well")
    parser.add_argument("--memory", action="store_true", help="peak memory at three sizes instead")
    parser.add_argument("--indexes", action="store_true", help="raw's index of blocks beside B-trees instead")
    arguments = parser.parse_args()
    logging.getLogger("ecommerce").setLevel(logging.WARNING)
    with own_stack() as state:
        os.environ["AIRFLOW_CONN_WAREHOUSE_LOADER"] = state.dsn(role="loader")
        os.environ["AIRFLOW_CONN_SHOP_POSTGRES"] = state.dsn("shop")
        with warehouse(LOADER) as connection:
            connection.execute(f"create table raw.bare as select {COLUMNS} from raw.sales_fact".encode())
        if arguments.memory:
            _memory(state)
        elif arguments.indexes:
            _indexes(state, arguments)
        else:
            _speed(state, arguments)
    return 0


def _fill(state: State, rows: int) -> None:
    with psycopg.connect(state.dsn("shop"), autocommit=True) as connection:
        connection.execute((Path(fill_shop.__code__.co_filename).with_name("shop.sql")).read_text().encode())
        _add_columns(connection)
        connection.execute("truncate sales_fact")
        connection.execute(MADE_UP_ORDERS, {"rows": rows, "rejected_percent": 0})
        connection.execute("vacuum analyze sales_fact")


def _add_columns(connection: psycopg.Connection) -> None:
    """The columns that the registry knows and a shop need not have."""
    for column in SALES.columns:
        connection.execute(
            sql.SQL("alter table sales_fact add column if not exists {} {}").format(
                sql.Identifier(column.name), sql.SQL(SQL_TYPES[column.kind])
            )
        )


def _window(state: State) -> tuple[Window, int]:
    with psycopg.connect(state.dsn("shop")) as connection:
        row = connection.execute(
            "select min(created_at)::date, max(created_at)::date, count(*) from sales_fact"
        ).fetchone()
    first, last, rows = row or (date(2017, 1, 1), date(2017, 1, 1), 0)
    return Window.of_days(first, last), rows


def _empty_raw() -> None:
    with warehouse(LOADER) as connection:
        # What else refers to a batch goes with it.
        connection.execute("truncate raw.sales_fact, raw.bare, ops.quarantine, ops.load_batch cascade")


def _load(window: Window, parallel: int) -> None:
    source = replace(SALES, parallel_reads=parallel)
    with warehouse(LOADER) as connection:
        load(connection, source, window, reader_of, run=RunIdentity("benchmark", "benchmark"))


def _psql(state: State, name: str, statement: str) -> list[str]:
    return [_psql_path(), "-X", "-q", state.dsn(name), "-c", statement]


def _psql_path() -> str:
    return shutil.which("psql") or str(database.client("psql"))


def _pipe(state: State) -> None:
    reading = subprocess.Popen(
        _psql(state, "shop", f"copy (select {COLUMNS} from sales_fact) to stdout"), stdout=subprocess.PIPE
    )
    writing = subprocess.run(
        _psql(state, "warehouse", f"copy raw.bare ({COLUMNS}) from stdin"), stdin=reading.stdout, check=True
    )
    if reading.wait() or writing.returncode:
        sys.exit("the psql pipe failed")


def _read(state: State) -> None:
    subprocess.run(
        _psql(state, "shop", f"copy (select {COLUMNS} from sales_fact) to stdout"),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _fill_source(state: State, arguments: argparse.Namespace) -> None:
    if arguments.data:
        fill_shop(state.dsn("shop"), arguments.data, ["sales_fact"])
        with psycopg.connect(state.dsn("shop"), autocommit=True) as connection:
            _add_columns(connection)
            connection.execute("vacuum analyze sales_fact")
    else:
        _fill(state, arguments.rows)


def _speed(state: State, arguments: argparse.Namespace) -> None:
    _fill_source(state, arguments)
    window, rows = _window(state)
    print(f"{rows:,} orders, {window}; seconds, in turn", flush=True)
    ways: dict[str, Callable[[], None]] = {
        "psql pipe": lambda: _pipe(state),
        "load": lambda: _load(window, arguments.parallel),
        "psql read": lambda: _read(state),
        "load again": lambda: _load(window, arguments.parallel),
    }
    others = dict(_others(state)) if arguments.others else {}
    seconds: dict[str, list[float]] = {name: [] for name in (*ways, *others)}
    for n in range(arguments.runs + 1):
        _empty_raw()
        for name, way in (*ways.items(), *others.items()):
            if name in others:
                _empty_raw()
            started = time.monotonic()
            way()
            took = time.monotonic() - started
            if n:
                # The first turn warms what caches there are.
                seconds[name].append(took)
        print(
            f"  {n or 'warm-up'}: "
            + ", ".join(f"{name} {values[-1]:.2f}" for name, values in seconds.items() if values),
            flush=True,
        )
    _report(rows, {name: statistics.median(values) for name, values in seconds.items()})


def _report(rows: int, medians: dict[str, float]) -> None:
    print(f"\n{'way':<22} {'seconds':>8} {'rows/s':>10}   of the psql pipe's rows/s")
    for name, seconds in medians.items():
        print(f"{name:<22} {seconds:>8.2f} {rows / seconds:>10,.0f}   {medians['psql pipe'] / seconds:>6.2f}")
    print(f"\nload again takes {medians['load again'] / medians['psql read']:.2f} x the psql read")
    for name in medians.keys() - {"psql pipe", "load", "psql read", "load again"}:
        print(f"load is {medians[name] / medians['load']:.1f} x as fast as {name}")


def _others(state: State) -> Iterator[tuple[str, Callable[[], None]]]:
    venv = FOLDER / "others"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run(
        [
            venv / "bin" / "pip",
            "install",
            "-q",
            "-q",
            DLT,
            "pyarrow",
            "connectorx",
            "pandas",
            "psycopg2-binary",
            "psycopg[binary]",
        ],
        check=True,
    )
    script = FOLDER / "with_dlt.py"
    script.write_text(
        "import os, sys, dlt\n"
        "from dlt.sources.sql_database import sql_table\n"
        "from dlt.destinations import postgres\n"
        "table = sql_table(os.environ['SHOP'], table='sales_fact', schema='public', backend=sys.argv[1])\n"
        "pipeline = dlt.pipeline(sys.argv[1], destination=postgres(os.environ['WAREHOUSE']), dataset_name='by_dlt',\n"
        "    pipelines_dir=os.environ['PIPELINES'])\n"
        "pipeline.run(table, write_disposition='replace')\n"
    )
    env = {
        **os.environ, "SHOP": state.dsn("shop"), "WAREHOUSE": state.dsn(), "PIPELINES": str(FOLDER / "pipelines"),
        "RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR",
    }  # fmt: skip
    for backend in ("pyarrow", "connectorx"):
        yield (
            f"dlt {backend}",
            lambda backend=backend: subprocess.run(  # type: ignore[misc]
                [venv / "bin" / "python", script, backend], env=env, check=True, stdout=subprocess.DEVNULL
            ),
        )
    yield "GenericTransfer", _generic_transfer


def _generic_transfer() -> None:
    from airflow.providers.common.sql.operators.generic_transfer import GenericTransfer

    GenericTransfer(
        task_id="transfer",
        sql=f"select {COLUMNS} from sales_fact",
        destination_table="raw.bare",
        source_conn_id="shop_postgres",
        destination_conn_id=LOADER,
    ).execute({})


#: The orders as they lie in raw, with the day that each counts on.
_LAID = {
    "as they lie": "order_date",
    "1 % late": "order_date - case when hashtext(order_id) % 100 = 0 then abs(hashtext(product_id)) % 60 else 0 end",
}
_LAY = (
    "drop table if exists raw.laid",
    """
    create table raw.laid as
    select
        created_at,
        {day} as order_date,
        order_amount,
        order_id,
        product_id,
        customer_id,
        order_quantity,
        payment_method,
        discount_applied,
        shipping_cost,
        _batch_id,
        _loaded_at
    from raw.sales_fact
    order by created_at
    """,
    "vacuum analyze raw.laid",
)


def _indexes(state: State, arguments: argparse.Namespace) -> None:
    _fill_source(state, arguments)
    window, rows = _window(state)
    _empty_raw()
    _load(window, arguments.parallel)
    chance = random.Random(1)
    firsts = chance.sample(list(window.days)[:-3], 50)
    print(f"{rows:,} orders; medians of {arguments.runs}, each of {len(firsts)} times four days in a row\n")
    print(f"{'orders':<12} {'index':<10} {'made in s':>10} {'MB':>8} {'four days in ms':>16}")
    with psycopg.connect(state.dsn(), autocommit=True) as connection:
        ((blocks,),) = connection.execute("select pg_get_indexdef('raw.sales_fact_days'::regclass)").fetchall()
        kinds = {
            "B-trees": ["create index on raw.laid (created_at)", "create index on raw.laid (order_date)"],
            "blocks": [blocks.replace("sales_fact_days", "laid_days").replace("sales_fact ", "laid ")],
        }
        for (how, day), (kind, statements) in itertools.product(_LAID.items(), kinds.items()):
            build_times, query_times = [], []
            for _ in range(arguments.runs):
                _run(connection, [statement.format(day=day) for statement in _LAY])
                build_times.append(_run(connection, statements))
                query_times.append(
                    _run(
                        connection,
                        [
                            f"""
                            select sum(order_amount)
                            from raw.laid
                            where order_date = any(array(select date '{first}' + generate_series(0, 3)))
                            """
                            for first in firsts
                        ],
                    )
                )
            ((size,),) = connection.execute("select pg_indexes_size('raw.laid')").fetchall()
            build_time, each = statistics.median(build_times), statistics.median(query_times) / len(firsts) * 1000
            print(
                f"{how:<12} {kind:<10} {build_time:>10.2f} {size / 1e6:>8.2f} {each:>16.1f}",
                flush=True,
            )


def _run(connection: psycopg.Connection, statements: Sequence[str]) -> float:
    """Seconds that statements take."""
    started = time.monotonic()
    for statement in statements:
        connection.execute(statement.encode())
    return time.monotonic() - started


def _memory(state: State) -> None:
    print("rows          peak memory of the loading process (bytes of it before the load)")
    for rows in (100_000, 1_000_000, 10_000_000):
        _fill(state, rows)
        _empty_raw()
        window, _ = _window(state)
        before, peak = _in_a_child(lambda window=window: _load(window, 1))  # type: ignore[misc]
        print(f"{rows:>10,}   {peak / 2**20:>8.0f} MiB ({before / 2**20:.0f} MiB)", flush=True)


def _in_a_child(work: Callable[[], None]) -> tuple[int, int]:
    """Bytes of a forked process before its work, and at its peak."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(Exception):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            work()
            figures = [before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
            os.write(writing, json.dumps([kib * 1024 for kib in figures]).encode())
            code = 0
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    if os.waitpid(child, 0)[1]:
        sys.exit("the load in a process of its own failed")
    before, peak = json.loads(text)
    return before, peak


if __name__ == "__main__":
    sys.exit(main())
