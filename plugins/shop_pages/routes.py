"""The pages about the data itself: its state, where a figure comes from, the dbt project, and the way to a run."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from shop_pages import models, status, trigger_form
from shop_pages.access import may_trigger, may_unpause, refuse_other_sites
from shop_pages.cached_response import KeptPages, Written, answer
from shop_pages.drill import BATCH, BATCH_OFFSETS, BATCH_REFUSALS, DRILLS, FACT_ROWS, FACTS, VERSIONS, fact_row, given
from shop_pages.figures import Column
from shop_pages.formats import Kind
from shop_pages.limits import WAREHOUSE_DAG
from shop_pages.queries import Row, Rows, Warehouse, WarehouseAway
from shop_pages.rendering import HTML, kept, page_of, parse_day, render

router = APIRouter()

#: DAGs that the pages lead to where Airflow has them.
UNDO_DAG = "rollback_publication"
REPLAY_DAG = "replay_quarantine"

#: DAGs whose trigger form the pages fill in.
FORMS = (WAREHOUSE_DAG, UNDO_DAG, REPLAY_DAG)

#: Days of the calendar when nobody has chosen any, and at most.
CALENDAR_DAYS, CALENDAR_LIMIT = 35, 92


# -- data status -------------------------------------------------------------------------------------------------------


@router.get("/status", name="status")
async def data_status(request: Request, first: str = "", last: str = "") -> Response:
    """Source × day, incidents, runs, checks and their history, refusals, publications."""
    inspector: Warehouse = request.app.state.inspector
    reach, incidents = await asyncio.gather(inspector.rows(status.REACH), inspector.rows(status.INCIDENTS))
    furthest: date | None = max((row["last_day"] for row in reach.rows), default=None)
    if furthest is None and not incidents.rows:
        return render(request, "empty.html", page="status", title="Data status", parts=(reach,))
    # The first run may have failed before anything was loaded.
    as_of = furthest or datetime.now(UTC).date()
    end = parse_day("last day", last) or as_of
    start = parse_day("first day", first) or end - timedelta(days=CALENDAR_DAYS - 1)
    if start > end:
        raise HTTPException(400, f"The first day {start} is after the last day {end}.")
    if (end - start).days >= CALENDAR_LIMIT:
        raise HTTPException(400, f"The calendar shows up to {CALENDAR_LIMIT} days at once; choose fewer.")
    (days, runs, checks, refused, publications), quality = await asyncio.gather(
        asyncio.gather(
            inspector.rows(status.CALENDAR, first=start, last=end),
            inspector.rows(status.RUNS),
            inspector.rows(status.CHECKS),
            inspector.rows(status.QUARANTINE),
            inspector.rows(status.PUBLICATIONS),
        ),
        # Made by the first build, and there may have been none.
        _or_problem(inspector.rows(status.QUALITY)),
    )
    parts = [reach, days, incidents, runs, checks, refused, publications]
    parts += [quality] if isinstance(quality, Rows) else []
    pages: KeptPages = request.app.state.pages
    key = ("status", request.scope["root_path"], start, end)
    written = pages.find(key, parts)
    if written is None:
        undo, replay, steps = await asyncio.gather(
            asyncio.to_thread(trigger_form.is_known, UNDO_DAG),
            asyncio.to_thread(trigger_form.is_known, REPLAY_DAG),
            asyncio.to_thread(status.steps_of, [row["run_id"] for row in runs.rows[:10]], WAREHOUSE_DAG),
        )
        html = page_of(
            request,
            "status.html",
            parts,
            page="status",
            title="Data status",
            calendar=status.calendar(days.rows, reach.rows, start, end),
            states=status.STATES,
            first=start,
            last=end,
            as_of=as_of,
            furthest=furthest,
            earlier=(start - timedelta(days=(end - start).days + 1), start - timedelta(days=1)),
            later=(end + timedelta(days=1), end + timedelta(days=(end - start).days + 1)),
            incidents=incidents.rows,
            runs=runs.rows,
            steps=steps,
            checks=checks.rows,
            quality=quality.rows if isinstance(quality, Rows) else [],
            refused=refused.rows,
            publications=publications.rows,
            undo=UNDO_DAG if undo else None,
            replay=REPLAY_DAG if replay else None,
        )
        written = pages.keep(key, parts, Written.of(html.encode(), HTML))
    return answer(request, written)


# -- where a figure comes from -----------------------------------------------------------------------------------------


@router.get("/rows/{mart}", name="rows")
async def mart_row(request: Request, mart: str) -> Response:
    """A row of a mart, and the fact rows it was made of."""
    drill = DRILLS.get(mart)
    if drill is None:
        raise HTTPException(404, f"There is no mart {mart!r} whose rows can be followed.")
    keys = given(drill, request.query_params)
    await _judge_keys(request.app.state.reader, drill.keys, keys)
    own, facts = await asyncio.gather(
        request.app.state.reader.rows(drill.mart_row(mart), **keys),
        _or_problem(request.app.state.inspector.rows(drill.facts, cap=FACT_ROWS, **keys)),
    )
    if not own.rows:
        raise HTTPException(404, f"marts.{mart} has no such row: {', '.join(f'{k} {v}' for k, v in keys.items())}.")
    row = own.rows[0]
    read = facts if isinstance(facts, Rows) else None

    def values() -> dict[str, Any]:
        return {
            "page": "",
            "title": mart,
            "mart": mart,
            "keys": keys,
            "row": row,
            "drill": drill,
            "fact": FACTS[drill.fact],
            "facts": read,
            "problem": None if read else facts,
            "sums": _sums(drill.adds_up, row, read.rows) if read else [],
        }

    if read is None:
        return render(request, "rows.html", parts=(own,), **values())
    return kept(request, "rows.html", (own, read), (mart, *keys.items()), values)


@router.get("/facts/{fact}", name="fact")
async def fact_and_raw(request: Request, fact: str, key: str) -> Response:
    """A row of a fact table, the raw rows it was made of, and the versions it refers to."""
    found = FACTS.get(fact)
    if found is None:
        raise HTTPException(404, f"There is no fact table {fact!r} whose rows can be followed.")
    inspector: Warehouse = request.app.state.inspector
    own, raw = await asyncio.gather(
        inspector.rows(fact_row(found), key=key, cap=1), inspector.rows(found.raw, key=key, cap=50)
    )
    if not own.rows:
        raise HTTPException(404, f"core.{fact} has no row {key!r}.")
    row = own.rows[0]
    versions = {}
    for source, query in VERSIONS.items():
        of = row.get("customer_id" if source == "customer" else "product_id")
        if of is not None:
            versions[source] = await inspector.rows(query, key=of, cap=20)
    return render(
        request,
        "fact.html",
        page="",
        title=f"{fact} {key}",
        fact=found,
        key=key,
        row=row,
        raw=raw.rows,
        raw_columns=_columns(raw.rows),
        versions={source: (_columns(rows.rows), rows.rows) for source, rows in versions.items() if rows.rows},
        parts=(own, raw, *versions.values()),
    )


@router.get("/batches/{batch_id}", name="batch")
async def batch(request: Request, batch_id: int) -> Response:
    """One load of one source: what it read, by which run, from which offsets, and what it refused."""
    inspector: Warehouse = request.app.state.inspector
    own, refusals = await asyncio.gather(
        inspector.rows(BATCH, batch_id=batch_id), inspector.rows(BATCH_REFUSALS, batch_id=batch_id, cap=100)
    )
    if not own.rows:
        raise HTTPException(404, f"There is no batch {batch_id}.")
    row = own.rows[0]
    offsets: Rows | str | None = None
    if row["source"] == "kafka_stream":
        offsets = await _or_problem(inspector.rows(BATCH_OFFSETS, batch_id=batch_id))
    return render(
        request,
        "batch.html",
        page="",
        title=f"Batch {batch_id}",
        row=row,
        offsets=offsets.rows if isinstance(offsets, Rows) else [],
        offsets_problem=offsets if isinstance(offsets, str) else None,
        refusals=refusals,
        parts=(own, refusals),
    )


async def _judge_keys(reader: Warehouse, kinds: Any, keys: dict[str, Any]) -> None:
    """
    Refuse a key that is none of its type, by the judgement of Postgres.

    :raises HTTPException: 400
    """
    checks = ", ".join(
        f"coalesce(pg_input_is_valid(%({name})s::text, '{kind}'), true) as {name}" for name, kind in kinds.items()
    )
    valid = (await reader.rows(f"select {checks}", **keys)).rows[0]
    for name, is_valid in valid.items():
        if not is_valid:
            raise HTTPException(400, f"{name} {keys[name]!r} is not a {kinds[name]}.")


async def _or_problem(rows: Any) -> Rows | str:
    try:
        return await rows
    except WarehouseAway as error:
        return str(error)


def _sums(adds_up: tuple[str | None, str | None], row: Row, facts: list[Row]) -> list[dict[str, Any]]:
    """What the fact rows come to, beside what the mart says."""
    number = facts[0]["all_rows"] if facts else 0
    amount = facts[0]["all_amount"] if facts else 0
    sums = []
    for name, total, kind in ((adds_up[0], number, Kind.COUNT), (adds_up[1], amount, Kind.MONEY)):
        if name is not None:
            is_equal = round(total or 0, 2) == round(row[name] or 0, 2)
            sums.append({"name": name, "total": total, "mart": row[name], "kind": kind, "is_equal": is_equal})
    return sums


def _columns(rows: list[Row]) -> list[Column]:
    """The columns of rows whose table is not this page's own, as they are."""
    return [Column(name, name) for name in rows[0]] if rows else []


