"""The pages of figures, `/revenue` and the others of `PAGES`, and each figure as a CSV file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from markupsafe import Markup

from ecommerce.common.sources import FILLED_BY
from shop_pages import formats, limits
from shop_pages.absent_sources import absences
from shop_pages.airflow_access import CurrentUser
from shop_pages.cached_response import ResponseCache, respond
from shop_pages.charts import colours_of, describe_parts, with_titles
from shop_pages.columns import currency
from shop_pages.day_marks import DayMark, marks_of, read_marks
from shop_pages.downloads import Downloads, csv_download
from shop_pages.figures import Figure, FigureColumn, FigurePage
from shop_pages.filters import GRAINS, Days, Filters, filters_of, presets, read_days
from shop_pages.page_totals import PageTotals, read_totals
from shop_pages.pages import CATEGORIES, PAGES
from shop_pages.pages.review import REVIEW
from shop_pages.pages.shared import SEGMENTS
from shop_pages.pool import NotBuiltYet, Row, WarehouseUnavailable
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import embed_json, escape_texts, render, render_cached, render_table
from shop_pages.routes.whole_table import CSV, csv_of, render_whole_table
from shop_pages.security import CHART_HEADERS
from shop_pages.tables import PlacedTable, TableChoice, choice_of, chosen_rows, parameters_of

router = APIRouter()


@dataclass(frozen=True)
class RenderedFigure:
    """
    A figure with its rows, or with the reason why they could not be read.

    :param absences: the sources that the shop does not have, each with a sentence that says so
    :param rows: the rows of the table, which may be the first of more
    :param row_count: the number of all rows of the table
    :param chart_rows: the rows that the chart is drawn from
    :param totals: the row of totals
    :param names: all names that its series can have
    :param marks: what is drawn on its axis of time
    :param is_built: the mart is there
    """

    figure: Figure
    absences: Mapping[str, str]
    rows: Rows | None
    row_count: int = 0
    chart_rows: Rows | None = None
    totals: Rows | None = None
    names: Rows | None = None
    marks: Sequence[DayMark] = ()
    problem: str | None = None
    is_built: bool = True

    @property
    def parts(self) -> Sequence[Rows]:
        """All results that it shows."""
        return [rows for rows in (self.rows, self.chart_rows, self.totals, self.names) if rows]

    @property
    def state(self) -> str:
        """`unbuilt`, `error`, `empty`, `stale` or `good`."""
        if self.rows is None:
            return "error" if self.is_built else "unbuilt"
        if not self.rows.rows:
            return "empty"
        return "stale" if any(part.problem for part in self.parts) else "good"

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
        """The totals of all rows; empty for none."""
        if self.figure.summarize is None or self.totals is None or not self.rows or not self.rows.rows:
            return ""
        return self.figure.summarize(self.totals.rows[0])

    @property
    def table_title(self) -> str:
        """`12 rows`, or which rows of how many the table shows: `the first 100 of 4,312 rows, by revenue`."""
        shown = len(self.rows.rows) if self.rows else 0
        text = formats.describe_part(shown, self.row_count, sorted_by=self.figure.sorted_by)
        return text if shown == self.row_count else f"{text}; the CSV has all"

    @cached_property
    def chart(self) -> Markup | None:
        """The chart as JSON in the page; None for a figure without a chart or without rows."""
        chart_rows = self.chart_rows
        if chart_rows is None or not chart_rows.rows:
            return None
        names = tuple(row["name"] for row in self.names.rows) if self.names else ()
        marks = tuple(self.marks)
        # Not kept with the rows: those outlive the address, whose marks and links it has.
        return self._draw(chart_rows.rows, names, marks)

    @property
    def chart_parts(self) -> str:
        """The line below the chart: what it has added up or left out; empty for nothing."""
        if self.chart is None or self.chart_rows is None:
            return ""
        rows = self.chart_rows.rows
        # A unit that the reader has chosen is no surprise.
        expected_unit = rows[0]["unit"] if self.figure.takes("grain") else self.figure.row_unit
        return describe_parts(rows, self.figure.series, expected_unit)

    def table(self, base: str, page: FigurePage, filters: Filters) -> Markup:
        """The table, whose headings lead to the whole one."""
        if self.rows is None:
            return Markup()
        placed = _placed(page, self.figure, filters)
        return render_table(base, placed, self.rows.rows, TableChoice(), self.columns)

    def _draw(self, rows: list[Row], names: Sequence[Any], marks: Sequence[DayMark]) -> Markup:
        figure = self.figure
        if figure.draw is None:
            return Markup()
        # A point of a week or a quarter is no row of a table by day, even if a row has its first day.
        is_row = rows[0].get("unit", figure.row_unit) == figure.row_unit
        drawn = figure.draw(rows)
        # Addresses are no texts that Plotly shows.
        links = {"links": drawn["links"]} if "links" in drawn else {}
        plot = escape_texts(
            with_titles(
                drawn,
                rows,
                measure=figure.measure,
                measured_in=figure.measured_in,
                names=figure.names,
                lines=figure.lines,
                unit=figure.row_unit,
                currency=currency(),
            )
        )
        shown_marks = marks_of(marks, plot) if plot["layout"].get("xaxis", {}).get("type") == "date" else []
        return embed_json(
            {
                "name": figure.name,
                "is_row": is_row,
                "colours": colours_of(plot, escape_texts(list(names))),
                "marks": escape_texts(shown_marks),
                **{name: part for name, part in plot.items() if name != "links"},
                **links,
            }
        )


@dataclass(frozen=True)
class ReadFigures:
    """
    The figures of a page, read for the days and the other choices of an address.

    :param other_parts: results that the page's filters show
    :param notice: what is wrong with what the page needs besides the warehouse
    """

    page: FigurePage
    days: Days
    filters: Filters
    figures: Sequence[RenderedFigure]
    categories: Rows
    totals: PageTotals | None
    other_parts: Sequence[Rows]
    notice: str

    @property
    def parts(self) -> list[Rows]:
        """All results that the figures show."""
        totals = [self.totals.rows] if self.totals and self.totals.rows else []
        return [*totals, *(rows for figure in self.figures for rows in figure.parts)]

    def values(self) -> dict[str, Any]:
        """The values of the template `figures.html`."""
        page, days, filters = self.page, self.days, self.filters
        return {
            "page": page.name,
            "figure_page": page,
            "title": page.title,
            "lead": page.lead,
            "notice": self.notice,
            "grains": GRAINS if page.takes("grain") else {},
            "takes_category": page.takes("category"),
            "segments": SEGMENTS if page.takes("segment") else (),
            "takes_product": page.takes("product"),
            "filters": filters,
            "days": days,
            "shows_earlier_days": _begins_with_first_day(page, days, filters),
            "presets": presets(days, filters),
            "categories": [row["category_name"] for row in self.categories.rows],
            "figures": self.figures,
            "totals": self.totals,
        }


async def read_figure_page(request: Request, page: FigurePage) -> tuple[ReadFigures | None, Sequence[Rows]]:
    """The figures of a page, None before the first publication; and the rows that say of which days there are any."""
    reader: Warehouse = request.app.state.reader
    (days, day_parts), categories = await asyncio.gather(read_days(reader), reader.rows(CATEGORIES))
    if days is None:
        return None, day_parts
    filters = filters_of(page, days, request)
    absent, notice = absences(), page.notice()
    (totals, marks), read = await asyncio.gather(
        asyncio.gather(
            read_totals(reader, page, filters),
            read_marks(request.app.state.inspector, filters.first, filters.last),
        ),
        asyncio.gather(*(_read_figure(reader, figure, filters, absent) for figure in page.figures)),
    )
    figures = [replace(figure, marks=marks) for figure in read]
    return ReadFigures(page, days, filters, figures, categories, totals, [*day_parts, categories], notice), day_parts


def _page_route(page: FigurePage) -> Callable[..., Awaitable[Response]]:
    async def get_figure_page(request: Request) -> Response:
        read, day_parts = await read_figure_page(request, page)
        if read is None:
            return await render(request, "empty.html", page=page.name, title=page.title, parts=day_parts)
        if any(figure.problem for figure in read.figures) or (read.totals and read.totals.problem):
            response = await render(request, "figures.html", parts=read.parts, **read.values())
        else:
            marks = read.figures[0].marks
            key = (page.name, read.filters, read.days, read.notice, tuple(marks))
            parts = [*read.other_parts, *read.parts]
            response = await render_cached(request, "figures.html", parts, key, read.values)
        response.headers.update(CHART_HEADERS)
        return response

    return get_figure_page


def _begins_with_first_day(page: FigurePage, days: Days, filters: Filters) -> bool:
    """Whether the page shows all days, or a figure of all days, without the orders before the first loaded day."""
    shows_all_days = filters.first == days.first or page.takes("since")
    return days.earlier_days > 0 and filters.since == days.covered_first and shows_all_days


def _csv_route(page: FigurePage) -> Callable[..., Awaitable[Response]]:
    async def get_figure_csv(request: Request, figure: str, user: CurrentUser) -> Response:
        reader: Warehouse = request.app.state.reader
        cache: ResponseCache = request.app.state.responses
        downloads: Downloads = request.app.state.downloads
        found = page.figure(figure)
        if found is None:
            raise HTTPException(404, f"The page {page.title} has no figure {figure!r}.")
        days, _ = await read_days(reader)
        if days is None:
            raise HTTPException(404, "Nothing has been published yet.")
        filters, choice = filters_of(page, days, request), choice_of(found, request)
        if choice.is_default:
            query, rows = found.download_query, await _first_rows(reader, found, filters)
        else:
            query = chosen_rows(found, choice)
            rows = await reader.first_rows(query, limits.PAGE_ROWS, **_parameters(filters, choice, query))
        headers = _csv_headers(page, found, filters, rows)
        if rows.is_truncated:
            header = [column.name for column in found.columns]
            return await csv_download(
                downloads, query, _parameters(filters, choice, query), header, headers, user=str(user.get_id())
            )
        # All rows, which the page has read, too.
        key = (page.name, found.name, filters, *choice.address.items())
        cached = await cache.get_or_render(key, [rows], lambda: csv_of(found, rows), CSV)
        return respond(request, cached, headers)

    return get_figure_csv


def _parameters(filters: Filters, choice: TableChoice, query: str) -> dict[str, Any]:
    return filters.parameters(query) | parameters_of(choice, query)


def _table_route(page: FigurePage) -> Callable[..., Awaitable[Response]]:
    async def get_figure_table(request: Request, figure: str) -> Response:
        """The table of a figure: sorted, searched, narrowed to values, and page by page."""
        reader: Warehouse = request.app.state.reader
        found = page.figure(figure)
        if found is None:
            raise HTTPException(404, f"The page {page.title} has no figure {figure!r}.")
        days, day_parts = await read_days(reader)
        if days is None:
            return await render(request, "empty.html", page=page.name, title=page.title, parts=day_parts)
        filters = filters_of(page, days, request)
        columns = [column for column in found.columns if column.source not in absences()]
        placed = _placed(page, found, filters)
        return await render_whole_table(request, reader, placed, columns=columns)

    return get_figure_table


def _placed(page: FigurePage, figure: Figure, filters: Filters) -> PlacedTable:
    """The table of a figure, for the filters of its page."""
    address = filters.address(page)
    back = f"/{page.name}?{urlencode(address)}"
    of_choices = {name: getattr(filters, name) for name in ("category", "segment", "product") if figure.takes(name)}
    days = [f"{formats.day(filters.first)} to {formats.day(filters.last)}"] if figure.takes_days else []
    return PlacedTable(
        table=figure,
        path=f"/{page.name}/{figure.name}",
        crumbs=((page.title, back), (figure.title, f"{back}#{figure.name}")),
        address={name: str(value) for name, value in address.items()},
        parameters=filters.parameters(figure.query),
        page=page.name,
        lead=figure.question,
        tags=[*days, *(value for value in of_choices.values() if value)],
        definition=f"/metrics#{figure.mart}",
        most=None,
    )


for _page in PAGES.values():
    # The page Review has a route of its own, `review_pages`.
    if _page is not REVIEW:
        router.get(f"/{_page.name}", name=_page.name)(_page_route(_page))
    router.get(f"/{_page.name}/{{figure}}.csv", name=f"{_page.name}_csv")(_csv_route(_page))
    router.get(f"/{_page.name}/{{figure}}/table", name=f"{_page.name}_table")(_table_route(_page))


# -- reading -----------------------------------------------------------------------------------------------------------


async def _read_figure(
    reader: Warehouse, figure: Figure, filters: Filters, absent: Mapping[str, str]
) -> RenderedFigure:
    async def read(query: str | None) -> Rows | None:
        return await reader.rows(query, **filters.parameters(query)) if query else None

    try:
        rows, chart_rows, totals, names = await asyncio.gather(
            _first_rows(reader, figure, filters),
            read(figure.chart_query),
            read(figure.summary_query),
            read(figure.names_query),
        )
        row_count = len(rows.rows)
        if rows.is_truncated and figure.draws_first_rows:
            row_count = rows.rows[0]["ranked_count"]
        elif rows.is_truncated:
            row_count = await reader.count(figure.query, **filters.parameters(figure.query))
        if figure.draw is not None and figure.chart_query is None:
            is_read = figure.draws_first_rows or not rows.is_truncated
            chart_rows = rows if is_read else await read(figure.query)
        return RenderedFigure(figure, absent, rows, row_count, chart_rows, totals, names)
    except NotBuiltYet:
        return RenderedFigure(figure, absent, None, is_built=False)
    except WarehouseUnavailable as error:
        return RenderedFigure(figure, absent, None, problem=str(error))


async def _first_rows(reader: Warehouse, figure: Figure, filters: Filters) -> Rows:
    """The rows that a table shows."""
    query, n = figure.table_query, limits.PAGE_ROWS
    parameters = filters.parameters(query)
    if "%(page_rows)s" in query:
        # One more, which says that there are more.
        parameters["page_rows"] = n + 1
    return await reader.first_rows(query, n, **parameters)


# -- CSV ---------------------------------------------------------------------------------------------------------------


def _csv_headers(page: FigurePage, figure: Figure, filters: Filters, rows: Rows) -> dict[str, str]:
    name = f"{page.name}-{figure.name}" + (f"-{filters.first}-{filters.last}" if figure.takes_days else "")
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    if rows.problem and not rows.is_truncated:
        headers |= {"X-Read-At": rows.read_at.isoformat(), "Cache-Control": "no-store"}
    return headers
