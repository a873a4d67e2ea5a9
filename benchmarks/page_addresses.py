"""The addresses of all pages, made of a shop's largest categories, customers and rows: those have most to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from urllib.parse import urlencode

from psycopg import Connection, sql

from ecommerce.figures.key_figures import shown_figures
from ecommerce.publish.kept_publications import KEPT_QUERY, KeptPublication, publication_before
from shop_pages import customer
from shop_pages.drill import DRILL_PATHS, FACTS
from shop_pages.figures import FigurePage
from shop_pages.filters import GRAINS
from shop_pages.limits import WAREHOUSE_DAG
from shop_pages.pages import PAGES
from shop_pages.pages.shared import SEGMENTS
from shop_pages.status_tables import SOURCE_DAY_TABLES, STATUS_TABLES
from shop_pages.why import COMPARISONS

Row = dict[str, Any]

#: The columns by which a row of a mart has many facts behind it; of several the first.
_LARGE_BY = (
    "monthly_revenue", "total_revenue", "lifetime_revenue", "revenue", "daily_revenue", "contribution", "order_amount",
    "units_sold_30d", "units_sold", "views", "active_subscriptions", "days",
)  # fmt: skip


@dataclass(frozen=True)
class Shop:
    """
    What the addresses of a shop's pages are made of; None for what it does not have.

    :param rejected: source and reason of the most rejected rows
    :param rows: mart → the keys of one of its rows
    :param facts: fact table → the key of one of its rows
    """

    first: date
    last: date
    category: str | None = None
    customer: str | None = None
    product: str | None = None
    order: str | None = None
    batch_id: int | None = None
    publication_id: int | None = None
    alert_id: int | None = None
    rejected: Mapping[str, Any] | None = None
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_shop(connection: Connection[Row]) -> Shop:
    """
    The largest of everything.

    :param connection: with rows as dictionaries, for a role that may read `core` and `ops`
    """

    def value(query: str) -> Any:
        row = connection.execute(query.encode()).fetchone()
        return next(iter(row.values())) if row else None

    kept = [KeptPublication(**row) for row in connection.execute(KEPT_QUERY.encode())]
    return Shop(
        first=value("select min(order_date) from marts.daily_revenue"),
        last=value("select max(order_date) from marts.daily_revenue"),
        category=value(
            """
            select category_name
            from marts.seasonal_sales_analysis
            where category_name is not null
            group by category_name
            order by sum(monthly_revenue) desc
            limit 1
            """
        ),
        customer=value("select customer_id from marts.customer_segments order by total_orders desc nulls last limit 1"),
        product=value(
            """
            select product_id
            from marts.product_performance_monthly
            group by product_id
            order by sum(revenue) desc nulls last
            limit 1
            """
        ),
        order=value("select order_id from marts.order_for_reviews order by risk_score desc, order_id limit 1"),
        batch_id=value("select batch_id from ops.load_batch order by rows_read desc nulls last limit 1"),
        publication_id=next(
            (one.publication_id for one in kept if publication_before(kept, one.publication_id) is not None), None
        ),
        alert_id=value("select alert_id from ops.alert order by alert_id desc limit 1"),
        rejected=connection.execute(
            """
            select source, reason
            from ops.quarantine
            group by source, reason
            order by count(*) desc
            limit 1
            """
        ).fetchone(),
        rows=_rows_of_marts(connection),
        facts=_rows_of_facts(connection),
    )


def _rows_of_marts(connection: Connection[Row]) -> dict[str, Row]:
    found = {}
    for mart, path in DRILL_PATHS.items():
        columns = [
            column.name
            for column in connection.execute(f"select * from marts.{mart} limit 0".encode()).description or ()
        ]
        large_by = next((name for name in _LARGE_BY if name in columns), columns[0])
        query = sql.SQL("select {} from {} order by {} desc nulls last limit 1").format(
            sql.SQL(", ").join(map(sql.Identifier, path.keys)),
            sql.Identifier("marts", mart),
            sql.Identifier(large_by),
        )
        if row := connection.execute(query).fetchone():
            found[mart] = row
    return found


def _rows_of_facts(connection: Connection[Row]) -> dict[str, Row]:
    found = {}
    for name, fact in FACTS.items():
        key = "city || ' ' || date_key" if fact.key == "city_day" else fact.key
        line = f", {fact.line} as line" if fact.line else ""
        if row := connection.execute(f"select {key} as key{line} from core.{name} limit 1".encode()).fetchone():
            found[name] = row
    return found


def every_address(shop: Shop) -> dict[str, list[str]]:
    """
    A name that begins with the page's route, such as `why, revenue year before` → the addresses.

    Of each page those with its default choices are left out where it is one of figures.
    """
    addresses: dict[str, list[str]] = {}
    for name, path, choices in (
        *(address for page in PAGES.values() for address in _of_figures(page, shop)),
        *_of_day(shop),
        *_of_one(shop),
        *_of_operations(shop),
        *_of_tables(shop),
        *_of_tables_of_operations(shop),
    ):
        known = {key: value for key, value in choices.items() if value is not None}
        addresses.setdefault(name, []).append(f"/shop{path}{'?' * bool(known)}{urlencode(known)}")
    return addresses


Address = tuple[str, str, Mapping[str, Any]]


def _of_figures(page: FigurePage, shop: Shop) -> Iterator[Address]:
    """With all days, and with each of its filters."""
    path, days = f"/{page.name}", {"first": shop.first, "last": shop.last}
    yield f"{page.name}, all days", path, days
    for figure in page.figures:
        yield f"{page.name}_csv", f"{path}/{figure.name}.csv", {}
        yield f"{page.name}_table", f"{path}/{figure.name}/table", days
    filters: Mapping[str, Iterable[str | None]] = {
        "category": [shop.category], "grain": GRAINS, "segment": SEGMENTS, "product": [shop.product],
    }  # fmt: skip
    for name, values in filters.items():
        if page.takes(name):
            yield from ((f"{page.name}, {name}", path, {**days, name: value}) for value in values)
    if page.name == "review":
        for status in ("open", "all"):
            for rule in (None, "high_discount"):
                yield "review, all days and a status", path, {**days, "status": status, "rule": rule}


def _of_day(shop: Shop) -> Iterator[Address]:
    """What is said of the last day."""
    for figure in shown_figures():
        for against in COMPARISONS:
            choices = {"figure": figure, "day": shop.last, "against": against}
            yield f"why, {figure} {against.replace('_', ' ')}", "/why", choices
    yield "why_csv", "/why.csv", {"figure": "revenue", "day": shop.last, "by": "product"}
    yield "digest", "/digest", {}


def _of_one(shop: Shop) -> Iterator[Address]:
    """About one customer, order, row of a mart, and fact."""
    if shop.customer:
        yield "customer", "/customer", {"customer_id": shop.customer}
    if shop.order:
        yield "review_order", "/review/order", {"order_id": shop.order}
        queue = {"first": shop.first, "last": shop.last, "status": "open"}
        yield "review_order, in the queue", "/review/order", {"order_id": shop.order, **queue}
    for mart, keys in shop.rows.items():
        yield f"rows, {mart}", f"/rows/{mart}", keys
    for fact, keys in shop.facts.items():
        yield f"fact, {fact}", f"/facts/{fact}", keys


def _of_tables(shop: Shop) -> Iterator[Address]:
    """The tables of these pages, sorted, and their files."""
    days = {"first": shop.first, "last": shop.last}
    yield from _of_table("review_queue", "/review/queue", days, "order_amount")
    yield from _of_table("review_outcomes", "/review/outcomes", days, "orders")
    if shop.customer:
        for table in customer.TABLES.values():
            choices = {"customer_id": shop.customer}
            yield from _of_table("customer_table", f"/customer/{table.name}", choices, table.columns[-1].name)
    if shop.order:
        yield from _of_table("review_order_table", "/review/order/fact_sales", {"order_id": shop.order}, "product_name")
    for mart, keys in shop.rows.items():
        for name, behind in DRILL_PATHS[mart].behind(keys).items():
            yield from _of_table("rows_mart_table", f"/rows/{mart}/{name}", keys, behind.table.columns[-1].name)
    for fact, keys in shop.facts.items():
        yield from _of_table("facts_fact_table", f"/facts/{fact}/raw", keys, "_batch_id")
    yield from _of_table("rejected", "/rejected", {"key": shop.order or "none"}, "reason")


def _of_tables_of_operations(shop: Shop) -> Iterator[Address]:
    """The same of Data status and the pages behind it."""
    for table in STATUS_TABLES.values():
        yield from _of_table("status_table", f"/status/{table.name}", {}, table.columns[0].name)
    for name in SOURCE_DAY_TABLES:
        path = f"/status/sales_fact/{shop.last}/{name}"
        yield from _of_table("status_source_day_table", path, {}, "publication_id" if name == "marts" else "rows_read")
    if shop.batch_id is not None:
        yield from _of_table("batches_batch_id_table", f"/batches/{shop.batch_id}/rejected", {}, "reason")
    if shop.alert_id is not None:
        yield from _of_table("incidents_alert_id_table", f"/incidents/{shop.alert_id}/tried", {}, "run_id")


def _of_table(route: str, path: str, choices: Mapping[str, Any], sort: str) -> Iterator[Address]:
    yield f"{route}_table", f"{path}/table", {**choices, "sort": sort, "order": "desc"}
    yield f"{route}_csv", f"{path}.csv", choices


def _of_operations(shop: Shop) -> Iterator[Address]:
    """How the data came, and what the project is."""
    yield "source_day", f"/status/sales_fact/{shop.last}", {}
    for name, path, number in (
        ("batch", "/batches", shop.batch_id),
        ("undo", "/undo", shop.publication_id),
        ("incident", "/incidents", shop.alert_id),
    ):
        if number is not None:
            yield name, f"{path}/{number}", {}
    if shop.rejected:
        yield "rejected", "/rejected", shop.rejected
    yield "metrics", "/metrics", {}
    yield "models", "/models", {}
    yield "model", "/models/daily_revenue", {}
    yield "trigger", f"/trigger/{WAREHOUSE_DAG}", {}
    yield "started", f"/started/{WAREHOUSE_DAG}", {"run_id": "manual"}
