"""The files that pages load."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from shop_pages.assets import ASSETS, asset
from shop_pages.cached_response import respond

router = APIRouter()


@router.get("/static/{digest}/{name}", name="asset")
async def get_asset(request: Request, digest: str, name: str) -> Response:
    """A file; browsers keep it for ever under the digest of its content."""
    if name not in ASSETS:
        raise HTTPException(404, f"There is no file {name!r}.")
    file = await asyncio.to_thread(asset, name)
    # Any other digest, of an earlier version or `latest`, returns the current file, and the browser asks each time.
    caching = "private, max-age=31536000, immutable" if digest == file.digest else "private, no-cache"
    return respond(request, file, {"Cache-Control": caching, "Vary": "Accept-Encoding"})
