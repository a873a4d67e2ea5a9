"""Counts and amounts, to the cent: source ↔ raw ↔ fact ↔ mart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, Literal, Self

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
    rows_of,
    table,
)
from ecommerce.audit.check_results import CheckResult
from ecommerce.common.connections import account_of, async_postgres
from ecommerce.common.sources import SOURCES, WriteDisposition
from ecommerce.common.windows import Window

#: A fingerprint a bucket of keys is compared first, and keys only of the buckets that differ.
_ROWS_A_BUCKET = 16
_MOST_BUCKETS = 4096


class SourceReconciliation(Check):
    """
    Each row that the source has in the window is in `raw` with its amount, or in quarantine; and no other is.

    Says only `warn` when the run did not read the source. A source that changed since it was read differs too:
    running the window again mends that.

    :param source: one that replaces its window, in Postgres
    :param amount: its column with the amount
    """

    kind: Literal["reconciliation_source"]
    judges_the_build: ClassVar[bool] = False
    source: str
    amount: ColumnName

    @field_validator("source")
    @classmethod
    def _replaces_its_window(cls, name: str) -> str:
        fitting = [
            source.name
            for source in SOURCES.values()
            if source.reader == "postgres"
            and source.write_disposition is WriteDisposition.REPLACE_WINDOW
            and len(source.key) == 1
        ]
        if name not in fitting:
            raise ValueError(f"{name} is no source that replaces its window, in Postgres; such are {fitting}")
        return name

    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """Rows and their amounts."""
        source, subject = SOURCES[self.source], f"raw.{self.source}"
        if self.source not in asked.request.sources:
            return [CheckResult(subject, "warn", None, None, f"this run did not read {self.source}; not compared")]
        here, there = _Side("raw", self, asked.window), _Side("public", self, asked.window)
        async with async_postgres(await account_of(source.connection), timeout_seconds=self.timeout_seconds) as shop:
            held = await here.count(connection)
            buckets = min(max(held // _ROWS_A_BUCKET, 1), _MOST_BUCKETS)
            taken, offered = await here.buckets(connection, buckets), await there.buckets(shop, buckets)
            differing = [bucket for bucket in {*taken, *offered} if taken.get(bucket) != offered.get(bucket)]
            in_raw = await here.keys(connection, buckets, differing)
            at_source = await there.keys(shop, buckets, differing)
        missing = _without(at_source, in_raw)
        surplus = _without(in_raw, at_source)
        refused = await self._refused(connection, missing)
        lost = [row for row in missing if row not in refused]
        n_source, n_raw = sum(n for n, _ in offered.values()), sum(n for n, _ in taken.values())
        n_refused = len(missing) - len(lost)
        if lost or surplus:
            message = (
                f"{len(lost)} orders of the source are neither in raw nor in quarantine with their amount"
                f"{f' (e.g. {lost[0][0]})' if lost else ''}, {len(surplus)} in raw are not at the source"
                f"{f' (e.g. {surplus[0][0]})' if surplus else ''}; if the source has changed since it was read, "
                f"run {asked.window} again"
            )
            rows = [
                {source.key[0]: key, self.amount: amount, "where": where}
                for where, found in (("only at the source", lost), ("only in raw", surplus))
                for key, amount in found
            ]
            return [CheckResult(subject, "fail", n_raw, n_source - n_refused, message, rows)]
        amount = await here.amount(connection)
        message = f"{n_source:,} orders at the source = {n_raw:,} in raw ({amount:,.2f}) + {n_refused:,} in quarantine"
        return [CheckResult(subject, "pass", n_raw, n_source - n_refused, message)]

    async def _refused(
        self, connection: AsyncConnection, missing: Sequence[tuple[str, str]]
    ) -> set[tuple[str | None, str | None]]:
        """Those of the missing rows that the quarantine holds, by key and amount."""
        key = SOURCES[self.source].key[0]
        found = await rows_of(
            connection,
            "select distinct missing.key, missing.amount"
            " from unnest(%(keys)s::text[], %(amounts)s::text[]) as missing (key, amount)"
            " where exists (select from ops.quarantine where source = %(source)s"
            "  and btrim(payload ->> %(key)s) is not distinct from missing.key"
            "  and payload ->> %(amount)s is not distinct from missing.amount)",
            keys=[key for key, _ in missing],
            amounts=[amount for _, amount in missing],
            source=self.source,
            key=key,
            amount=self.amount,
        )
        return {(row[0], row[1]) for row in found}


class _Side:
    """The window's rows of a table, at the source or in raw."""

    def __init__(self, schema: str, check: SourceReconciliation, window: Window) -> None:
        source = SOURCES[check.source]
        self._names = {
            "table": sql.Identifier(schema, source.name),
            "inside": sql.SQL("{column} >= {start} and {column} < {end}").format(
                column=sql.Identifier(source.window_column or ""),
                start=sql.Literal(str(window.start)),
                end=sql.Literal(str(window.end)),
            ),
            "amount": sql.SQL("{}::text").format(sql.Identifier(check.amount)),
            "money": sql.Identifier(check.amount),
            "key": sql.SQL("btrim({}::text)").format(sql.Identifier(source.key[0])),
        }
        # md5, since both servers must come to the same: 32 bits of the key choose the bucket, 60 of the row go into a
        # sum that does not depend on the order.
        self._names["place"] = sql.SQL("('x' || substr(md5({key}), 1, 8))::bit(32)::bigint").format(**self._names)

    async def count(self, connection: AsyncConnection) -> int:
        query = sql.SQL("select count(*) from {table} where {inside}").format(**self._names)
        return int((await rows_of(connection, query))[0][0])

    async def amount(self, connection: AsyncConnection) -> Decimal:
        query = sql.SQL("select coalesce(sum({money}), 0) from {table} where {inside}").format(**self._names)
        return Decimal((await rows_of(connection, query))[0][0])

    async def buckets(self, connection: AsyncConnection, n: int) -> dict[int | None, tuple[int, Any]]:
        """Bucket → rows, and a fingerprint of keys and amounts."""
        query = sql.SQL(
            "select {place} %% {n}, count(*),"
            " sum(('x' || substr(md5(concat({key}, '|', {amount})), 1, 15))::bit(60)::bigint)"
            " from {table} where {inside} group by 1"
        ).format(n=sql.Literal(n), **self._names)
        return {bucket: (rows, fingerprint) for bucket, rows, fingerprint in await rows_of(connection, query)}

    async def keys(self, connection: AsyncConnection, n: int, buckets: Sequence[int | None]) -> list[tuple[str, str]]:
        """Keys and amounts of the rows in some buckets."""
        if not buckets:
            return []
        query = sql.SQL(
            "select {key}, {amount} from {table} where {inside}"
            " and ({place} %% {n} = any(%(buckets)s) or {key} is null) order by 1, 2"
        ).format(n=sql.Literal(n), **self._names)
        found = await rows_of(connection, query, buckets=[bucket for bucket in buckets if bucket is not None])
        return [(row[0], row[1]) for row in found]


