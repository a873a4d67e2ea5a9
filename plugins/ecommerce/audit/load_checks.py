"""Checks of the loads: are days missing, rows lost from raw, rows rejected, or a source's columns changed?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

from psycopg import AsyncConnection, sql
from pydantic import Field, field_validator

from ecommerce.audit.check import Check, CheckContext, Limits, expression, fetch_rows
from ecommerce.audit.check_results import CheckResult, Status
from ecommerce.common.sources import SOURCES, Source, WriteDisposition
from ecommerce.common.windows import CALENDAR_WINDOW, Window
from ecommerce.load.extent import window_column
from ecommerce.load.quarantine import is_rejected_in, rejected_time

T = TypeVar("T", date, int)


class _SourceCheck(Check):
    """One result for each source: all that the shop has, unless the file names some."""

    checks_the_build: ClassVar[bool] = False

    sources: list[str] = Field(default_factory=lambda: list(SOURCES))

    @field_validator("sources")
    @classmethod
    def _are_known(cls, sources: list[str]) -> list[str]:
        if unknown := sorted(set(sources) - set(SOURCES)):
            raise ValueError(f"no source is called {', '.join(unknown)}; there are {', '.join(SOURCES)}")
        return sources

    def _loaded_by_run(self, context: CheckContext) -> list[str]:
        return [source for source in self.sources if source in context.request.sources]


_MISSING_DAYS = """
select
    source,
    count(*) filter (where not is_loaded),
    min(day) filter (where not is_loaded),
    coalesce(bool_or(is_running) filter (where not is_loaded), false)
from unnest(%(sources)s::text[]) as source
cross join unnest(%(days)s::date[]) as day
cross join lateral (
    select
        coalesce(bool_or(status = 'loaded'), false) as is_loaded,
        coalesce(bool_or(status = 'running'), false) as is_running
    from ops.load_batch
    where load_batch.source = source.source and window_start <= day.day and day.day < window_end
) as covered
group by source
"""


class Freshness(_SourceCheck):
    """
    Each day of the window was loaded successfully, for each source.

    It is checked by source and day, so that loading an old day again cannot make today look fresh. A source that the
    run was not to load only warns. While a missing day is being loaded, the check may wait for it.
    """

    kind: Literal["freshness"]

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result for each source: how many of the window's days are loaded."""
        days = list(context.window.days)
        rows = await fetch_rows(connection, _MISSING_DAYS, sources=self.sources, days=days)
        missing_by_source = {source: figures for source, *figures in rows}
        results = []
        for source in self.sources:
            missing, first, is_running = missing_by_source[source]
            failure: Status = "fail" if source in context.request.sources else "warn"
            results.append(
                CheckResult(
                    source,
                    failure if missing else "pass",
                    len(days) - missing,
                    len(days),
                    _freshness_message(context.window, len(days), missing, first),
                    may_improve=is_running,
                )
            )
        return results


def _freshness_message(window: Window, days: int, missing: int, first: date) -> str:
    if days == 1:
        return f"{window} is not loaded" if missing else f"{window} is loaded"
    if not missing:
        return f"all {days} days of {window} are loaded"
    return f"{missing} of the {days} days of {window} are not loaded, the first is {first}"


_NEVER_LOADED_DAYS = """
with since as (
    select
        source,
        greatest(
            %(first)s::date,
            (
                select min(window_start)
                from ops.load_batch
                where load_batch.source = source.source and status = 'loaded'
            )
        ) as first_day
    from unnest(%(sources)s::text[]) as source
)

select
    since.source,
    count(day),
    array_agg(day::date order by day) filter (
        where not exists (
            select from ops.load_batch
            where
                load_batch.source = since.source and status = 'loaded'
                and window_start <= day::date and day::date < window_end
        )
    )
from since
left join lateral generate_series(first_day, %(last)s::date, interval '1 day') as day on true
group by since.source
"""


