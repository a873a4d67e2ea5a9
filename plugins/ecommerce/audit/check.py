"""What every kind of check is: settings that a person wrote, and a way to judge by them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

from psycopg import AsyncConnection, sql
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from ecommerce.audit.check_results import KEPT_ROWS, CheckResult, Status
from ecommerce.build.lease import NO_EXCLUSIONS, Exclusions
from ecommerce.common.windows import Request, Window

#: A table as `schema.table`, and a column: plain names, quoted before they reach a statement.
TableName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$")]
ColumnName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
#: A piece of SQL, as whoever may change the project wrote it.
Expression = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@dataclass(frozen=True)
class CheckContext:
    """
    What a check is about.

    :param request: the run's window, and the sources that it read
    :param incidents: known incidents, by day
    :param left_out: what the run's build left as it was, which is not judged
    """

    request: Request
    run_id: str
    incidents: Mapping[date, str]
    left_out: Exclusions = NO_EXCLUSIONS

    @property
    def window(self) -> Window:
        """Whole UTC days, half-open."""
        return self.request.window

    async def days(self, connection: AsyncConnection) -> list[date]:
        """The days of the window, and those that the run has claimed: what it was to rebuild."""
        claimed = await rows_of(
            connection, "select distinct dirty_date from ops.claimed_date where run_id = %(run_id)s", run_id=self.run_id
        )
        return sorted({*self.window.days, *(day for (day,) in claimed)})


class Settings(BaseModel):
    """A part of the file: a field that no one knows is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(Settings):
    """Above which figure a subject warns, and above which it fails; without a figure it never does."""

    warn_above: Decimal | None = None
    fail_above: Decimal | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.warn_above is not None and self.fail_above is not None and self.warn_above > self.fail_above:
            raise ValueError(f"warn_above {self.warn_above} is greater than fail_above {self.fail_above}")
        return self

    def status(self, observed: Decimal | int) -> Status:
        """By the limits."""
        if self.fail_above is not None and observed > self.fail_above:
            return "fail"
        return "warn" if self.warn_above is not None and observed > self.warn_above else "pass"

    @property
    def limit(self) -> Decimal:
        """The figure that an observed one is held against."""
        limits = [limit for limit in (self.warn_above, self.fail_above) if limit is not None]
        return min(limits) if limits else Decimal(0)


class Check(Settings):
    """
    A check by its settings.

    :param severity: `warn`: what would fail only warns
    :param timeout_seconds: after which Postgres gives a statement up
    :param wait_minutes: so long it looks again, where something is under way that could change the verdict
    :param every_seconds: between two looks
    """

    #: Whether it looks at what a build made; such a check is left out of a run that built nothing of its own.
    judges_the_build: ClassVar[bool] = True

    #: Whether a person may let a publication pass that it holds back.
    may_be_approved: ClassVar[bool] = False

    description: str
    severity: Literal["fail", "warn"] = "fail"
    timeout_seconds: Annotated[int, Field(gt=0)] = 300
    wait_minutes: Annotated[float, Field(ge=0)] = 0
    every_seconds: Annotated[float, Field(gt=0)] = 20

    @property
    def follows_the_build(self) -> bool:
        """Whether it waits for the build: to look at what that makes, or to show a person what would be published."""
        return self.judges_the_build or self.may_be_approved

    @abstractmethod
    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """Every subject, judged once."""

    async def look(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """Judge; `severity` is heeded."""
        judgements = await self.judge(connection, asked)
        if self.severity == "fail":
            return judgements
        return [
            CheckResult(**{**vars(judged), "status": "warn" if judged.status == "fail" else judged.status})
            for judged in judgements
        ]


class Approvable(Check):
    """
    A check whose failure may be right: a person can look at what would change, and let it be published.

    :param decide_within_hours: without an answer until then it stays a failure
    """

    may_be_approved: ClassVar[bool] = True

    decide_within_hours: Annotated[float, Field(gt=0)] = 20


async def rows_of(connection: AsyncConnection, query: str | sql.Composed, **values: Any) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    cursor = await connection.execute(query.encode() if isinstance(query, str) else query, values)
    return await cursor.fetchall()


async def bad_rows(connection: AsyncConnection, query: sql.Composed, **values: Any) -> list[dict[str, Any]]:
    """The first rows of a query, as JSON."""
    limited = sql.SQL("select to_jsonb(bad) from ({} limit {}) as bad").format(query, sql.Literal(KEPT_ROWS))
    return [row for (row,) in await rows_of(connection, limited, **values)]


def table(name: str) -> sql.Identifier:
    """`schema.table`, quoted."""
    return sql.Identifier(*name.split("."))


def expression(text: str) -> sql.SQL:
    """A piece of SQL from the file; its per cent signs are its own."""
    return sql.SQL(text.replace("%", "%%"))


def listed(days: Sequence[date], *, most: int = 5) -> str:
    """Days for a person."""
    more = f" and {len(days) - most} more" if len(days) > most else ""
    return ", ".join(map(str, days[:most])) + more


def days_of_periods(days: Sequence[date], period: Literal["day", "month"]) -> list[date]:
    """Every day of the days or months that the given ones lie in."""
    if period == "day":
        return list(days)
    months = {day.replace(day=1) for day in days}
    return sorted(
        first + timedelta(days=n)
        for first in months
        for n in range(((first + timedelta(days=31)).replace(day=1) - first).days)
    )
