"""What every kind of check has: its settings in `checks.yml`, and a method that evaluates them on the warehouse."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

from psycopg import AsyncConnection, sql
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from ecommerce.audit.check_results import KEPT_ROWS, CheckResult, Status
from ecommerce.audit.decisions import Approval
from ecommerce.build.lease import NO_EXCLUSIONS, Exclusions
from ecommerce.common.windows import Request, Window

#: A table as `schema.table`, and a column: plain names, quoted before they reach a statement.
TableName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$")]
ColumnName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
#: A piece of SQL in `checks.yml`: who can write it there can change the whole project.
Expression = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

_CLAIMED_DAYS = """
select distinct dirty_date
from ops.claimed_date
where run_id = %(run_id)s
"""

# Without overlaps.
_WINDOWS_TO_BUILD = """
with wanted as (
    select daterange(%(start)s, %(end)s) as days
    where %(is_requested)s
    union all
    select daterange(load_batch.window_start, load_batch.window_end)
    from ops.claimed_date
    inner join ops.load_batch
        on claimed_date.batch_id = load_batch.batch_id
    where claimed_date.run_id = %(run_id)s and claimed_date.source = %(source)s
)

select lower(merged.days), upper(merged.days)
from (select range_agg(days) as all_days from wanted) as aggregated
cross join lateral unnest(aggregated.all_days) as merged (days)
order by 1
"""


@dataclass(frozen=True)
class CheckContext:
    """
    What a check may know of the run that it is evaluated for.

    :param request: the run's window, and the sources that it loaded
    :param incidents: known incidents, by day
    :param exclusions: sources and models that the run's build leaves out; they are not checked
    :param check_name: the check's own name, by which its earlier results are found
    :param approvals: the figures of this check that persons have approved
    """

    request: Request
    run_id: str
    incidents: Mapping[date, str]
    exclusions: Exclusions = NO_EXCLUSIONS
    check_name: str = ""
    approvals: Sequence[Approval] = ()

    def approved(self, subjects: Container[str], found: Mapping[date, float]) -> dict[date, str]:
        """
        The days whose figure is still about the one that a person has approved, and who that was, in words.

        :param found: day → its figure now
        """
        return {
            approval.figure.day: f"approved by {approval.by}"
            for approval in self.approvals
            if approval.figure.subject in subjects and approval.covers(found.get(approval.figure.day, 0.0))
        }

    @property
    def window(self) -> Window:
        """Whole days of the shop, half-open."""
        return self.request.window

    async def days(self, connection: AsyncConnection) -> list[date]:
        """The days of the window, and those that the run has claimed to rebuild."""
        claimed = await fetch_rows(connection, _CLAIMED_DAYS, run_id=self.run_id)
        return sorted({*self.window.days, *(day for (day,) in claimed)})

    async def windows_to_build(self, connection: AsyncConnection, source: str) -> list[Window]:
        """The run's window, if it was to load the source, and those of the loads whose days it builds; none overlap."""
        rows = await fetch_rows(
            connection,
            _WINDOWS_TO_BUILD,
            start=self.window.start,
            end=self.window.end,
            is_requested=source in self.request.sources,
            run_id=self.run_id,
            source=source,
        )
        return [Window(start, end) for start, end in rows]


class Settings(BaseModel):
    """A part of `checks.yml`; a field that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(Settings):
    """The figures above which a subject warns and fails; without a figure it never does."""

    warn_above: Decimal | None = None
    fail_above: Decimal | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.warn_above is not None and self.fail_above is not None and self.warn_above > self.fail_above:
            raise ValueError(f"warn_above {self.warn_above} is greater than fail_above {self.fail_above}")
        return self

    def status(self, observed: Decimal | int) -> Status:
        """The status of an observed figure."""
        if self.fail_above is not None and observed > self.fail_above:
            return "fail"
        return "warn" if self.warn_above is not None and observed > self.warn_above else "pass"

    @property
    def limit(self) -> Decimal:
        """The lower of both limits, which results name as the expected figure; 0 without limits."""
        limits = [limit for limit in (self.warn_above, self.fail_above) if limit is not None]
        return min(limits) if limits else Decimal(0)


class Check(Settings):
    """
    A check of `checks.yml`.

    :param severity: `warn` turns every failure into a warning
    :param timeout_seconds: after which Postgres cancels a statement
    :param wait_minutes: how long it is evaluated again while a load is under way that could change its result
    :param every_seconds: between two evaluations
    """

    #: Whether it reads what a build made; such a check is skipped in a run that builds nothing of its own.
    checks_the_build: ClassVar[bool] = True

    description: str
    severity: Literal["fail", "warn"] = "fail"
    timeout_seconds: Annotated[int, Field(gt=0)] = 300
    wait_minutes: Annotated[float, Field(ge=0)] = 0
    every_seconds: Annotated[float, Field(gt=0)] = 20

    @property
    def follows_the_build(self) -> bool:
        """Whether its task comes after the build."""
        return self.checks_the_build

    @abstractmethod
    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result for each subject."""

    async def evaluate_with_severity(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """As `evaluate`; with `severity: warn` a failure becomes a warning."""
        results = await self.evaluate(connection, context)
        if self.severity == "fail":
            return results
        return [replace(result, status="warn") if result.status == "fail" else result for result in results]


class Approvable(Check):
    """
    A check whose failure may be right: a person sees what would change, and may let it be published.

    :param decide_within_hours: how long a person has to answer; then the check has failed
    :param reason_required: whether an approval needs a reason
    """

    decide_within_hours: Annotated[float, Field(gt=0)] = 20
    reason_required: bool = False

    @property
    def follows_the_build(self) -> bool:
        """Always: only after the build can a person see what would be published."""
        return True


async def fetch_rows(connection: AsyncConnection, query: str | sql.Composed, **values: Any) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    cursor = await connection.execute(query.encode() if isinstance(query, str) else query, values)
    return await cursor.fetchall()


async def fetch_bad_rows(connection: AsyncConnection, query: sql.Composed, **values: Any) -> list[dict[str, Any]]:
    """The first `KEPT_ROWS` rows of a query, as JSON."""
    limited = sql.SQL("select to_jsonb(bad) from ({} limit {}) as bad").format(query, sql.Literal(KEPT_ROWS))
    return [row for (row,) in await fetch_rows(connection, limited, **values)]


def table(name: str) -> sql.Identifier:
    """`schema.table`, quoted."""
    return sql.Identifier(*name.split("."))


def expression(text: str) -> sql.SQL:
    """A piece of SQL from the file, in which `%` is an operator and no placeholder."""
    return sql.SQL(text.replace("%", "%%"))


def days_of_periods(days: Sequence[date], period: Literal["day", "month"]) -> list[date]:
    """The days themselves, or every day of the months that they lie in."""
    if period == "day":
        return list(days)
    months = {day.replace(day=1) for day in days}
    return sorted(
        first + timedelta(days=n)
        for first in months
        for n in range(((first + timedelta(days=31)).replace(day=1) - first).days)
    )
