"""
Load orders from MariaDB into raw, beside the pipe of both databases' own clients: on a stack of its own.

Fills `sales_fact` in a MariaDB of its own (Debian: mariadb-server-core, mariadb-client-core) and, in turn:

- **clients' pipe**: `mariadb --batch --quick … | psql -c 'copy … from stdin'` into a bare table, the yardstick of a
  load;
- **load**: this project's load of the whole range into an empty `raw`, with all its parts (rows validated, lineage
  columns, primary key and indexes, ledger, dirty dates);
- **client's read**: `mariadb --batch --quick …` into nothing, the yardstick of reading again;
- **load again**: the same window when nothing has changed;
- **load one day**: the same window when one order of one day has changed.

Prints medians of seconds, rows a second and ratios to the yardsticks of the same run.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date

os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"

from benchmarks.own_stack import own_stack
from ecommerce.common.connections import LOADER, warehouse
from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Window
from ecommerce.extract.mysql_reader import MySQLReader
from ecommerce.load.batches import RunIdentity
from ecommerce.load.loader import load
from include.demo import database
from include.demo.state import State
from tests.mariadb_server import MISSING, PASSWORD, USER, MariaDB, mariadb_server, program

SALES = SOURCES["sales_fact"]
COLUMNS = ", ".join(column.name for column in SALES.columns)
LOCATION = SourceLocation(source="sales_fact", connection="shop_mysql", table="shop.sales_fact")
#: The yardsticks.
PIPE, READ = "clients' pipe", "client's read"
WINDOW = Window.of_days(date(2023, 1, 1), date(2023, 12, 31))

_TABLE = """
    create table sales_fact (
        order_id varchar(64) not null,
        line_number int not null,
        product_id varchar(64) not null,
        customer_id varchar(64),
        order_date date not null,
        order_amount decimal(18, 2) not null,
        order_quantity int,
        payment_method varchar(64),
        discount_applied decimal(5, 4),
        shipping_cost decimal(18, 2),
        tax_amount decimal(18, 2),
        order_status varchar(32),
        created_at datetime(6) not null,
        primary key (order_id, line_number),
        key (created_at)
    ) character set utf8mb4
"""

#: Orders of one or two lines, spread over the window.
_MADE_UP = """
    insert into sales_fact
    select
        concat('ORD', seq div 2),
        1 + seq % 2,
        concat('PROD', seq * 7919 % 90000),
        if(seq % 11 = 0, null, concat('CUST', lpad(seq % 2500, 3, '0'))),
        date '2023-01-01' + interval (seq - 1) * 365 div {rows} day,
        (seq % 9000) / 100,
        1 + seq % 3,
        elt(1 + seq % 4, 'credit_card', 'paypal', 'debit_card', null),
        (seq % 5) / 20,
        2 + (seq % 17) * 0.35,
        (seq % 900) / 100,
        elt(1 + seq % 3, 'paid', 'shipped', 'cancelled'),
        timestamp '2023-01-01 00:00:00' + interval (seq - 1) * 365 div {rows} day + interval seq % 86400 second
    from seq_1_to_{rows}
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000, help="order lines (default 500,000)")
    parser.add_argument("--runs", type=int, default=5, help="measured runs (default 5)")
    arguments = parser.parse_args()
    if MISSING:
        sys.exit(f"no {', '.join(MISSING)} on this machine (Debian: mariadb-server-core mariadb-client-core)")
    logging.getLogger("ecommerce").setLevel(logging.WARNING)
    with own_stack() as state, mariadb_server({"innodb-buffer-pool-size": "512M"}) as server:
        os.environ["AIRFLOW_CONN_WAREHOUSE_LOADER"] = state.dsn(role="loader")
        os.environ["AIRFLOW_CONN_SHOP_MYSQL"] = json.dumps(server.airflow_connection("shop"))
        with warehouse(LOADER) as connection:
            connection.execute(f"create table raw.bare as select {COLUMNS} from raw.sales_fact".encode())
        _fill(server, arguments.rows)
        _measure(state, server, arguments)
    return 0


