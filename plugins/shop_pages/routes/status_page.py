"""The page Data status."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from ecommerce.build.excluded_models import exclusions_for
from ecommerce.common.days import today
from ecommerce.common.errors import ManifestMissing
from ecommerce.common.open_questions import OPEN_QUESTIONS
from ecommerce.common.shop import shop
from ecommerce.figures.number_formats import day as format_day
from ecommerce.publish.kept_publications import KEPT_QUERY, KeptPublication, publication_before
from shop_pages import airflow_access, status
from shop_pages.absent_sources import absent_in_words
from shop_pages.cached_response import ResponseCache, respond
from shop_pages.data_age import data_age
from shop_pages.figures import PageTable
from shop_pages.limits import MAX_ROWS, NEWEST_ROWS, WAREHOUSE_DAG
from shop_pages.pool import Row
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import HTML, parse_day, render, render_html
from shop_pages.routes.optional import rows_or_problem
from shop_pages.routes.whole_table import add_table_routes
from shop_pages.status_tables import (
    CHECKS,
    INCIDENTS,
    LOADS,
    MARTS,
    PUBLICATIONS,
    QUALITY,
    REASONS,
    RUNS,
    SOURCE_DAY_TABLES,
    STATUS_TABLES,
)
from shop_pages.tables import Completion, PlacedTable
from shop_pages.trigger_form import REPLAY_DAG, ROLLBACK_DAG
from shop_pages.waiting import waiting_questions
from shop_pages.words import heading_of

router = APIRouter()

#: Days of the calendar: by default, and at most.
_CALENDAR_DAYS, _MAX_CALENDAR_DAYS = 35, 92
#: Runs and publications that the page shows, the newest, and runs for which it shows the steps.
_SHOWN_RUNS, _SHOWN_PUBLICATIONS, _RUNS_WITH_STEPS = 30, 20, 10


@router.get("/status", name="status")
async def get_status(request: Request, first: str = "", last: str = "") -> Response:
    """Sources by day, incidents, runs, checks and their history, rejected rows, publications."""
    inspector: Warehouse = request.app.state.inspector
    ranges, incidents = await asyncio.gather(
        inspector.rows(status.SOURCE_RANGES), inspector.rows(INCIDENTS.ordered_query)
    )
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
    lag = request.app.state.replica.lag
    key = ("status", request.scope["root_path"], start, end, shop().time_zone, f"{now:%d %H:%M}", lag)
    cached = cache.get(key, parts)
    if cached is None:
        dates = _calendar_dates(start, end) | {"as_of": as_of, "last_loaded": last_loaded, "age": data_age(as_of, now)}
        from_airflow = await _read_airflow(tables["runs"].rows)

        def html() -> str:
            values = _values(tables, start, end, from_airflow)
            replay_dag = from_airflow["replay_dag"]
            return render_html(request, "status.html", parts, lag, **values, **dates, replay_dag=replay_dag)

        cached = await cache.get_or_render(key, parts, html, HTML)
    return respond(request, cached)


async def _place_status_table(table: str) -> PlacedTable:
    if table not in STATUS_TABLES:
        raise HTTPException(404, f"Data status has no table {table[:100]!r}.")
    return _of_status(table)


async def _place_source_day_table(source: str, day: str, table: str) -> PlacedTable:
    if table not in SOURCE_DAY_TABLES:
        raise HTTPException(404, f"The day of a source has no table {table[:100]!r}.")
    return await asyncio.to_thread(_of_source_day, table, *_source_day_of(source, day))


# Before the page of a source on a day: `/status/checks/table` is none.
add_table_routes(router, "/status/{table}", _place_status_table)
add_table_routes(router, "/status/{source}/{day}/{table}", _place_source_day_table)


@router.get("/status/{source}/{day}", name="source_day")
async def get_source_day(request: Request, source: str, day: str) -> Response:
    """A source on a day: its loads, what is still published for it, and why rows were rejected."""
    _, on = _source_day_of(source, day)
    inspector: Warehouse = request.app.state.inspector
    days, ranges, loads, rejected, marts, has_replay = await asyncio.gather(
        inspector.rows(status.CALENDAR, first=on, last=on),
        inspector.rows(status.SOURCE_RANGES),
        _first_rows(inspector, LOADS, 20, source=source, day=on),
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
        title=f"{heading_of(source)}, {on}",
        source=source,
        day=on,
        cell=cell,
        published=published,
        waiting=next((load for load in newer if load["status"] == "loaded"), None),
        failed=newer[0] if newer and newer[0]["status"] == "failed" else None,
        loads=loads.rows,
        rejected=rejected.rows,
        marts=marts.rows,
        tables=await asyncio.to_thread(lambda: {name: _of_source_day(name, source, on) for name in SOURCE_DAY_TABLES}),
        replay_dag=REPLAY_DAG if has_replay else None,
        parts=(days, ranges, loads, rejected, marts),
    )


async def _read_marts(inspector: Warehouse, source: str) -> Rows:
    return await _first_rows(inspector, MARTS, MAX_ROWS, marts=await asyncio.to_thread(_marts_of, source))


def _marts_of(source: str) -> str:
    """The marts that stay as they are if a source cannot be loaded; none before the project was parsed."""
    models: Collection[str] = ()
    with suppress(ManifestMissing):
        models = exclusions_for({source}).models
    return ",".join(sorted(models))


async def _first_rows(inspector: Warehouse, table: PageTable, n: int, **parameters: Any) -> Rows:
    """The first rows of a table that a page shows."""
    most = {"most": n} if "%(most)s" in table.query else {}
    return await inspector.first_rows(table.ordered_query, n, **parameters, **most)


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
            _first_rows(inspector, RUNS, _SHOWN_RUNS),
            inspector.rows(CHECKS.ordered_query),
            inspector.rows(REASONS.ordered_query),
            _first_rows(inspector, PUBLICATIONS, _SHOWN_PUBLICATIONS),
            inspector.first_rows(KEPT_QUERY, status.KEPT_ROWS),
        ),
        rows_or_problem(inspector.rows(QUALITY.ordered_query)),
        rows_or_problem(inspector.rows(OPEN_QUESTIONS)),
        rows_or_problem(inspector.rows(status.INCIDENT_STATES)),
    )
    tables = {"days": days, "runs": runs, "checks": checks, "rejected": rejected, "publications": publications}
    tables["kept"] = kept
    optional = zip(("quality", "questions", "states"), others, strict=True)
    return tables | {name: rows for name, rows in optional if isinstance(rows, Rows)}


async def _read_airflow(runs: Sequence[Row]) -> dict[str, Any]:
    """What the page shows from Airflow's own database: the steps of the runs, and which DAGs it can lead to."""
    has_rollback, has_replay, steps = await asyncio.gather(
        asyncio.to_thread(airflow_access.dag_exists, ROLLBACK_DAG),
        asyncio.to_thread(airflow_access.dag_exists, REPLAY_DAG),
        _read_steps(runs),
    )
    return {
        "rollback_dag": ROLLBACK_DAG if has_rollback else None,
        "replay_dag": REPLAY_DAG if has_replay else None,
        "steps": steps,
    }


