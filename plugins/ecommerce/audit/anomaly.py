"""Did about as much come as on such days before?"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import sqrt
from statistics import median
from typing import Annotated, ClassVar, Literal, Self

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
    rows_of,
    table,
)
from ecommerce.audit.check_results import CheckResult, Status

#: From the median absolute deviation to a standard deviation, where values are normally distributed.
_MAD_TO_SIGMA = 1.4826
#: A day is never so regular that less than this share of it is unusual.
_LEAST_SPREAD = 0.05
#: A year before, on the same weekday.
_YEAR = timedelta(weeks=52)
#: How many times more or less than the weeks before it a season may make of a day.
_MOST_SEASON = 3.0


@dataclass(frozen=True)
class Day:
    """What a day brought: rows, and what is judged: the rows again, or the sum of an amount."""

    rows: int
    value: float


@dataclass(frozen=True)
class Expected:
    """What a day should bring, and how far days like it usually are from that."""

    value: float
    spread: float

    def z(self, value: float) -> float:
        """How many times the usual deviation a value is away; negative: too little."""
        return (value - self.value) / self.spread


def expect(
    days: Mapping[date, Day], day: date, *, weeks: int, minimum_weeks: int, incidents: Container[date], noise: float
) -> Expected | None:
    """
    What ``day`` should bring by the same weekday in the weeks before it; None where too few of them have sold.

    The median of those weeks says how much, times what the season made of the same week a year before, where a year is
    known: otherwise every December would be odd. The median deviation from it says how regular they are; both shrug
    off a few odd weeks. The day itself and later ones never count, nor do known incidents.

    :param noise: of one row in a sum, as a multiple of its mean: 1 where rows are counted
    """
    past = _of_weekday(days, day, range(1, weeks + 1), incidents)
    if len(past) < minimum_weeks:
        return None
    level = median(found.value for found in past)
    season = _season(days, day - _YEAR, weeks=weeks, minimum_weeks=minimum_weeks, incidents=incidents)
    value = level * season
    deviation = _MAD_TO_SIGMA * median(abs(found.value - level) for found in past) * season
    # Rows come by chance: of a hundred, ten more or less mean nothing.
    chance = noise * value / sqrt(max(median(found.rows for found in past) * season, 1.0))
    spread = max(deviation, chance, _LEAST_SPREAD * value)
    return Expected(value, spread) if spread > 0 else None


def _season(
    days: Mapping[date, Day], day: date, *, weeks: int, minimum_weeks: int, incidents: Container[date]
) -> float:
    """What the week around a day was worth, of the median of the weeks before it."""
    around = _of_weekday(days, day, (-1, 0, 1), incidents)
    before = _of_weekday(days, day, range(2, weeks + 2), incidents)
    if len(around) < 2 or len(before) < minimum_weeks:
        return 1.0
    level = median(found.value for found in before)
    if level <= 0:
        return 1.0
    return min(max(median(found.value for found in around) / level, 1 / _MOST_SEASON), _MOST_SEASON)


def _of_weekday(
    days: Mapping[date, Day], day: date, weeks_back: Iterable[int], incidents: Container[date]
) -> list[Day]:
    found = [day - timedelta(weeks=n) for n in weeks_back]
    return [days[other] for other in found if other in days and other not in incidents]


class Outage(Settings):
    """
    So many last days without one row, where at least so many were expected, are an outage.

    :param source: whose loads tell a day without rows from one that was not loaded
    """

    days: Annotated[int, Field(gt=0)]
    expected_at_least: float
    source: str


class Anomaly(Approvable):
    """
    Rows (`volume`) or an amount (`amount`) a day against the same weekday in the weeks before it, by a robust z-score.

    An odd day warns: shops close on holidays, and there is Black Friday. It fails only where the file says from where
    on, and only at the end of the window: that a year has a Christmas is no reason to hold it back. Known incidents are
    neither judged nor learned from.

    :param warn_beyond: z-score, of too little and too much, beyond which a day warns
    :param fail_below: z-score below which a day fails: much too little
    :param fail_above: z-score above which a day fails: much too much
    :param fail_days: so many last days of the window can fail; an earlier one warns
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

    judges_the_build: ClassVar[bool] = False

    @model_validator(mode="after")
    def _names_its_amount(self) -> Self:
        if (self.kind == "amount") != (self.amount is not None):
            raise ValueError("`amount` is the column of a check of kind amount, and of no other")
        return self

    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """
        One judgement for the window's odd days, and one for an outage at its end, whether or not it began inside.

        Days shortly before it that the run publishes as well are judged again: what an earlier run was held back by is
        not let through by the next.
        """
        subject = self.table + (f" {self.amount}" if self.amount else "")
        window = asked.window
        late = window.end - timedelta(days=self.fail_days)
        carried = [day for day in await asked.days(connection) if late <= day < window.start]
        days = await self._days(connection, window.start, window.end)
        judged = [
            (day, days.get(day, Day(0, 0.0)), expected)
            for day in sorted({*await self._before(connection, window.start), *carried, *window.days})
            if day not in asked.incidents and (expected := self._expect(days, day, asked)) is not None
        ]
        inside = [(day, found, expected) for day, found, expected in judged if day >= window.start or day in carried]
        known = [f"{day} is {asked.incidents[day]}" for day in window.days if day in asked.incidents]
        if not inside:
            message = f"no day of {window} has {self.minimum_weeks} earlier weeks to compare with"
            total = round(sum(days[day].value for day in window.days if day in days))
            return [CheckResult(subject, "pass", total, None, "; ".join(known) or message)]
        odd = [(day, found, expected) for day, found, expected in inside if self._is_odd(found, expected)]
        failed = [day for day, found, expected in odd if day >= late and self._is_failed(found, expected)]
        status: Status = "fail" if failed else "warn" if odd else "pass"
        of_what = "rows" if self.kind == "volume" else self.amount
        message = f"{len(odd)} of {len(inside)} days are unusual in {of_what}"
        if odd:
            message += ": " + ", ".join(
                f"{day}: {found.value:,.0f} of about {expected.value:,.0f} (z {expected.z(found.value):+.1f})"
                for day, found, expected in odd[:5]
            )
        judgements = [
            CheckResult(
                subject,
                status,
                round(sum(found.value for _, found, _ in inside)),
                round(sum(expected.value for *_, expected in inside)),
                "; ".join([message, *known]),
                [
                    {
                        "day": str(day),
                        "observed": found.value,
                        "expected": round(expected.value, 2),
                        "z": round(expected.z(found.value), 2),
                    }
                    for day, found, expected in odd
                ],
                days=failed,
            )
        ]
        if self.outage:
            judgements.append(self._outage(subject, self.outage, judged))
        return judgements

    def _expect(self, days: Mapping[date, Day], day: date, asked: CheckContext) -> Expected | None:
        return expect(
            days,
            day,
            weeks=self.weeks,
            minimum_weeks=self.minimum_weeks,
            incidents=asked.incidents,
            # Amounts differ from row to row about as much as their mean.
            noise=1.0 if self.kind == "volume" else 1.5,
        )

    def _is_odd(self, found: Day, expected: Expected) -> bool:
        return abs(expected.z(found.value)) > self.warn_beyond or self._is_failed(found, expected)

    def _is_failed(self, found: Day, expected: Expected) -> bool:
        z = expected.z(found.value)
        return (self.fail_below is not None and z < self.fail_below) or (
            self.fail_above is not None and z > self.fail_above
        )

    @staticmethod
    def _outage(subject: str, outage: Outage, judged: list[tuple[date, Day, Expected]]) -> CheckResult:
        last = judged[-outage.days :]
        rows = sum(found.rows for _, found, _ in last)
        expected = sum(expected.value for *_, expected in last)
        is_outage = len(last) == outage.days and expected >= outage.expected_at_least and not rows
        return CheckResult(
            f"{subject} last days",
            "fail" if is_outage else "pass",
            rows,
            round(expected),
            f"{rows} rows in the last {len(last)} days, about {expected:.0f} expected",
            days=[day for day, *_ in last] if is_outage else [],
        )

    async def _before(self, connection: AsyncConnection, start: date) -> list[date]:
        """The days before the window that tell an outage from a holiday: a daily run has one day of its own."""
        if self.outage is None or self.outage.days == 1:
            return []
        found = await rows_of(
            connection,
            "select day from unnest(%(days)s::date[]) as day where exists (select from ops.load_batch"
            " where source = %(source)s and status = 'loaded' and window_start <= day and day < window_end) order by 1",
            days=[start - timedelta(days=n) for n in range(self.outage.days - 1, 0, -1)],
            source=self.outage.source,
        )
        return [day for (day,) in found]

    async def _days(self, connection: AsyncConnection, start: date, end: date) -> dict[date, Day]:
        """Each day that has rows, from as far back as any of the window's is compared with."""
        reach = _YEAR + timedelta(weeks=self.weeks + 2)
        value: sql.Composable = (
            sql.SQL("sum({})").format(sql.Identifier(self.amount)) if self.amount else sql.SQL("count(*)")
        )
        query = sql.SQL(
            "select {day}, count(*), coalesce({value}, 0)::float8 from {table}"
            " where {day} >= %(first)s and {day} < %(end)s group by 1"
        ).format(day=expression(self.day), value=value, table=table(self.table))
        found = await rows_of(connection, query, first=start - reach, end=end)
        return {day: Day(rows, value) for day, rows, value in found}
