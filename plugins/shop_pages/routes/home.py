"""The start address, and the answer for addresses that no other route has."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

router = APIRouter()
not_found_router = APIRouter()

_ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@router.get("/", name="home")
async def home(request: Request) -> Response:
    """Redirect to the page Today."""
    return RedirectResponse(f"{request.scope['root_path']}/today")


# A route, so that only users who may see the pages learn which addresses exist.
@not_found_router.api_route("/{path:path}", methods=_ALL_METHODS, name="not_found")
async def not_found(path: str) -> Response:
    """404."""
    raise HTTPException(404, f"There is no page {path!r}.")
