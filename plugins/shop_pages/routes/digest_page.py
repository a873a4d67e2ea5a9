"""The page Digest: a preview of the message about the last day."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from markupsafe import Markup

from ecommerce.alerts.digest import DAYS_OF_DIGEST, build_digest, queries_of_digest
from ecommerce.alerts.digest_message import DigestMessage
from shop_pages.queries import Warehouse
from shop_pages.rendering import render, render_cached

router = APIRouter()

_SENT = """
    select digest_day, as_of_date, sent_at, sent_to, send_error
    from ops.digest
    order by digest_day desc
    limit 7"""


@router.get("/digest", name="digest")
async def get_digest(request: Request) -> Response:
    """The digest as it would be sent now, and the last ones that were sent."""
    # All of it is read by the role that may read `ops` and `core`, too, as the task does that sends it.
    inspector: Warehouse = request.app.state.inspector
    days, sent = await asyncio.gather(inspector.rows(DAYS_OF_DIGEST), inspector.rows(_SENT))
    if not days.rows:
        return await render(request, "empty.html", page="today", title="Digest", parts=[days])
    as_of, covered_first = days.rows[0]["as_of"], days.rows[0]["covered_first"]
    queries = queries_of_digest(as_of, covered_first)
    results = await asyncio.gather(*(inspector.rows(query, **values) for query, values in queries.values()))
    base = request.scope["root_path"]

    def values() -> dict[str, Any]:
        rows = {name: result.rows for name, result in zip(queries, results, strict=True)}
        message = DigestMessage(build_digest(as_of, covered_first, rows), lambda path: f"{base}{path}")
        pictures = {
            name: f"data:image/png;base64,{base64.b64encode(picture).decode()}"
            for name, picture in message.pictures.items()
        }
        return {
            "page": "today",
            "title": "Digest",
            "subject": message.title,
            # Its texts are escaped where it is made, as in the e-mail.
            "mail": Markup(message.html_with(pictures.__getitem__)),  # noqa: S704
            "text": message.text,
            "sent": sent.rows,
        }

    return await render_cached(request, "digest.html", [days, sent, *results], "digest", values)
