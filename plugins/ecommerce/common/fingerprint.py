"""
Compares a day of a source with the same day of raw without moving its rows.

Source and warehouse each add up a 64-bit hash of every row, day by day. The seed is random and new for each comparison:
if two different days have the same sum by chance, they differ again the next time. Postgres servers of different kinds
may hash differently; then no day is equal and everything is read, as if there were no fingerprints.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from psycopg import Connection, sql

from ecommerce.common.sources import Source

#: `hash_record_extended` came with Postgres 14.
FIRST_VERSION = 140000


class Fingerprint(NamedTuple):
    """Rows of a day, and the sum of their hashes."""

    rows: int
    total: Decimal | None


def fingerprints(
    connection: Connection,
    source: Source,
    table: sql.Composable,
    values: Sequence[sql.Composable],
    seed: int,
    *,
    inside: sql.Composable,
    passes: sql.Composable,
) -> dict[date, Fingerprint]:
    """
    The fingerprint of each day of the source's window column, of the rows that meet both conditions.

    A day without rows is not in the result.

    :param values: the business columns as raw stores them
    :param inside: condition on a row: it lies in the days to compare
    :param passes: condition on a row: it passes the rules
    """
    return {
        day: Fingerprint(rows, total)
        for day, rows, total in connection.execute(
            sql.SQL("""
                select
                    {window}::date,
                    count(*),
                    sum(hash_record_extended(row({values}), {seed}))
                from {table}
                where {inside} and {passes}
                group by 1
            """).format(
                window=sql.Identifier(source.window_column or ""),
                values=sql.SQL(", ").join(values),
                seed=sql.Literal(seed),
                table=table,
                inside=inside,
                passes=passes,
            )
        )
    }
