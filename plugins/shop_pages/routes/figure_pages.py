"""The pages of figures, `/revenue` and the others of `PAGES`, and each figure as a CSV file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from markupsafe import Markup

from ecommerce.common.sources import FILLED_BY
from shop_pages import formats, limits
from shop_pages.absent_sources import absences
from shop_pages.cached_response import ResponseCache, respond
from shop_pages.figures import TABLE_ROWS, Figure, FigureColumn, FigurePage
from shop_pages.pages import CATEGORIES, DAY_RANGE, PAGES
from shop_pages.pool import Row, WarehouseUnavailable
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import embed_json, escape_texts, parse_day, render, render_cached, render_table
from shop_pages.security import CHART_HEADERS

router = APIRouter()

_PRESETS = {"7 days": 7, "30 days": 30, "90 days": 90, "1 year": 365}


@dataclass(frozen=True)
class Filters:
    """The filters of a page of figures; both days are included."""

    first: date
    last: date
    category: str | None

    def parameters(self, query: str) -> dict[str, Any]:
        """The parameters that a query has: a filter it does not use must not make it a different query."""
        parameters = {"first": self.first, "last": self.last, "category": self.category}
        return {name: value for name, value in parameters.items() if f"%({name})s" in query}


@dataclass(frozen=True)
class RenderedFigure:
    """
    A figure with its rows, or with the reason why they could not be read.

    :param absences: the sources that the shop does not have, each with a sentence that says so
    :param chart_rows: the rows that the chart is drawn from; those of the table unless the figure has a query for it
    """

    figure: Figure
    absences: Mapping[str, str]
    rows: Rows | None
    chart_rows: Rows | None = None
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
    def absence(self) -> str | None:
        """Why it has no rows, if the shop does not have its source."""
        return self.absences.get(self.figure.source or FILLED_BY.get(self.figure.mart, ""))

    @property
    def columns(self) -> list[FigureColumn]:
        """The columns of the table: those that the shop has a source for."""
        return [column for column in self.figure.columns if column.source not in self.absences]

    @property
    def help(self) -> str:
        """What its words mean, and why it has fewer columns than another shop's."""
        sources = {column.source for column in self.figure.columns}
        missing = (sentence for source, sentence in self.absences.items() if source in sources)
        return " ".join(filter(None, (self.figure.help, *(column.help for column in self.columns), *missing)))

    @property
    def summary(self) -> str:
        """The totals of its rows; empty if not all of them were read."""
        if self.figure.summarize is None or self.rows is None or not self.rows.rows or self.rows.is_truncated:
            return ""
        return self.figure.summarize(self.rows.rows)

    @property
    def row_count(self) -> int:
        """Rows of the figure, of which the page may have read only those that its table shows."""
        if self.figure.chart_query is not None and self.chart_rows and self.chart_rows.rows:
            return int(self.chart_rows.rows[0][TABLE_ROWS])
        return len(self.rows.rows) if self.rows else 0

    @property
    def chart(self) -> Markup | None:
        """The chart as JSON in the page; None for a figure without a chart or without rows."""
        name, draw, chart_rows = self.figure.name, self.figure.draw, self.chart_rows
        if draw is None or chart_rows is None or not chart_rows.rows:
            return None
        return chart_rows.derive(("chart", name), lambda rows: embed_json(escape_texts({"name": name, **draw(rows)})))

    def table(self, base: str) -> Markup:
        """The table, with the rows that a page shows."""
        figure = self.figure
        if self.rows is None:
            return Markup()
        columns = self.columns
        return self.rows.derive(
            ("table", figure.name, base, *columns),
            lambda rows: render_table(figure, columns, rows[: limits.PAGE_ROWS], base),
        )


def _page_route(page: FigurePage) -> Callable[..., Awaitable[Response]]:
    async def get_figure_page(request: Request, first: str = "", last: str = "", category: str = "") -> Response:
        reader: Warehouse = request.app.state.reader
        day_range, categories = await asyncio.gather(reader.rows(DAY_RANGE), reader.rows(CATEGORIES))
        days = day_range.rows[0]
        if days["last"] is None:
            return render(request, "empty.html", page=page.name, title=page.title, parts=(day_range,))
        filters = _parse_filters(page, days, first, last, category)
        absent = absences()
        figures = await asyncio.gather(*(_read_figure(reader, figure, filters, absent) for figure in page.figures))
        parts = [rows for figure in figures for rows in (figure.rows, figure.chart_rows) if rows]

        def values() -> dict[str, Any]:
            return {
                "page": page.name,
                "title": page.title,
                "lead": page.lead,
                "takes_category": page.takes_category,
                "filters": filters,
                "days": days,
                "presets": _presets(days, filters),
                "categories": [row["category_name"] for row in categories.rows],
                "figures": figures,
            }

        if any(figure.problem for figure in figures):
            response = render(request, "figures.html", parts=parts, **values())
        else:
            key = (page.name, filters)
            response = render_cached(request, "figures.html", [day_range, categories, *parts], key, values)
        response.headers.update(CHART_HEADERS)
        return response

    return get_figure_page


