"""Checks of the ledger: are the days loaded, and how much was refused?"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from psycopg import AsyncConnection
from pydantic import Field, field_validator

from ecommerce.audit.check import Check, CheckContext, Limits, listed, rows_of
from ecommerce.audit.check_results import CheckResult, Status
from ecommerce.common.sources import SOURCES


class _OfSources(Check):
    """A judgement a source; all of them, unless the file names some."""

    judges_the_build: ClassVar[bool] = False

    sources: list[str] = Field(default_factory=lambda: list(SOURCES))

    @field_validator("sources")
    @classmethod
    def _are_known(cls, sources: list[str]) -> list[str]:
        if unknown := sorted(set(sources) - set(SOURCES)):
            raise ValueError(f"no source is called {', '.join(unknown)}; there are {', '.join(SOURCES)}")
        return sources


class Freshness(_OfSources):
    """
    Each day of the window is covered by a load that ended well: per source and day, so that reading an old day again
    cannot make today look fresh. A source that the run left out only warns.

    While a load of a missing day is under way, the check may wait for it.
    """

    kind: Literal["freshness"]

    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """One judgement a source: days loaded of the window's days."""
        days = list(asked.window.days)
        found = await rows_of(
            connection,
            "select source, count(*) filter (where not is_loaded),"
            "  min(day) filter (where not is_loaded), coalesce(bool_or(is_running) filter (where not is_loaded), false)"
            " from unnest(%(sources)s::text[]) as source cross join unnest(%(days)s::date[]) as day"
            " cross join lateral (select"
            "  coalesce(bool_or(status = 'loaded'), false) as is_loaded,"
            "  coalesce(bool_or(status = 'running'), false) as is_running"
            "  from ops.load_batch where load_batch.source = source.source"
            "  and window_start <= day.day and day.day < window_end) as covered"
            " group by source",
            sources=self.sources,
            days=days,
        )
        missing_by_source = {source: figures for source, *figures in found}
        judgements = []
        for source in self.sources:
            missing, first, is_running = missing_by_source[source]
            if not missing:
                message = f"all {len(days)} days of {asked.window} are loaded"
            else:
                message = f"{missing} of the {len(days)} days of {asked.window} are not loaded, the first {first}"
            status: Status = "pass" if not missing else "fail" if source in asked.request.sources else "warn"
            judgements.append(
                CheckResult(source, status, len(days) - missing, len(days), message, may_improve=is_running)
            )
        return judgements


class Completeness(_OfSources, Limits):
    """
    Days without a load, between the first day that was ever loaded and the end of the window.

    :param range_days: how far back it looks
    """

    kind: Literal["completeness"]
    range_days: Annotated[int, Field(gt=0)] = 90

    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """One judgement a source: missing days, and which."""
        found = await rows_of(
            connection,
            "select asked.source, count(day), array_agg(day::date order by day) filter (where not exists ("
            "  select from ops.load_batch where load_batch.source = asked.source and status = 'loaded'"
            "  and window_start <= day::date and day::date < window_end))"
            " from (select source, greatest(%(from)s::date, (select min(window_start) from ops.load_batch"
            "   where load_batch.source = named.source and status = 'loaded')) as first_day"
            "  from unnest(%(sources)s::text[]) as named (source)) as asked"
            " left join lateral generate_series(first_day, %(to)s::date, interval '1 day') as day on true"
            " group by asked.source",
            **{
                "sources": self.sources,
                "from": asked.window.end - timedelta(days=self.range_days),
                "to": asked.window.last,
            },
        )
        by_source: dict[str, tuple[int, list[date] | None]] = {source: (n, missing) for source, n, missing in found}
        judgements = []
        for source in self.sources:
            n, missing = by_source[source]
            absent = missing or []
            message = f"{len(absent)} of the {n} days to {asked.window.last} were never loaded" + (
                f": {listed(absent)}" if absent else ""
            )
            rows = [{"source": source, "day": str(day)} for day in absent]
            judgements.append(CheckResult(source, self.status(len(absent)), n - len(absent), n, message, rows))
        return judgements


class Quarantined(_OfSources, Limits):
    """
    The share of rows that the last load of the window refused, in per cent, whether or not they were refused before.

    :param minimum_rows: below so many refused rows nothing is said: one bad row of three is no share
    """

    kind: Literal["quarantined"]
    minimum_rows: Annotated[int, Field(ge=0)] = 10

    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """One judgement a source that the run has read."""
        found: list[Any] = await rows_of(
            connection,
            "select distinct on (source) source, batch_id, rows_read, rows_refused from ops.load_batch"
            " where status = 'loaded' and source = any(%(sources)s) and window_start <= %(start)s"
            " and window_end >= %(end)s order by source, batch_id desc",
            sources=[source for source in self.sources if source in asked.request.sources],
            start=asked.window.start,
            end=asked.window.end,
        )
        judgements = []
        for source, batch_id, read, refused in found:
            percent = round(Decimal(100) * refused / read, 2) if read else Decimal(0)
            status = self.status(percent) if refused >= self.minimum_rows else "pass"
            rows = [] if status == "pass" else await self._reasons(connection, source, batch_id)
            why = "; ".join(f"{row['rows']}x {row['reason']}" for row in rows[:3])
            message = f"{refused:,} of {read:,} rows were refused ({percent} %)" + (f": {why}" if why else "")
            judgements.append(CheckResult(source, status, percent, self.limit, message, rows))
        return judgements

    @staticmethod
    async def _reasons(connection: AsyncConnection, source: str, batch_id: int) -> list[dict[str, Any]]:
        found = await rows_of(
            connection,
            "select reason, count(*) from ops.quarantine where source = %(source)s and replayed_at is null"
            " group by reason order by max(batch_id) desc, 2 desc",
            source=source,
        )
        return [{"reason": reason, "rows": n, "batch_id": batch_id} for reason, n in found]


class SchemaDrift(_OfSources):
    """
    Columns that the last load of a source noticed to be new, gone or of another type.

    A new one warns. The other two failed that load, and fail here.
    """

    kind: Literal["schema_drift"]

    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """One judgement a source that the run has read, where any load of it has looked."""
        found = await rows_of(
            connection,
            "select latest.source, coalesce(array_agg(to_jsonb(noticed) order by noticed.column_name)"
            "  filter (where noticed.source is not null), '{}')"
            " from (select source, max(batch_id) as batch_id from ops.load_batch where source = any(%(sources)s)"
            "  group by source) as latest"
            " left join ops.schema_change as noticed"
            "  on noticed.source = latest.source and noticed.last_batch_id = latest.batch_id"
            " group by latest.source",
            sources=[source for source in self.sources if source in asked.request.sources],
        )
        noticed: dict[str, list[dict[str, Any]]] = dict(found)
        judgements = []
        for source in self.sources:
            if source not in noticed:
                continue
            changes = noticed[source]
            said = [_sentence(change) for change in changes]
            is_broken = any(change["change"] != "new" for change in changes)
            judgements.append(
                CheckResult(
                    source,
                    "fail" if is_broken else "warn" if changes else "pass",
                    len(changes),
                    0,
                    "; ".join(said) or "its columns are as expected",
                    changes,
                )
            )
        return judgements


def _sentence(change: dict[str, Any]) -> str:
    if change["change"] == "new":
        return f"column {change['column_name']} is new ({change['found']})"
    if change["change"] == "missing":
        return f"column {change['column_name']} ({change['expected']}) is gone"
    return f"column {change['column_name']} is {change['found']}, expected {change['expected']}"
