"""The page Review: a queue of orders that break a rule, one order of it, and what a person says of that order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from ecommerce.extract.texts import storable
from ecommerce.figures.number_formats import day as format_day
from shop_pages.access import may_edit, require_same_site
from shop_pages.airflow_access import BaseUser, CurrentUser
from shop_pages.drill import FACTS
from shop_pages.figures import PageTable, drill_path
from shop_pages.filters import Filters, filters_of, read_days
from shop_pages.limits import PAGE_ROWS
from shop_pages.pages import review
from shop_pages.pages.review import ANSWERS, NOTE_CHARACTERS, PRIORITIES, REVIEW, STATUSES
from shop_pages.pool import Row
from shop_pages.queries import Warehouse
from shop_pages.remarks import Review, add_review
from shop_pages.rendering import parse_day, render
from shop_pages.routes.figure_pages import read_figure_page
from shop_pages.routes.whole_table import add_table_routes
from shop_pages.security import CHART_HEADERS
from shop_pages.tables import PlacedTable

router = APIRouter()

#: What of an address or a form says which orders are in the queue.
_CHOICES = ("first", "last", "status", "priority", "rule")
#: In the choice of a status: orders of each.
_ANY_STATUS = "all"


@dataclass(frozen=True)
class Queue:
    """
    The orders that a person works through.

    :param status: a key of `STATUSES`; None: all orders
    :param priority: one of `PRIORITIES`; None: all
    :param rule: the name of a rule that they break; None: any
    """

    status: str | None = "open"
    priority: str | None = None
    rule: str | None = None

    @property
    def choices(self) -> dict[str, str]:
        """As an address has it."""
        return {"status": self.status or _ANY_STATUS, "priority": self.priority or "", "rule": self.rule or ""}


def queue_of(chosen: Mapping[str, Any]) -> Queue:
    """
    The queue that an address or a form names.

    :raises HTTPException: 400, there is no such status or priority
    """
    status = str(chosen.get("status") or "open")
    if status not in (*STATUSES, _ANY_STATUS):
        raise HTTPException(400, f"There is no status {status[:100]!r}; choose one of {', '.join(STATUSES)}.")
    priority = str(chosen.get("priority") or "") or None
    if priority and priority not in PRIORITIES:
        raise HTTPException(400, f"There is no priority {priority[:100]!r}; choose one of {', '.join(PRIORITIES)}.")
    return Queue(None if status == _ANY_STATUS else status, priority, str(chosen.get("rule") or "") or None)


@router.get("/review", name="review")
async def get_queue(request: Request, user: CurrentUser) -> Response:
    """The queue, what became of the reviewed orders by rule, and how many orders keep to each rule."""
    queue = queue_of(request.query_params)
    page, day_parts = await read_figure_page(request, REVIEW)
    if page is None:
        return await render(request, "empty.html", page=REVIEW.name, title=REVIEW.title, parts=day_parts)
    inspector: Warehouse = request.app.state.inspector
    parameters = {**_days(page.filters), **vars(queue)}
    orders, counts, outcomes, rules = await asyncio.gather(
        inspector.first_rows_now(review.QUEUE.ordered_query, PAGE_ROWS, **parameters),
        inspector.rows_now(review.COUNTS, **parameters),
        inspector.rows_now(review.OUTCOMES.ordered_query, **parameters),
        inspector.rows(review.RULES),
    )
    by_status = {row["status"]: row for row in counts.rows}
    response = await render(
        request,
        "review.html",
        parts=page.parts,
        **page.values(),
        more_choices=urlencode(queue.choices),
        queue=queue,
        reviewed=request.query_params.get("reviewed", ""),
        any_status=_ANY_STATUS,
        statuses=STATUSES,
        priorities=PRIORITIES,
        rules=rules.rows,
        counts=by_status,
        orders=orders.rows,
        order_count=sum(row["orders"] for status, row in by_status.items() if queue.status in (None, status)),
        queue_table=_placed_queue(page.filters, queue),
        outcome_table=_placed_outcomes(page.filters, queue),
        order_path=lambda row: order_path(row["order_id"], page.filters, queue),
        status_path=lambda status: (
            f"/review?{urlencode({**_days(page.filters), **queue.choices, 'status': status})}#queue"
        ),
        outcomes=outcomes.rows,
    )
    response.headers.update(CHART_HEADERS)
    return response


def _placed_queue(filters: Filters, queue: Queue) -> PlacedTable:
    links = {"order_id": lambda row: order_path(row["order_id"], filters, queue)}
    return _placed(review.QUEUE, links, filters, queue)


def _placed_outcomes(filters: Filters, queue: Queue) -> PlacedTable:
    def path(row: Row) -> str:
        return f"/review?{urlencode({**_days(filters), 'status': _ANY_STATUS, 'rule': row['rule']})}"

    return _placed(review.OUTCOMES, {"description": path}, filters, queue)


def _placed(
    table: PageTable, links: Mapping[str, Callable[[Row], str]], filters: Filters, queue: Queue
) -> PlacedTable:  # fmt: skip
    address = {name: str(value) for name, value in {**_days(filters), **queue.choices}.items() if value}
    return PlacedTable(
        table=replace(table, links=links),
        path=f"/review/{table.name}",
        crumbs=((REVIEW.title, f"/review?{urlencode(address)}#{table.name}"),),
        address=address,
        parameters={**_days(filters), **vars(queue)},
        page=REVIEW.name,
        tags=[f"{format_day(filters.first)} to {format_day(filters.last)}"],
        definition="/metrics#order_for_reviews",
        is_now=True,
    )


async def _place_queue(request: Request) -> PlacedTable:
    return _placed_queue(await _read_filters(request), queue_of(request.query_params))


async def _place_outcomes(request: Request) -> PlacedTable:
    return _placed_outcomes(await _read_filters(request), queue_of(request.query_params))


async def _read_filters(request: Request) -> Filters:
    days, _ = await read_days(request.app.state.reader)
    if days is None:
        raise HTTPException(404, "Nothing has been published yet.")
    return filters_of(REVIEW, days, request)


async def _place_of_order(order_id: str, table: str) -> PlacedTable:
    placed = _tables_of_order(order_id).get(table)
    if placed is None:
        raise HTTPException(404, f"An order has no table {table[:100]!r}.")
    return placed


def _tables_of_order(order_id: str) -> dict[str, PlacedTable]:
    """The tables of an order: its lines, its refunds, and what was said of it."""
    address = {"order_id": order_id}
    keys = {"order_id": order_id, "line_number": None}
    tables = [*(related.table for related in FACTS["fact_sales"].related), review.HISTORY]
    return {
        table.name: PlacedTable(
            table=table,
            path=f"/review/order/{table.name}",
            crumbs=((REVIEW.title, "/review"), (f"Order {order_id}", f"/review/order?{urlencode(address)}")),
            address=address,
            parameters=address if table is review.HISTORY else keys,
            is_now=table is review.HISTORY,
        )
        for table in tables
    }


add_table_routes(router, "/review/queue", _place_queue)
add_table_routes(router, "/review/outcomes", _place_outcomes)
add_table_routes(router, "/review/order/{table}", _place_of_order)


@router.get("/review/order", name="review_order")
async def get_order(request: Request, user: CurrentUser, order_id: str, reviewed: str = "") -> Response:
    """One order: why it is here, its lines, its customer, and what was said of it."""
    return await _render_order(request, user, order_id, request.query_params, reviewed=reviewed)


@router.post("/review/order", name="review_write", dependencies=[Depends(require_same_site)])
async def write_review(request: Request, user: CurrentUser) -> Response:
    """
    Add what the user says of an order, if Airflow lets this user edit the DAG; then show the next order of the queue.

    400: no such status, or a note that cannot be stored. 403: no right. 404: the order breaks no rule.
    """
    if not await asyncio.to_thread(may_edit, user):
        raise HTTPException(403, "You may see the orders, but not review them: that needs the right to edit the DAG.")
    form = await request.form(max_files=0, max_fields=20, max_part_size=100_000)
    texts = {name: str(value) for name, value in form.items()}
    if not all(map(storable, texts.values())):
        raise HTTPException(400, "The form has a character that no text of the warehouse has.")
    order_id, status, note = (texts.get(name, "").strip() for name in ("order_id", "status_now", "note"))
    order = await _read_order(request, order_id)
    if status not in ANSWERS:
        problem = f"Say whether the order is {', '.join(ANSWERS)}."
        return await _render_order(request, user, order_id, texts, 400, problem=problem)
    if len(note) > NOTE_CHARACTERS:
        problem = f"A note may have {NOTE_CHARACTERS:,} characters; this one has {len(note):,}."
        return await _render_order(request, user, order_id, texts, 400, problem=problem)
    await add_review(Review(order_id, status, note, order["broken_rules"], str(user.get_name())))
    # A redirect, so that reloading the page does not write a second review.
    following = await _next_order_id(request, order_id, texts)
    choices = {name: texts[name] for name in _CHOICES if texts.get(name)}
    path = "/review/order" if following else "/review"
    query = urlencode({**({"order_id": following} if following else {}), **choices, "reviewed": order_id})
    return RedirectResponse(f"{request.scope['root_path']}{path}?{query}", 303)


def order_path(order_id: str, filters: Filters, queue: Queue) -> str:
    """The path of the page about one order of a queue."""
    return f"/review/order?{urlencode({'order_id': order_id, **_days(filters), **queue.choices})}"


async def _render_order(
    request: Request,
    user: BaseUser,
    order_id: str,
    chosen: Mapping[str, Any],
    status: int = 200,
    *,
    reviewed: str = "",
    problem: str = "",
) -> Response:
    inspector: Warehouse = request.app.state.inspector
    order = await _read_order(request, order_id)
    tables = _tables_of_order(order_id)
    lines, refunds, said = tables.values()
    line_rows, refund_rows, history, following, may_write = await asyncio.gather(
        inspector.first_rows(lines.table.ordered_query, PAGE_ROWS, **lines.parameters),
        inspector.first_rows(refunds.table.ordered_query, PAGE_ROWS, **refunds.parameters),
        inspector.first_rows_now(said.table.ordered_query, PAGE_ROWS, **said.parameters),
        _next_order_id(request, order_id, chosen),
        asyncio.to_thread(may_edit, user),
    )
    choices = {name: str(chosen[name]) for name in _CHOICES if chosen.get(name)}
    return await render(
        request,
        "review_order.html",
        status,
        parts=(line_rows, refund_rows),
        page=REVIEW.name,
        title=f"Order {order_id}",
        order=order,
        statuses=STATUSES,
        answers=ANSWERS,
        note_characters=NOTE_CHARACTERS,
        entered=chosen if problem else {},
        problem=problem,
        reviewed=reviewed,
        may_write=may_write,
        choices=choices,
        queue_path=f"/review?{urlencode(choices)}",
        next_path=f"/review/order?{urlencode({'order_id': following, **choices})}" if following else "",
        raw_path=f"/facts/fact_sales?{urlencode({'key': order_id})}",
        customer_path=(
            drill_path("customer_segments", {"customer_id": order["customer_id"]}) if order["customer_id"] else ""
        ),
        tables=tables,
        lines=line_rows,
        refunds=refund_rows,
        history=history.rows,
    )


async def _read_order(request: Request, order_id: str) -> Row:
    """The order of the mart, with what was said last; 404 where it breaks no rule."""
    inspector: Warehouse = request.app.state.inspector
    found = await inspector.rows_now(review.ORDER, order_id=order_id)
    if not found.rows:
        raise HTTPException(404, f"No order {order_id[:100]!r} breaks a rule.")
    return found.rows[0]


async def _next_order_id(request: Request, order_id: str, chosen: Mapping[str, Any]) -> str | None:
    """The first order of the queue besides this one; None if it is the last, or no days are named."""
    first, last = (parse_day(name, str(chosen.get(name) or "")) for name in ("first", "last"))
    if first is None or last is None:
        return None
    inspector: Warehouse = request.app.state.inspector
    queue = queue_of(chosen)
    found = await inspector.rows_now(review.NEXT_ORDER, order_id=order_id, first=first, last=last, **vars(queue))
    return found.rows[0]["order_id"] if found.rows else None


def _days(filters: Filters) -> dict[str, Any]:
    return {"first": filters.first, "last": filters.last}