def _fill(server: MariaDB, rows: int) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("create database shop")
        cursor.execute("use shop")
        cursor.execute(_TABLE)
        cursor.execute(_MADE_UP.format(rows=rows))
        cursor.execute("analyze table sales_fact")


def _measure(state: State, server: MariaDB, arguments: argparse.Namespace) -> None:
    ways: dict[str, Callable[[], None]] = {
        PIPE: lambda: _pipe(state, server),
        "load": _load,
        READ: lambda: _read(server),
        "load again": _load,
        "load one day": _load,
    }
    print(f"{arguments.rows:,} order lines, {WINDOW}; seconds, in turn", flush=True)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for n in range(arguments.runs + 1):
        with warehouse(LOADER) as connection:
            # What else refers to a batch goes with it.
            connection.execute("truncate raw.sales_fact, raw.bare, ops.quarantine, ops.load_batch cascade")
        for way, run in ways.items():
            if way == "load one day":
                _correct_an_order(server)
            started = time.monotonic()
            run()
            if n:
                # The first turn warms what caches there are.
                seconds[way].append(time.monotonic() - started)
            elif way == "load":
                _check_rows(arguments.rows)
        figures = ", ".join(f"{way} {values[-1]:.2f}" for way, values in seconds.items() if values)
        print(f"  {n or 'warm-up'}: {figures}", flush=True)
    _report(arguments.rows, {way: statistics.median(values) for way, values in seconds.items()})


def _report(rows: int, medians: dict[str, float]) -> None:
    print(f"\n{'way':<16} {'seconds':>8} {'rows/s':>10}   of the clients' pipe's rows/s")
    for way, seconds in medians.items():
        print(f"{way:<16} {seconds:>8.2f} {rows / seconds:>10,.0f}   {medians[PIPE] / seconds:>6.2f}")
    print(f"\nload again takes {medians['load again'] / medians[READ]:.2f} x the client's read")


def _load() -> None:
    with warehouse(LOADER) as connection:
        load(
            connection,
            SALES,
            WINDOW,
            lambda source, window: MySQLReader(source, LOCATION, window),
            run=RunIdentity("benchmark", "benchmark"),
        )


def _check_rows(expected: int) -> None:
    with warehouse(LOADER) as connection:
        row = connection.execute("select count(*) from raw.sales_fact").fetchone()
    if row != (expected,):
        sys.exit(f"raw has {row} rows, not {expected}")


def _correct_an_order(server: MariaDB) -> None:
    with server.connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("update sales_fact set order_amount = order_amount + 1 where order_id = 'ORD1000'")


def _client(server: MariaDB) -> list[str]:
    return [
        str(program("mariadb")), "--no-defaults", "--batch", "--quick", "--skip-column-names", "--host=127.0.0.1",
        f"--port={server.port}", f"--user={USER}", f"--password={PASSWORD}", "--default-character-set=utf8mb4",
        "--skip-ssl", f"--execute=select {COLUMNS} from sales_fact", "shop",
    ]  # fmt: skip


def _pipe(state: State, server: MariaDB) -> None:
    reading = subprocess.Popen(_client(server), stdout=subprocess.PIPE)
    # The client writes null as NULL, and escapes tabs, line ends and backslashes as COPY reads them.
    statement = f"copy raw.bare ({COLUMNS}) from stdin (format text, null 'NULL')"
    writing = subprocess.run(
        [database.client("psql"), "-X", "-q", state.dsn("warehouse"), "-c", statement],
        stdin=reading.stdout,
        check=True,
    )
    if reading.wait() or writing.returncode:
        sys.exit("the clients' pipe failed")


def _read(server: MariaDB) -> None:
    subprocess.run(_client(server), stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    sys.exit(main())
