"""
Publish the marts, beside replacing all their rows: on the running demo.

Three publications, each rolled back: into empty marts, into unchanged marts, and after a day that changed every
twentieth row of each mart and all customers. The day's changes are made in the published marts, so all rows are
compared; a real publication compares only the marts that were built since the last one. "stored" is the size of the
old rows that are stored for a rollback.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable

import psycopg
from psycopg import sql

from ecommerce.publish.marts import built_marts
from ecommerce.publish.merge import MartChange, merge
from ecommerce.publish.publication import delete_old_deltas, new_publication, record_publication
from include.demo import stack

_ALL_ROWS_CHANGE = "customer_segments"


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="measured publications of each kind (default 3)")
    arguments = parser.parse_args()
    logging.getLogger("ecommerce.publish.merge").setLevel(logging.ERROR)
    with psycopg.connect(stack.running().dsn(), autocommit=True, options="-c timezone=UTC") as connection:
        print(f"{sum(_rows(connection).values()):,} rows in {len(_rows(connection))} marts\n")
        print(f"{'':34} {'changed':>10} {'publish':>9} {'replace':>9} {'ratio':>6} {'stored MB':>10}")
        for name, before in (
            ("into empty marts", _empty),
            ("into unchanged marts", lambda _: None),
            ("a day later", _change_a_day),
        ):
            measured = [_measure(connection, before) for _ in range(arguments.runs)]
            changed, stored = measured[0][0], measured[0][3]
            publish, replace = (statistics.median(one[n] for one in measured) for n in (1, 2))
            line = f"{name:34} {changed:>10,} {publish:>8.2f}s {replace:>8.2f}s {publish / replace:>6.2f}"
            print(f"{line} {stored / 1e6:>10.1f}")
    return 0


def _measure(connection: psycopg.Connection, before: Callable[[psycopg.Connection], None]) -> tuple:
    """Rows changed, seconds of the publication and of replacing all rows, bytes stored for a rollback."""
    _vacuum(connection)
    with connection.transaction(force_rollback=True):
        before(connection)
        started = time.monotonic()
        number = new_publication(connection)
        changes: list[MartChange] = [merge(connection, mart, number) for mart in built_marts(connection)]
        for change in changes:
            record_publication(connection, number, "benchmark", change, as_of_date=None)
        delete_old_deltas(connection)
        published = time.monotonic() - started
        row = connection.execute(
            """
            select coalesce(sum(pg_column_size(delta.*)), 0)
            from ops.publication_delta as delta
            where publication_id = %s
            """,
            [number],
        ).fetchone()
    _vacuum(connection)
    with connection.transaction(force_rollback=True):
        before(connection)
        started = time.monotonic()
        for mart in _rows(connection):
            table = sql.Identifier("marts", mart)
            connection.execute(sql.SQL("delete from {}").format(table))
            connection.execute(sql.SQL("insert into {} table {}").format(table, sql.Identifier("marts_build", mart)))
        replaced = time.monotonic() - started
    return sum(change.total for change in changes), published, replaced, float(row[0] if row else 0)


def _vacuum(connection: psycopg.Connection) -> None:
    """Remove the rows that were rolled back, which would be read too."""
    for mart in built_marts(connection):
        connection.execute(sql.SQL("vacuum full analyze {}").format(sql.Identifier("marts", mart.name)))


def _rows(connection: psycopg.Connection) -> dict[str, int]:
    rows = {}
    for mart in built_marts(connection):
        count = connection.execute(
            sql.SQL("select count(*) from {}").format(sql.Identifier("marts", mart.name))
        ).fetchone()
        rows[mart.name] = count[0] if count else 0
    return rows


def _empty(connection: psycopg.Connection) -> None:
    for mart in built_marts(connection):
        connection.execute(sql.SQL("delete from {}").format(sql.Identifier("marts", mart.name)))


def _change_a_day(connection: psycopg.Connection) -> None:
    """Change the published marts as if they were a day older than the built ones."""
    for mart in built_marts(connection):
        number = next((name for name, kind in mart.columns.items() if name not in mart.key and "int" in kind), None)
        if number is None:
            number = next(name for name, kind in mart.columns.items() if name not in mart.key and "numeric" in kind)
        which = (
            sql.SQL("true") if mart.name == _ALL_ROWS_CHANGE else sql.SQL("hash_record_extended(mart.*, 0) % 20 = 0")
        )
        connection.execute(
            sql.SQL("update {} as mart set {number} = coalesce({number}, 0) + 1 where {which}").format(
                sql.Identifier("marts", mart.name), number=sql.Identifier(number), which=which
            )
        )


if __name__ == "__main__":
    raise SystemExit(main())
