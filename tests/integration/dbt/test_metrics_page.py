"""docs/metrics.md is true: on its example shop, its queries and its examples give what the marts have."""

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ecommerce.common.connections import postgres as connect
from ecommerce.common.windows import Window
from tests import metrics_page
from tests.integration.dbt_runs import dbt_on
from tests.integration.histories.history import Build, Place
from tests.integration.histories.shop import Message, Shop, TopicReader
from tests.integration.support import Loader
from tests.unit.repository.test_metrics_page import marts, numeric_columns

#: The days that are loaded: those of the page, and others, so that orders are dated before and after them.
DAYS_OF_PAGE = date(2023, 1, 1), date(2024, 3, 10)
FEWER_DAYS = date(2023, 2, 10), date(2024, 3, 6)
RAISED_ON = date(2024, 3, 3)
#: The example shop has three customers.
VARIABLES = {"affinity_customers": 1}
VERSIONED = ("product", "product_category", "customer", "subscription_data")


@pytest.fixture(scope="module")
def place(warehouse_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with (
        dbt_on(os.environ["AIRFLOW_CONN_WAREHOUSE_TRANSFORMER"], tmp_path_factory.mktemp("dbt"), VARIABLES) as dbt,
        connect("warehouse") as connection,
    ):
        dbt.run("--select", "staging")
        yield Place(connection, dbt)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(DAYS_OF_PAGE, id="days of the page"),
        pytest.param(FEWER_DAYS, id="fewer days", marks=pytest.mark.long_form),
    ],
)
def warehouse(request: pytest.FixtureRequest, place: Place) -> Iterator[psycopg.Connection]:
    """The marts of the example shop, loaded for some days, and the page's views."""
    first, last = request.param
    place.open()
    _load(place, first, last)
    Build(_midnight(last)).happen(place)
    place.connection.execute("set search_path = public, pg_catalog")
    for view in metrics_page.views():
        place.connection.execute(view.encode())
    yield place.connection
    place.connection.execute("discard temp")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), tzinfo=UTC)


def _load(place: Place, first: date, last: date) -> None:
    """
    As the page says: everything is read once, and the raised fee on its day.

    An order or refund of another day is recorded on the first or the last one.
    """
    loader, window = Loader(place.connection), (str(first), str(last))
    place.set_clock(_midnight(first))
    for source in VERSIONED:
        loader.load(source, str(first), rows=metrics_page.example_rows(source))
    place.set_clock(_midnight(RAISED_ON))
    subscriptions = metrics_page.example_rows("subscription_data")
    raised = [row | ({"monthly_fee": "12.00"} if row["subscription_id"] == "S1" else {}) for row in subscriptions]
    loader.load("subscription_data", str(RAISED_ON), rows=raised)
    place.set_clock(_midnight(last))
    for source, column in (("sales_fact", "order_date"), ("refund", "refund_date")):
        rows = metrics_page.example_rows(source)
        days = [min(max(str(row[column]), window[0]), window[1]) for row in rows]
        recorded = [row | {"created_at": f"{day} 12:00:00"} for row, day in zip(rows, days, strict=True)]
        loader.load(source, *window, rows=recorded)
    weather = [row for row in metrics_page.example_rows("weather_data") if window[0] <= str(row["date"]) <= window[1]]
    loader.load("weather_data", *window, rows=weather)
    shop = Shop()
    shop.topic[0] = [
        Message(0, datetime.fromisoformat(str(row["timestamp"])).replace(tzinfo=UTC), row)
        for row in metrics_page.example_rows("kafka_stream")
    ]
    days_of_events = Window.of_days(*DAYS_OF_PAGE)
    reader = TopicReader(shop, days_of_events)
    loader.load("kafka_stream", str(days_of_events.start), str(days_of_events.last), reader=reader)


def rows_of(warehouse: psycopg.Connection, query: sql.Composed | sql.SQL | bytes) -> tuple[list[str], list[tuple]]:
    cursor = warehouse.execute(query)
    assert cursor.description is not None
    return [column.name for column in cursor.description], cursor.fetchall()


def as_compared(row: tuple) -> tuple:
    """A row with its numbers as they are compared: 1.50 and 1.5 are equal, and so are 1 and 1.0."""
    return tuple(Decimal(value).normalize() if isinstance(value, int | Decimal) else value for value in row)


@pytest.mark.parametrize("mart", marts())
def test_queries_of_page_give_the_figures_of_the_mart(warehouse: psycopg.Connection, mart: str) -> None:
    computed: set[str] = set()
    for query in metrics_page.sections()[mart].queries:
        names, expected = rows_of(warehouse, query.encode())
        _, found = rows_of(
            warehouse,
            sql.SQL("select {} from marts.{}").format(
                sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(mart)
            ),
        )
        assert expected
        only_page, only_mart = (
            set(map(as_compared, one)) - set(map(as_compared, other))
            for one, other in ((expected, found), (found, expected))
        )
        assert (only_page, only_mart) == (set(), set()), names
        assert len(expected) == len(found)
        computed |= set(names)
    assert computed >= numeric_columns(marts()[mart])


def equals(shown: str | None, value: Any) -> bool:
    """Whether a mart's value is what a cell shows."""
    if shown is None or value is None:
        return shown is None and value is None
    try:
        return Decimal(shown) == Decimal(value)
    except (InvalidOperation, TypeError):
        return shown == str(value)


@pytest.mark.parametrize("warehouse", [pytest.param(DAYS_OF_PAGE, id="days of the page")], indirect=True)
@pytest.mark.parametrize("mart", marts())
def test_examples_of_page_are_in_the_mart(warehouse: psycopg.Connection, mart: str) -> None:
    for table in metrics_page.sections()[mart].examples:
        _, found = rows_of(
            warehouse,
            sql.SQL("select {} from marts.{}").format(
                sql.SQL(", ").join(map(sql.Identifier, table.columns)), sql.Identifier(mart)
            ),
        )
        for row in table.rows:
            matches = [other for other in found if all(map(equals, row, other))]
            nearest = [other for other in found if equals(row[0], other[0])]
            assert len(matches) == 1, f"{row} is not in {nearest}"
