"""The page Data status."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from ecommerce.build.excluded_models import exclusions_for
from ecommerce.common.days import today
from ecommerce.common.open_questions import OPEN_QUESTIONS
from ecommerce.common.shop import shop
from ecommerce.publish.kept_publications import KEPT_QUERY, KeptPublication, publication_before
from shop_pages import airflow_access, status
from shop_pages.absent_sources import absent_in_words
from shop_pages.cached_response import ResponseCache, respond
from shop_pages.data_age import data_age
from shop_pages.limits import WAREHOUSE_DAG
from shop_pages.pool import Row
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import HTML, parse_day, render, render_html
from shop_pages.routes.optional import rows_or_problem
from shop_pages.trigger_form import REPLAY_DAG, ROLLBACK_DAG
from shop_pages.waiting import waiting_questions

router = APIRouter()

#: Days of the calendar: by default, and at most.
_CALENDAR_DAYS, _MAX_CALENDAR_DAYS = 35, 92
#: Runs for which the page shows the steps.
_RUNS_WITH_STEPS = 10


@router.get("/status", name="status")
async def get_status(request: Request, first: str = "", last: str = "") -> Response:
    """Sources by day, incidents, runs, checks and their history, rejected rows, publications."""
    inspector: Warehouse = request.app.state.inspector
    ranges, incidents = await asyncio.gather(inspector.rows(status.SOURCE_RANGES), inspector.rows(status.INCIDENTS))
    last_loaded: date | None = max(
        (row["last_day"] for row in ranges.rows if shop().fills(row["source"])), default=None
    )
    if last_loaded is None and not incidents.rows:
        return await render(request, "empty.html", page="status", title="Data status", parts=(ranges,))
    # There are incidents without a load if the first run has failed before it.
    as_of = last_loaded or today()
    start, end = _calendar_range(as_of, first, last)
    tables = {"ranges": ranges, "incidents": incidents, **await _read_tables(inspector, start, end)}
    parts = list(tables.values())
    cache: ResponseCache = request.app.state.responses
    now = datetime.now(UTC)
    # The page shows ages in minutes.
    key = ("status", request.scope["root_path"], start, end, shop().time_zone, f"{now:%d %H:%M}")
    cached = cache.get(key, parts)
    if cached is None:
        dates = _calendar_dates(start, end) | {"as_of": as_of, "last_loaded": last_loaded, "age": data_age(as_of, now)}
        airflow_values = await _read_airflow(tables["runs"])

        def html() -> str:
            return render_html(request, "status.html", parts, **_values(tables, start, end), **dates, **airflow_values)

        cached = await cache.get_or_render(key, parts, html, HTML)
    return respond(request, cached)


@router.get("/status/{source}/{day}", name="source_day")
async def get_source_day(request: Request, source: str, day: str) -> Response:
    """A source on a day: its loads, what is still published for it, and why rows were rejected."""
    if source not in shop().sources:
        raise HTTPException(404, f"This shop has no source {source!r}.")
    on = parse_day("day", day)
    if on is None:
        raise HTTPException(404, "The address names no day.")
    inspector: Warehouse = request.app.state.inspector
    days, ranges, loads, rejected, marts, has_replay = await asyncio.gather(
        inspector.rows(status.CALENDAR, first=on, last=on),
        inspector.rows(status.SOURCE_RANGES),
        inspector.rows(status.LOADS_OF_DAY, source=source, day=on),
        inspector.rows(status.REJECTED_OF_DAY, source=source, day=on),
        _read_marts(inspector, source),
        asyncio.to_thread(airflow_access.dag_exists, REPLAY_DAG),
    )
    (cell,) = status.calendar(days.rows, ranges.rows, on, on)[source]
    published = next((load for load in loads.rows if load["is_published"]), None)
    newer = loads.rows[: loads.rows.index(published)] if published else loads.rows
    return await render(
        request,
        "source_day.html",
        page="",
        title=f"{source}, {on}",
        source=source,
        day=on,
        cell=cell,
        published=published,
        waiting=next((load for load in newer if load["status"] == "loaded"), None),
        failed=newer[0] if newer and newer[0]["status"] == "failed" else None,
        loads=loads.rows,
        rejected=rejected.rows,
        marts=marts.rows,
        replay_dag=REPLAY_DAG if has_replay else None,
        parts=(days, ranges, loads, rejected, marts),
    )


async def _read_marts(inspector: Warehouse, source: str) -> Rows:
    """The published marts that stay as they are if a source cannot be loaded; none before the project was parsed."""
    models: Collection[str] = ()
    with suppress(FileNotFoundError):
        models = (await asyncio.to_thread(exclusions_for, {source})).models
    return await inspector.rows(status.PUBLISHED_MARTS, marts=",".join(sorted(models)))


def _calendar_range(as_of: date, first: str, last: str) -> tuple[date, date]:
    """
    First and last day of the calendar.

    :raises HTTPException: 400, a text that is no day, or a range that is reversed or too long
    """
    end = parse_day("last day", last) or as_of
    start = parse_day("first day", first) or end - timedelta(days=_CALENDAR_DAYS - 1)
    if start > end:
        raise HTTPException(400, f"The first day {start} is after the last day {end}.")
    if (end - start).days >= _MAX_CALENDAR_DAYS:
        raise HTTPException(400, f"The calendar shows up to {_MAX_CALENDAR_DAYS} days at once; choose fewer.")
    return start, end


def _calendar_dates(start: date, end: date) -> dict[str, Any]:
    length = end - start
    one_day = timedelta(days=1)
    return {
        "first": start,
        "last": end,
        "earlier": (start - length - one_day, start - one_day),
        "later": (end + one_day, end + length + one_day),
    }


async def _read_tables(inspector: Warehouse, start: date, end: date) -> dict[str, Rows]:
    """
    The tables of the page by name.

    `quality` is missing before the first build, which makes its view; `questions` and `states` before the first task of
    a new version, which brings `ops` up to date.
    """
    (days, runs, checks, rejected, publications, kept), *others = await asyncio.gather(
        asyncio.gather(
            inspector.rows(status.CALENDAR, first=start, last=end),
            inspector.rows(status.RUNS),
            inspector.rows(status.CHECKS),
            inspector.rows(status.QUARANTINE),
            inspector.rows(status.PUBLICATIONS),
            inspector.first_rows(KEPT_QUERY, status.KEPT_ROWS),
        ),
        rows_or_problem(inspector.rows(status.QUALITY)),
        rows_or_problem(inspector.rows(OPEN_QUESTIONS)),
        rows_or_problem(inspector.rows(status.INCIDENT_STATES)),
    )
    tables = {"days": days, "runs": runs, "checks": checks, "rejected": rejected, "publications": publications}
    tables["kept"] = kept
    optional = zip(("quality", "questions", "states"), others, strict=True)
    return tables | {name: rows for name, rows in optional if isinstance(rows, Rows)}


async def _read_airflow(runs: Rows) -> dict[str, Any]:
    """What the page shows from Airflow's own database: the steps of the runs, and which DAGs it can lead to."""
    has_rollback, has_replay, steps = await asyncio.gather(
        asyncio.to_thread(airflow_access.dag_exists, ROLLBACK_DAG),
        asyncio.to_thread(airflow_access.dag_exists, REPLAY_DAG),
        asyncio.to_thread(status.run_steps, WAREHOUSE_DAG, [row["run_id"] for row in runs.rows[:_RUNS_WITH_STEPS]]),
    )
    return {
        "rollback_dag": ROLLBACK_DAG if has_rollback else None,
        "replay_dag": REPLAY_DAG if has_replay else None,
        "steps": steps,
    }


def _undoable(publications: Sequence[Row], kept: Sequence[Row]) -> set[int]:
    """Of the publications that have changed something, those that can be taken back."""
    known = [KeptPublication(**row) for row in kept]
    changed = [row["publication_id"] for row in publications if row["marts"]]
    return {number for number in changed if publication_before(known, number) is not None}


def _values(tables: dict[str, Rows], start: date, end: date) -> dict[str, Any]:
    return {
        "page": "status",
        "title": "Data status",
        "calendar": status.calendar(tables["days"].rows, tables["ranges"].rows, start, end),
        "states": status.STATES,
        "absent": absent_in_words(),
        "quality": tables["quality"].rows if "quality" in tables else [],
        "undoable": _undoable(tables["publications"].rows, tables["kept"].rows),
        "incident_states": {row["incident"]: row for row in tables["states"].rows} if "states" in tables else {},
        "waiting": waiting_questions(tables["questions"].rows if "questions" in tables else []),
        **{name: tables[name].rows for name in ("incidents", "runs", "checks", "rejected", "publications")},
    }