class Completeness(_SourceCheck, Limits):
    """
    Days that were never loaded, between the first day that was loaded and the end of the window.

    :param range_days: how many days before the end of the window are checked
    """

    kind: Literal["completeness"]
    range_days: Annotated[int, Field(gt=0)] = 90

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result for each source: how many days are missing, and which."""
        last = context.window.last
        rows = await fetch_rows(
            connection,
            _NEVER_LOADED_DAYS,
            sources=self.sources,
            first=context.window.end - timedelta(days=self.range_days),
            last=last,
        )
        by_source: dict[str, tuple[int, list[date]]] = {source: (days, missing or []) for source, days, missing in rows}
        results = []
        for source in self.sources:
            days, missing = by_source[source]
            message = f"{len(missing)} of the {days} days up to {last} were never loaded"
            if missing:
                message += f": {_list_days(missing)}"
            bad_rows = [{"source": source, "day": str(day)} for day in missing]
            status = self.status(len(missing))
            results.append(CheckResult(source, status, days - len(missing), days, message, bad_rows))
        return results


def _list_days(days: Sequence[date], *, most: int = 5) -> str:
    more = f" and {len(days) - most} more" if len(days) > most else ""
    return ", ".join(map(str, days[:most])) + more


_LAST_LOADS = """
select distinct on (source)
    source,
    batch_id,
    window_start,
    window_end,
    rows_read,
    rows_refused
from ops.load_batch
where
    status = 'loaded' and source = any(%(sources)s) and window_start <= %(start)s and window_end >= %(end)s
order by source, batch_id desc
"""

_REJECTION_REASONS = sql.SQL("""
select
    rejected.reason,
    count(*)
from ops.quarantine as rejected
inner join ops.load_batch as batch
    on rejected.batch_id = batch.batch_id
where rejected.source = {source} and rejected.replayed_at is null and {is_of_load}
group by rejected.reason
order by max(rejected.batch_id) desc, 2 desc
""")

# The days of a window that have rejected rows: day, rejected rows, all rows.
_REJECTED_BY_DAY = sql.SQL("""
select
    rejected.day,
    rejected.rows,
    rejected.rows + coalesce(loaded_day.rows, 0)
from (
    select {day} as day, count(*) as rows
    from ops.quarantine as rejected
    where rejected.source = {source} and rejected.replayed_at is null
    group by 1
) as rejected
left join ops.loaded_day
    on loaded_day.source = {source} and loaded_day.day = rejected.day
where rejected.day >= {start} and rejected.day < {end} and rejected.rows >= {minimum_rows}
""")


@dataclass(frozen=True)
class _LastLoad:
    """The last load of a run's window; of the rows that it has read, how many it rejected."""

    source: Source
    batch_id: int
    start: date
    end: date
    read: int
    rejected: int

    def reasons(self, window: Window) -> sql.Composed:
        """The query of the reasons of its rejected rows in a window, also of those that an earlier load rejected."""
        if self.source.write_disposition is WriteDisposition.VERSION_LOG:
            is_of_load: sql.Composable = sql.SQL("true")
        elif self.source.write_disposition is WriteDisposition.APPEND:
            is_of_load = sql.SQL("rejected.batch_id = {}").format(sql.Literal(self.batch_id))
        else:
            is_of_load = expression(is_rejected_in(self.source, window).as_string())
        return _REJECTION_REASONS.format(source=sql.Literal(self.source.name), is_of_load=is_of_load)

    def by_day(self, minimum_rows: int) -> sql.Composed:
        """The query of its days with rejected rows."""
        return _REJECTED_BY_DAY.format(
            source=sql.Literal(self.source.name),
            day=expression(rejected_time(self.source).day.as_string()),
            start=sql.Literal(self.start),
            end=sql.Literal(self.end),
            minimum_rows=sql.Literal(minimum_rows),
        )


class _RejectedShare(NamedTuple):
    """The share of rows, in per cent, that a load rejected of a window; the worst one is the greatest of them."""

    severity: int
    percent: Decimal
    window: Window
    message: str


_SEVERITIES: tuple[Status, ...] = ("pass", "warn", "fail")


