"""The trigger form of a DAG, and the start of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from shop_pages.access import may_start, may_unpause, require_same_site
from shop_pages.airflow_access import BaseUser, CurrentUser, InvalidParams, PausedDag, UnknownDag, start_dag_run
from shop_pages.changed_files import FilesNotRead, read_changed_files, restart_needed
from shop_pages.limits import FORM_READ_FILES_SECONDS, READ_FILES_SECONDS
from shop_pages.rendering import render
from shop_pages.trigger_form import FORM_DAGS, TriggerForm, build_form

router = APIRouter()


@router.get("/trigger/{dag_id}", name="trigger")
async def get_trigger_form(request: Request, dag_id: str, user: CurrentUser) -> Response:
    """The trigger form of a DAG, filled in by the address."""
    problem = None
    if dag_id in FORM_DAGS and await asyncio.to_thread(may_start, dag_id, user):
        problem = await _problem_with_files(dag_id, seconds=FORM_READ_FILES_SECONDS)
    return await _render_form(request, dag_id, dict(request.query_params), user, problem=problem)


@router.post("/trigger/{dag_id}", name="start", dependencies=[Depends(require_same_site)])
async def start_run(request: Request, dag_id: str, user: CurrentUser) -> Response:
    """
    Start a run with the values of the form, if Airflow allows it to this user.

    A DAG that is paused is unpaused first, if the user may edit it. Otherwise no run is started, since it would wait
    without an end: 409, the form with who may unpause the DAG, and where. It is 409, too, if a file that the DAG is
    made from has changed and Airflow does not read it in time.
    """
    _require_form_dag(dag_id)
    if not await asyncio.to_thread(may_start, dag_id, user):
        raise HTTPException(403, f"You may not start runs of the DAG {dag_id}.")
    problem = await _problem_with_files(dag_id)
    form = await _read_form(dag_id, {})
    entries = await request.form()
    params: dict[str, Any] = {}
    try:
        for field in form.fields:
            params[field.name] = field.parse(entries)
        if problem:
            return await _render_form(request, dag_id, _as_entered(params), user, 409, problem=problem)
        started = await asyncio.to_thread(
            start_dag_run,
            dag_id,
            params,
            user_name=user.get_name(),
            may_unpause=await asyncio.to_thread(may_unpause, dag_id, user),
        )
    except UnknownDag as error:
        raise HTTPException(404, str(error)) from error
    except InvalidParams as error:
        return await _render_form(request, dag_id, _as_entered(params), user, 400, problem=str(error))
    except PausedDag:
        return await _render_form(request, dag_id, _as_entered(params), user, 409)
    # A redirect, so that reloading the page does not start another run.
    query = f"run_id={quote(started.run_id, safe='')}{'&unpaused=1' if started.was_paused else ''}"
    return RedirectResponse(f"{request.scope['root_path']}/started/{dag_id}?{query}", 303)


@router.get("/started/{dag_id}", name="started")
async def get_started(request: Request, dag_id: str, run_id: str, unpaused: bool = False) -> Response:
    """Links to a run that was started, and whether its DAG was unpaused for it."""
    _require_form_dag(dag_id)
    return await render(
        request, "started.html", page="", title="Run started", dag_id=dag_id, run_id=run_id, unpaused=unpaused
    )


def _as_entered(params: Mapping[str, Any]) -> dict[str, Any]:
    """Params as the address of a form has them."""
    return {name: ",".join(value) if isinstance(value, list) else value for name, value in params.items()}


def _require_form_dag(dag_id: str) -> None:
    if dag_id not in FORM_DAGS:
        raise HTTPException(404, f"The pages have no form for a DAG {dag_id!r}.")


async def _problem_with_files(dag_id: str, *, seconds: float = READ_FILES_SECONDS) -> str | None:
    """Let Airflow read files that have changed; why it has not, in a sentence."""
    try:
        await read_changed_files(dag_id, seconds=seconds)
    except FilesNotRead as problem:
        return str(problem)
    except UnknownDag as error:
        raise HTTPException(404, str(error)) from error
    return None


async def _read_form(dag_id: str, values: Mapping[str, Any]) -> TriggerForm:
    _require_form_dag(dag_id)
    try:
        return await asyncio.to_thread(build_form, dag_id, values)
    except UnknownDag as error:
        raise HTTPException(404, str(error)) from error


async def _render_form(
    request: Request,
    dag_id: str,
    values: Mapping[str, Any],
    user: BaseUser,
    status: int = 200,
    problem: str | None = None,
) -> Response:
    return await render(
        request,
        "trigger.html",
        status,
        page="",
        title=f"Run {dag_id}",
        form=await _read_form(dag_id, values),
        problem=problem,
        restart=await asyncio.to_thread(restart_needed),
        may_trigger=await asyncio.to_thread(may_start, dag_id, user),
        may_unpause=await asyncio.to_thread(may_unpause, dag_id, user),
    )
