"""
Compares a day of a source with the same day of raw without moving its rows.

Source and warehouse each add up a hash of every row, day by day. The seed is random and new for each comparison: if two
different days have the same sum by chance, they differ again the next time. Postgres servers of different kinds may
hash differently; then no day is equal and everything is read, as if there were no fingerprints.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import NamedTuple

from psycopg import Connection, sql

from ecommerce.common.sources import Kind, Source

#: `hash_record_extended` came with Postgres 14.
FIRST_VERSION = 140000


#: Kinds whose values are hashed as text. The hash of `numeric` ignores sign and scale, that of `citext` ignores case.
_HASHED_AS_TEXT = {Kind.TEXT, Kind.NUMBER, Kind.MONEY, Kind.POSITIVE_MONEY, Kind.FRACTION, Kind.AMOUNT}

#: Hexadecimal digits of a SHA-256 that are added up: 60 bits, which are a positive number in every database.
HASHED_DIGITS = 15


class RowHash(Enum):
    """
    What of a row is hashed, and how: the same at the source and in the warehouse.

    `RECORD` is Postgres' own hash of a row, the fastest. `SHA256_OF_CSV` is for a source that is no Postgres: the row
    as a line of CSV, each value as Postgres' own text of what raw stores, texts in quotes, null as nothing. If two
    lines are equal, raw stores the same; a value that the source writes otherwise (`1e3` for `1000`) only makes the
    day differ, and it is read.
    """

    RECORD = "record"
    SHA256_OF_CSV = "sha256_of_csv"


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
    day: sql.Composable,
    inside: sql.Composable,
    passes: sql.Composable,
    row_hash: RowHash = RowHash.RECORD,
) -> dict[date, Fingerprint]:
    """
    The fingerprint of each day of the window, of the rows that meet both conditions.

    A day without rows is not in the result. Rows that raw stores differently have different hashes.

    :param values: the business columns, in the order of the source's columns
    :param day: SQL of the day of the window in which a row lies
    :param inside: condition on a row: it lies in the days to compare
    :param passes: condition on a row: it passes the rules
    """
    hash_of = {RowHash.RECORD: _hash_of_record, RowHash.SHA256_OF_CSV: _hash_of_csv}[row_hash]
    return {
        day: Fingerprint(rows, total)
        for day, rows, total in connection.execute(
            sql.SQL("""
                select
                    {day},
                    count(*),
                    sum({hash})
                from {table}
                where {inside} and {passes}
                group by 1
            """).format(
                day=day,
                hash=hash_of(source, values, seed),
                table=table,
                inside=inside,
                passes=passes,
            )
        )
    }


def _hash_of_record(source: Source, values: Sequence[sql.Composable], seed: int) -> sql.Composed:
    hashed = [
        sql.SQL("{}::text").format(value) if column.kind in _HASHED_AS_TEXT else value
        for column, value in zip(source.columns, values, strict=True)
    ]
    return sql.SQL("hash_record_extended(row({}), {})").format(sql.SQL(", ").join(hashed), sql.Literal(seed))


def _hash_of_csv(source: Source, values: Sequence[sql.Composable], seed: int) -> sql.Composed:
    fields = [
        sql.SQL("""coalesce('"' || replace({}, '"', '""') || '"', '')""").format(value)
        if column.kind is Kind.TEXT
        else sql.SQL("coalesce({}::text, '')").format(value)
        for column, value in zip(source.columns, values, strict=True)
    ]
    return sql.SQL(
        "('x' || left(encode(sha256(convert_to(concat_ws(',', {seed}, {fields}), 'UTF8')), 'hex'), {digits}))"
        "::bit({bits})::bigint"
    ).format(
        seed=sql.Literal(str(seed)),
        fields=sql.SQL(", ").join(fields),
        digits=sql.Literal(HASHED_DIGITS),
        bits=sql.Literal(4 * HASHED_DIGITS),
    )