# -- the dbt project ---------------------------------------------------------------------------------------------------


@router.get("/models", name="models")
async def all_models(request: Request) -> Response:
    """Every model and source, by layer."""
    found = await _project()
    rebuilds = await _or_problem(request.app.state.inspector.rows(models.REBUILDS))

    def values() -> dict[str, Any]:
        return {
            "page": "models",
            "title": "dbt docs",
            "project": found,
            "rebuilds": {row["model"]: row for row in rebuilds.rows} if isinstance(rebuilds, Rows) else {},
            "problem": rebuilds if isinstance(rebuilds, str) else None,
        }

    if isinstance(rebuilds, str):
        return render(request, "models.html", **values())
    return kept(request, "models.html", (rebuilds,), found.generated_at, values)


@router.get("/models/{name}", name="model")
async def one_model(request: Request, name: str) -> Response:
    """One model: what it is, who owns it, its columns, tests and lineage, and what the last run did to it."""
    found = await _project()
    model = found.models.get(name)
    if model is None:
        raise HTTPException(404, f"The dbt project has no model {name!r}.")
    inspector: Warehouse = request.app.state.inspector
    rebuilds, judged = await asyncio.gather(
        _or_problem(inspector.rows(models.REBUILDS)), _or_problem(inspector.rows(models.JUDGED))
    )
    parts = [part for part in (rebuilds, judged) if isinstance(part, Rows)]

    def values() -> dict[str, Any]:
        built = rebuilds.rows if isinstance(rebuilds, Rows) else []
        # A test of dbt is named at the end of its subject, after the table it is of.
        results = {
            re.split(r"[ :]+", row["subject"])[-1]: row for row in (judged.rows if isinstance(judged, Rows) else [])
        }
        return {
            "page": "models",
            "title": name,
            "project": found,
            "model": model,
            "picture": models.lineage(found.models, name),
            "rebuilt": next((row for row in built if row["model"] == name), None),
            "results": results,
        }

    return kept(request, "model.html", parts, (name, found.generated_at), values)


