"""Checks of kind `volume` and `amount`: does each day bring about as much as the same weekday did before?"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import sqrt
from statistics import median
from typing import Annotated, Any, ClassVar, Literal, Self

from psycopg import AsyncConnection, sql
from pydantic import Field, model_validator

from ecommerce.audit.check import (
    Approvable,
    CheckContext,
    ColumnName,
    Expression,
    Settings,
    TableName,
    expression,
    fetch_rows,
    table,
)
from ecommerce.audit.check_results import CheckResult, Status
from ecommerce.common.windows import Window

#: From the median absolute deviation to a standard deviation, where values are normally distributed.
_MAD_TO_SIGMA = 1.4826
#: The spread is at least this share of the expected value, however regular the days were.
_MIN_SPREAD = 0.05
#: A year before, on the same weekday.
_YEAR = timedelta(weeks=52)
#: How many times more or less than the weeks before it a season may make of a day.
_MAX_SEASON = 3.0
#: Unusual days that a message names.
_DAYS_IN_MESSAGE = 5


@dataclass(frozen=True)
class DayTotal:
    """The rows of a day, and the figure that is checked: the rows again, or the sum of an amount."""

    rows: int
    value: float


@dataclass(frozen=True)
class Expectation:
    """The value that a day should have, and how far such days usually are from theirs."""

    value: float
    spread: float

    def z_score(self, value: float) -> float:
        """The distance of a value from the expected one, in usual deviations; negative if it is too low."""
        return (value - self.value) / self.spread


def expect(
    totals: Mapping[date, DayTotal],
    day: date,
    *,
    weeks: int,
    minimum_weeks: int,
    incidents: Container[date],
    noise: float,
) -> Expectation | None:
    """
    What ``day`` should bring by the same weekday in the weeks before it; None where too few of them have rows.

    The value is the median of those weeks, times what the season made of the same week a year before, where a year is
    known: otherwise every December would be unusual. The spread is the median deviation from it. Medians ignore a few
    unusual weeks. The day itself, later days and known incidents never count.

    :param noise: how much one row's value varies, as a multiple of its mean: 1 where rows are counted
    """
    past = _same_weekday(totals, day, range(1, weeks + 1), incidents)
    if len(past) < minimum_weeks:
        return None
    level = median(total.value for total in past)
    season = _season(totals, day - _YEAR, weeks=weeks, minimum_weeks=minimum_weeks, incidents=incidents)
    value = level * season
    deviation = _MAD_TO_SIGMA * median(abs(total.value - level) for total in past) * season
    # Rows come by chance: of a hundred, ten more or less mean nothing.
    chance = noise * value / sqrt(max(median(total.rows for total in past) * season, 1.0))
    spread = max(deviation, chance, _MIN_SPREAD * value)
    return Expectation(value, spread) if spread > 0 else None


def _season(
    totals: Mapping[date, DayTotal], day: date, *, weeks: int, minimum_weeks: int, incidents: Container[date]
) -> float:
    """The weeks around a day, as a multiple of the median of the weeks before them; 1 where too few are known."""
    around = _same_weekday(totals, day, (-1, 0, 1), incidents)
    before = _same_weekday(totals, day, range(2, weeks + 2), incidents)
    if len(around) < 2 or len(before) < minimum_weeks:
        return 1.0
    level = median(total.value for total in before)
    if level <= 0:
        return 1.0
    return min(max(median(total.value for total in around) / level, 1 / _MAX_SEASON), _MAX_SEASON)


def _same_weekday(
    totals: Mapping[date, DayTotal], day: date, weeks_back: Iterable[int], incidents: Container[date]
) -> list[DayTotal]:
    days = [day - timedelta(weeks=n) for n in weeks_back]
    return [totals[other] for other in days if other in totals and other not in incidents]


@dataclass(frozen=True)
class DayComparison:
    """What a day has brought, beside what was expected of it."""

    day: date
    total: DayTotal
    expected: Expectation

    @property
    def z_score(self) -> float:
        """See `Expectation.z_score`."""
        return self.expected.z_score(self.total.value)

    @property
    def record(self) -> dict[str, Any]:
        """The row that `ops.check_failure` keeps of an unusual day."""
        return {
            "day": str(self.day),
            "observed": self.total.value,
            "expected": round(self.expected.value, 2),
            "z": round(self.z_score, 2),
        }


class Outage(Settings):
    """
    The last days of the window are an outage if they have no row where some were expected.

    :param days: how many last days
    :param expected_at_least: rows expected of them in all
    :param source: its loads tell a day without rows from a day that was not loaded
    """

    days: Annotated[int, Field(gt=0)]
    expected_at_least: float
    source: str


_LOADED_DAYS = """
select day
from unnest(%(days)s::date[]) as day
where
    exists (
        select from ops.load_batch
        where source = %(source)s and status = 'loaded' and window_start <= day and day < window_end
    )
