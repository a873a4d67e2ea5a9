"""Checks of what a table holds: duplicate keys, keys that their parent does not have, categories, and SQL files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

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
    expression,
    fetch_bad_rows,
    fetch_rows,
    table,
)
from ecommerce.audit.check_results import CheckResult
from ecommerce.common.shown_text import one_line
from ecommerce.common.sources import PERSONAL_COLUMNS

#: Where `checks.yml` is, and beside it SQL files that return bad rows.
FOLDER = Path(__file__).parents[3] / "include" / "quality"
#: Characters of the bad row that a message has as an example.
_ROW_LENGTH = 300

# -- uniqueness --------------------------------------------------------------------------------------------------------


class Key(Settings):
    """A table, and the columns that identify a row."""

    table: TableName
    key: Annotated[list[ColumnName], Field(min_length=1)]


#: Whether a unique index rules out duplicates: each of its columns is of the key, and none lets nulls repeat.
_HAS_UNIQUE_INDEX = """
select
    exists (
        select from pg_index as index
        where
            index.indrelid = to_regclass(%(table)s)
            and index.indisunique
            and index.indisvalid
            and index.indpred is null
            and index.indexprs is null
            and not exists (
                select from pg_attribute as attribute
                where
                    attribute.attrelid = index.indrelid
                    -- Columns behind those of the key are only included, and keep no rows apart.
                    and attribute.attnum = any((index.indkey::smallint[])[0:index.indnkeyatts - 1])
                    and not (
                        attribute.attname::text = any(%(key)s::text[])
                        and (attribute.attnotnull or index.indnullsnotdistinct)
                    )
            )
    )
"""

_DUPLICATE_KEYS = sql.SQL("""
select
    {key},
    count(*) as rows
from {table}
group by {key}
having count(*) > 1
""")


class Uniqueness(Check, Limits):
    """Rows that repeat the key of another. Where a unique index rules them out, nothing is counted."""

    kind: Literal["uniqueness"]
    tables: list[Key]
    fail_above: Decimal | None = Decimal(0)

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result for each table."""
        return [
            await self._evaluate_table(connection, key)
            for key in self.tables
            if not context.exclusions.covers(key.table)
        ]

    async def _evaluate_table(self, connection: AsyncConnection, key: Key) -> CheckResult:
        columns = ", ".join(key.key)
        ((has_unique_index,),) = await fetch_rows(connection, _HAS_UNIQUE_INDEX, table=key.table, key=key.key)
        if has_unique_index:
            return CheckResult(key.table, "pass", 0, self.limit, f"no duplicates: {columns} has a unique index")
        duplicates = _DUPLICATE_KEYS.format(
            key=sql.SQL(", ").join(map(sql.Identifier, key.key)), table=table(key.table)
        )
        surplus_query = sql.SQL("select coalesce(sum(rows) - count(*), 0) from ({}) as duplicate").format(duplicates)
        ((surplus,),) = await fetch_rows(connection, surplus_query)
        rows = await fetch_bad_rows(connection, duplicates) if surplus else []
        message = f"{surplus:,} rows repeat the {columns} of another row" + _example(rows)
        return CheckResult(key.table, self.status(surplus), surplus, self.limit, message, rows)


# -- orphans -----------------------------------------------------------------------------------------------------------


class Link(Settings):
    """
    A key that points at another table.

    :param known_when: which rows of the parent count, e.g. those of a dimension that are not inferred
    :param source: the source of the parent's rows; a shop without it knows no key, and the link is not checked
    :param day: the child's date, so that only the run's days are checked and not the whole history
    """

    table: TableName
    key: ColumnName
    parent: TableName
    source: str | None = None
    known_when: Expression | None = None
    day: Expression | None = None


_CHILD_AND_PARENT = sql.SQL("""
from (
    select *
    from {child}
    where {in_days}
) as child
left join (
    select distinct {key}
    from {parent}
    where {known}
) as parent using ({key})
""")


class Orphans(Check, Limits):
    """
    The share of rows, in per cent, whose key the parent table does not have.

    :param minimum_rows: tables with fewer rows always pass
    """

    kind: Literal["orphans"]
    links: list[Link]
    minimum_rows: Annotated[int, Field(ge=0)] = 0

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result for each link."""
        days = await context.days(connection)
        return [
            await self._evaluate_link(connection, link, days)
            for link in self.links
            if not context.exclusions.covers(link.table)
        ]

    async def _evaluate_link(self, connection: AsyncConnection, link: Link, days: Sequence[date]) -> CheckResult:
        key = sql.Identifier(link.key)
        joined = _CHILD_AND_PARENT.format(
            child=table(link.table),
            parent=table(link.parent),
            key=key,
            known=expression(link.known_when or "true"),
            in_days=sql.SQL("{} = any(%(days)s)").format(expression(link.day)) if link.day else sql.SQL("true"),
        )
        counts = sql.SQL("select count(*), count(*) filter (where parent.{key} is null) {joined}")
        ((total, orphans),) = await fetch_rows(connection, counts.format(key=key, joined=joined), days=days)
        percent = round(Decimal(100) * orphans / total, 2) if total else Decimal(0)
        status = self.status(percent) if total >= self.minimum_rows else "pass"
        rows = []
        if status != "pass":
            query = sql.SQL("select child.* {joined} where parent.{key} is null").format(joined=joined, key=key)
            rows = await fetch_bad_rows(connection, query, days=days)
        message = f"{orphans:,} of {total:,} rows ({percent} %) have a {link.key} that is unknown in {link.parent}"
        return CheckResult(f"{link.table} {link.key}", status, percent, self.limit, message, rows)


# -- the distribution of categories ------------------------------------------------------------------------------------


class Category(Settings):
    """A column with few values."""

    table: TableName
    column: ColumnName
    day: Expression

    @field_validator("column")
    @classmethod
    def _not_personal(cls, name: str) -> str:
        if name in PERSONAL_COLUMNS:
            raise ValueError(f"{name} is personal, and the message of this check has values of its column")
        return name


_CATEGORY_COUNTS = sql.SQL("""
select
    coalesce({column}::text, '(none)'),
    count(*) filter (where {day} >= %(start)s),
    count(*) filter (where {day} < %(start)s)
