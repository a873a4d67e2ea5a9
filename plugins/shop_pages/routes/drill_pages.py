"""The pages behind a figure: a row of a mart with its facts, a fact with its raw rows, and a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response

from shop_pages.absent_sources import absence_of
from shop_pages.columns import heading_of
from shop_pages.drill import (
    BATCH_QUERY,
    DRILL_PATHS,
    FACT_ROWS,
    FACTS,
    OFFSETS_QUERY,
    REJECTED_FOR_REASON,
    REJECTED_ROWS_QUERY,
    TOTAL_FORMATS,
    VERSION_QUERIES,
    VERSION_ROWS,
    Fact,
    FactRows,
    batch_path,
    keys_of,
)
from shop_pages.figures import FigureColumn
from shop_pages.limits import LAST_TABLE_PAGE, PAGE_ROWS
from shop_pages.pages.shared import customer_path
from shop_pages.pool import Row
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import parse_day, render, render_cached
from shop_pages.routes.optional import rows_or_problem
from shop_pages.why import why_revenue_moved

router = APIRouter()

#: A line of an order: what Postgres can compare with an integer.
_Page = Annotated[int, Query(ge=1, le=LAST_TABLE_PAGE)]
_Line = Annotated[int | None, Query(ge=0, le=2_147_483_647)]


@router.get("/rows/{mart}", name="rows")
async def get_mart_row(request: Request, mart: str) -> Response:
    """A row of a mart, the fact rows it was computed from, and the refunds that it subtracts."""
    path = DRILL_PATHS.get(mart)
    if path is None:
        raise HTTPException(404, f"There is no mart {mart!r} with facts behind its rows.")
    reader, inspector = request.app.state.reader, request.app.state.inspector
    keys = keys_of(path, request.query_params)
    await _validate_keys(reader, path.keys, keys)
    behind = [facts for facts in (path.facts, path.refunds, path.more) if facts is not None]
    mart_rows, *results = await asyncio.gather(
        reader.rows(path.mart_row_query(mart), **keys),
        *(rows_or_problem(inspector.first_rows(facts.query, FACT_ROWS, **keys)) for facts in behind),
    )
    if not mart_rows.rows:
        raise HTTPException(404, f"marts.{mart} has no such row: {', '.join(f'{k} {v}' for k, v in keys.items())}.")
    row = mart_rows.rows[0]

    def values() -> dict[str, Any]:
        return {
            "page": "",
            "title": heading_of(mart),
            "mart": mart,
            "row": row,
            "customer_path": customer_path,
            "why": why_revenue_moved(row["order_date"]) if mart == "daily_revenue" else [],
            "parts_behind": [_fact_rows(facts, row, rows) for facts, rows in zip(behind, results, strict=True)],
        }

    parts = [mart_rows, *(rows for rows in results if isinstance(rows, Rows))]
    has_problem = any(isinstance(rows, str) for rows in results)
    if has_problem:
        return await render(request, "rows.html", parts=parts, **values())
    return await render_cached(request, "rows.html", parts, (mart, *keys.items()), values)


@router.get("/facts/{fact}", name="fact")
async def get_fact(request: Request, fact: str, key: str, line: _Line = None) -> Response:
    """
    A row of a fact table, its raw rows, the rows that belong to it, and the versions of its customer and product.

    The key of an order without a line gives all its lines.
    """
    table = FACTS.get(fact)
    if table is None:
        raise HTTPException(404, f"There is no fact table {fact!r} with raw rows behind it.")
    if line is not None and table.line is None:
        raise HTTPException(400, f"A row of core.{fact} has no line: leave it out of the address.")
    inspector: Warehouse = request.app.state.inspector
    facts, (raw, raw_count) = await asyncio.gather(
        inspector.first_rows(table.row_query, 2, key=key, line=line),
        _first_rows_of(inspector, table.raw_query, FACT_ROWS, key=key, line=line),
    )
    if not facts.rows:
        which = f"{key!r}" if line is None else f"{key!r}, line {line}"
        raise HTTPException(404, f"core.{fact} has no row {which}.")
    # Of an order with several lines, no single row.
    row = facts.rows[0] if len(facts.rows) == 1 else None
    related = await _read_related(inspector, table, row or {"order_id": key})
    versions = await _read_versions(inspector, row or {})
    return await render(
        request,
        "fact.html",
        page="",
        title=f"{heading_of(fact)} {key}",
        fact=table,
        batch_path=batch_path,
        key=key if row is None or table.line is None else f"{key}, line {row[table.line]}",
        row=row,
        raw=raw.rows,
        raw_columns=_columns(raw.rows),
        raw_count=raw_count,
        related=[part for part in related if part["fact"] is not table or len(part["facts"].rows) > 1],
        versions={source: (_columns(rows.rows), rows.rows, n) for source, (rows, n) in versions.items() if rows.rows},
        parts=(facts, raw, *(part["facts"] for part in related), *(rows for rows, _ in versions.values())),
    )


@router.get("/batches/{batch_id}", name="batch")
async def get_batch(request: Request, batch_id: int) -> Response:
    """One load of one source: its rows and its run, its Kafka offsets, and its rejected rows."""
    inspector: Warehouse = request.app.state.inspector
    batches, (rejected, rejected_count) = await asyncio.gather(
        inspector.rows(BATCH_QUERY, batch_id=batch_id),
        _first_rows_of(inspector, REJECTED_ROWS_QUERY, PAGE_ROWS, batch_id=batch_id),
    )
    if not batches.rows:
        raise HTTPException(404, f"There is no batch {batch_id}.")
    row = batches.rows[0]
    offsets: Rows | str | None = None
    if row["source"] == "kafka_stream":
        offsets = await rows_or_problem(inspector.rows(OFFSETS_QUERY, batch_id=batch_id))
    return await render(
        request,
        "batch.html",
        page="",
        title=f"Batch {batch_id}",
        row=row,
        offsets=offsets.rows if isinstance(offsets, Rows) else [],
        offsets_problem=offsets if isinstance(offsets, str) else None,
        rejected=rejected,
        rejected_count=rejected_count,
        parts=(batches, rejected),
    )


@router.get("/rejected", name="rejected")
async def get_rejected(request: Request, source: str, reason: str, page: _Page = 1) -> Response:
    """The rows of a source that were rejected for one reason."""
    inspector: Warehouse = request.app.state.inspector
    offset = (page - 1) * PAGE_ROWS
    rows = await inspector.first_rows(REJECTED_FOR_REASON, PAGE_ROWS, source=source, reason=reason, page_offset=offset)
    if not rows.rows:
        raise HTTPException(404, f"No row of {source[:100]!r} was rejected for this reason: {reason[:200]}.")
    return await render(
        request,
        "rejected.html",
        page="",
        title=f"Rejected: {reason}",
        source=source,
        reason=reason,
        rows=rows.rows,
        first_row=offset + 1,
        path_of_page=lambda number: f"/rejected?{urlencode({'source': source, 'reason': reason, 'page': number})}",
        number=page,
        has_more=rows.is_truncated,
        parts=(rows,),
    )


async def _validate_keys(reader: Warehouse, types: Mapping[str, str], keys: Mapping[str, Any]) -> None:
    """
    Let Postgres check that each key is a value of its type; a day must be one of the calendar.

    :raises HTTPException: 400
    """
    for name, type_ in types.items():
        if type_ == "date" and keys[name] is not None:
            parse_day(name, keys[name] or "")
    checks = ", ".join(
        f"coalesce(pg_input_is_valid(%({name})s::text, '{type_}'), true) as {name}" for name, type_ in types.items()
    )
    is_valid = (await reader.rows(f"select {checks}", **keys)).rows[0]
    for name in types:
        if not is_valid[name]:
            raise HTTPException(400, f"{name} {keys[name][:100]!r} is not a {types[name]}.")


async def _read_related(inspector: Warehouse, fact: Fact, row: Row) -> list[dict[str, Any]]:
    """The rows of other facts that belong to a fact row, or to all lines of an order."""
    keys = {name: row.get(name) for name in ("order_id", "line_number")}
    results = await asyncio.gather(
        *(inspector.first_rows(related.query, FACT_ROWS, **keys) for related in fact.related)
    )  # fmt: skip
    return [
        {
            "fact": FACTS[related.fact],
            "title": related.title,
            "columns": related.columns,
            "facts": rows,
            "sorted_by": related.sorted_by,
            "no_rows": absence_of(related.fact) or (related.no_rows if keys["order_id"] else related.no_order),
        }
        for related, rows in zip(fact.related, results, strict=True)
    ]


async def _first_rows_of(inspector: Warehouse, query: str, n: int, **parameters: Any) -> tuple[Rows, int]:
    """The first rows of a query, and the number of all."""
    rows = await inspector.first_rows(query, n, **parameters)
    return rows, await inspector.count(query, **parameters) if rows.is_truncated else len(rows.rows)


async def _read_versions(inspector: Warehouse, row: Row) -> dict[str, tuple[Rows, int]]:
    """The newest versions of the customer and the product of a fact, by raw table, and the number of all."""
    versions = {}
    for source, query in VERSION_QUERIES.items():
        key = row.get("customer_id" if source == "customer" else "product_id")
        if key is not None:
            versions[source] = await _first_rows_of(inspector, query, VERSION_ROWS, key=key)
    return versions


def _fact_rows(behind: FactRows, row: Row, rows: Rows | str) -> dict[str, Any]:
    """The fact rows behind a mart row as the page shows them, or the reason why they cannot be read."""
    read, problem = (rows, None) if isinstance(rows, Rows) else (None, rows)
    return {
        "fact": FACTS[behind.fact],
        "section": behind.section or behind.fact,
        "columns": behind.shown_columns,
        "note": behind.note,
        "sorted_by": behind.sorted_by,
        "is_refunds": behind.fact == "fact_refunds",
        "absence": absence_of(behind.fact),
        "problem": problem,
        "facts": read,
        "totals": _compare_totals(behind.totals, row, read.rows) if read else [],
    }


def _compare_totals(totals: Mapping[str, str], row: Row, facts: list[Row]) -> list[dict[str, Any]]:
    """The totals of the fact rows, beside the values in the mart."""
    return [
        {
            "column": column,
            "total": total,
            "mart": row[column],
            "format": TOTAL_FORMATS[name],
            "is_equal": round(total, 2) == round(row[column] or 0, 2),
        }
        for column, name in totals.items()
        for total in [(facts[0][name] if facts else None) or 0]
    ]


def _columns(rows: list[Row]) -> list[FigureColumn]:
    """All columns of rows that have no definition here; SQL's name is beside the heading."""
    return [FigureColumn(name, heading_of(name), help=f"The column {name}.") for name in rows[0]] if rows else []
