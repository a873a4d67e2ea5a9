"""The page Today."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from shop_pages.rendering import render, render_cached
from shop_pages.today import build_today, read_today

router = APIRouter()


@router.get("/today", name="today")
async def get_today(request: Request) -> Response:
    """Key figures of the last day, how well they are checked, and what needs attention."""
    data = await read_today(request.app.state.reader, request.app.state.inspector)
    now = datetime.now(UTC)

    def values() -> dict[str, Any]:
        return {"page": "today", "title": "Today", "today": build_today(data, now)}

    if data.problems:
        return await render(request, "today.html", parts=data.parts, **values())
    # The page shows ages in minutes.
    return await render_cached(request, "today.html", data.parts, f"{now:%d %H:%M}", values)
