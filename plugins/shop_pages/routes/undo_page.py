"""The page that says what taking back a publication would change, before anybody does it."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from ecommerce.audit.decisions import APPROVALS_SINCE
from ecommerce.publish.kept_publications import KEPT_QUERY, KeptPublication, publication_before
from ecommerce.publish.rollback_preview import MARTS_TO_RESTORE, changes_query, columns_not_added_up, restored_mart
from shop_pages.access import may_trigger
from shop_pages.airflow_access import CurrentUser
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import render
from shop_pages.routes.optional import rows_or_problem
from shop_pages.status import KEPT_ROWS
from shop_pages.trigger_form import ROLLBACK_DAG

router = APIRouter()


@router.get("/undo/{publication_id}", name="undo")
async def get_undo(request: Request, publication_id: int, user: CurrentUser) -> Response:
    """What taking back a publication, and all after it, would change in each mart; with the button that does it."""
    inspector: Warehouse = request.app.state.inspector
    kept = await inspector.first_rows(KEPT_QUERY, KEPT_ROWS)
    publications = [KeptPublication(**row) for row in kept.rows]
    target = publication_before(publications, publication_id)
    if target is None or publication_id not in {number for number, _, _ in publications}:
        raise HTTPException(404, f"Publication {publication_id} cannot be taken back.")
    marts, approvals, is_allowed, skipped = await asyncio.gather(
        inspector.rows(MARTS_TO_RESTORE, target=target),
        inspector.rows(APPROVALS_SINCE, publication_id=target),
        asyncio.to_thread(may_trigger, ROLLBACK_DAG, user),
        asyncio.to_thread(columns_not_added_up),
    )
    queries = {mart["mart"]: changes_query(mart, target, skipped.get(mart["mart"], ())) for mart in marts.rows}
    changes = await asyncio.gather(*(rows_or_problem(inspector.rows(query)) for query in queries.values()))
    return await render(
        request,
        "undo.html",
        page="",
        title=f"Undo publication {publication_id}",
        publication_id=publication_id,
        target=target,
        also=[number for number, _, _ in publications if number > publication_id],
        marts=[_shown(mart, found) for mart, found in zip(queries, changes, strict=True)],
        approvals=approvals.rows,
        rollback_dag=ROLLBACK_DAG,
        may_trigger=is_allowed,
        parts=(kept, marts, approvals, *(found for found in changes if isinstance(found, Rows))),
    )


def _shown(mart: str, found: Rows | str) -> dict[str, Any]:
    """A mart with what would change in it, or the reason why that could not be read."""
    if isinstance(found, str):
        return {"mart": mart, "problem": found, "change": None}
    return {"mart": mart, "problem": None, "change": restored_mart(mart, found.rows[0])}
