"""The pages' application: its routes, which all ask who is there, and what goes around every answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, cast

from airflow.api_fastapi.app import get_auth_manager
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecommerce.ui import formats, settings
from ecommerce.ui.access import may_read
from ecommerce.ui.figures import Figure, Page
from ecommerce.ui.pages import CATEGORIES, PAGES, SPAN
from ecommerce.ui.rendering import ASSETS, asset, literal, parse_day, render, templates
from ecommerce.ui.routes import router
from ecommerce.ui.today import today
from ecommerce.ui.warehouse import Connections, Row, Rows, Warehouse, WarehouseAway

#: No script but the files of this package; no other site, neither to load from nor to be framed by.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:;"
        " font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True)
class Shown:
    """A figure with what was read for it, or why it was not."""

    figure: Figure
    rows: Rows | None
    problem: str | None = None

    @property
    def state(self) -> str:
        """`error`, `empty`, `stale` or `good`."""
        if self.rows is None:
            return "error"
        if not self.rows.rows:
            return "empty"
        return "stale" if self.rows.problem else "good"


@dataclass(frozen=True)
class Range:
    """The filters of a page of figures."""

    first: date
    last: date
    category: str | None

    def query(self) -> dict[str, Any]:
        """As parameters of the queries."""
        return {"first": self.first, "last": self.last, "category": self.category}


class Around:
    """Around every answer of the pages, an error's too: the security headers, and how long the server took."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with the headers added."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                headers["Server-Timing"] = f"page;dur={(time.perf_counter() - started) * 1000:.1f}"
            await send(message)

        await self.app(scope, receive, send_with_headers)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.reader = Warehouse(Connections(settings.READER))
    app.state.inspector = Warehouse(Connections(settings.INSPECTOR))
    # Compressing the chart library and the first connection take a third of a second each: nobody should wait.
    app.state.warm_up = asyncio.gather(
        *(asyncio.to_thread(asset, name) for name in ASSETS),
        app.state.reader.rows("select 1"),
        app.state.inspector.rows("select 1"),
        return_exceptions=True,  # a warehouse that is away is told to those who ask for a page
    )
    yield
    await app.state.warm_up
    await app.state.reader.close()
    await app.state.inspector.close()


def create_app() -> FastAPI:
    """The application that the API server mounts; without FastAPI's own pages, which would ask no one who they are."""
    app = FastAPI(
        title="Shop",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_lifespan,
        dependencies=[Depends(may_read)],
        default_response_class=HTMLResponse,
    )
    app.add_middleware(Around)
    app.add_exception_handler(WarehouseAway, _warehouse_is_away)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)

    app.add_api_route("/", _home, methods=["GET"])
    app.add_api_route("/static/{digest}/{name}", _asset, methods=["GET"])
    app.add_api_route("/today", _today, methods=["GET"])
    app.include_router(router)
    for page in PAGES.values():
        app.add_api_route(f"/{page.name}", _figures_of(page), methods=["GET"], name=page.name)
        app.add_api_route(f"/{page.name}/{{figure}}.csv", _csv_of(page), methods=["GET"], name=f"{page.name}_csv")
    return app


# -- pages -------------------------------------------------------------------------------------------------------------


async def _home(request: Request) -> Response:
    return RedirectResponse(f"{request.scope['root_path']}/today")


async def _today(request: Request) -> HTMLResponse:
    shown = await today(request.app.state.reader, request.app.state.inspector)
    return render(request, "today.html", page="today", title="Today", today=shown, parts=shown.parts)


def _figures_of(page: Page) -> Any:
    async def figures(request: Request, first: str = "", last: str = "", category: str = "") -> HTMLResponse:
        reader: Warehouse = request.app.state.reader
        span, categories = await asyncio.gather(reader.rows(SPAN), reader.rows(CATEGORIES))
        ends = span.rows[0]
        if ends["last"] is None:
            return render(request, "empty.html", page=page.name, title=page.title, parts=(span,))
        chosen = _range(page, ends, first, last, category)
        shown = await asyncio.gather(*(_shown(reader, figure, chosen) for figure in page.figures))
        return render(
            request,
            "figures.html",
            page=page.name,
            title=page.title,
            lead=page.lead,
            takes_category=page.takes_category,
            chosen=chosen,
            span=ends,
            presets=_presets(ends, chosen),
            categories=[row["category_name"] for row in categories.rows],
            shown=shown,
            plots={one.figure.name: _plotted(one) for one in shown},
            parts=[one.rows for one in shown if one.rows],
        )

    return figures


