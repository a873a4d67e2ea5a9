"""The address for monitors, in JSON: behind the login, or behind a token of the environment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from ecommerce.common.open_questions import OPEN_QUESTIONS
from shop_pages import airflow_access
from shop_pages.access import require_monitor
from shop_pages.health import LAST_PUBLICATION, OPEN_INCIDENTS, Health, health_of, unavailable
from shop_pages.pool import WarehouseUnavailable
from shop_pages.queries import Warehouse
from shop_pages.replica import ReplicaWatch

router = APIRouter(dependencies=[Depends(require_monitor)])


@router.api_route("/health", methods=["GET", "HEAD"], name="health")
async def get_health(request: Request) -> JSONResponse:
    """`ok`, `late` or `failed`, with the reasons; the HTTP status is 200 for `ok` and 503 otherwise."""
    health = await _read_health(request.app.state.inspector, request.app.state.replica)
    return JSONResponse(health.as_json(), status_code=health.status_code)


async def _read_health(inspector: Warehouse, replica: ReplicaWatch) -> Health:
    services = await asyncio.to_thread(airflow_access.service_states)
    try:
        # Never from the cache: a monitor asks for the state of now.
        publications, incidents, questions = await asyncio.gather(
            *(inspector.rows_now(query) for query in (LAST_PUBLICATION, OPEN_INCIDENTS, OPEN_QUESTIONS))
        )
    except WarehouseUnavailable as problem:
        return unavailable(services, str(problem))
    return health_of(
        services, publications.rows, incidents.rows, questions.rows, datetime.now(UTC), await replica.look()
    )
