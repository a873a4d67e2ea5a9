"""Checks of facts with a date that is most likely a mistake: long before they were recorded, or not a covered day."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlencode

from psycopg import AsyncConnection, sql
from pydantic import Field

from ecommerce.audit.check import (
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
from ecommerce.common.pages_url import PAGES_PREFIX
from ecommerce.common.shown_text import one_line


class DatedFact(Settings):
    """
    A table of `raw` whose rows have a date.

    :param row: what a row is, for a person, e.g. `order line`
    :param key: SQL that names a row on the page of its fact
    :param day: SQL of its date, as a day of the shop
    :param recorded: SQL of the time at which it was recorded, without time zone, in UTC
    :param fact: the fact table that is made of it
    """

    table: TableName
    row: Annotated[str, Field(min_length=1)]
    key: Expression
    day: Expression
    recorded: Expression
    fact: ColumnName


#: The facts that were recorded in the window, with a condition on their dates.
_STRAY_ROWS = sql.SQL("""
select
    {key} as key,
    {day} as dated,
    ops.shop_day(({recorded}) at time zone 'UTC') as recorded_on
from {table}
where
    ({recorded}) >= ops.shop_midnight(%(start)s) at time zone 'UTC'
    and ({recorded}) < ops.shop_midnight(%(end)s) at time zone 'UTC'
    and ({condition})
""")


def stray_rows(fact: DatedFact, condition: sql.Composable) -> sql.Composed:
    """The query of the facts that were recorded in a window, %(start)s to %(end)s, and meet the condition."""
    return _STRAY_ROWS.format(
        key=expression(fact.key),
        day=expression(fact.day),
        recorded=expression(fact.recorded),
        table=table(fact.table),
        condition=condition,
    )


_COVERED_DAYS = """
select
    first_covered_date,
    greatest(as_of_date, %(last)s::date)
from ops.as_of
where first_covered_date is not null and as_of_date is not null
"""


class _StrayDates(Check, Limits):
    """One result for each table: the rows that were recorded in the window and have a stray date."""

    checks_the_build: ClassVar[bool] = False

    facts: Annotated[list[DatedFact], Field(min_length=1)]
    warn_above: Decimal | None = Decimal(0)

    @abstractmethod
    async def _bounds(self, connection: AsyncConnection, context: CheckContext) -> Mapping[str, Any] | None:
        """The values for `_is_stray`; None if nothing can be said."""

    @abstractmethod
    def _is_stray(self, fact: DatedFact) -> sql.Composed:
        """SQL over a row: whether its date is stray."""

    @abstractmethod
    def _sentence(self, by_day: Mapping[date, int], bounds: Mapping[str, Any]) -> str:
        """
        What is said of the stray rows, or of none.

        :param by_day: their number by date
        """

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result for each table of a source that the shop has."""
        bounds = await self._bounds(connection, context)
        if bounds is None:
            return []
        return [
            await self._evaluate_fact(connection, fact, context, bounds)
            for fact in self.facts
            if not context.exclusions.covers(fact.table)
        ]

    async def _evaluate_fact(
        self, connection: AsyncConnection, fact: DatedFact, context: CheckContext, bounds: Mapping[str, Any]
    ) -> CheckResult:
        rows_query = stray_rows(fact, self._is_stray(fact))
        values = {"start": context.window.start, "end": context.window.end, **bounds}
        days_query = sql.SQL("select dated, count(*) from ({}) as stray group by 1").format(rows_query)
        by_day: dict[date, int] = dict(await fetch_rows(connection, days_query, **values))
        count, sentence = sum(by_day.values()), self._sentence(by_day, bounds)
        subject = f"{fact.table} dates"
        if not count:
            return CheckResult(subject, "pass", 0, self.limit, f"no {fact.row} is {sentence}")
        ordered = sql.SQL("select * from ({}) as stray order by dated, key").format(rows_query)
        rows = [
            {**row, "page": f"{PAGES_PREFIX}/facts/{fact.fact}?{urlencode({'key': row['key']})}"}
            for row in await fetch_bad_rows(connection, ordered, **values)
        ]
        first = rows[0]
        message = (
            f"{count:,} {fact.row}{' is' if count == 1 else 's are'} {sentence}, e.g. {one_line(first['key'])},"
            f" dated {first['dated']} and recorded on {first['recorded_on']}: see {first['page']}"
        )
        return CheckResult(subject, self.status(count), count, self.limit, message, rows)


class DatedBack(_StrayDates):
    """
    Facts that are dated long before the day on which they were recorded.

    :param more_than_days: how many days before are still usual
    """

    kind: Literal["dated_back"]
    more_than_days: Annotated[int, Field(gt=0)]

    async def _bounds(self, connection: AsyncConnection, context: CheckContext) -> Mapping[str, Any] | None:
        return {"days": self.more_than_days}

    def _is_stray(self, fact: DatedFact) -> sql.Composed:
        return sql.SQL("{day} < ops.shop_day(({recorded}) at time zone 'UTC') - %(days)s").format(
            day=expression(fact.day), recorded=expression(fact.recorded)
        )

    def _sentence(self, by_day: Mapping[date, int], bounds: Mapping[str, Any]) -> str:
        return f"dated more than {self.more_than_days} days before the day of recording"


class OutsideCoveredDays(_StrayDates):
    """
    Facts that are dated before the first covered day or after the as-of date.

    Days of the window count as covered, also if its sales could not be loaded.
    """

    kind: Literal["outside_covered_days"]

    async def _bounds(self, connection: AsyncConnection, context: CheckContext) -> Mapping[str, Any] | None:
        for first, last in await fetch_rows(connection, _COVERED_DAYS, last=context.window.last):
            return {"first": first, "last": last}
        return None

    def _is_stray(self, fact: DatedFact) -> sql.Composed:
        return sql.SQL("{day} < %(first)s or {day} > %(last)s").format(day=expression(fact.day))

    def _sentence(self, by_day: Mapping[date, int], bounds: Mapping[str, Any]) -> str:
        first, last = bounds["first"], bounds["last"]
        before = sum(rows for day, rows in by_day.items() if day < first)
        sides = {"before": before, "after": sum(by_day.values()) - before}
        counts = " and ".join(f"{rows:,} {side}" for side, rows in sides.items() if rows)
        return f"dated outside the covered days, {first} to {last}" + (f" ({counts})" if counts else "")