async def _read_steps(runs: Sequence[Row]) -> Mapping[str, Sequence[status.RunStep]]:
    return await asyncio.to_thread(status.run_steps, WAREHOUSE_DAG, [row["run_id"] for row in runs[:_RUNS_WITH_STEPS]])


def _undoable(publications: Sequence[Row], kept: Sequence[Row]) -> set[int]:
    """Of the publications that have changed something, those that can be taken back."""
    known = [KeptPublication(**row) for row in kept]
    changed = [row["publication_id"] for row in publications if row["marts"]]
    return {number for number in changed if publication_before(known, number) is not None}


# -- tables ------------------------------------------------------------------------------------------------------------


def _with_steps(runs: Sequence[Row], steps: Mapping[str, Sequence[status.RunStep]]) -> list[Row]:
    return [{**run, "steps": steps.get(run["run_id"], ())} for run in runs]


def _with_owners(incidents: Sequence[Row], states: Sequence[Row]) -> list[Row]:
    """What a person has said of the open incidents: a closed one of the same name was another."""
    of_incident = {row["incident"]: row for row in states}
    nothing = {"owner": None, "silent_until": None}
    return [
        {**row, **(of_incident.get(row["incident"], nothing) if row["closed_at"] is None else nothing)}
        for row in incidents
    ]