class Quarantined(_SourceCheck, Limits):
    """
    The share of rows, in per cent, that the last load of the window rejected, also if they were rejected before.

    Of a source with days, the worst day is compared with the limits: a load also reads some days before its window, in
    which the bad rows of one day would be few.

    :param minimum_rows: fewer rejected rows always pass: one bad row of three means nothing
    :param minimum_rows_of_day: fewer rejected rows of a day only warn: half of six orders is no reason to stop a run
    """

    kind: Literal["quarantined"]
    minimum_rows: Annotated[int, Field(ge=0)] = 10
    minimum_rows_of_day: Annotated[int, Field(ge=0)] = 25

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result for each source that the run has loaded."""
        loads = await fetch_rows(
            connection,
            _LAST_LOADS,
            sources=self._loaded_by_run(context),
            start=context.window.start,
            end=context.window.end,
        )
        return [await self._of_load(connection, _LastLoad(SOURCES[source], *load)) for source, *load in loads]

    async def _of_load(self, connection: AsyncConnection, load: _LastLoad) -> CheckResult:
        window = Window(load.start, load.end)
        worst = self._share(window, load.rejected, load.read, self.minimum_rows)
        if load.rejected and load.source.write_disposition is WriteDisposition.REPLACE_WINDOW:
            days = await fetch_rows(connection, load.by_day(self.minimum_rows))
            shares = [
                self._share(Window(day, day + timedelta(days=1)), rejected, rows, self.minimum_rows_of_day, f"{day}: ")
                for day, rejected, rows in days
            ]
            worst = max([worst, *shares], key=lambda share: (share.severity, share.percent))
        status = _SEVERITIES[worst.severity]
        reasons = [] if status == "pass" else await self._reasons(connection, load, worst.window)
        message = worst.message
        if reasons:
            message += ": " + "; ".join(f"{reason['rows']}x {reason['reason']}" for reason in reasons[:3])
        return CheckResult(load.source.name, status, worst.percent, self.limit, message, reasons)

    def _share(self, window: Window, rejected: int, rows: int, rows_to_fail: int, prefix: str = "") -> _RejectedShare:
        """:param rows_to_fail: fewer rejected rows than that only warn, and fewer than `minimum_rows` pass"""
        percent = round(Decimal(100) * rejected / rows, 2) if rows else Decimal(0)
        severity = _SEVERITIES.index(self.status(percent)) if rejected >= self.minimum_rows else 0
        return _RejectedShare(
            severity if rejected >= rows_to_fail else min(severity, 1),
            percent,
            window,
            f"{prefix}{rejected:,} of {rows:,} rows were rejected ({percent} %)",
        )

    @staticmethod
    async def _reasons(connection: AsyncConnection, load: _LastLoad, window: Window) -> list[dict[str, Any]]:
        rows = await fetch_rows(connection, load.reasons(window))
        return [{"reason": reason, "rows": count, "batch_id": load.batch_id} for reason, count in rows]


_NOTED_DAYS = sql.SQL("""
select day, rows
from ops.loaded_day
where source = {source}
order by day desc
""")

_NOTED_LOADS = sql.SQL("""
select batch_id, rows_loaded + case when {has_tombstones} then rows_removed else 0 end
from ops.load_batch
where source = {source} and status = 'loaded'
order by batch_id desc
""")

_ROWS_BY_DAY = sql.SQL("""
select
    to_char(day, 'YYYY-MM-DD'),
    to_char(day, 'YYYY-MM-DD'),
    coalesce(held.rows, 0),
    coalesce(noted.rows, 0)
from (
    select day, rows
    from ops.loaded_day
    where source = {source} and ({is_noted_part})
) as noted
full join (
    select {day} as day, count(*) as rows
    from {raw} as stored
    where {is_held_part}
    group by 1
) as held using (day)
order by day
""")

_ROWS_BY_LOAD = sql.SQL("""
select
    load_batch.batch_id::text,
    format('batch %%s (%%s to %%s)', load_batch.batch_id, load_batch.window_start, load_batch.window_end - 1),
    coalesce(held.rows, 0),
    load_batch.rows_loaded + case when {has_tombstones} then load_batch.rows_removed else 0 end
from ops.load_batch
left join (
    select _batch_id, count(*) as rows
    from {raw} as stored
    where {is_held_part}
    group by 1
) as held
    on load_batch.batch_id = held._batch_id
