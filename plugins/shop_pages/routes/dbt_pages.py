"""The dbt docs: all models by layer, and one model."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from shop_pages import dbt_docs
from shop_pages.lineage import lineage
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import render, render_cached
from shop_pages.routes.optional import rows_or_problem

router = APIRouter()


@router.get("/models", name="models")
async def get_models(request: Request) -> Response:
    """Every model and source, by layer."""
    project = await _read_project()
    builds = await rows_or_problem(request.app.state.inspector.rows(dbt_docs.LAST_BUILDS))
    common: dict[str, Any] = {"page": "models", "title": "dbt docs", "project": project}
    if isinstance(builds, str):
        return await render(request, "models.html", **common, builds={}, problem=builds)
    by_model = {row["model"]: row for row in builds.rows}
    return await render_cached(
        request, "models.html", (builds,), project.generated_at, lambda: {**common, "builds": by_model, "problem": None}
    )


@router.get("/models/{name}", name="model")
async def get_model(request: Request, name: str) -> Response:
    """One model: its description, owner, columns, tests and lineage, and its last build."""
    project = await _read_project()
    model = project.models.get(name)
    if model is None:
        raise HTTPException(404, f"The dbt project has no model {name!r}.")
    inspector: Warehouse = request.app.state.inspector
    builds, checks = await asyncio.gather(
        rows_or_problem(inspector.rows(dbt_docs.LAST_BUILDS)), rows_or_problem(inspector.rows(dbt_docs.LAST_CHECKS))
    )

    def values() -> dict[str, Any]:
        return {
            "page": "models",
            "title": name,
            "model": model,
            "picture": lineage(project.models, name),
            "last_build": next((row for row in _rows(builds) if row["model"] == name), None),
            # The subject of a dbt test ends with its name, after the table that it tests.
            "results": {re.split(r"[ :]+", row["subject"])[-1]: row for row in _rows(checks)},
        }

    parts = [part for part in (builds, checks) if isinstance(part, Rows)]
    return await render_cached(request, "model.html", parts, (name, project.generated_at), values)


def _rows(result: Rows | str) -> list[dict[str, Any]]:
    return result.rows if isinstance(result, Rows) else []


async def _read_project() -> dbt_docs.ProjectDocs:
    try:
        return await asyncio.to_thread(dbt_docs.read_project)
    except FileNotFoundError:
        raise HTTPException(404, "dbt has not parsed the project here yet: make dbt ARGS=parse") from None
