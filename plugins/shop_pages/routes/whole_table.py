"""The whole table of any page, sorted, searched, narrowed and page by page, and the CSV file of exactly that."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from shop_pages import formats, limits
from shop_pages.airflow_access import CurrentUser
from shop_pages.cached_response import CachedResponse, respond
from shop_pages.downloads import Downloads, csv_download
from shop_pages.figures import FigureColumn, PageTable
from shop_pages.formats import Format, format_value
from shop_pages.pool import WarehouseUnavailable
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import render, render_table
from shop_pages.tables import PlacedTable, choice_of, chosen_rows, describe_order, page_of_rows

CSV = "text/csv; charset=utf-8"


def add_table_routes(router: APIRouter, path: str, place: Callable[..., Awaitable[PlacedTable]]) -> None:
    """
    The addresses of the tables of a page: `path/table` and `path.csv`.

    :param path: that of the table, such as `/status/{table}`
    :param place: finds the table of an address, as a dependency of FastAPI; raises HTTPException if there is none
    """

    async def get_table(request: Request, placed: PlacedTable = Depends(place)) -> Response:  # noqa: B008
        inspector: Warehouse = request.app.state.inspector
        return await render_whole_table(request, inspector, placed)

    async def get_csv(
        request: Request,
        user: CurrentUser,
        placed: PlacedTable = Depends(place),  # noqa: B008
    ) -> Response:
        return await _send_csv(request, placed, str(user.get_id()))

    name = re.sub(r"\W+", "_", path).strip("_")
    router.get(f"{path}/table", name=f"{name}_table")(get_table)
    router.get(f"{path}.csv", name=f"{name}_csv")(get_csv)


async def render_whole_table(
    request: Request,
    warehouse: Warehouse,
    placed: PlacedTable,
    *,
    columns: Sequence[FigureColumn] | None = None,
) -> Response:
    """
    The page of a table.

    :param columns: those that are shown, if that is not all
    """
    table = placed.table
    choice = choice_of(table, request)
    query, all_rows = page_of_rows(table, choice), chosen_rows(table, choice)
    rows: Rows | None = None
    row_count, problem, is_too_long = 0, "", False
    try:
        is_too_long = not (choice.is_default and placed.has_index) and await is_longer(warehouse, placed, placed.most)
        if not is_too_long:
            read = warehouse.first_rows_now if placed.is_now else warehouse.first_rows
            rows = await read(query, limits.PAGE_ROWS, **placed.values(choice, query))
            row_count = (choice.page - 1) * limits.PAGE_ROWS + len(rows.rows)
            if rows.is_truncated or choice.page > 1:
                row_count = await warehouse.count(all_rows, **placed.values(choice, all_rows))
    except WarehouseUnavailable as error:
        problem = str(error)
    shown = rows.rows if rows else []
    if placed.complete and shown:
        shown = await placed.complete(request, shown)
    columns_by_name = {column.name: column for column in table.columns}
    chosen = dict(parse_qsl(urlsplit(placed.path_of(choice)).query, keep_blank_values=True))
    return await render(
        request,
        "table.html",
        parts=[rows] if rows else [],
        page=placed.page,
        title=f"{table.title}, table",
        placed=placed,
        choice=choice,
        kept={name: value for name, value in chosen.items() if name not in ("search", *placed.inputs)},
        narrowed=[
            (column.label, format_value(value, column.format) if column.format is Format.NAME else value, path)
            for name, value in choice.only.items()
            for column, path in [(columns_by_name[name], placed.path_of(choice.without(name)))]
        ],
        table=render_table(request.scope["root_path"], placed, shown, choice, columns),
        first_row=(choice.page - 1) * limits.PAGE_ROWS + 1,
        shown=len(shown),
        row_count=row_count,
        has_more=bool(rows and rows.is_truncated),
        sorted_by=describe_order(table, choice),
        problem=problem,
        most=placed.most if is_too_long else None,
    )


async def is_longer(warehouse: Warehouse, placed: PlacedTable, most: int | None) -> bool:
    """Whether a table has more rows than these; they are counted no further."""
    if most is None:
        return False
    query = f"select from (\n{placed.table.query}\n) as result limit %(most_counted)s"
    return await warehouse.count(query, **placed.parameters, most_counted=most + 1) > most


def csv_of(table: PageTable, rows: Rows) -> str:
    """Rows as CSV. The headings are the columns of the query, so that programs can rely on them."""
    names = [column.name for column in table.queried_columns]
    return formats.csv_text(names, ([row[name] for name in names] for row in rows.rows))


async def _send_csv(request: Request, placed: PlacedTable, user: str) -> Response:
    inspector: Warehouse = request.app.state.inspector
    downloads: Downloads = request.app.state.inspector_downloads
    table = placed.table
    choice = choice_of(table, request)
    query = chosen_rows(table, choice)
    values = placed.values(choice, query)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{placed.path.strip('/')}")
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    # Many rows are not sorted twice.
    if await is_longer(inspector, placed, limits.PAGE_ROWS):
        header = [column.name for column in table.queried_columns]
        return await csv_download(downloads, query, values, header, headers, user=user)
    rows = await inspector.first_rows(query, limits.PAGE_ROWS, **values)
    return respond(request, CachedResponse.compress(csv_of(table, rows).encode(), CSV), headers)