where load_batch.source = {source} and load_batch.status = 'loaded' and ({is_noted_part})
order by load_batch.batch_id
""")

# Of the last results, and not only of the very last: runs overlap, and one that began before the loss was found may
# end later.
_FOUND_DIFFERING = """
select distinct bad_row ->> %(unit)s
from ops.check_failure
where check_result_id in (
    select check_result_id
    from ops.check_result
    where check_name = %(check_name)s and subject = %(subject)s
    order by checked_at desc
    limit 5
)
"""

#: Greater than the number of any batch.
_AFTER_ALL_BATCHES = 2**63 - 1


class RowsOfLoads(_SourceCheck):
    """
    Raw still has the rows that the loads have left there, and no other ones.

    Of a source that replaces its window the rows are counted by day, of any other by load. What was lost behind the
    loader's back may be of any day, and to count all of raw takes longer with the age of the warehouse. So a run counts
    the newest rows, those that were found to differ before, those of the windows that it builds, and another part of
    the older ones each day.

    :param rows_at_once: of each source, so many of the newest rows are counted, and so many of the older ones
    """

    kind: Literal["rows_of_loads"]
    rows_at_once: Annotated[int, Field(gt=0)] = 2_000_000

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result for each source."""
        return [await self._evaluate_source(connection, context, SOURCES[source]) for source in self.sources]

    async def _evaluate_source(self, connection: AsyncConnection, context: CheckContext, source: Source) -> CheckResult:
        subject = f"raw.{source.name}"
        if source.write_disposition is WriteDisposition.REPLACE_WINDOW:
            query, parts = await self._query_by_day(connection, context, source)
            unit, plural, advice = "day", "days", "load these days again"
        else:
            query, parts = await self._query_by_load(connection, context, source)
            unit, plural = "batch_id", "loads"
            advice = "no load brings such rows back: restore them from a backup"
        rows = await fetch_rows(connection, query)
        observed, expected = sum(held for *_, held, _ in rows), sum(noted for *_, noted in rows)
        differing = [row for row in rows if row[2] != row[3]]
        if not differing:
            message = f"{observed:,} rows, as the loads have left them"
            if parts > 1:
                message += f"; older rows are counted in turn, all of them by the runs of {parts - 1} days"
            return CheckResult(subject, "pass", observed, expected, message)
        examples = ", ".join(f"{part} has {held:,} rows, not {noted:,}" for _, part, held, noted in differing[:3])
        message = (
            f"{len(differing)} of {len(rows)} {plural} have other rows than the loads have left: {examples}; {advice}"
        )
        bad_rows = [{unit: key, "rows": held, "loaded": noted} for key, _, held, noted in differing]
        return CheckResult(subject, "fail", observed, expected, message, bad_rows)

    async def _query_by_day(
        self, connection: AsyncConnection, context: CheckContext, source: Source
    ) -> tuple[sql.Composed, int]:
        """The query of the rows of the days to count, and the number of parts into which all days are divided."""
        name, column = sql.Literal(source.name), window_column(source, "stored")
        noted = await fetch_rows(connection, _NOTED_DAYS.format(source=name))
        first, end = CALENDAR_WINDOW.start, CALENDAR_WINDOW.end
        parts = parts_to_count(noted, self.rows_at_once, first, end)
        wanted = [(window.start, window.end) for window in await context.windows_to_build(connection, source.name)]
        for text in await _found_differing(connection, context, source, "day"):
            # A row of a day outside of the calendar is counted anyway.
            with suppress(ValueError, OverflowError):
                day = date.fromisoformat(text)
                wanted.append((day, day + timedelta(days=1)))
        counted = parts_of_run(parts, context.window.last.toordinal(), wanted)
        query = _ROWS_BY_DAY.format(
            source=name,
            day=expression(column.day.as_string()),
            raw=sql.Identifier("raw", source.name),
            is_noted_part=_is_in_any(sql.SQL("day"), counted),
            # Rows that somebody has added may be of any day.
            is_held_part=sql.SQL(" or ").join(
                expression(condition.as_string())
                for condition in (column.outside(first, end), *(column.between(*part) for part in counted))
            ),
        )
        return query, len(parts)

    async def _query_by_load(
        self, connection: AsyncConnection, context: CheckContext, source: Source
    ) -> tuple[sql.Composed, int]:
        """As `_query_by_day`, of loads; what a run builds of them is among the newest."""
        names = {
            "source": sql.Literal(source.name),
            "has_tombstones": sql.Literal(source.write_disposition is WriteDisposition.VERSION_LOG),
        }
        noted = await fetch_rows(connection, _NOTED_LOADS.format(**names))
        parts = parts_to_count(noted, self.rows_at_once, 0, _AFTER_ALL_BATCHES)
        batches = map(int, await _found_differing(connection, context, source, "batch_id"))
        wanted = [(batch, batch + 1) for batch in batches]
        counted = parts_of_run(parts, context.window.last.toordinal(), wanted)
        query = _ROWS_BY_LOAD.format(
            **names,
            raw=sql.Identifier("raw", source.all_rows),
            is_noted_part=_is_in_any(sql.Identifier("load_batch", "batch_id"), counted),
            is_held_part=_is_in_any(sql.Identifier("stored", "_batch_id"), counted),
        )
        return query, len(parts)


