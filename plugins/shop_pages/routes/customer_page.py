"""The page about a customer."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from ecommerce.common.personal_data import ERASE_DAG
from shop_pages.absent_sources import absence_of
from shop_pages.access import may_start
from shop_pages.airflow_access import CurrentUser
from shop_pages.customer import CUSTOMER_QUERY, SUBSCRIBER_QUERY, TABLES, CustomerRows
from shop_pages.drill import FACT_ROWS
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import render, render_cached
from shop_pages.routes.optional import rows_or_problem
from shop_pages.routes.whole_table import add_table_routes
from shop_pages.tables import PlacedTable

router = APIRouter()


@router.get("/customer", name="customer")
async def get_customer(request: Request, customer_id: str, user: CurrentUser) -> Response:
    """
    Who the customer is, what was bought, given back, viewed and subscribed to, and the segment over time.

    For who may erase a customer also the form that does it.
    """
    reader: Warehouse = request.app.state.reader
    inspector: Warehouse = request.app.state.inspector
    customers = await reader.rows(CUSTOMER_QUERY, customer_id=customer_id)
    if not customers.rows:
        raise HTTPException(404, f"There is no customer {customer_id[:100]!r}.")
    subscriber, *results = await asyncio.gather(
        rows_or_problem(reader.rows(SUBSCRIBER_QUERY, customer_id=customer_id)),
        *(
            rows_or_problem(inspector.first_rows(table.ordered_query, FACT_ROWS, customer_id=customer_id))
            for table in TABLES.values()
        ),
    )

    may_erase = await asyncio.to_thread(may_start, ERASE_DAG, user)

    def values() -> dict[str, Any]:
        return {
            "page": "customers",
            "title": f"Customer {customer_id}",
            "customer": customers.rows[0],
            "erase_dag": ERASE_DAG if may_erase else None,
            "subscriber": next(iter(subscriber.rows), None) if isinstance(subscriber, Rows) else None,
            "tables": [
                {
                    "table": table,
                    "placed": _placed(table, customer_id),
                    "rows": found.rows if isinstance(found, Rows) else [],
                    "is_first_part": isinstance(found, Rows) and found.is_truncated,
                    "problem": found if isinstance(found, str) else None,
                    "absence": absence_of(table.fact) if table.fact else None,
                }
                for table, found in zip(TABLES.values(), results, strict=True)
            ],
        }

    parts = [customers, *(rows for rows in (subscriber, *results) if isinstance(rows, Rows))]
    if any(isinstance(rows, str) for rows in (subscriber, *results)):
        return await render(request, "customer.html", parts=parts, **values())
    return await render_cached(request, "customer.html", parts, (customer_id, may_erase), values)


def _placed(table: CustomerRows, customer_id: str) -> PlacedTable:
    """A table of a customer."""
    address = {"customer_id": customer_id}
    return PlacedTable(
        table=table,
        path=f"/customer/{table.name}",
        crumbs=(("Customers", "/customers"), (f"Customer {customer_id}", f"/customer?{urlencode(address)}")),
        page="customers",
        address=address,
        parameters=address,
    )


async def _place(request: Request, table: str, customer_id: str) -> PlacedTable:
    if table not in TABLES:
        raise HTTPException(404, f"The page of a customer has no table {table[:100]!r}.")
    return _placed(TABLES[table], customer_id)


add_table_routes(router, "/customer/{table}", _place)