def _csv_route(page: FigurePage) -> Callable[..., Awaitable[Response]]:
    async def get_figure_csv(
        request: Request, figure: str, first: str = "", last: str = "", category: str = ""
    ) -> Response:
        reader: Warehouse = request.app.state.reader
        cache: ResponseCache = request.app.state.responses
        found = page.figure(figure)
        if found is None:
            raise HTTPException(404, f"The page {page.title} has no figure {figure!r}.")
        day_range = await reader.rows(DAY_RANGE)
        if day_range.rows[0]["last"] is None:
            raise HTTPException(404, "Nothing has been published yet.")
        filters = _parse_filters(page, day_range.rows[0], first, last, category)
        rows = await _read_all_rows(reader, found, filters)
        key = (page.name, found.name, filters)
        cached = cache.get_or_render(key, [rows], lambda: _csv(found, rows), "text/csv; charset=utf-8")
        return respond(request, cached, _csv_headers(page, found, filters, rows))

    return get_figure_csv


for _page in PAGES.values():
    router.get(f"/{_page.name}", name=_page.name)(_page_route(_page))
    router.get(f"/{_page.name}/{{figure}}.csv", name=f"{_page.name}_csv")(_csv_route(_page))


# -- reading -----------------------------------------------------------------------------------------------------------


async def _read_figure(
    reader: Warehouse, figure: Figure, filters: Filters, absent: Mapping[str, str]
) -> RenderedFigure:
    async def read(query: str, cap: int = limits.ROW_CAP) -> Rows:
        return await reader.rows(query, cap=cap, **filters.parameters(query))

    try:
        if figure.chart_query is None:
            rows = await read(figure.query)
            return RenderedFigure(figure, absent, rows, rows)
        rows, chart_rows = await asyncio.gather(read(figure.query, figure.page_rows), read(figure.chart_query))
        return RenderedFigure(figure, absent, rows, chart_rows)
    except WarehouseUnavailable as error:
        return RenderedFigure(figure, absent, None, problem=str(error))


async def _read_all_rows(reader: Warehouse, figure: Figure, filters: Filters) -> Rows:
    """The rows of a figure up to the cap; the page's own result, if that has all of them."""
    parameters = filters.parameters(figure.query)
    rows = await reader.rows(figure.query, cap=figure.page_rows, **parameters)
    if rows.is_truncated and figure.page_rows < limits.ROW_CAP:
        rows = await reader.rows(figure.query, **parameters)
    return rows


# -- filters -----------------------------------------------------------------------------------------------------------


def _parse_filters(page: FigurePage, days: Row, first: str, last: str, category: str) -> Filters:
    """
    The filters of an address; without days, the page's own range up to the as-of date.

    :raises HTTPException: 400, a text that is no day, or a range that ends before it starts
    """
    end = parse_day("last day", last) or days["last"]
    default = days["first"] if page.days is None else max(days["first"], end - timedelta(days=page.days - 1))
    start = parse_day("first day", first) or min(default, end)
    if start > end:
        raise HTTPException(400, f"The first day {start} is after the last day {end}.")
    return Filters(start, end, category or None)


def _presets(days: Row, filters: Filters) -> list[dict[str, Any]]:
    """The ranges that a reader can choose with one click."""
    last: date = days["last"]
    ranges = {label: last - timedelta(days=length - 1) for label, length in _PRESETS.items()}
    ranges["All"] = days["first"]
    return [
        {"label": label, "first": first, "last": last, "is_current": (first, last) == (filters.first, filters.last)}
        for label, first in ranges.items()
    ]


# -- CSV ---------------------------------------------------------------------------------------------------------------


def _csv(figure: Figure, rows: Rows) -> str:
    """The rows of a figure as CSV. The headings are the columns of the query, so that programs can rely on them."""
    return formats.csv_text(
        [column.name for column in figure.columns],
        ([row[column.name] for column in figure.columns] for row in rows.rows),
    )


def _csv_headers(page: FigurePage, figure: Figure, filters: Filters, rows: Rows) -> dict[str, str]:
    name = f"{page.name}-{figure.name}" + (f"-{filters.first}-{filters.last}" if figure.takes_days else "")
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    if rows.problem:
        headers |= {"X-Read-At": rows.read_at.isoformat(), "Cache-Control": "no-store"}
    return headers
