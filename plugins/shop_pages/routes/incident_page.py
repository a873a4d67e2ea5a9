"""The page of an incident, and what a person says of it: an owner, a silence, a note."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from ecommerce.extract.texts import storable
from shop_pages import incident as queries
from shop_pages.access import may_edit, require_same_site
from shop_pages.airflow_access import BaseUser, CurrentUser
from shop_pages.incident import KEEP_SILENCE, NOTE_CHARACTERS, OWNER_CHARACTERS, SILENCES, source_of
from shop_pages.limits import NEWEST_ROWS
from shop_pages.pool import Row
from shop_pages.queries import Rows, Warehouse
from shop_pages.remarks import IncidentNote, add_incident_note
from shop_pages.rendering import render
from shop_pages.routes.whole_table import add_table_routes
from shop_pages.tables import PlacedTable

router = APIRouter()

#: Rows of each table that the page shows.
_SHOWN_ROWS = 50
#: The greatest number of an incident: more is none.
_LARGEST = 2**63 - 1


@router.get("/incidents/{alert_id}", name="incident")
async def get_incident(request: Request, alert_id: int, user: CurrentUser) -> Response:
    """One incident: what, since when, its runs, what was tried, and what was said of it."""
    return await _render(request, user, await _read(request, alert_id))


@router.post("/incidents/{alert_id}", name="incident_write", dependencies=[Depends(require_same_site)])
async def write_note(request: Request, alert_id: int, user: CurrentUser) -> Response:
    """
    Add what the user says of an incident, if Airflow lets this user edit the DAG.

    400: a text that cannot be stored, or no such time of silence. 403: no right. 404: no such incident.
    """
    if not await asyncio.to_thread(may_edit, user):
        raise HTTPException(
            403, "You may see the incident, but say nothing of it: that needs the right to edit the DAG."
        )
    incident = await _read(request, alert_id)
    form = await request.form(max_files=0, max_fields=10, max_part_size=100_000)
    texts = {name: str(value).strip() for name, value in form.items()}
    if not all(map(storable, texts.values())):
        raise HTTPException(400, "The form has a character that no text of the warehouse has.")
    if problem := _problem(texts):
        return await _render(request, user, incident, 400, problem=problem, entered=texts)
    chosen = texts.get("silence", "")
    if chosen == KEEP_SILENCE:
        silent_until = incident["silent_until"]
    else:
        silent_until = datetime.now(UTC) + SILENCES[chosen][1] if chosen else None
    note = IncidentNote(
        incident=incident["incident"],
        owner=texts.get("owner") or None,
        silent_until=silent_until,
        note=texts.get("note", ""),
        noted_by=str(user.get_name()),
    )
    await add_incident_note(note)
    # A redirect, so that reloading the page does not write a second note.
    return RedirectResponse(f"{request.scope['root_path']}/incidents/{alert_id}#said", 303)


def _problem(texts: Mapping[str, str]) -> str:
    """What is wrong with a form; empty for nothing."""
    if texts.get("silence", "") not in (*SILENCES, KEEP_SILENCE):
        return f"Choose one of these times: {', '.join(text for text, _ in SILENCES.values())}."
    if len(texts.get("owner", "")) > OWNER_CHARACTERS:
        return f"The owner may have {OWNER_CHARACTERS:,} characters."
    if len(texts.get("note", "")) > NOTE_CHARACTERS:
        return f"A note may have {NOTE_CHARACTERS:,} characters; this one has {len(texts['note']):,}."
    return ""


async def _read(request: Request, alert_id: int) -> Row:
    inspector: Warehouse = request.app.state.inspector
    found = await inspector.rows_now(queries.INCIDENT, alert_id=alert_id) if 0 < alert_id <= _LARGEST else None
    if found is None or not found.rows:
        raise HTTPException(404, f"There is no incident {str(alert_id)[:100]}.")
    return found.rows[0]


async def _render(
    request: Request,
    user: BaseUser,
    incident: Row,
    status: int = 200,
    *,
    problem: str = "",
    entered: Mapping[str, str] | None = None,
) -> Response:
    inspector: Warehouse = request.app.state.inspector
    tables = {name: placed for name in queries.TABLES if (placed := _placed(name, incident, _SHOWN_ROWS)) is not None}
    rows, may_write = await asyncio.gather(
        asyncio.gather(*(_first_rows(inspector, placed) for placed in tables.values())),
        asyncio.to_thread(may_edit, user),
    )
    values: dict[str, Any] = {
        "incident": incident,
        "source": source_of(incident),
        "tables": tables,
        "rows": {name: found.rows for name, found in zip(tables, rows, strict=True)},
        "silences": SILENCES,
        "note_characters": NOTE_CHARACTERS,
        "owner_characters": OWNER_CHARACTERS,
        "may_write": may_write,
        "problem": problem,
        "entered": entered or {},
    }
    title = f"Incident {incident['alert_id']}"
    return await render(request, "incident.html", status, page="", title=title, parts=rows, **values)


async def _first_rows(inspector: Warehouse, placed: PlacedTable) -> Rows:
    read = inspector.first_rows_now if placed.is_now else inspector.first_rows
    return await read(placed.table.ordered_query, _SHOWN_ROWS, **placed.parameters)


def _placed(name: str, incident: Row, most: int) -> PlacedTable | None:
    """A table of an incident, None if it has no such table."""
    parameters = queries.parameters_of_table(name, incident, most)
    if parameters is None:
        return None
    page = f"/incidents/{incident['alert_id']}"
    return PlacedTable(
        table=queries.TABLES[name],
        path=f"{page}/{name}",
        crumbs=(("Data status", "/status#incidents"), (f"Incident {incident['alert_id']}", f"{page}#{name}")),
        parameters=parameters,
        is_now=name == "notes",
    )


async def _place(request: Request, alert_id: int, table: str) -> PlacedTable:
    placed = _placed(table, await _read(request, alert_id), NEWEST_ROWS) if table in queries.TABLES else None
    if placed is None:
        raise HTTPException(404, f"The incident has no table {table[:100]!r}.")
    return placed


add_table_routes(router, "/incidents/{alert_id}/{table}", _place)
