"""The pages' application: its routes, which all ask who is there, and what goes around every answer."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

from airflow.api_fastapi.app import get_auth_manager
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop_pages import formats, limits
from shop_pages.access import may_read
from shop_pages.cached_response import KeptPages, answer
from shop_pages.figures import TABLE_ROWS, Figure, Page
from shop_pages.pages import CATEGORIES, PAGES, SPAN
from shop_pages.queries import Answers, Connections, Row, Rows, Warehouse, WarehouseAway
from shop_pages.rendering import ASSETS, asset, embedded, kept, literal, parse_day, render, table, templates
from shop_pages.routes import router
from shop_pages.today import read, shown_at


def _policy(style_elements: str = "", style_attributes: str = "'none'") -> str:
    """No script and no style but the files of this package; no other site, neither to load from nor to be framed by."""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; style-src-elem 'self'{style_elements};"
        f" style-src-attr {style_attributes}; img-src 'self' data: blob:; font-src 'self'; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    )


def _hash_of(style: str) -> str:
    return f" 'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"


SECURITY_HEADERS = {
    "Content-Security-Policy": _policy(),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

#: Of pages with charts: Plotly fills a style element that is empty when it is made, and writes style attributes.
WITH_CHARTS = {"Content-Security-Policy": _policy(_hash_of(""), "'unsafe-inline'")}

_LOGIN_STYLE = "body { font: 1rem/1.5 system-ui, sans-serif; max-width: 30rem; margin: 20vh auto; padding: 0 1rem }"


@dataclass(frozen=True)
class Shown:
    """A figure with what was read for it, or why it was not."""

    figure: Figure
    rows: Rows | None
    drawn_of: Rows | None = None
    problem: str | None = None

    @property
    def state(self) -> str:
        """`error`, `empty`, `stale` or `good`."""
        if self.rows is None:
            return "error"
        if not self.rows.rows:
            return "empty"
        return "stale" if self.rows.problem else "good"

    @property
    def number(self) -> int:
        """How many rows the table has, of which the page may have read only those it shows."""
        if self.figure.chart is not None and self.drawn_of and self.drawn_of.rows:
            return int(self.drawn_of.rows[0][TABLE_ROWS])
        return len(self.rows.rows) if self.rows else 0

    @property
    def plot(self) -> Markup | None:
        """The figure's chart as the page embeds it, with the way that each point leads; None where there is none."""
        draw, drawn_of = self.figure.draw, self.drawn_of
        if draw is None or drawn_of is None or not drawn_of.rows:
            return None
        name = self.figure.name
        return drawn_of.made(("plot", name), lambda rows: embedded(literal({"name": name, **draw(rows)})))

    def table(self, base: str) -> Markup:
        """As many of its rows as a page shows."""
        figure = self.figure
        if self.rows is None:
            return Markup()
        return self.rows.made(("table", figure.name, base), lambda rows: table(figure, rows[: limits.PAGE_ROWS], base))


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
    answers: Answers = {}
    app.state.reader = Warehouse(Connections(limits.READER, answers=answers), is_of_marts=True)
    app.state.inspector = Warehouse(Connections(limits.INSPECTOR, answers=answers))
    app.state.pages = KeptPages()
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
    # Last: what is no address is told to those who may see the others, and to no one else.
    app.add_api_route("/{path:path}", _nowhere, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    return app


# -- pages -------------------------------------------------------------------------------------------------------------


async def _home(request: Request) -> Response:
    return RedirectResponse(f"{request.scope['root_path']}/today")


async def _nowhere(path: str) -> Response:
    raise HTTPException(404, f"There is no page {path!r}.")


async def _today(request: Request) -> Response:
    reading = await read(request.app.state.reader, request.app.state.inspector)
    now = datetime.now(UTC)

    def values() -> dict[str, Any]:
        return {"page": "today", "title": "Today", "today": shown_at(now, reading)}

    if reading.gaps:
        return render(request, "today.html", parts=reading.parts, **values())
    # It says how long ago things were, to the minute.
    return kept(request, "today.html", reading.parts, f"{now:%d %H:%M}", values)


def _figures_of(page: Page) -> Any:
    async def figures(request: Request, first: str = "", last: str = "", category: str = "") -> Response:
        reader: Warehouse = request.app.state.reader
        span, categories = await asyncio.gather(reader.rows(SPAN), reader.rows(CATEGORIES))
        ends = span.rows[0]
        if ends["last"] is None:
            return render(request, "empty.html", page=page.name, title=page.title, parts=(span,))
        chosen = _range(page, ends, first, last, category)
        shown = await asyncio.gather(*(_shown(reader, figure, chosen) for figure in page.figures))
        parts = [rows for one in shown for rows in (one.rows, one.drawn_of) if rows]

        def values() -> dict[str, Any]:
            return {
                "page": page.name,
                "title": page.title,
                "lead": page.lead,
                "takes_category": page.takes_category,
                "chosen": chosen,
                "span": ends,
                "presets": _presets(ends, chosen),
                "categories": [row["category_name"] for row in categories.rows],
                "shown": shown,
            }

        if any(one.problem for one in shown):
            answered = render(request, "figures.html", parts=parts, **values())
        else:
            answered = kept(request, "figures.html", [span, categories, *parts], (page.name, chosen), values)
        answered.headers.update(WITH_CHARTS)
        return answered

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
        # Those of the page's table, where it has read them all.
        rows = await reader.rows(found.query, cap=found.page_rows, **_given(found.query, chosen))
        if rows.is_cut and found.page_rows < limits.ROW_CAP:
            rows = await reader.rows(found.query, **_given(found.query, chosen))
        name = f"{page.name}-{found.name}" + (f"-{chosen.first}-{chosen.last}" if found.takes_days else "")
        headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
        if rows.problem:
            headers |= {"X-Read-At": rows.read_at.isoformat(), "Cache-Control": "no-store"}
        written = request.app.state.pages.of(
            (page.name, found.name, chosen), [rows], lambda: _csv(found, rows), "text/csv; charset=utf-8"
        )
        return answer(request, written, headers)

    return as_csv


def _csv(figure: Figure, rows: Rows) -> str:
    """The rows of a figure as a file; the headings are those of the query, which a program can rely on."""
    return formats.csv_text(
        [column.name for column in figure.columns],
        ([row[column.name] for column in figure.columns] for row in rows.rows),
    )


async def _shown(reader: Warehouse, figure: Figure, chosen: Range) -> Shown:
    async def asked(query: str, cap: int = limits.ROW_CAP) -> Rows:
        return await reader.rows(query, cap=cap, **_given(query, chosen))

    try:
        if figure.chart is None:
            rows = await asked(figure.query)
            return Shown(figure, rows, rows)
        return Shown(figure, *await asyncio.gather(asked(figure.query, figure.page_rows), asked(figure.chart)))
    except WarehouseAway as error:
        return Shown(figure, None, problem=str(error))


def _given(query: str, chosen: Range) -> dict[str, Any]:
    """What was chosen, as far as a query asks for it: what it does not ask for makes no other question of it."""
    return {name: value for name, value in chosen.query().items() if f"%({name})s" in query}


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
    # An address with another digest, of before an update or `latest`, gets the file as it is now, and asks again.
    caching = "private, max-age=31536000, immutable" if digest == found.digest else "private, no-cache"
    return answer(request, found, {"Cache-Control": caching, "Vary": "Accept-Encoding"})


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


def _outside(request: Request, error: StarletteHTTPException, login: str) -> Response:
    """To someone who is not logged in: a page that needs no file, since files are not for them either."""
    html = templates().get_template("login.html").render(detail=str(error.detail), login=login, style=_LOGIN_STYLE)
    headers = {**(error.headers or {}), "Content-Security-Policy": _policy(_hash_of(_LOGIN_STYLE))}
    return HTMLResponse(html, status_code=error.status_code, headers=headers)
