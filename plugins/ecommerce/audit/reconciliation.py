"""Checks of kind `reconciliation`: rows and amounts agree, to the cent, from the source to the marts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, Literal, Self

from airflow.sdk import Connection as Account
from psycopg import AsyncConnection, sql
from pydantic import field_validator, model_validator

from ecommerce.audit.check import (
    Check,
    CheckContext,
    ColumnName,
    Expression,
    Settings,
    TableName,
    days_of_periods,
    expression,
    fetch_rows,
    table,
)
from ecommerce.audit.check_results import CheckResult
from ecommerce.common.blanks import trimmed_at_source
from ecommerce.common.connections import (
    async_postgres,
    connection_type,
    fetch_airflow_connection,
    pin_async,
    source_session,
)
from ecommerce.common.days import TimeColumn
from ecommerce.common.shop import SourceLocation, shop
from ecommerce.common.shown_text import one_line
from ecommerce.common.sources import SOURCES, Source, WriteDisposition
from ecommerce.common.value_rules import column_of
from ecommerce.common.windows import Window
from ecommerce.extract.postgres_relation import relation_of

#: Buckets of keys are compared first by a fingerprint; keys are fetched only of the buckets that differ.
_ROWS_PER_BUCKET = 16
_MAX_BUCKETS = 4096

#: The values of a row's key columns, and its amount, as text; null only where the source has a row without key.
KeyAndAmount = tuple[str | None, ...]


@dataclass(frozen=True)
class _Difference:
    """
    How the source's table and raw differ in a window.

    :param source_rows: rows of the source
    :param raw_rows: rows of raw
    :param missing: rows that only the source has
    :param surplus: rows that only raw has
    """

    window: Window
    source_rows: int
    raw_rows: int
    missing: Sequence[KeyAndAmount]
    surplus: Sequence[KeyAndAmount]


# Rows are compared as arrays, which can be hashed also where a value is null.
_QUARANTINED = sql.SQL("""
select missing.key_and_amount
from jsonb_array_elements(%(rows)s::jsonb) as missing (key_and_amount)
where missing.key_and_amount in (
    select jsonb_build_array({key}, payload ->> {amount})
    from ops.quarantine
    where source = {source}
)
""")


class SourceReconciliation(Check):
    """
    Each row of the source is in `raw` with its amount, or in quarantine; and `raw` has no other row.

    Compared are the window, if the run was to load the source, and the windows of all loads whose days the run builds,
    whichever run has loaded them; without any it says nothing of the source. A source that changed after it was loaded
    differs, too; loading the window again repairs that. A source that the run could not load warns and is not asked
    again. One in another database than Postgres is not compared.

    :param source: a source in Postgres of which each load replaces its window
    :param amount: its column with the amount
    """

    kind: Literal["reconciliation_source"]
    checks_the_build: ClassVar[bool] = False
    source: str
    amount: ColumnName

    @field_validator("source")
    @classmethod
    def _replaces_its_window(cls, name: str) -> str:
        valid = [
            source.name
            for source in SOURCES.values()
            if source.reader == "database" and source.write_disposition is WriteDisposition.REPLACE_WINDOW
        ]
        if name not in valid:
            raise ValueError(f"{name} is no source that replaces its window, in Postgres; such are {valid}")
        return name

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result, of rows and their amounts."""
        subject = f"raw.{self.source}"
        if self.source in context.exclusions.sources:
            # The reason may be that the column to compare is gone. What depends on the source is left out anyway.
            return [CheckResult(subject, "warn", None, None, f"not compared: {self.source} could not be loaded")]
        windows = await context.windows_to_build(connection, self.source)
        if not windows:
            # Nothing of it has changed: the subject keeps the state that it had.
            return []
        location = shop().location_of(self.source)
        account = await fetch_airflow_connection(location.connection)
        if account.conn_type != "postgres":
            return []
        in_raw = sql.Identifier("raw", self.source)
        columns = await _columns_of(connection, in_raw)
        raw = [_SourceTable(in_raw, self, window, columns, time_zone="UTC", encoding="UTF8") for window in windows]
        differences = await self._compare(connection, raw, location, account)
        candidates = [row for difference in differences for row in difference.missing]
        quarantined = await self._quarantined(connection, candidates)
        missing = [row for row in candidates if row not in quarantined]
        surplus = [row for difference in differences for row in difference.surplus]
        in_quarantine = len(candidates) - len(missing)
        raw_rows = sum(difference.raw_rows for difference in differences)
        source_rows = sum(difference.source_rows for difference in differences)
        if missing or surplus:
            differing = [each.window for each in differences if each.surplus or {*each.missing} - quarantined]
            message = self._difference_message(missing, surplus, differing)
            rows = self._bad_rows(missing, surplus)
            return [CheckResult(subject, "fail", raw_rows, source_rows - in_quarantine, message, rows)]
        amount = sum([await part.amount(connection) for part in raw], Decimal(0))
        message = (
            f"{source_rows:,} rows in the shop = {raw_rows:,} in raw ({amount:,.2f}) + {in_quarantine:,} in quarantine"
        )
        return [CheckResult(subject, "pass", raw_rows, source_rows - in_quarantine, message)]

    async def _compare(
        self, connection: AsyncConnection, raw: Sequence[_SourceTable], location: SourceLocation, account: Account
    ) -> list[_Difference]:
        """Compare each window by buckets, and row by row in the buckets that differ."""
        async with (
            async_postgres(account, source_session(), timeout_seconds=self.timeout_seconds) as shop_session,
            shop_session.transaction(),
        ):
            await pin_async(shop_session)
            return [await self._compare_window(connection, part, shop_session, location) for part in raw]

    async def _compare_window(
        self, connection: AsyncConnection, raw: _SourceTable, shop_session: AsyncConnection, location: SourceLocation
    ) -> _Difference:
        relation = expression(relation_of(SOURCES[self.source], location, raw.window).rows(None).as_string())
        columns = await _columns_of(shop_session, relation)
        at_source = _SourceTable(
            relation,
            self,
            raw.window,
            columns,
            time_zone=shop().source_time_zone,
            encoding=shop_session.info.parameter_status("server_encoding") or "SQL_ASCII",
        )
        buckets = min(max(await raw.count(connection) // _ROWS_PER_BUCKET, 1), _MAX_BUCKETS)
        in_raw, in_shop = await raw.buckets(connection, buckets), await at_source.buckets(shop_session, buckets)
        differing = [bucket for bucket in {*in_raw, *in_shop} if in_raw.get(bucket) != in_shop.get(bucket)]
        raw_keys = await raw.keys(connection, buckets, differing)
        shop_keys = await at_source.keys(shop_session, buckets, differing)
        return _Difference(
            window=raw.window,
            source_rows=sum(rows for rows, _ in in_shop.values()),
            raw_rows=sum(rows for rows, _ in in_raw.values()),
            missing=_without(shop_keys, raw_keys),
            surplus=_without(raw_keys, shop_keys),
        )

    async def _quarantined(self, connection: AsyncConnection, rows: Sequence[KeyAndAmount]) -> set[KeyAndAmount]:
        """The rows that are in quarantine, by key and amount."""
        source = SOURCES[self.source]
        query = _QUARANTINED.format(
            key=sql.SQL(", ").join(
                _key_text(source, name, sql.SQL("payload ->> {}").format(sql.Literal(name))) for name in source.key
            ),
            amount=sql.Literal(self.amount),
            source=sql.Literal(source.name),
        )
        return {tuple(row) for (row,) in await fetch_rows(connection, query, rows=json.dumps(rows))}

    def _bad_rows(self, missing: Sequence[KeyAndAmount], surplus: Sequence[KeyAndAmount]) -> list[dict[str, Any]]:
        names = [*SOURCES[self.source].key, self.amount]
        return [
            {**dict(zip(names, row, strict=True)), "where": where}
            for where, rows in (("only at the source", missing), ("only in raw", surplus))
            for row in rows
        ]

    def _difference_message(
        self, missing: Sequence[KeyAndAmount], surplus: Sequence[KeyAndAmount], windows: Sequence[Window]
    ) -> str:
        """The rows that differ, in three groups: missing, surplus, and with another amount."""
        missing_keys, surplus_keys = [row[:-1] for row in missing], [row[:-1] for row in surplus]
        in_both = {*missing_keys} & {*surplus_keys}
        groups = {
            "missing in the warehouse": [key for key in missing_keys if key not in in_both],
            "only in the warehouse": [key for key in surplus_keys if key not in in_both],
            "with another amount": [key for key in missing_keys if key in in_both],
        }
        total = sum(map(len, groups.values()))
        parts = [f"{len(keys)} {text} (example {self._spelled(keys[0])})" for text, keys in groups.items() if keys]
        return (
            f"{total} {'row differs' if total == 1 else 'rows differ'} between shop and warehouse: {', '.join(parts)}."
            f" Probably the shop changed after the load: load {', '.join(map(str, windows))} again"
        )

    def _spelled(self, key: KeyAndAmount) -> str:
        """A key as people read it: `order_id O1, line_number 2`."""
        return ", ".join(f"{name} {one_line(value)}" for name, value in zip(SOURCES[self.source].key, key, strict=True))


def is_comparable(source: str) -> bool:
    """Whether the shop has a source in Postgres, or no connection says where: then the check cannot be evaluated."""
    return connection_type(shop().location_of(source).connection) in ("postgres", None)


def _key_text(source: Source, name: str, value: sql.Composable, encoding: str = "UTF8") -> sql.Composed:
    """
    A value of a key as text, as it is compared: trimmed, and what null means filled in.

    :param encoding: of the database that has the value
    """
    text = trimmed_at_source(sql.SQL("({})::text").format(value), encoding)
    default = column_of(source, name).default
    return text if default is None else sql.SQL("coalesce({}, {})").format(text, sql.Literal(default))


async def _columns_of(connection: AsyncConnection, relation: sql.Composable) -> dict[str, str]:
    """The columns of what is selected from, each with its type: the shop's need not be all."""
    cursor = await connection.execute(sql.SQL("select * from {} limit 0").format(relation), {})
    types = connection.adapters.types
    known = {column.name: types.get(column.type_code) for column in cursor.description or ()}
    return {name: info.name if info else "" for name, info in known.items()}


_BUCKETS = sql.SQL("""
select
    {bucket_number} %% {buckets},
    count(*),
    sum(('x' || substr(md5(concat_ws('|', {key}, {amount})), 1, 15))::bit(60)::bigint)
from {table}
where {in_window}
group by 1
""")

_KEYS = sql.SQL("""
select
    {key},
    {amount}
from {table}
where {in_window} and ({bucket_number} %% {buckets} = any(%(differing)s) or {bucket_number} is null)
order by {key}, {amount}
""")


class _SourceTable:
    """
    The window's rows of a source, in the shop or in raw.

    :param relation: what they are selected from, with each `%` doubled
    :param columns: its columns, each with its type
    :param time_zone: that of a time which has none of its own
    :param encoding: of their database
    """

    def __init__(
        self,
        relation: sql.Composable,
        check: SourceReconciliation,
        window: Window,
        columns: Mapping[str, str],
        *,
        time_zone: str,
        encoding: str,
    ) -> None:
        source = SOURCES[check.source]
        self.window = window
        name = source.window_column or ""
        column = TimeColumn(sql.Identifier(name), columns.get(name, "timestamp"), time_zone)
        keys = [
            _key_text(source, name, sql.Identifier(name) if name in columns else sql.SQL("null"), encoding)
            for name in source.key
        ]
        self._names = {
            "table": relation,
            "in_window": column.between(window.start, window.end),
            "amount": sql.SQL("{}::text").format(sql.Identifier(check.amount)),
            "amount_column": sql.Identifier(check.amount),
            "key": sql.SQL(", ").join(keys),
            # md5, since both servers must compute the same: 32 bits of the key choose the bucket, 60 bits of the row
            # go into a sum that does not depend on the order. A key without one of its values is in no bucket.
            "bucket_number": sql.SQL("('x' || substr(md5({}), 1, 8))::bit(32)::bigint").format(
                sql.SQL(" || '|' || ").join(keys)
            ),
        }

    async def count(self, connection: AsyncConnection) -> int:
        query = sql.SQL("select count(*) from {table} where {in_window}").format(**self._names)
        return int((await fetch_rows(connection, query))[0][0])

    async def amount(self, connection: AsyncConnection) -> Decimal:
        query = sql.SQL("select coalesce(sum({amount_column}), 0) from {table} where {in_window}").format(**self._names)
        return Decimal((await fetch_rows(connection, query))[0][0])

    async def buckets(self, connection: AsyncConnection, buckets: int) -> dict[int | None, tuple[int, Any]]:
        """Rows of each bucket, and a fingerprint of their keys and amounts; the bucket of rows without key is None."""
        query = _BUCKETS.format(buckets=sql.Literal(buckets), **self._names)
        return {bucket: (rows, fingerprint) for bucket, rows, fingerprint in await fetch_rows(connection, query)}

    async def keys(
        self, connection: AsyncConnection, buckets: int, differing: Sequence[int | None]
    ) -> list[KeyAndAmount]:
        """Keys and amounts of the rows in the buckets that differ."""
        if not differing:
            return []
        query = _KEYS.format(buckets=sql.Literal(buckets), **self._names)
        numbers = [bucket for bucket in differing if bucket is not None]
        return [tuple(row) for row in await fetch_rows(connection, query, differing=numbers)]


def _without(rows: Sequence[KeyAndAmount], others: Sequence[KeyAndAmount]) -> list[KeyAndAmount]:
    """The rows that are not among the others, copy by copy."""
    remaining = Counter(others)
    result = []
    for row in rows:
        if remaining[row]:
            remaining[row] -= 1
        else:
            result.append(row)
    return result


class Side(Settings):
    """
    One of two sides of a comparison: a table, and what is counted and summed of it.

    :param rows: what is counted; null: nothing
    :param day: a date column, or the first day of a month; without one the table is compared as a whole
    """

    table: TableName
    rows: Expression | None = "count(*)"
    amount: Expression | None = None
    day: Expression | None = None
    where: Expression | None = None


class Pair(Settings):
    """
    Two sides that must agree.

    :param figure: what is compared, where a table has several pairs
    :param by: the periods that are compared: those that the run's days lie in
    :param without_unbuilt_days: ignore days that were loaded after this run's claim, which it has not built
    """

    observed: Side
    expected: Side
    figure: str | None = None
    by: Literal["day", "month", "all"] = "day"
    without_unbuilt_days: bool = False

    @model_validator(mode="after")
    def _has_days(self) -> Self:
        sides = (self.observed, self.expected)
        if (self.by != "all" or self.without_unbuilt_days) and not all(side.day for side in sides):
            raise ValueError(f"to be compared by {self.by}, both sides need a `day`")
        return self


@dataclass(frozen=True)
class _Figures:
    """What one side has in a period."""

    rows: Decimal = Decimal(0)
    amount: Decimal = Decimal(0)


#: By the first day of a period; None where a table is compared as a whole.
_ByPeriod = dict[date | None, _Figures]


class Reconciliation(Check):
    """Two tables have the same number of rows and the same amount, in each period that the run's days lie in."""

    kind: Literal["reconciliation"]
    pairs: list[Pair]

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """A result for the rows of each pair, and one for its amount where it has one."""
        days = await context.days(connection)
        # Several pairs may have the same side.
        cache: dict[str, _ByPeriod] = {}
        results = []
        for pair in self.pairs:
            if context.exclusions.covers(pair.observed.table):
                continue
            subject = f"{pair.observed.table} {pair.figure}" if pair.figure else pair.observed.table
            observed, expected = [
                await _fetch_figures(connection, side, pair, days, context.run_id, cache)
                for side in (pair.observed, pair.expected)
            ]
            if pair.observed.rows or pair.expected.rows:
                results.append(_compare(f"{subject} rows", observed, expected, "rows"))
            if pair.observed.amount or pair.expected.amount:
                results.append(_compare(f"{subject} amount", observed, expected, "amount"))
        return results


async def _fetch_figures(
    connection: AsyncConnection, side: Side, pair: Pair, days: Sequence[date], run_id: str, cache: dict[str, _ByPeriod]
) -> _ByPeriod:
    query, values = _figures_query(side, pair, days, run_id)
    text = query.as_string(connection)
    if text not in cache:
        figures = await fetch_rows(connection, query, **values)
        cache[text] = {period: _Figures(Decimal(rows or 0), amount or Decimal(0)) for period, rows, amount in figures}
    return cache[text]


_FIGURES = sql.SQL("""
select
    {period},
    {rows},
    {amount}
from {table}
where {conditions}
group by 1
""")

_IS_BUILT = sql.SQL("""{day} not in (
    select dirty_date
    from ops.dirty_date
    where claimed_by is distinct from %(run_id)s
)""")


def _figures_query(side: Side, pair: Pair, days: Sequence[date], run_id: str) -> tuple[sql.Composed, dict[str, Any]]:
    conditions: list[sql.Composable] = [sql.SQL("({})").format(expression(side.where or "true"))]
    period: sql.Composable = sql.SQL("null::date")
    days_of_run: list[date] = []
    if side.day and pair.by != "all":
        day = expression(side.day)
        period = day if pair.by == "day" else sql.SQL("date_trunc('month', ({})::timestamp)::date").format(day)
        days_of_run = days_of_periods(days, pair.by)
        conditions.append(sql.SQL("{} = any(%(days)s)").format(day))
    if side.day and pair.without_unbuilt_days:
        conditions.append(_IS_BUILT.format(day=expression(side.day)))
    query = _FIGURES.format(
        period=period,
        rows=expression(side.rows or "null::bigint"),
        amount=expression(side.amount or "null::numeric"),
        table=table(side.table),
        conditions=sql.SQL(" and ").join(conditions),
    )
    return query, {"days": days_of_run, "run_id": run_id}


def _compare(subject: str, observed: _ByPeriod, expected: _ByPeriod, figure: Literal["rows", "amount"]) -> CheckResult:
    periods = sorted({*observed, *expected}, key=lambda period: period or date.min)
    figures = [
        (period, getattr(observed.get(period, _Figures()), figure), getattr(expected.get(period, _Figures()), figure))
        for period in periods
    ]
    observed_total = sum((value for _, value, _ in figures), Decimal(0))
    expected_total = sum((value for *_, value in figures), Decimal(0))
    differing = [(period, value, other) for period, value, other in figures if value != other]
    if not differing:
        return CheckResult(subject, "pass", observed_total, expected_total, f"{observed_total:,} as expected")
    message = f"{observed_total:,}, expected {expected_total:,}"
    if differing[0][0] is not None:
        examples = ", ".join(f"{period} has {value:,}, not {other:,}" for period, value, other in differing[:3])
        message += f"; {len(differing)} of {len(periods)} periods differ: {examples}"
    rows = [{"period": str(period), "observed": value, "expected": other} for period, value, other in differing]
    return CheckResult(subject, "fail", observed_total, expected_total, message, rows)
