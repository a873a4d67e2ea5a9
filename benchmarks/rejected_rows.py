"""
Load orders of which a share is rejected, beside a load of as many good orders: on a stack of its own.

Fills `sales_fact` of a shop with --rows of made-up orders, of which 0, 1, 10 and 19 % have a negative amount, loads all
of them into an empty `raw`, and then the same window again when nothing has changed. Prints the median seconds of both,
and their ratio to the loads without a rejected row in the same run. A first load may take 1.5 times as long: the
program ends with 1 if one takes longer.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import time
from datetime import date

import psycopg

os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"

from benchmarks.made_up_orders import MADE_UP_ORDERS
from benchmarks.own_stack import own_stack
from ecommerce.common.connections import LOADER, warehouse
from ecommerce.common.sources import SOURCES
from ecommerce.common.value_rules import SQL_TYPES
from ecommerce.common.windows import Window
from ecommerce.extract.readers import reader_of
from ecommerce.load.batches import RunIdentity
from ecommerce.load.loader import load
from include.demo.state import State

SALES = SOURCES["sales_fact"]
#: Per cent of the orders that are rejected. From 20 % on a load fails.
SHARES = (0, 1, 10, 19)
#: A first load with rejected rows may take so many times as long as one without.
LIMIT = 1.5

YEAR = Window(date(2017, 1, 1), date(2018, 1, 1))

_COLUMNS = ", ".join(f"{column.name} {SQL_TYPES[column.kind]}" for column in SALES.columns)


def main() -> int:
    """Measure and print; 1 if a first load takes too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="orders (default 1,000,000)")
    parser.add_argument("--runs", type=int, default=3, help="measured runs of each share (default 3)")
    arguments = parser.parse_args()
    logging.getLogger("ecommerce").setLevel(logging.ERROR)
    with own_stack() as state:
        os.environ["AIRFLOW_CONN_WAREHOUSE_LOADER"] = state.dsn(role="loader")
        os.environ["AIRFLOW_CONN_SHOP_POSTGRES"] = state.dsn("shop")
        with warehouse(LOADER):
            # Makes the tables.
            pass
        print(f"{arguments.rows:,} orders; medians of {arguments.runs}\n")
        print(f"{'rejected':>8} {'first load':>12} {'ratio':>6} {'load again':>12} {'ratio':>6}", flush=True)
        # The first turn warms what caches there are.
        _measure(state, arguments.rows, 0, 1)
        yardstick: tuple[float, float] | None = None
        worst = 0.0
        for share in SHARES:
            first, again = _measure(state, arguments.rows, share, arguments.runs)
            yardstick = yardstick or (first, again)
            ratio = first / yardstick[0]
            worst = max(worst, ratio)
            print(
                f"{share:>6} % {first:>10.2f} s {ratio:>6.2f} {again:>10.2f} s {again / yardstick[1]:>6.2f}", flush=True
            )
    print(f"\nthe slowest first load takes {worst:.2f} x the one without rejected rows (limit {LIMIT})")
    return int(worst > LIMIT)


def _measure(state: State, rows: int, share: int, runs: int) -> tuple[float, float]:
    """Median seconds of a first load, and of the same load again."""
    with psycopg.connect(state.dsn("shop"), autocommit=True) as connection:
        connection.execute(f"drop table if exists sales_fact; create table sales_fact ({_COLUMNS})".encode())
        connection.execute(MADE_UP_ORDERS, {"rows": rows, "rejected_percent": share})
        connection.execute("create index on sales_fact (created_at)")
        connection.execute("vacuum analyze sales_fact")
    first, again = [], []
    for _ in range(runs):
        with psycopg.connect(state.dsn("warehouse", "postgres"), autocommit=True) as connection:
            # What else refers to a batch goes with it. A new warehouse has no statistics either.
            connection.execute("truncate raw.sales_fact, ops.quarantine, ops.load_batch cascade")
            connection.execute("delete from pg_statistic where starelid >= 16384")
        first.append(_load(rows, share))
        again.append(_load(rows, share))
    return statistics.median(first), statistics.median(again)


def _load(rows: int, share: int) -> float:
    """Load the year; seconds."""
    started = time.monotonic()
    with warehouse(LOADER) as connection:
        result = load(connection, SALES, YEAR, reader_of, run=RunIdentity("benchmark", "benchmark"))
    seconds = time.monotonic() - started
    with warehouse(LOADER) as connection:
        waiting, held = (
            connection.execute(f"select count(*) from {table}".encode()).fetchone()
            for table in ("ops.quarantine", "raw.sales_fact")
        )
    expected = sum(n % 100 < share for n in range(rows))
    if (waiting, held) != ((expected,), (rows - expected,)):
        raise RuntimeError(
            f"{expected:,} orders should be rejected; quarantine and raw have {waiting}, {held}: {result}"
        )
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