def _with_undo(publications: Sequence[Row], kept: Sequence[Row], *, may_undo: bool) -> list[Row]:
    undoable = _undoable(publications, kept) if may_undo else set()
    return [{**row, "is_undoable": row["publication_id"] in undoable} for row in publications]


async def _complete_runs(request: Request, rows: list[Row]) -> list[Row]:
    return _with_steps(rows, await _read_steps(rows))


async def _complete_incidents(request: Request, rows: list[Row]) -> list[Row]:
    states = await rows_or_problem(request.app.state.inspector.rows(status.INCIDENT_STATES))
    return _with_owners(rows, states.rows if isinstance(states, Rows) else [])


async def _complete_publications(request: Request, rows: list[Row]) -> list[Row]:
    inspector: Warehouse = request.app.state.inspector
    kept, may_undo = await asyncio.gather(
        inspector.first_rows(KEPT_QUERY, status.KEPT_ROWS), asyncio.to_thread(airflow_access.dag_exists, ROLLBACK_DAG)
    )
    return _with_undo(rows, kept.rows, may_undo=may_undo)


_COMPLETIONS: Mapping[str, Completion] = {
    "runs": _complete_runs,
    "incidents": _complete_incidents,
    "publications": _complete_publications,
}


def _of_status(name: str) -> PlacedTable:
    """A table of Data status; of runs and publications the newest."""
    table = STATUS_TABLES[name]
    is_of_newest = "%(most)s" in table.query
    return PlacedTable(
        table=table,
        path=f"/status/{name}",
        crumbs=(("Data status", f"/status#{'quarantine' if table is REASONS else name}"),),
        parameters={"most": NEWEST_ROWS} if is_of_newest else {},
        page="status",
        lead=f"The last {NEWEST_ROWS:,}." if is_of_newest else "",
        complete=_COMPLETIONS.get(name),
    )


def _of_source_day(name: str, source: str, day: date) -> PlacedTable:
    """A table of a source on a day."""
    path = f"/status/{source}/{day}"
    table = SOURCE_DAY_TABLES[name]
    parameters: dict[str, Any] = {"source": source, "day": day, "most": NEWEST_ROWS}
    if name == "marts":
        parameters = {"marts": _marts_of(source)}
    return PlacedTable(
        table=table,
        path=f"{path}/{name}",
        crumbs=(("Data status", f"/status#source-{source}"), (f"{heading_of(source)} on {format_day(day)}", path)),
        parameters=parameters,
    )


def _source_day_of(source: str, day: str) -> tuple[str, date]:
    """
    What an address names.

    :raises HTTPException: 404, no source of this shop, or no day
    """
    if source not in shop().sources:
        raise HTTPException(404, f"This shop has no source {source[:100]!r}.")
    on = parse_day("day", day)
    if on is None:
        raise HTTPException(404, "The address names no day.")
    return source, on


def _values(tables: dict[str, Rows], start: date, end: date, airflow_values: Mapping[str, Any]) -> dict[str, Any]:
    states = tables["states"].rows if "states" in tables else []
    may_undo = airflow_values["rollback_dag"] is not None
    return {
        "page": "status",
        "title": "Data status",
        "calendar": status.calendar(tables["days"].rows, tables["ranges"].rows, start, end),
        "states": status.STATES,
        "absent": absent_in_words(),
        "tables": {name: _of_status(name) for name in STATUS_TABLES},
        "quality": tables["quality"].rows if "quality" in tables else [],
        "waiting": waiting_questions(tables["questions"].rows if "questions" in tables else []),
        "incidents": _with_owners(tables["incidents"].rows, states),
        "runs": _with_steps(tables["runs"].rows, airflow_values["steps"]),
        "publications": _with_undo(tables["publications"].rows, tables["kept"].rows, may_undo=may_undo),
        **{name: tables[name].rows for name in ("checks", "rejected")},
    }
