"""The pages behind a figure: a row of a mart with its facts, a fact with its raw rows, and a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import Response

from shop_pages.absent_sources import absence_of
from shop_pages.drill import (
    BATCH_QUERY,
    DRILL_PATHS,
    FACT_ROWS,
    FACTS,
    NEWEST_VERSION_FIRST,
    SEARCHED_REJECTED_ROWS,
    TOTAL_FORMATS,
    VERSION_QUERIES,
    VERSION_ROWS,
    DrillPath,
    Fact,
    FactRows,
    MartRows,
    RelatedRows,
    keys_of,
    raw_table,
)
from shop_pages.figures import FigureColumn, PageTable
from shop_pages.limits import PAGE_ROWS, SORTED_ROWS
from shop_pages.pool import Row
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import parse_day, render, render_cached
from shop_pages.routes.optional import rows_or_problem
from shop_pages.routes.whole_table import add_table_routes, render_whole_table
from shop_pages.status_tables import BATCH_TABLES, OFFSETS, REJECTED
from shop_pages.tables import PlacedTable
from shop_pages.why import why_revenue_moved
from shop_pages.words import heading_of

router = APIRouter()

#: A line of an order: what Postgres can compare with an integer.
_Line = Annotated[int | None, Query(ge=0, le=2_147_483_647)]
#: Rejected rows that are sorted and searched while a page waits: what is shown of one takes longer than of others.
_SORTED_REJECTED_ROWS = 5_000


@router.get("/rows/{mart}", name="rows")
async def get_mart_row(request: Request, mart: str) -> Response:
    """A row of a mart, the fact rows it was computed from, and the refunds that it subtracts."""
    path = _path_of(mart)
    reader, inspector = request.app.state.reader, request.app.state.inspector
    keys = keys_of(path, request.query_params)
    await _validate_keys(reader, path.keys, keys)
    behind = path.behind(keys)
    mart_rows, *results = await asyncio.gather(
        reader.rows(path.mart_row_query(mart), **keys),
        *(rows_or_problem(inspector.first_rows(facts.query, FACT_ROWS, **keys)) for facts in behind.values()),
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
            "why": why_revenue_moved(row["order_date"]) if mart == "daily_revenue" else [],
            "parts_behind": [
                {**_fact_rows(facts, row, rows), "placed": _placed_behind(mart, facts, keys)}
                for facts, rows in zip(behind.values(), results, strict=True)
            ],
        }

    parts = [mart_rows, *(rows for rows in results if isinstance(rows, Rows))]
    has_problem = any(isinstance(rows, str) for rows in results)
    if has_problem:
        return await render(request, "rows.html", parts=parts, **values())
    return await render_cached(request, "rows.html", parts, (mart, *keys.items()), values)


def _path_of(mart: str) -> DrillPath:
    path = DRILL_PATHS.get(mart)
    if path is None:
        raise HTTPException(404, f"There is no mart {mart[:100]!r} with facts behind its rows.")
    return path


def _placed_behind(mart: str, facts: FactRows | MartRows, keys: Mapping[str, Any]) -> PlacedTable:
    """The table of the rows behind a row of a mart."""
    address = {name: value for name, value in keys.items() if value is not None}
    of_mart = f"/rows/{mart}?{urlencode(address)}"
    return PlacedTable(
        table=facts.table,
        path=f"/rows/{mart}/{facts.table.name}",
        crumbs=(("Today", "/today"), (heading_of(mart), of_mart)),
        address=address,
        parameters=keys,
        lead=f"Behind the row of {heading_of(mart).lower()}:",
        tags=list(address.values()),
    )


async def _place_behind(request: Request, mart: str, table: str) -> PlacedTable:
    path = _path_of(mart)
    keys = keys_of(path, request.query_params)
    facts = path.behind(keys).get(table)
    if facts is None:
        raise HTTPException(404, f"No rows {table[:100]!r} are behind this row of {heading_of(mart).lower()}.")
    await _validate_keys(request.app.state.reader, path.keys, keys)
    return _placed_behind(mart, facts, keys)


add_table_routes(router, "/rows/{mart}/{table}", _place_behind)


@router.get("/facts/{fact}", name="fact")
async def get_fact(request: Request, fact: str, key: str, line: _Line = None) -> Response:
    """
    A row of a fact table, its raw rows, the rows that belong to it, and the versions of its customer and product.

    The key of an order without a line gives all its lines.
    """
    inspector: Warehouse = request.app.state.inspector
    table = _fact_of(fact, line)
    (row, facts), (raw, raw_count) = await asyncio.gather(
        _read_fact(inspector, table, key, line),
        _first_rows_of(inspector, _raw_query(table), FACT_ROWS, key=key, line=line),
    )
    placed = _PlacesOfFact(table, key, line, row)
    related = await _read_related(inspector, placed)
    versions = await _read_versions(inspector, row or {})
    return await render(
        request,
        "fact.html",
        page="",
        title=f"{heading_of(fact)} {key}",
        fact=table,
        key=key if row is None or table.line is None else f"{key}, line {row[table.line]}",
        row=row,
        raw=raw.rows,
        raw_table=placed.raw(_columns(raw.rows)),
        raw_count=raw_count,
        related=[part for part in related if part["fact"] is not table or len(part["facts"].rows) > 1],
        versions={
            source: (placed.versions(source, _columns(rows.rows)), rows.rows, n)
            for source, (rows, n) in versions.items()
            if rows.rows
        },
        parts=(facts, raw, *(part["facts"] for part in related), *(rows for rows, _ in versions.values())),
    )


def _fact_of(fact: str, line: int | None) -> Fact:
    """
    A fact table.

    :raises HTTPException: 404, there is none of this name; 400, its rows have no lines
    """
    table = FACTS.get(fact)
    if table is None:
        raise HTTPException(404, f"There is no fact table {fact[:100]!r} with raw rows behind it.")
    if line is not None and table.line is None:
        raise HTTPException(400, f"A row of core.{fact} has no line: leave it out of the address.")
    return table


async def _read_fact(inspector: Warehouse, table: Fact, key: str, line: int | None) -> tuple[Row | None, Rows]:
    """
    The row of a key, None for an order with several lines; and what was read.

    :raises HTTPException: 404, there is no such row
    """
    facts = await inspector.first_rows(table.row_query, 2, key=key, line=line)
    if not facts.rows:
        which = f"{key!r}" if line is None else f"{key!r}, line {line}"
        raise HTTPException(404, f"core.{table.name} has no row {which}.")
    return facts.rows[0] if len(facts.rows) == 1 else None, facts


def _raw_query(fact: Fact) -> str:
    return f"{fact.raw_query}\norder by {fact.raw_order}"


@dataclass(frozen=True)
class _PlacesOfFact:
    """
    The places of the tables on the page of a fact.

    :param row: its row; None for an order with several lines
    """

    fact: Fact
    key: str
    line: int | None
    row: Row | None

    def related(self, rows: RelatedRows) -> PlacedTable:
        """The rows of another fact that belong to it."""
        row = self.row or {"order_id": self.key}
        return self._placed(rows.table, {name: row.get(name) for name in ("order_id", "line_number")})

    def raw(self, columns: Sequence[FigureColumn]) -> PlacedTable:
        """Its raw rows."""
        source, fact = self.fact.source, self.fact
        table = raw_table("raw", f"Raw rows of {heading_of(source).lower()}", fact.raw_query, fact.raw_order, columns)
        return self._placed(table, {"key": self.key, "line": self.line})

    def versions(self, source: str, columns: Sequence[FigureColumn]) -> PlacedTable:
        """The versions of its customer or product."""
        title = f"Versions of the {heading_of(source).lower()}"
        table = raw_table(source, title, VERSION_QUERIES[source], NEWEST_VERSION_FIRST, columns)
        return self._placed(table, {"key": _version_key(self.row or {}, source)})

    def _placed(self, table: PageTable, parameters: Mapping[str, Any]) -> PlacedTable:
        address = {"key": self.key} | ({"line": str(self.line)} if self.line is not None else {})
        page = f"/facts/{self.fact.name}"
        return PlacedTable(
            table=table,
            path=f"{page}/{table.name}",
            crumbs=(("Today", "/today"), (f"{heading_of(self.fact.name)} {self.key}", f"{page}?{urlencode(address)}")),
            address=address,
            parameters=parameters,
        )


async def _place_of_fact(request: Request, fact: str, table: str, key: str, line: _Line = None) -> PlacedTable:
    inspector: Warehouse = request.app.state.inspector
    found = _fact_of(fact, line)
    row, _ = await _read_fact(inspector, found, key, line)
    placed = _PlacesOfFact(found, key, line, row)
    for related in found.related:
        if related.fact == table:
            return placed.related(related)
    # The columns are those of the table in raw.
    if table == "raw":
        first = await inspector.first_rows(found.raw_query, 1, key=key, line=line)
        return placed.raw(_columns(first.rows))
    if table in VERSION_QUERIES:
        first = await inspector.first_rows(VERSION_QUERIES[table], 1, key=_version_key(row or {}, table))
        return placed.versions(table, _columns(first.rows))
    raise HTTPException(404, f"The page of core.{fact} has no table {table[:100]!r}.")


add_table_routes(router, "/facts/{fact}/{table}", _place_of_fact)


@router.get("/batches/{batch_id}", name="batch")
async def get_batch(request: Request, batch_id: int) -> Response:
    """One load of one source: its rows and its run, its Kafka offsets, and its rejected rows."""
    inspector: Warehouse = request.app.state.inspector
    batches, (rejected, rejected_count) = await asyncio.gather(
        inspector.rows(BATCH_QUERY, batch_id=batch_id),
        _first_rows_of(inspector, REJECTED.ordered_query, PAGE_ROWS, **_rejected_of(batch_id=batch_id)),
    )
    if not batches.rows:
        raise HTTPException(404, f"There is no batch {batch_id}.")
    row = batches.rows[0]
    offsets: Rows | str | None = None
    if row["source"] == "kafka_stream":
        offsets = await rows_or_problem(inspector.rows(OFFSETS.ordered_query, batch_id=batch_id))
    return await render(
        request,
        "batch.html",
        page="",
        title=f"Batch {batch_id}",
        row=row,
        tables={name: _placed_of_batch(name, batch_id) for name in BATCH_TABLES},
        offsets=offsets.rows if isinstance(offsets, Rows) else [],
        offsets_problem=offsets if isinstance(offsets, str) else None,
        rejected=rejected,
        rejected_count=rejected_count,
        parts=(batches, rejected),
    )


def _placed_of_batch(name: str, batch_id: int) -> PlacedTable:
    return PlacedTable(
        table=BATCH_TABLES[name],
        path=f"/batches/{batch_id}/{name}",
        crumbs=(("Data status", "/status"), (f"Batch {batch_id}", f"/batches/{batch_id}")),
        parameters=_rejected_of(batch_id=batch_id) if name == "rejected" else {"batch_id": batch_id},
        most=_SORTED_REJECTED_ROWS if name == "rejected" else SORTED_ROWS,
        has_index=name == "rejected",
    )


async def _place_of_batch(batch_id: int, table: str) -> PlacedTable:
    if table not in BATCH_TABLES:
        raise HTTPException(404, f"A batch has no table {table[:100]!r}.")
    return _placed_of_batch(table, batch_id)


add_table_routes(router, "/batches/{batch_id}/{table}", _place_of_batch)


async def _place_rejected(source: str = "", reason: str = "", key: str = "") -> PlacedTable:
    """The rejected rows of a source, for a reason, or with a key among their values; any where nothing is chosen."""
    chosen = {"source": source, "reason": reason, "key": key.strip()}
    address = {name: value for name, value in chosen.items() if value}
    searched = (
        f"The key is one of the row’s own, as the source gave it; the newest {SEARCHED_REJECTED_ROWS:,} are searched."
    )
    return PlacedTable(
        table=REJECTED,
        path="/rejected",
        whole_path="/rejected",
        crumbs=(("Data status", "/status#quarantine"),),
        address=address,
        parameters=_rejected_of(**address),
        lead=searched if key else "",
        tags=[*([heading_of(source)] if source else []), *([reason] if reason else [])],
        inputs={"key": "Key: order, customer, product …"},
        # What is shown of a row takes time; few rows have a key.
        most=None if key else _SORTED_REJECTED_ROWS,
        has_index=not key,
    )


def _rejected_of(**chosen: Any) -> dict[str, Any]:
    """The parameters of `REJECTED`."""
    return {name: chosen.get(name) for name in ("source", "reason", "batch_id", "key")}


@router.get("/rejected", name="rejected")
async def get_rejected(request: Request, placed: Annotated[PlacedTable, Depends(_place_rejected)]) -> Response:
    """The rejected rows: of a source, for one reason, or with a key."""
    return await render_whole_table(request, request.app.state.inspector, placed)


add_table_routes(router, "/rejected", _place_rejected)


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


async def _read_related(inspector: Warehouse, places: _PlacesOfFact) -> list[dict[str, Any]]:
    """The rows of other facts that belong to a fact row, or to all lines of an order."""
    fact = places.fact
    placed = [places.related(related) for related in fact.related]
    results = await asyncio.gather(
        *(inspector.first_rows(one.table.ordered_query, FACT_ROWS, **one.parameters) for one in placed)
    )
    return [
        {
            "fact": FACTS[related.fact],
            "title": related.title,
            "placed": one,
            "facts": rows,
            "sorted_by": related.sorted_by,
            "no_rows": absence_of(related.fact)
            or (related.no_rows if one.parameters["order_id"] else related.no_order),
        }
        for related, one, rows in zip(fact.related, placed, results, strict=True)
    ]


async def _first_rows_of(inspector: Warehouse, query: str, n: int, **parameters: Any) -> tuple[Rows, int]:
    """The first rows of a query, and the number of all."""
    rows = await inspector.first_rows(query, n, **parameters)
    return rows, await inspector.count(query, **parameters) if rows.is_truncated else len(rows.rows)


async def _read_versions(inspector: Warehouse, row: Row) -> dict[str, tuple[Rows, int]]:
    """The newest versions of the customer and the product of a fact, by raw table, and the number of all."""
    versions = {}
    for source, query in VERSION_QUERIES.items():
        key = _version_key(row, source)
        if key is not None:
            newest_first = f"{query}\norder by {NEWEST_VERSION_FIRST}"
            versions[source] = await _first_rows_of(inspector, newest_first, VERSION_ROWS, key=key)
    return versions


def _version_key(row: Row, source: str) -> Any:
    return row.get("customer_id" if source == "customer" else "product_id")


def _fact_rows(behind: FactRows | MartRows, row: Row, rows: Rows | str) -> dict[str, Any]:
    """The fact rows behind a mart row as the page shows them, or the reason why they cannot be read."""
    read, problem = (rows, None) if isinstance(rows, Rows) else (None, rows)
    return {
        "relation": behind.relation,
        "section": behind.table.name,
        "heading": behind.table.title,
        "note": behind.note,
        "sorted_by": behind.sorted_by,
        "role": "Left out"
        if behind.is_left_out
        else "Subtracted"
        if behind.absent == "fact_refunds"
        else "Computed from",
        "absence": absence_of(behind.absent),
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