def _without(rows: Sequence[tuple[str, str]], others: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The rows that are not among the others, copy by copy."""
    left: dict[tuple[str, str], int] = {}
    for row in others:
        left[row] = left.get(row, 0) + 1
    surplus = []
    for row in rows:
        if left.get(row, 0):
            left[row] -= 1
        else:
            surplus.append(row)
    return surplus


class Side(Settings):
    """
    What is counted.

    :param day: a date column, or the first day of a month; without one everything is compared as a whole
    """

    table: TableName
    rows: Expression = "count(*)"
    amount: Expression | None = None
    day: Expression | None = None
    where: Expression | None = None


class Pair(Settings):
    """
    Two sides that must agree.

    :param by: the periods that are compared: those that the run's days lie in
    :param without_unbuilt_days: leave out days that were loaded after this run's claim: marked, and not built
    """

    observed: Side
    expected: Side
    by: Literal["day", "month", "all"] = "day"
    without_unbuilt_days: bool = False

    @model_validator(mode="after")
    def _has_days(self) -> Self:
        sides = (self.observed, self.expected)
        if (self.by != "all" or self.without_unbuilt_days) and not all(side.day for side in sides):
            raise ValueError(f"to be compared by {self.by}, both sides need a `day`")
        return self


class Reconciliation(Check):
    """Two tables count the same rows and the same money, period by period of what the run was about."""

    kind: Literal["reconciliation"]
    pairs: list[Pair]

    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """Two judgements a pair where it has an amount: rows, then money."""
        days = await asked.days(connection)
        known: dict[str, dict[date | None, tuple[Decimal, Decimal | None]]] = {}

        async def figures(side: Side, pair: Pair) -> dict[date | None, tuple[Decimal, Decimal | None]]:
            query, values = _query(side, pair, days, asked.run_id)
            if (text := query.as_string(connection)) not in known:
                found = await rows_of(connection, query, **values)
                known[text] = {period: (Decimal(rows or 0), amount) for period, rows, amount in found}
            return known[text]

        judgements = []
        for pair in self.pairs:
            if asked.left_out.covers(pair.observed.table):
                continue
            observed, expected = await figures(pair.observed, pair), await figures(pair.expected, pair)
            subject = pair.observed.table
            judgements.append(_compare(f"{subject} rows", observed, expected, 0))
            if pair.observed.amount or pair.expected.amount:
                judgements.append(_compare(f"{subject} amount", observed, expected, 1))
        return judgements


def _query(side: Side, pair: Pair, days: Sequence[date], run_id: str) -> tuple[sql.Composed, dict[str, Any]]:
    conditions = [sql.SQL("({})").format(expression(side.where))] if side.where else []
    period: sql.Composable = sql.SQL("null::date")
    covered: list[date] = []
    if side.day and pair.by != "all":
        day = expression(side.day)
        period = day if pair.by == "day" else sql.SQL("date_trunc('month', ({})::timestamp)::date").format(day)
        covered = days_of_periods(days, pair.by)
        conditions.append(sql.SQL("{} = any(%(days)s)").format(day))
    if side.day and pair.without_unbuilt_days:
        conditions.append(
            sql.SQL(
                "{} not in (select dirty_date from ops.dirty_date where claimed_by is distinct from %(run_id)s)"
            ).format(expression(side.day))
        )
    query = sql.SQL("select {period}, {rows}, {amount} from {table}{where} group by 1").format(
        period=period,
        rows=expression(side.rows),
        amount=expression(side.amount) if side.amount else sql.SQL("null::numeric"),
        table=table(side.table),
        where=sql.SQL(" where {}").format(sql.SQL(" and ").join(conditions)) if conditions else sql.SQL(""),
    )
    return query, {"days": covered, "run_id": run_id}


def _compare(subject: str, observed: dict, expected: dict, which: int) -> CheckResult:
    def figure(side: dict, period: date | None) -> Decimal:
        return side.get(period, (Decimal(0), None))[which] or Decimal(0)

    periods = sorted({*observed, *expected}, key=lambda period: period or date.min)
    total, due = (sum((figure(side, period) for period in periods), Decimal(0)) for side in (observed, expected))
    rows = [
        {"period": str(period), "observed": figure(observed, period), "expected": figure(expected, period)}
        for period in periods
        if figure(observed, period) != figure(expected, period)
    ]
    if not rows:
        return CheckResult(subject, "pass", total, due, f"{total:,} as expected")
    message = f"{total:,}, expected {due:,}"
    if rows[0]["period"] != "None":
        examples = ", ".join(f"{row['period']} ({row['observed']:,}, not {row['expected']:,})" for row in rows[:3])
        message += f"; {len(rows)} of {len(periods)} periods differ: {examples}"
    return CheckResult(subject, "fail", total, due, message, rows)
