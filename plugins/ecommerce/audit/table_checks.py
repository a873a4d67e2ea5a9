"""Checks of what a table holds: keys that are there once, keys that someone knows, categories as they were."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from psycopg import AsyncConnection, sql
from pydantic import Field, field_validator

from ecommerce.audit.check import (
    Approvable,
    Check,
    CheckContext,
    ColumnName,
    Expression,
    Limits,
    Settings,
    TableName,
    bad_rows,
    expression,
    rows_of,
    table,
)
from ecommerce.audit.check_results import CheckResult

#: SQL files that return bad rows, and the file of the checks.
FOLDER = Path(__file__).parents[3] / "include" / "quality"


class Key(Settings):
    """A table, and the columns that make a row of it the only one."""

    table: TableName
    key: Annotated[list[ColumnName], Field(min_length=1)]


class Uniqueness(Check, Limits):
    """
    Rows beyond the first of their key. Where a unique index of Postgres' own says so already, nothing is counted.
    """

    kind: Literal["uniqueness"]
    tables: list[Key]
    fail_above: Decimal | None = Decimal(0)

    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """One judgement a table."""
        judgements = []
        for one in self.tables:
            if asked.left_out.covers(one.table):
                continue
            named = ", ".join(one.key)
            if await self._is_indexed(connection, one):
                judgements.append(CheckResult(one.table, "pass", 0, self.limit, f"{named} has a unique index"))
                continue
            repeated = sql.SQL("select {key}, count(*) as rows from {table} group by {key} having count(*) > 1").format(
                key=sql.SQL(", ").join(map(sql.Identifier, one.key)), table=table(one.table)
            )
            ((surplus,),) = await rows_of(
                connection,
                sql.SQL("select coalesce(sum(rows) - count(*), 0) from ({}) as repeated").format(repeated),
            )
            rows = await bad_rows(connection, repeated) if surplus else []
            message = f"{surplus:,} rows repeat the {named} of another" + (f", e.g. {rows[0]}" if rows else "")
            judgements.append(CheckResult(one.table, self.status(surplus), surplus, self.limit, message, rows))
        return judgements

    @staticmethod
    async def _is_indexed(connection: AsyncConnection, one: Key) -> bool:
        found = await rows_of(
            connection,
            "select exists (select from pg_index as index where index.indrelid = to_regclass(%(table)s)"
            " and index.indisunique and index.indisvalid and index.indpred is null and index.indexprs is null"
            " and (select array_agg(attribute.attname::text order by 1) from pg_attribute as attribute"
            "  where attribute.attrelid = index.indrelid and attribute.attnum = any(index.indkey)"
            "  and attribute.attnotnull or attribute.attrelid = index.indrelid"
            "  and attribute.attnum = any(index.indkey) and index.indnullsnotdistinct) <@ %(key)s::text[])",
            table=one.table,
            key=one.key,
        )
        return bool(found[0][0])


class Link(Settings):
    """
    A key that points at another table.

    :param known_when: which rows of the parent count as known, e.g. those of a dimension that are not inferred
    :param day: the child's date, so that the run's days are judged and not the whole history
    """

    table: TableName
    key: ColumnName
    parent: TableName
    known_when: Expression | None = None
    day: Expression | None = None


class Orphans(Check, Limits):
    """
    The share of rows, in per cent, whose key no row of the parent knows.

    :param minimum_rows: below so many rows nothing is said
    """

    kind: Literal["orphans"]
    links: list[Link]
    minimum_rows: Annotated[int, Field(ge=0)] = 0

    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """One judgement a link."""
        days = await asked.days(connection)
        judgements = []
        for link in self.links:
            if asked.left_out.covers(link.table):
                continue
            names = {
                "child": table(link.table),
                "parent": table(link.parent),
                "key": sql.Identifier(link.key),
                "known": expression(link.known_when or "true"),
                "inside": sql.SQL("{} = any(%(days)s)").format(expression(link.day)) if link.day else sql.SQL("true"),
            }
            joined = sql.SQL(
                "from (select * from {child} where {inside}) as child"
                " left join (select distinct {key} from {parent} where {known}) as parent using ({key})"
            ).format(**names)
            ((total, orphans),) = await rows_of(
                connection,
                sql.SQL("select count(*), count(*) filter (where parent.{key} is null) {joined}").format(
                    joined=joined, **names
                ),
                days=days,
            )
            percent = round(Decimal(100) * orphans / total, 2) if total else Decimal(0)
            status = self.status(percent) if total >= self.minimum_rows else "pass"
            rows = []
            if status != "pass":
                query = sql.SQL("select child.* {joined} where parent.{key} is null").format(joined=joined, **names)
                rows = await bad_rows(connection, query, days=days)
            message = f"{orphans:,} of {total:,} rows ({percent} %) have a {link.key} that {link.parent} does not know"
            subject = f"{link.table} {link.key}"
            judgements.append(CheckResult(subject, status, percent, self.limit, message, rows))
        return judgements


class Category(Settings):
    """A column with few values."""

    table: TableName
    column: ColumnName
    day: Expression


class Distribution(Approvable, Limits):
    """
    The share of rows, in per cent, that would have to change their category for the window to look like the days
    before it (total variation distance). Days of known incidents count on neither side.

    :param reference_days: how many days before the window it is compared with
    :param minimum_rows: with less on either side nothing is said
    """

    kind: Literal["distribution"]
    columns: list[Category]
    reference_days: Annotated[int, Field(gt=0)] = 90
    minimum_rows: Annotated[int, Field(gt=0)] = 100

    judges_the_build: ClassVar[bool] = False

    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """One judgement a column."""
        judgements = []
        for one in self.columns:
            query = sql.SQL(
                "select coalesce({column}::text, '(none)'), count(*) filter (where {day} >= %(start)s),"
                " count(*) filter (where {day} < %(start)s) from {table}"
                " where {day} >= %(first)s and {day} < %(end)s and {day} <> all(%(incidents)s::date[]) group by 1"
            ).format(column=sql.Identifier(one.column), day=expression(one.day), table=table(one.table))
            found = await rows_of(
                connection,
                query,
                start=asked.window.start,
                end=asked.window.end,
                first=asked.window.start - timedelta(days=self.reference_days),
                incidents=list(asked.incidents),
            )
            judged = self._compare(f"{one.table} {one.column}", found)
            judgements.append(replace(judged, days=list(asked.window.days)) if judged.status == "fail" else judged)
        return judgements

    def _compare(self, subject: str, found: list[tuple]) -> CheckResult:
        now, before = sum(n for _, n, _ in found), sum(n for *_, n in found)
        if min(now, before) < self.minimum_rows:
            message = f"too few rows to compare: {now:,} in the window, {before:,} before it"
            return CheckResult(subject, "pass", None, self.limit, message)
        shares = [(category, Decimal(100) * a / now, Decimal(100) * b / before) for category, a, b in found]
        moved = round(sum((abs(a - b) for _, a, b in shares), Decimal(0)) / 2, 2)
        shares.sort(key=lambda share: (-abs(share[1] - share[2]), share[0]))
        most = ", ".join(f"{category} {b:.1f} % → {a:.1f} %" for category, a, b in shares[:3])
        rows = [{"category": category, "percent": f"{a:.2f}", "before": f"{b:.2f}"} for category, a, b in shares]
        status = self.status(moved)
        message = f"{moved} % of the rows lie in other categories than before; {most}"
        return CheckResult(subject, status, moved, self.limit, message, rows if status != "pass" else [])


class BadRows(Check, Limits):
    """
    A SQL file beside the file of the checks: each row that it returns is a bad one.

    The query may use `%(start)s`, `%(end)s` (the window, half-open) and `%(run_id)s`; a per cent sign is written `%%`.
    """

    kind: Literal["sql"]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+\.sql$")]
    fail_above: Decimal | None = Decimal(0)

    @field_validator("file")
    @classmethod
    def _is_there(cls, name: str) -> str:
        if not (FOLDER / name).is_file():
            raise ValueError(f"there is no file {name} in include/quality")
        return name

    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """One judgement, of the number of bad rows."""
        query = sql.SQL((FOLDER / self.file).read_text().strip().rstrip(";"))
        values = {"start": asked.window.start, "end": asked.window.end, "run_id": asked.run_id}
        ((n,),) = await rows_of(connection, sql.SQL("select count(*) from ({}) as bad").format(query), **values)
        rows = await bad_rows(connection, sql.SQL("{}").format(query), **values) if n else []
        message = f"{n:,} bad rows" + (f", e.g. {rows[0]}" if rows else "")
        return [CheckResult(self.file.removesuffix(".sql"), self.status(n), n, self.limit, message, rows)]
