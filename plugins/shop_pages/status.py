"""How the data is doing: source × day, runs, checks, refusals, publications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from ecommerce.common.sources import SOURCES
from shop_pages.queries import Row

#: What a day of a source can be; the first that applies, in words for the legend, with its letter.
STATES = {
    "missing": ("✕", "missing: days before and after it are loaded, and it is not"),
    "late": ("L", "late: other sources are further"),
    "failed": ("!", "its last load failed, and nothing earlier is there"),
    "dirty": ("D", "loaded, its marts are to be rebuilt"),
    "quarantined": ("Q", "loaded, some rows were refused"),
    "loaded": ("●", "loaded, not yet published"),
    "published": ("✓", "published"),
    "none": ("·", "before the first load"),
}

#: One row a source and day that any load was about. A load of many days counts for each; of several, the last counts.
CALENDAR = """
    with batches as (
        select
            load_batch.source, load_batch.batch_id, load_batch.status,
            coalesce(build.is_published, false) as is_published,
            greatest(load_batch.window_start, %(first)s::date) as first_day,
            least(load_batch.window_end - 1, %(last)s::date) as last_day
        from ops.load_batch
        left join ops.build on load_batch.built_by = build.run_id
        where
            load_batch.window_start <= %(last)s::date and load_batch.window_end > %(first)s::date
            and load_batch.status in ('loaded', 'failed')
    ),
    dirty as (
        select distinct source, dirty_date from ops.dirty_date
        where dirty_date between %(first)s::date and %(last)s::date
    ),
    -- A refused row belongs to the day it names, where it names one, and else to the last day that was asked for.
    refused as (
        select quarantine.source, day.day, count(*) as refused
        from ops.quarantine_shown as quarantine
        inner join ops.load_batch on quarantine.batch_id = load_batch.batch_id
        cross join lateral (
            select coalesce(
                quarantine.payload ->> 'created_at', quarantine.payload ->> 'timestamp', quarantine.payload ->> 'date'
            ) as named
        ) as text
        cross join lateral (
            select case
                when pg_input_is_valid(text.named, 'timestamptz')
                    then (text.named::timestamptz at time zone 'UTC')::date
                else load_batch.window_end - 1
            end as day
        ) as day
        where quarantine.replayed_at is null and day.day between %(first)s::date and %(last)s::date
        group by quarantine.source, day.day
    ),
    days as (
        select source, day::date as day, batch_id, status, is_published
        from batches
        cross join lateral generate_series(first_day::timestamp, last_day::timestamp, interval '1 day') as day
    )
    select
        days.source, days.day,
        max(days.batch_id) filter (where days.status = 'loaded') as batch_id,
        bool_or(days.status = 'loaded') as is_loaded,
        bool_or(days.is_published) as is_published,
        max(refused.refused) as refused,
        bool_or(dirty.source is not null) as is_dirty
    from days
    left join dirty on days.source = dirty.source and days.day = dirty.dirty_date
    left join refused on days.source = refused.source and days.day = refused.day
    group by days.source, days.day
    order by days.source, days.day"""

#: How far each source is, all of its history.
REACH = """
    select source, min(window_start) as first_day, max(window_end) - 1 as last_day
    from ops.load_batch where status = 'loaded' group by source order by source"""

RUNS = """
    with loads as (
        select
            run_id, max(dag_id) as dag_id, min(started_at) as started_at, max(finished_at) as finished_at,
            min(window_start) as first_day, max(window_end) - 1 as last_day,
            sum(rows_read) as rows_read, sum(rows_loaded) as rows_loaded, sum(rows_quarantined) as rows_quarantined,
            count(*) filter (where status = 'failed') as failed
        from ops.load_batch where run_id is not null group by run_id
    ),
    published as (
        select
            run_id, max(published_at) as published_at,
            sum(rows_inserted + rows_updated + rows_deleted) as rows_changed
        from ops.publication group by run_id
    )
    select
        loads.*, build.claimed_at, build.finished_at as built_at, build.is_full_refresh, published.published_at,
        published.rows_changed,
        extract(epoch from coalesce(published.published_at, loads.finished_at) - loads.started_at)::float8 as seconds
    from loads
    left join ops.build on loads.run_id = build.run_id
    left join published on loads.run_id = published.run_id
    where loads.dag_id = 'ecommerce_warehouse'
    order by loads.started_at desc
    limit 30"""

CHECKS = """
    with judged as (
        select
            check_name, subject, status, observed, expected, message, checked_at, run_id,
            row_number() over (partition by check_name, subject order by check_result_id desc) as n
        from ops.check_result
        where checked_at > (select max(checked_at) from ops.check_result) - interval '90 days'
    )
    select
        check_name, subject,
        max(status) filter (where n = 1) as status,
        max(message) filter (where n = 1) as message,
        max(observed) filter (where n = 1) as observed,
        max(expected) filter (where n = 1) as expected,
        max(checked_at) filter (where n = 1) as checked_at,
        max(run_id) filter (where n = 1) as run_id,
        count(*) filter (where status = 'pass') as passed,
        array_agg(status || ' ' || to_char(checked_at, 'YYYY-MM-DD HH24:MI') order by n desc) as history
    from judged
    where n <= 20
    group by check_name, subject
    order by max(status) filter (where n = 1) = 'pass', check_name, subject"""

#: Incidents that are open, the longest first, and those that were closed in the last 30 days.
INCIDENTS = """
    select
        incident, dag_id, task_id, check_name, subject, severity, observed, expected, window_start,
        window_end - 1 as last_day, message, last_run_id, opened_at, last_seen_at, times_seen, closed_at, closed_by,
        sent_to, send_error
    from ops.alert
    where closed_at is null or closed_at > now() - interval '30 days'
    order by closed_at desc nulls first, opened_at
    limit 200"""

#: How well each source and mart did in the 30 days to the last judgement, the worst first.
QUALITY = """
    with last as (select (max(checked_at) at time zone 'UTC')::date - 30 as day from ops.check_result),
    judged as (
        select
            subject_kind, subject_name, count(*) as checks, count(*) filter (where status = 'warn') as warned,
            count(*) filter (where status = 'fail') as failed,
            round(100.0 * count(*) filter (where status = 'pass') / count(*), 2) as pass_percent
        from quality.quality_judgements
        where subject_kind in ('source', 'mart') and checked_on > (select day from last)
        group by subject_kind, subject_name
    ),
    repaired as (
        select
            subject_kind, subject_name, count(*) as failures, count(*) - count(repaired_at) as failing,
            percentile_cont(0.5) within group (order by hours_to_repair)::numeric as hours
        from quality.quality_repairs
        where failed_on > (select day from last)
        group by subject_kind, subject_name
    )
    select judged.*, coalesce(failures, 0) as failures, coalesce(failing, 0) as failing, round(hours, 1) as hours
    from judged
    left join repaired using (subject_kind, subject_name)
    order by subject_kind desc, pass_percent, subject_name
    limit 200"""

QUARANTINE = """
    with broken as (
        select
            -- The rules that were broken, without the values that broke them: these stand in the examples.
            source, regexp_replace(reason, ': [^;]*', '', 'g') as reason, payload, quarantined_at, replayed_at,
            batch_id, quarantine_id
        from ops.quarantine_shown
    ),
    refused as (
        select *, row_number() over (partition by source, reason order by quarantine_id desc) as n
        from broken
    )
    select
        source, reason, count(*) as refused, count(replayed_at) as replayed, min(quarantined_at) as first_at,
        max(quarantined_at) as last_at, max(batch_id) as batch_id,
        array_agg(jsonb_pretty(payload) order by n) filter (where n <= 3) as examples
    from refused
    group by source, reason
    order by refused desc, source, reason
    limit 100"""

PUBLICATIONS = """
    select
        publication_id, run_id, max(published_at) as published_at, sum(rows_inserted) as rows_inserted,
        sum(rows_updated) as rows_updated, sum(rows_deleted) as rows_deleted,
        jsonb_agg(
            jsonb_build_object(
                'mart', mart, 'inserted', rows_inserted, 'updated', rows_updated, 'deleted', rows_deleted
            )
            order by mart
        ) filter (where rows_inserted + rows_updated + rows_deleted > 0) as marts
    from ops.publication
    group by publication_id, run_id
    order by publication_id desc
    limit 20"""


@dataclass(frozen=True)
class Cell:
    """A source on a day."""

    source: str
    day: date
    state: str
    refused: int
    batch_id: int | None

    @property
    def letter(self) -> str:
        """What stands in the cell, so that colour is not all that tells."""
        return STATES[self.state][0]

    @property
    def title(self) -> str:
        """For a screen reader and a pointer."""
        refused = f", {self.refused:,} rows refused" if self.refused else ""
        return f"{self.source}, {self.day}: {STATES[self.state][1].split(':')[0]}{refused}"


def calendar(rows: Sequence[Row], reach: Sequence[Row], first: date, last: date) -> dict[str, list[Cell]]:
    """Each source → a cell a day, both ends included. A source is late on the days that another has and it has not."""
    known = {(row["source"], row["day"]): row for row in rows}
    span = {row["source"]: (row["first_day"], row["last_day"]) for row in reach}
    as_of = max((until for _, until in span.values()), default=last)
    names = [*SOURCES, *sorted(set(span) - set(SOURCES))]
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return {name: [_cell(name, day, known.get((name, day)), span.get(name), as_of) for day in days] for name in names}


def _cell(source: str, day: date, row: Row | None, span: tuple[date, date] | None, as_of: date) -> Cell:
    refused = int(row["refused"] or 0) if row else 0
    batch_id = row["batch_id"] if row else None
    return Cell(source, day, _state(day, row, span, as_of), refused, batch_id)


def _state(day: date, row: Row | None, span: tuple[date, date] | None, as_of: date) -> str:
    if row is not None and row["is_loaded"]:
        if row["is_dirty"]:
            return "dirty"
        if row["refused"]:
            return "quarantined"
        return "published" if row["is_published"] else "loaded"
    if row is not None:
        return "failed"
    if span is None or day < span[0]:
        return "none"
    if day > span[1]:
        return "late" if day <= as_of else "none"
    return "missing"


def steps_of(run_ids: Sequence[str], dag_id: str) -> dict[str, list[dict[str, Any]]]:
    """
    Each run → its steps in order, with the seconds from a step's start to its end and those its tasks took together.

    Read from Airflow's own database; a step is a task group, or a task that is in none.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    if not run_ids:
        return {}
    query = select(
        TaskInstance.run_id, TaskInstance.task_id, TaskInstance.state, TaskInstance.start_date, TaskInstance.end_date
    ).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id.in_(run_ids))
    found: dict[str, dict[str, dict[str, Any]]] = {}
    with create_session(scoped=False) as session:
        for run_id, task_id, state, started, ended in session.execute(query):
            name = task_id.split(".")[0]
            step = found.setdefault(run_id, {}).setdefault(
                name, {"name": name, "tasks": 0, "failed": 0, "started": None, "ended": None, "work": 0.0}
            )
            step["tasks"] += 1
            step["failed"] += str(state) in ("failed", "upstream_failed")
            if started is None or ended is None:
                continue
            step["started"] = min(step["started"] or started, started)
            step["ended"] = max(step["ended"] or ended, ended)
            step["work"] += (ended - started).total_seconds()
    for steps in found.values():
        for step in steps.values():
            step["seconds"] = (step["ended"] - step["started"]).total_seconds() if step["started"] else None
    return {
        run_id: sorted((s for s in steps.values() if s["started"]), key=lambda step: step["started"])
        for run_id, steps in found.items()
    }
