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

from ecommerce.common.sources import Kind, Source

#: `hash_record_extended` came with Postgres 14.
FIRST_VERSION = 140000


#: Kinds whose values are hashed as text. The hash of `numeric` ignores sign and scale, that of `citext` ignores case.
_HASHED_AS_TEXT = {Kind.TEXT, Kind.NUMBER, Kind.MONEY, Kind.POSITIVE_MONEY, Kind.FRACTION, Kind.AMOUNT}


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

    A day without rows is not in the result. Rows that raw stores differently have different hashes.

    :param values: the business columns, in the order of the source's columns
    :param inside: condition on a row: it lies in the days to compare
    :param passes: condition on a row: it passes the rules
    """
    hashed = [
        sql.SQL("{}::text").format(value) if column.kind in _HASHED_AS_TEXT else value
        for column, value in zip(source.columns, values, strict=True)
    ]
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
                values=sql.SQL(", ").join(hashed),
                seed=sql.Literal(seed),
                table=table,
                inside=inside,
                passes=passes,
            )
        )
    }