def _csv_of(page: Page) -> Any:
    async def as_csv(request: Request, figure: str, first: str = "", last: str = "", category: str = "") -> Response:
        reader: Warehouse = request.app.state.reader
        found = page.figure(figure)
        if found is None:
            raise HTTPException(404, f"The page {page.title} has no figure {figure!r}.")
        span = await reader.rows(SPAN)
        if span.rows[0]["last"] is None:
            raise HTTPException(404, "Nothing has been published yet.")
        chosen = _range(page, span.rows[0], first, last, category)
        rows = await reader.rows(found.query, **chosen.query())
        name = f"{page.name}-{found.name}" + (f"-{chosen.first}-{chosen.last}" if found.takes_days else "")
        return csv_answer(name, found, rows)

    return as_csv


def csv_answer(name: str, figure: Figure, rows: Rows) -> Response:
    """The rows of a figure as a file; the headings are those of the query, which a program can rely on."""
    text = formats.csv_text(
        [column.name for column in figure.columns],
        ([row[column.name] for column in figure.columns] for row in rows.rows),
    )
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    if rows.problem:
        headers["X-Read-At"] = rows.read_at.isoformat()
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


async def _shown(reader: Warehouse, figure: Figure, chosen: Range) -> Shown:
    try:
        return Shown(figure, await reader.rows(figure.query, **chosen.query()))
    except WarehouseAway as error:
        return Shown(figure, None, str(error))


def _range(page: Page, ends: Row, first: str, last: str, category: str) -> Range:
    """
    What the reader chose, or the page's own range up to the as-of date.

    :raises HTTPException: 400, a day that is none, or a range that ends before it starts
    """
    end = parse_day("last day", last) or ends["last"]
    default = ends["first"] if page.days is None else max(ends["first"], end - timedelta(days=page.days - 1))
    start = parse_day("first day", first) or min(default, end)
    if start > end:
        raise HTTPException(400, f"The first day {start} is after the last day {end}.")
    return Range(start, end, category or None)


def _presets(ends: Row, chosen: Range) -> list[dict[str, Any]]:
    last: date = ends["last"]
    ranges = [("7 days", 7), ("30 days", 30), ("90 days", 90), ("1 year", 365)]
    presets = [(label, last - timedelta(days=days - 1), last) for label, days in ranges]
    presets.append(("All", ends["first"], last))
    return [
        {"label": label, "first": first, "last": end, "is_chosen": (first, end) == (chosen.first, chosen.last)}
        for label, first, end in presets
    ]


# -- assets ------------------------------------------------------------------------------------------------------------


async def _asset(request: Request, digest: str, name: str) -> Response:
    if name not in ASSETS:
        raise HTTPException(404, f"There is no file {name!r}.")
    found = await asyncio.to_thread(asset, name)
    headers = {"Vary": "Accept-Encoding", "ETag": f'"{found.digest}"'}
    # An address with another digest, of before an update or `latest`, gets the file as it is now, and asks again.
    headers["Cache-Control"] = "private, max-age=31536000, immutable" if digest == found.digest else "private, no-cache"
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.compressed, media_type=found.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(found.content, media_type=found.media_type, headers=headers)


# -- refusals ----------------------------------------------------------------------------------------------------------


async def _warehouse_is_away(request: Request, error: Exception) -> Response:
    return render(
        request, "message.html", 503, page="", title="The warehouse does not answer", detail=str(error), login=None
    )


async def _not_understood(request: Request, refused: Exception) -> Response:
    error = cast("RequestValidationError", refused)
    detail = "; ".join(f"{'.'.join(map(str, found['loc'][1:]))}: {found['msg']}" for found in error.errors())
    return render(request, "message.html", 400, page="", title="That was not understood", detail=detail, login=None)


_TITLES = {400: "That was not understood", 401: "Please log in", 403: "Not for you", 404: "There is no such page"}


async def _refused(request: Request, refused: Exception) -> Response:
    error = cast("StarletteHTTPException", refused)
    login = None
    if error.status_code == 401:
        login = get_auth_manager().get_url_login(next_url=str(request.url))
        return _outside(request, error, login)
    return render(
        request,
        "message.html",
        error.status_code,
        page="",
        title=_TITLES.get(error.status_code, "That did not work"),
        detail=str(error.detail),
        login=None,
    )


def _plotted(shown: Shown) -> dict[str, Any] | None:
    """The figure's chart, with the way that each point leads; None where there is none."""
    if shown.figure.draw is None or not shown.rows or not shown.rows.rows:
        return None
    return {"name": f"{shown.figure.name}", **literal(shown.figure.draw(shown.rows.rows))}


def _outside(request: Request, error: StarletteHTTPException, login: str) -> Response:
    """To someone who is not logged in: a page that needs no file, since files are not for them either."""
    html = templates().get_template("login.html").render(detail=str(error.detail), login=login)
    return HTMLResponse(html, status_code=error.status_code, headers=error.headers)