async def _project() -> models.Project:
    try:
        return await asyncio.to_thread(models.project)
    except FileNotFoundError:
        raise HTTPException(404, "dbt has not parsed the project here yet: make dbt ARGS=parse") from None


# -- the way to a run --------------------------------------------------------------------------------------------------


@router.get("/trigger/{dag_id}", name="trigger")
async def show_trigger_form(request: Request, dag_id: str, user: GetUserDep) -> Response:
    """The trigger form of a DAG, filled in by the address."""
    return await _form(request, dag_id, dict(request.query_params), user)


@router.post("/trigger/{dag_id}", name="start", dependencies=[Depends(refuse_other_sites)])
async def start_run(request: Request, dag_id: str, user: GetUserDep) -> Response:
    """Start a run with what was filled in, if Airflow lets this user."""
    if dag_id not in FORMS:
        raise HTTPException(404, f"The pages lead to no form of a DAG {dag_id!r}.")
    if not await asyncio.to_thread(may_trigger, dag_id, user):
        raise HTTPException(403, f"You may not start runs of the DAG {dag_id}.")
    filled = await request.form()
    try:
        form = await asyncio.to_thread(trigger_form.form_of, dag_id, {})
        values = {field.name: field.given(filled) for field in form.fields}
        unpause = "unpause" in filled and await asyncio.to_thread(may_unpause, dag_id, user)
        run_id = await asyncio.to_thread(trigger_form.start, dag_id, values, user=user.get_name(), unpause=unpause)
    except trigger_form.NoSuchDag as error:
        raise HTTPException(404, str(error)) from error
    except trigger_form.ValuesRefused as error:
        shown = {name: ",".join(value) if isinstance(value, list) else value for name, value in values.items()}
        return await _form(request, dag_id, shown, user, problem=str(error))
    # After a POST, so that loading the page again starts nothing.
    return RedirectResponse(f"{request.scope['root_path']}/started/{dag_id}?run_id={quote(run_id, safe='')}", 303)


@router.get("/started/{dag_id}", name="started")
async def started(request: Request, dag_id: str, run_id: str) -> Response:
    """The way to a run that was started."""
    if dag_id not in FORMS:
        raise HTTPException(404, f"The pages lead to no form of a DAG {dag_id!r}.")
    return render(request, "started.html", page="", title="Started", dag_id=dag_id, run_id=run_id)


async def _form(
    request: Request, dag_id: str, values: dict[str, Any], user: Any, problem: str | None = None
) -> Response:
    if dag_id not in FORMS:
        raise HTTPException(404, f"The pages lead to no form of a DAG {dag_id!r}.")
    try:
        form = await asyncio.to_thread(trigger_form.form_of, dag_id, values)
    except trigger_form.NoSuchDag as error:
        raise HTTPException(404, str(error)) from error
    except trigger_form.ValuesRefused as error:
        raise HTTPException(400, str(error)) from error
    return render(
        request,
        "trigger.html",
        400 if problem else 200,
        page="",
        title=f"Run {dag_id}",
        form=form,
        problem=problem,
        may=await asyncio.to_thread(may_trigger, dag_id, user),
        may_unpause=await asyncio.to_thread(may_unpause, dag_id, user),
    )