from {table}
where {day} >= %(first)s and {day} < %(end)s and {day} <> all(%(incidents)s::date[])
group by 1
""")


class Distribution(Approvable, Limits):
    """
    How much the mix of categories in the window differs from the days before it.

    The figure is the share of rows, in per cent, that would have to change their category for both to be the same
    (total variation distance). Days of known incidents count on neither side.

    :param reference_days: how many days before the window it is compared with
    :param minimum_rows: with fewer rows on either side the column passes
    """

    kind: Literal["distribution"]
    columns: list[Category]
    reference_days: Annotated[int, Field(gt=0)] = 90
    minimum_rows: Annotated[int, Field(gt=0)] = 100

    checks_the_build: ClassVar[bool] = False

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result for each column."""
        return [await self._evaluate_column(connection, category, context) for category in self.columns]

    async def _evaluate_column(
        self, connection: AsyncConnection, category: Category, context: CheckContext
    ) -> CheckResult:
        window, subject = context.window, f"{category.table} {category.column}"
        query = _CATEGORY_COUNTS.format(
            column=sql.Identifier(category.column), day=expression(category.day), table=table(category.table)
        )
        counts = await fetch_rows(
            connection,
            query,
            start=window.start,
            end=window.end,
            first=window.start - timedelta(days=self.reference_days),
            incidents=list(context.incidents),
        )
        in_window, in_reference = sum(n for _, n, _ in counts), sum(n for *_, n in counts)
        if min(in_window, in_reference) < self.minimum_rows:
            message = f"too few rows to compare: {in_window:,} in the window, {in_reference:,} before it"
            return CheckResult(subject, "pass", None, self.limit, message)
        hundred = Decimal(100)
        shares = [(name, hundred * n / in_window, hundred * m / in_reference) for name, n, m in counts]
        shares.sort(key=lambda share: (-abs(share[1] - share[2]), share[0]))
        distance = round(sum((abs(share - before) for _, share, before in shares), Decimal(0)) / 2, 2)
        biggest = ", ".join(f"{one_line(name)} {before:.1f} % → {share:.1f} %" for name, share, before in shares[:3])
        message = (
            f"the mix of {category.column} differs by {distance} % from the {self.reference_days} days before;"
            f" {biggest}"
        )
        status = self.status(distance)
        if status == "pass":
            return CheckResult(subject, status, distance, self.limit, message)
        rows = [
            {"category": name, "percent": f"{share:.2f}", "before": f"{before:.2f}"} for name, share, before in shares
        ]
        if status != "fail":
            return CheckResult(subject, status, distance, self.limit, message, rows)
        figures = dict.fromkeys(window.days, float(distance))
        approved = context.approved({subject}, figures)
        if approved.keys() == figures.keys():
            message = f"{message}; {', '.join(sorted(set(approved.values())))}"
            return CheckResult(subject, "warn", distance, self.limit, message, rows)
        return CheckResult(subject, status, distance, self.limit, message, rows, days=figures)


# -- a SQL file --------------------------------------------------------------------------------------------------------


class BadRows(Check, Limits):
    """
    A SQL file beside `checks.yml`; each row that it returns is a bad one.

    The query may use `%(start)s`, `%(end)s` (the window, half-open) and `%(run_id)s`; a per cent sign is written `%%`.
    """

    kind: Literal["sql"]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+\.sql$")]
    fail_above: Decimal | None = Decimal(0)

    @field_validator("file")
    @classmethod
    def _exists(cls, name: str) -> str:
        if not (FOLDER / name).is_file():
            raise ValueError(f"there is no file {name} in include/quality")
        return name

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result, of the number of bad rows."""
        query = sql.SQL((FOLDER / self.file).read_text().strip().rstrip(";"))
        values = {"start": context.window.start, "end": context.window.end, "run_id": context.run_id}
        count_query = sql.SQL("select count(*) from ({}) as bad").format(query)
        ((count,),) = await fetch_rows(connection, count_query, **values)
        rows = await fetch_bad_rows(connection, sql.SQL("{}").format(query), **values) if count else []
        message = f"{count:,} bad rows" + _example(rows)
        return [CheckResult(self.file.removesuffix(".sql"), self.status(count), count, self.limit, message, rows)]


def _example(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    shown = {name: value for name, value in rows[0].items() if name not in PERSONAL_COLUMNS}
    return f", e.g. {one_line(shown, _ROW_LENGTH)}"
