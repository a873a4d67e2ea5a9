"""
Compute the expected marts of one window: source files → ``source`` (text) → ``shop`` (valid, typed) → ``marts``.

Reading order: ``exact.sql`` (rounding), ``cleaning.sql`` (text to values), ``base.sql`` (the shop), ``marts/``.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TypeGuard

import duckdb

HERE = Path(__file__).parent

FACT_FILES = ("sales_fact", "weather_data", "kafka_stream")
VERSIONED_FILES = ("product", "product_category", "customer", "subscription_data")
EVENT_FIELDS = ("customer_id", "product_id", "interaction_type", "timestamp")

CSV = "header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"', nullstr = ''"


@dataclass(frozen=True)
class Mart:
    """
    The key of a mart, and the columns that cannot be compared exactly.

    :param key: the columns that identify a row; they may be null
    :param tolerances: column → the largest difference that counts as equal: one unit in the last place of a value
        that is computed with a square root
    """

    key: tuple[str, ...]
    tolerances: Mapping[str, Decimal] = field(default_factory=dict)


MARTS: Mapping[str, Mart] = {
    "product_category_revenue_monthly": Mart(("revenue_month", "category_name", "subcategory")),
    "product_revenue_payment_analysis": Mart(("revenue_month", "category_name", "payment_method")),
    "payment_method_preference": Mart(("payment_method",)),
    "daily_revenue": Mart(("order_date",)),
    "product_performance_monthly": Mart(("revenue_month", "product_id")),
    "customer_segments": Mart(("customer_id",)),
    "customer_cohorts_monthly": Mart(("cohort_month", "order_month")),
    "subscription_performance_monthly": Mart(("revenue_month", "plan_type")),
    "conversion_funnel_daily": Mart(("event_date",)),
    "order_for_reviews": Mart(("order_id",)),
    "inventory_status": Mart(("product_id",)),
    "seasonal_sales_analysis": Mart(
        ("sales_month", "category_name"), {"coefficient_of_variation_percent": Decimal("0.01")}
    ),
    "weather_sales_impact": Mart(
        ("city", "temperature_category", "precipitation_category"),
        {
            "correlation_temperature_revenue": Decimal("0.0001"),
            "correlation_precipitation_revenue": Decimal("0.0001"),
        },
    ),
}


def compute(folder: Path, first: date, last: date) -> duckdb.DuckDBPyConnection:
    """
    Compute all marts as expected after the window was loaded into an empty warehouse.

    :param folder: the seven CSV files, named as the raw tables; ``opening/`` (an earlier state of the
        versioned ones, read first) and ``messages.jsonl`` (further Kafka messages) are optional
    :param first: first UTC day of the window, inclusive: of ``created_at`` for orders, of the message's
        time for events, of the date for weather; the other sources are read whole
    :param last: last UTC day of the window, inclusive; also the as-of date
    :return: a connection whose schema ``marts`` holds one table for each name in ``MARTS``
    :raises duckdb.IOException: a file is missing
    """
    connection = open_oracle()
    connection.execute(f"set variable first_day = date '{first}'; set variable as_of_date = date '{last}'")
    _read_sources(connection, folder)
    connection.execute((HERE / "base.sql").read_text())
    connection.execute("create schema marts")
    for mart in MARTS:
        query = (HERE / "marts" / f"{mart}.sql").read_text()
        connection.execute(f"create table marts.{mart} as {query}")
    return connection


def open_oracle() -> duckdb.DuckDBPyConnection:
    """Open an empty in-memory database in UTC with the oracle's macros; it uses less than 4 GiB."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'; set memory_limit = '3GiB'; set threads = 2")
    for script in ("exact.sql", "cleaning.sql"):
        connection.execute((HERE / script).read_text())
    return connection


def _read_sources(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    connection.execute("create schema source; create schema shop")
    for name in FACT_FILES:
        connection.execute(f"create table source.{name} as from read_csv('{folder / name}.csv', {CSV})")
    for name in VERSIONED_FILES:
        connection.execute(
            f"create table source.{name} as select *, 2 as read_number from read_csv('{folder / name}.csv', {CSV})"
        )
        opening = folder / "opening" / f"{name}.csv"
        if opening.exists():
            connection.execute(
                f"insert into source.{name} by name select *, 1 as read_number from read_csv('{opening}', {CSV})"
            )
    connection.execute("alter table source.kafka_stream add column published_at varchar")
    messages = folder / "messages.jsonl"
    if messages.exists() and (events := list(_events(messages))):
        columns = ", ".join(f'"{name}"' for name in (*EVENT_FIELDS, "published_at"))
        connection.executemany(f"insert into source.kafka_stream ({columns}) values (?, ?, ?, ?, ?)", events)


def _events(messages: Path) -> Iterator[tuple[str, ...]]:
    """Read the messages that are events: JSON objects in UTF-8 whose four fields are texts. Skip all others."""
    with messages.open(encoding="utf-8") as lines:
        for message in map(json.loads, lines):
            try:
                if (encoded := message.get("value_base64")) is not None:
                    value = json.loads(base64.b64decode(encoded).decode())
                else:
                    value = json.loads(message["value"] or "null")
            except ValueError:
                continue
            event = value if isinstance(value, dict) else {}
            fields = [text for name in EVENT_FIELDS if _is_text(text := event.get(name))]
            if len(fields) == len(EVENT_FIELDS):
                yield (*fields, message["published_at"])


def _is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a string that Postgres can store: without NUL and halves of surrogate pairs."""
    return isinstance(value, str) and not any(
        character == "\0" or "\ud800" <= character <= "\udfff" for character in value
    )