order by day
"""

_DAY_TOTALS = sql.SQL("""
select
    {day},
    count(*),
    coalesce({value}, 0)::float8
from {table}
where {day} >= %(first)s and {day} < %(end)s
group by 1
""")


class Anomaly(Approvable):
    """
    Compare the rows (`volume`) or an amount (`amount`) of each day with the same weekday in the weeks before it.

    An unusual day warns: shops close on holidays, and there is Black Friday. It fails only beyond the limits of the
    file, and only at the end of the window: that a year has a Christmas is no reason to hold the year back. Known
    incidents are neither checked nor learned from.

    :param warn_beyond: z-score, in both directions, beyond which a day warns
    :param fail_below: z-score below which a day fails: much too little
    :param fail_above: z-score above which a day fails: much too much
    :param fail_days: only so many last days of the window can fail; an earlier one warns
    """

    kind: Literal["volume", "amount"]
    table: TableName
    day: Expression
    amount: ColumnName | None = None
    weeks: Annotated[int, Field(gt=0)] = 8
    minimum_weeks: Annotated[int, Field(gt=0)] = 4
    warn_beyond: Annotated[float, Field(gt=0)]
    fail_below: Annotated[float, Field(lt=0)] | None = None
    fail_above: Annotated[float, Field(gt=0)] | None = None
    fail_days: Annotated[int, Field(gt=0)] = 3
    outage: Outage | None = None

    checks_the_build: ClassVar[bool] = False

    @model_validator(mode="after")
    def _names_its_amount(self) -> Self:
        if (self.kind == "amount") != (self.amount is not None):
            raise ValueError("`amount` is the column of a check of kind amount, and of no other")
        return self

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """
        One result for the unusual days of the window, and one for an outage at its end, also one that began before it.

        Days shortly before the window that the run publishes as well are checked again: the next run must not let
        through what an earlier run was held back by.
        """
        window = context.window
        fail_from = window.end - timedelta(days=self.fail_days)
        republished = [day for day in await context.days(connection) if fail_from <= day < window.start]
        published = {*republished, *window.days}
        totals = await self._fetch_totals(connection, window)
        found = {day: total.value for day, total in totals.items()}
        known = {**context.approved({self._subject, self._last_days_subject}, found), **context.incidents}
        compared = self._compare(totals, {*published, *await self._days_before(connection, window)}, known)
        comparisons = [comparison for comparison in compared if comparison.day in published]
        incidents = [f"{_format_day(day)} is {known[day]}" for day in window.days if day in known]
        if not comparisons:
            return [self._not_compared(totals, window, incidents)]
        results = [self._unusual_days(comparisons, fail_from, incidents)]
        if self.outage:
            results.append(self._last_days(self.outage, compared))
        return results

    @property
    def _subject(self) -> str:
        return f"{self.table} {self.amount}" if self.amount else self.table

    @property
    def _last_days_subject(self) -> str:
        return f"{self._subject} last days"

    def _compare(
        self, totals: Mapping[date, DayTotal], days: Iterable[date], incidents: Container[date]
    ) -> list[DayComparison]:
        """The days of which something can be expected, in their order; known incidents are left out."""
        comparisons = []
        for day in sorted(days):
            expected = expect(
                totals,
                day,
                weeks=self.weeks,
                minimum_weeks=self.minimum_weeks,
                incidents=incidents,
                # Amounts differ from row to row about as much as their mean.
                noise=1.0 if self.kind == "volume" else 1.5,
            )
            if expected and day not in incidents:
                comparisons.append(DayComparison(day, totals.get(day, DayTotal(0, 0.0)), expected))
        return comparisons

    def _not_compared(self, totals: Mapping[date, DayTotal], window: Window, incidents: Sequence[str]) -> CheckResult:
        message = f"{window} is not compared: fewer than {self.minimum_weeks} weeks before it have rows"
        total = round(sum(totals[day].value for day in window.days if day in totals))
        return CheckResult(self._subject, "pass", total, None, "; ".join(incidents) or message)

    def _unusual_days(
        self, comparisons: Sequence[DayComparison], fail_from: date, incidents: Sequence[str]
    ) -> CheckResult:
        unusual = [comparison for comparison in comparisons if self._is_unusual(comparison)]
        failed = {
            comparison.day: comparison.total.value
            for comparison in unusual
            if comparison.day >= fail_from and self._is_bad(comparison)
        }
        status: Status = "fail" if failed else "warn" if unusual else "pass"
        return CheckResult(
            self._subject,
            status,
            round(sum(comparison.total.value for comparison in comparisons)),
            round(sum(comparison.expected.value for comparison in comparisons)),
            "; ".join([self._message(comparisons, unusual), *incidents]),
            [comparison.record for comparison in unusual],
            days=failed,
        )

    def _is_unusual(self, comparison: DayComparison) -> bool:
        return abs(comparison.z_score) > self.warn_beyond or self._is_bad(comparison)

    def _is_bad(self, comparison: DayComparison) -> bool:
        """Whether a day fails, if it is one of the last days."""
        if self.fail_below is not None and comparison.z_score < self.fail_below:
            return True
        return self.fail_above is not None and comparison.z_score > self.fail_above

    def _message(self, comparisons: Sequence[DayComparison], unusual: Sequence[DayComparison]) -> str:
        if len(comparisons) == 1:
            (comparison,) = comparisons
            sentence = self._sentence(comparison)
            return sentence if unusual else f"{sentence}, not unusual"
        message = f"{len(unusual)} of {len(comparisons)} days are unusual"
        if not unusual:
            return message
        more = f"; and {len(unusual) - _DAYS_IN_MESSAGE} more" if len(unusual) > _DAYS_IN_MESSAGE else ""
        return f"{message}. {'; '.join(map(self._sentence, unusual[:_DAYS_IN_MESSAGE]))}{more}"

    def _sentence(self, comparison: DayComparison) -> str:
        """A day for a person, e.g. ``28 Jun 2024: 92 rows, about 150 expected (39 % fewer)``."""
        value, expected = comparison.total.value, comparison.expected.value
        figure = f"{value:,.0f} rows" if self.kind == "volume" else f"{self.amount} {value:,.0f}"
        sentence = f"{_format_day(comparison.day)}: {figure}, about {expected:,.0f} expected"
        percent = round(100 * abs(value - expected) / abs(expected)) if expected else 0
        if not percent:
            return sentence
        less = "fewer" if self.kind == "volume" else "less"
        return f"{sentence} ({percent:,} % {less if value < expected else 'more'})"

    def _last_days(self, outage: Outage, comparisons: Sequence[DayComparison]) -> CheckResult:
        last = comparisons[-outage.days :]
        rows = sum(comparison.total.rows for comparison in last)
        expected = sum(comparison.expected.value for comparison in last)
        is_outage = len(last) == outage.days and expected >= outage.expected_at_least and not rows
        period = "on the last day" if len(last) == 1 else f"in the last {len(last)} days"
        return CheckResult(
            self._last_days_subject,
            "fail" if is_outage else "pass",
            rows,
            round(expected),
            f"{rows} rows {period}, about {expected:.0f} expected",
            days={comparison.day: comparison.total.value for comparison in last} if is_outage else {},
        )

    async def _days_before(self, connection: AsyncConnection, window: Window) -> list[date]:
        """The loaded days before the window that tell an outage from a holiday: a daily run has only one day."""
        if self.outage is None or self.outage.days == 1:
            return []
        days = [window.start - timedelta(days=n) for n in range(1, self.outage.days)]
        loaded = await fetch_rows(connection, _LOADED_DAYS, days=days, source=self.outage.source)
        return [day for (day,) in loaded]

    async def _fetch_totals(self, connection: AsyncConnection, window: Window) -> dict[date, DayTotal]:
        """Each day that has rows, from as far back as any day of the window is compared with."""
        value = sql.SQL("sum({})").format(sql.Identifier(self.amount)) if self.amount else sql.SQL("count(*)").format()
        query = _DAY_TOTALS.format(day=expression(self.day), value=value, table=table(self.table))
        first = window.start - _YEAR - timedelta(weeks=self.weeks + 2)
        rows = await fetch_rows(connection, query, first=first, end=window.end)
        return {day: DayTotal(count, value) for day, count, value in rows}


def _format_day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"
