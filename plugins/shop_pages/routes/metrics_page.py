"""The page with the definitions of the figures."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from shop_pages.metrics import metrics_html
from shop_pages.rendering import render

router = APIRouter()


@router.get("/metrics", name="metrics")
async def get_metrics(request: Request) -> Response:
    """What the figures mean; each figure's button *Definition* leads to the heading of its mart."""
    try:
        text = await asyncio.to_thread(metrics_html)
    except FileNotFoundError:
        raise HTTPException(404, "The file docs/metrics.md is not here.") from None
    return await render(request, "metrics.html", page="models", title="What the figures mean", text=text)