async def _found_differing(connection: AsyncConnection, context: CheckContext, source: Source, unit: str) -> list[str]:
    """The days or batches that the check has found to differ: they are counted until they are right."""
    subject = f"raw.{source.name}"
    rows = await fetch_rows(connection, _FOUND_DIFFERING, check_name=context.check_name, subject=subject, unit=unit)
    return [text for (text,) in rows if text]


def parts_to_count(rows: Sequence[tuple[T, int]], rows_at_once: int, first: T, end: T) -> list[tuple[T, T]]:
    """
    All days, or all loads, divided into parts: each from its first one up to, but not including, the second.

    :param rows: day or load, and its number of rows; the newest first
    :param rows_at_once: about so many rows are in a part; more only if its oldest day or load has so many
    :return: the newest part first; the first part and the last one go on to ``first`` and ``end``
    """
    oldest: dict[int, T] = {}
    newer = 0
    for day_or_load, count in rows:
        oldest[newer // rows_at_once] = day_or_load
        newer += count
    begins = list(oldest.values())[:-1]
    begins.append(first)
    ends = begins[:-1]
    ends.insert(0, end)
    return list(zip(begins, ends, strict=True))


def parts_of_run(parts: Sequence[tuple[T, T]], turn: int, wanted: Collection[tuple[T, T]] = ()) -> list[tuple[T, T]]:
    """The newest part, and of the older ones that whose turn it is, and each with a piece of what is wanted."""
    chosen = {0, 1 + turn % (len(parts) - 1)} if len(parts) > 1 else {0}
    return [
        part
        for place, part in enumerate(parts)
        if place in chosen or any(_have_common(part, piece) for piece in wanted)
    ]


def _have_common(one: tuple[T, T], other: tuple[T, T]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _is_in_any(column: sql.Composable, parts: Sequence[tuple[T, T]]) -> sql.Composed:
    return sql.SQL(" or ").join(
        sql.SQL("({0} >= {1} and {0} < {2})").format(column, sql.Literal(begin), sql.Literal(end))
        for begin, end in parts
    )


_COLUMN_CHANGES = """
with latest as (
    select
        source,
        max(batch_id) as batch_id
    from ops.load_batch
    where source = any(%(sources)s)
    group by source
)

select
    latest.source,
    coalesce(
        array_agg(to_jsonb(schema_change) order by schema_change.column_name) filter (
            where schema_change.source is not null
        ),
        '{}'
    )
from latest
left join ops.schema_change
    on latest.source = schema_change.source and latest.batch_id = schema_change.last_batch_id
    -- Told once: raw has the column since an earlier load.
    and not (
        schema_change.policy = 'evolve'
        and schema_change.batch_id < schema_change.last_batch_id
        and left(schema_change.column_name, 1) <> '_'
        and exists (
            select from pg_attribute
            where
                attrelid = to_regclass('raw.' || quote_ident(latest.source))
                and attname = schema_change.column_name and attnum > 0 and not attisdropped
        )
    )
group by latest.source
"""


class ColumnChanges(_SourceCheck):
    """
    Columns of a source that its last load found to be new, gone or of another type.

    A new column warns; where the registry lets raw evolve, it does so for the load that added it to raw, and no more. A
    new schema of a topic's messages warns once. The other changes made that load fail, and fail here.
    """

    kind: Literal["schema_drift"]

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result for each source that the run was to load, if any load has compared its columns."""
        rows = await fetch_rows(connection, _COLUMN_CHANGES, sources=self._loaded_by_run(context))
        by_source: dict[str, list[dict[str, Any]]] = dict(rows)
        return [self._result(source, by_source[source]) for source in self.sources if source in by_source]

    @staticmethod
    def _result(source: str, changes: list[dict[str, Any]]) -> CheckResult:
        is_broken = any(change["policy"] == "fail" for change in changes)
        status: Status = "fail" if is_broken else "warn" if changes else "pass"
        message = "; ".join(map(_change_message, changes)) or "its columns are as expected"
        return CheckResult(source, status, len(changes), 0, message, changes)


def _change_message(change: dict[str, Any]) -> str:
    if change["change"] == "new":
        return f"column {change['column_name']} is new ({change['found']})"
    if change["change"] == "missing":
        return f"column {change['column_name']} ({change['expected']}) is gone"
    return f"column {change['column_name']} is {change['found']}, expected {change['expected']}"
