"""The page Data status."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from ecommerce.common.days import today
from ecommerce.common.shop import shop
from shop_pages import airflow_access, status
from shop_pages.absent_sources import absent_in_words
from shop_pages.cached_response import ResponseCache, respond
from shop_pages.limits import WAREHOUSE_DAG
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import HTML, parse_day, render, render_html
from shop_pages.routes.optional import rows_or_problem
from shop_pages.trigger_form import REPLAY_DAG, ROLLBACK_DAG

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
    key = ("status", request.scope["root_path"], start, end, shop().time_zone)
    cached = cache.get(key, parts)
    if cached is None:
        dates = _calendar_dates(start, end) | {"as_of": as_of, "last_loaded": last_loaded}
        airflow_values = await _read_airflow(tables["runs"])

        def html() -> str:
            return render_html(request, "status.html", parts, **_values(tables, start, end), **dates, **airflow_values)

        cached = await cache.get_or_render(key, parts, html, HTML)
    return respond(request, cached)


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
    """The tables of the page by name; `quality` is missing before the first build, which makes its view."""
    (days, runs, checks, rejected, publications), quality = await asyncio.gather(
        asyncio.gather(
            inspector.rows(status.CALENDAR, first=start, last=end),
            inspector.rows(status.RUNS),
            inspector.rows(status.CHECKS),
            inspector.rows(status.QUARANTINE),
            inspector.rows(status.PUBLICATIONS),
        ),
        rows_or_problem(inspector.rows(status.QUALITY)),
    )
    tables = {"days": days, "runs": runs, "checks": checks, "rejected": rejected, "publications": publications}
    return tables | ({"quality": quality} if isinstance(quality, Rows) else {})


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


def _values(tables: dict[str, Rows], start: date, end: date) -> dict[str, Any]:
    return {
        "page": "status",
        "title": "Data status",
        "calendar": status.calendar(tables["days"].rows, tables["ranges"].rows, start, end),
        "states": status.STATES,
        "absent": absent_in_words(),
        "quality": tables["quality"].rows if "quality" in tables else [],
        **{name: tables[name].rows for name in ("incidents", "runs", "checks", "rejected", "publications")},
    }
