"""The pages behind a figure: a row of a mart with its facts, a fact with its raw rows, and a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from shop_pages.drill import (
    BATCH_QUERY,
    DRILL_PATHS,
    FACT_ROWS,
    FACTS,
    OFFSETS_QUERY,
    REJECTED_ROWS_QUERY,
    VERSION_QUERIES,
    fact_row_query,
    keys_of,
)
from shop_pages.figures import FigureColumn
from shop_pages.formats import Format
from shop_pages.pool import Row
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import render, render_cached
from shop_pages.routes.optional import rows_or_problem

router = APIRouter()


@router.get("/rows/{mart}", name="rows")
async def get_mart_row(request: Request, mart: str) -> Response:
    """A row of a mart, and the fact rows it was computed from."""
    path = DRILL_PATHS.get(mart)
    if path is None:
        raise HTTPException(404, f"There is no mart {mart!r} with facts behind its rows.")
    reader, inspector = request.app.state.reader, request.app.state.inspector
    keys = keys_of(path, request.query_params)
    await _validate_keys(reader, path.keys, keys)
    mart_rows, facts = await asyncio.gather(
        reader.rows(path.mart_row_query(mart), **keys),
        rows_or_problem(inspector.rows(path.facts_query, cap=FACT_ROWS, **keys)),
    )
    if not mart_rows.rows:
        raise HTTPException(404, f"marts.{mart} has no such row: {', '.join(f'{k} {v}' for k, v in keys.items())}.")
    row = mart_rows.rows[0]
    common: dict[str, Any] = {
        "page": "",
        "title": mart,
        "mart": mart,
        "row": row,
        "note": path.note,
        "fact": FACTS[path.fact],
    }
    if isinstance(facts, str):
        values = {**common, "facts": None, "problem": facts, "totals": []}
        return render(request, "rows.html", parts=(mart_rows,), **values)

    def cached_values() -> dict[str, Any]:
        totals = _compare_totals(path.totals, row, facts.rows)
        return {**common, "facts": facts, "problem": None, "totals": totals}

    return render_cached(request, "rows.html", (mart_rows, facts), (mart, *keys.items()), cached_values)


@router.get("/facts/{fact}", name="fact")
async def get_fact(request: Request, fact: str, key: str) -> Response:
    """A row of a fact table, its raw rows, and the versions of its customer and product."""
    table = FACTS.get(fact)
    if table is None:
        raise HTTPException(404, f"There is no fact table {fact!r} with raw rows behind it.")
    inspector: Warehouse = request.app.state.inspector
    facts, raw = await asyncio.gather(
        inspector.rows(fact_row_query(table), key=key, cap=1), inspector.rows(table.raw_query, key=key, cap=50)
    )
    if not facts.rows:
        raise HTTPException(404, f"core.{fact} has no row {key!r}.")
    row = facts.rows[0]
    versions = await _read_versions(inspector, row)
    return render(
        request,
        "fact.html",
        page="",
        title=f"{fact} {key}",
        fact=table,
        key=key,
        row=row,
        raw=raw.rows,
        raw_columns=_columns(raw.rows),
        versions={source: (_columns(rows.rows), rows.rows) for source, rows in versions.items() if rows.rows},
        parts=(facts, raw, *versions.values()),
    )


@router.get("/batches/{batch_id}", name="batch")
async def get_batch(request: Request, batch_id: int) -> Response:
    """One load of one source: its rows and its run, its Kafka offsets, and its rejected rows."""
    inspector: Warehouse = request.app.state.inspector
    batches, rejected = await asyncio.gather(
        inspector.rows(BATCH_QUERY, batch_id=batch_id),
        inspector.rows(REJECTED_ROWS_QUERY, batch_id=batch_id, cap=100),
    )
    if not batches.rows:
        raise HTTPException(404, f"There is no batch {batch_id}.")
    row = batches.rows[0]
    offsets: Rows | str | None = None
    if row["source"] == "kafka_stream":
        offsets = await rows_or_problem(inspector.rows(OFFSETS_QUERY, batch_id=batch_id))
    return render(
        request,
        "batch.html",
        page="",
        title=f"Batch {batch_id}",
        row=row,
        offsets=offsets.rows if isinstance(offsets, Rows) else [],
        offsets_problem=offsets if isinstance(offsets, str) else None,
        rejected=rejected,
        parts=(batches, rejected),
    )


async def _validate_keys(reader: Warehouse, types: Mapping[str, str], keys: Mapping[str, Any]) -> None:
    """
    Let Postgres check that each key is a value of its type.

    :raises HTTPException: 400
    """
    checks = ", ".join(
        f"coalesce(pg_input_is_valid(%({name})s::text, '{type_}'), true) as {name}" for name, type_ in types.items()
    )
    is_valid = (await reader.rows(f"select {checks}", **keys)).rows[0]
    for name in types:
        if not is_valid[name]:
            raise HTTPException(400, f"{name} {keys[name]!r} is not a {types[name]}.")


async def _read_versions(inspector: Warehouse, row: Row) -> dict[str, Rows]:
    """The versions of the customer and the product of a fact, by raw table."""
    versions = {}
    for source, query in VERSION_QUERIES.items():
        key = row.get("customer_id" if source == "customer" else "product_id")
        if key is not None:
            versions[source] = await inspector.rows(query, key=key, cap=20)
    return versions


def _compare_totals(columns: tuple[str | None, str | None], row: Row, facts: list[Row]) -> list[dict[str, Any]]:
    """Number and amount of the fact rows, beside the values in the mart."""
    number = facts[0]["all_rows"] if facts else 0
    amount = facts[0]["all_amount"] if facts else 0
    return [
        {
            "column": column,
            "total": total,
            "mart": row[column],
            "format": total_format,
            "is_equal": round(total or 0, 2) == round(row[column] or 0, 2),
        }
        for column, total, total_format in zip(columns, (number, amount), (Format.COUNT, Format.MONEY), strict=True)
        if column is not None
    ]


def _columns(rows: list[Row]) -> list[FigureColumn]:
    """All columns of rows that have no definition here, under their own names."""
    return [FigureColumn(name, name) for name in rows[0]] if rows else []
