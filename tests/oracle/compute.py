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

#: Columns of each file; `?` marks those that a file may leave out. Only the file of order lines must exist.
FACT_FILES: Mapping[str, str] = {
    "sales_fact": (
        "order_id line_number? product_id customer_id? order_date order_amount order_quantity? payment_method? "
        "discount_applied? shipping_cost? tax_amount? order_status? created_at"
    ),
    "refund": (
        "refund_id order_id? line_number? product_id? customer_id? refund_date refund_amount refund_quantity? reason? "
        "created_at"
    ),
    "weather_data": "date city temperature? precipitation?",
    "kafka_stream": "customer_id product_id interaction_type timestamp",
}
VERSIONED_FILES: Mapping[str, str] = {
    "product": "product_id product_name product_category_id?",
    "product_category": (
        "product_id category_id category_name subcategory? brand? supplier_id? cost_price? retail_price? "
        "margin_percent? stock_level? reorder_point? discontinued? launch_date? last_updated?"
    ),
    "customer": "customer_id customer_name? customer_email? start_date? end_date? status?",
    "subscription_data": (
        "customer_id subscription_id plan_type? subscription_start_date subscription_end_date? monthly_fee? status?"
    ),
}
REQUIRED_FILE = "sales_fact"
READS = "reads"
EVENT_FIELDS = ("customer_id", "product_id", "interaction_type", "timestamp")

CSV = "header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"', nullstr = ''"


@dataclass(frozen=True)
class Mart:
    """
    The key of a mart, and the columns that cannot be compared exactly.

    :param key: the columns that identify a row; they may be null
    :param tolerances: column → the largest difference that counts as equal: one unit in the last place of a value
        that is computed from a square root or from quotients
    """

    key: tuple[str, ...]
    tolerances: Mapping[str, Decimal] = field(default_factory=dict)


MARTS: Mapping[str, Mart] = {
    "product_category_revenue_monthly": Mart(("revenue_month", "category_name", "subcategory")),
    "product_revenue_payment_analysis": Mart(("revenue_month", "category_name", "payment_method")),
    "payment_method_preference": Mart(("payment_method",)),
    "daily_revenue": Mart(("order_date",)),
    "product_performance_monthly": Mart(("revenue_month", "product_id")),
    "revenue_trend": Mart(("grain", "period_start", "category_name")),
    "order_profitability_monthly": Mart(("revenue_month", "category_name", "discount_band", "shipping_band")),
    "margin_bridge_monthly": Mart(("revenue_month",)),
    "customer_segments": Mart(("customer_id",)),
    "customer_cohorts_monthly": Mart(("cohort_month", "order_month")),
    "repeat_purchases": Mart(("cohort_month", "order_number")),
    "product_affinity": Mart(("product_id", "other_product_id")),
    "subscription_performance_monthly": Mart(("revenue_month", "plan_type")),
    "subscription_customers": Mart(("customer_id",)),
    "conversion_funnel_daily": Mart(("event_date",)),
    # A discount over a list amount, which is a quotient itself.
    "order_for_reviews": Mart(("order_id",), {"discount_percent": Decimal("0.01")}),
    "rule_compliance_daily": Mart(("order_date", "rule")),
    # A square root is in both.
    "inventory_status": Mart(
        ("product_id",), {"safety_stock": Decimal("0.01"), "suggested_order_quantity": Decimal(1)}
    ),
    "inventory_daily": Mart(("date_key", "product_id")),
    "seasonal_sales_analysis": Mart(
        ("sales_month", "category_name"), {"coefficient_of_variation_percent": Decimal("0.01")}
    ),
    "seasonal_index": Mart(
        ("category_name", "month_of_year"),
        {
            "index_percent": Decimal("0.01"),
            "lowest": Decimal("0.01"),
            "highest": Decimal("0.01"),
            "strength": Decimal("0.0001"),
        },
    ),
    "weather_sales_impact": Mart(
        ("city", "temperature_category", "precipitation_category"), {"revenue_index": Decimal("0.01")}
    ),
    "weather_correlation": Mart(
        ("city", "factor", "lag_days"),
        {name: Decimal("0.0001") for name in ("correlation", "ci_low", "ci_high", "raw_correlation")},
    ),
}


@dataclass(frozen=True)
class TimeZones:
    """
    The two time zones of a shop's profile, by their IANA names.

    :param shop: the one whose days are the shop's
    :param source: that of a ``created_at`` without an offset; an event's time without one is UTC
    """

    shop: str = "UTC"
    source: str = "UTC"


UTC = TimeZones()


class ShopFileError(ValueError):
    """A file of the shop's folder is missing, or a column of it; the message names both."""


def compute(folder: Path, first: date, last: date, zones: TimeZones = UTC) -> duckdb.DuckDBPyConnection:
    """
    Compute all marts as expected after the window was loaded into an empty warehouse.

    :param folder: CSV files, named as the raw tables. Only ``sales_fact.csv`` must exist; a source without a file
        has no rows. Optional as well: ``opening/`` (an earlier state of the versioned files, read first),
        ``reads/<day>/subscription_data.csv`` (what the subscriptions were on a day of the window, read then) and
        ``messages.jsonl`` (further Kafka messages)
    :param first: first day of the window, inclusive: of ``created_at`` for order lines and refunds, of
        the message's time for events, of the date for weather; the other sources are read whole
    :param last: last day of the window, inclusive; also the as-of date
    :return: a connection whose schema ``marts`` holds one table for each name in ``MARTS``
    :raises ShopFileError: ``sales_fact.csv`` is missing, or a file has no column that each source must have
    """
    connection = open_oracle(zones)
    connection.execute(f"set variable first_day = date '{first}'; set variable as_of_date = date '{last}'")
    _read_sources(connection, folder)
    connection.execute((HERE / "base.sql").read_text())
    connection.execute("create schema marts")
    for mart in MARTS:
        query = (HERE / "marts" / f"{mart}.sql").read_text()
        connection.execute(f"create table marts.{mart} as {query}")
    return connection


def open_oracle(zones: TimeZones = UTC) -> duckdb.DuckDBPyConnection:
    """Open an empty in-memory database in UTC with the oracle's macros; it uses less than 4 GiB."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'; set memory_limit = '3GiB'; set threads = 2")
    connection.execute(f"set variable time_zone = '{zones.shop}'; set variable source_time_zone = '{zones.source}'")
    for script in ("exact.sql", "cleaning.sql"):
        connection.execute((HERE / script).read_text())
    return connection


def _read_sources(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    connection.execute("create schema source; create schema shop")
    for name, columns in FACT_FILES.items():
        connection.execute(f"create table source.{name} as {_rows_of_file(connection, folder, name, columns)}")
    for name, columns in VERSIONED_FILES.items():
        final = _rows_of_file(connection, folder, name, columns)
        connection.execute(f"create table source.{name} as select *, 2 as read_number from ({final})")
        opening = _rows_of_file(connection, folder / "opening", name, columns)
        connection.execute(f"insert into source.{name} select *, 1 as read_number from ({opening})")
    _read_subscriptions_of_days(connection, folder)
    connection.execute("alter table source.kafka_stream add column published_at varchar")
    messages = folder / "messages.jsonl"
    if messages.exists() and (events := list(_events(messages))):
        columns = ", ".join(f'"{name}"' for name in (*EVENT_FIELDS, "published_at"))
        connection.executemany(f"insert into source.kafka_stream ({columns}) values (?, ?, ?, ?, ?)", events)


def _read_subscriptions_of_days(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Add what was read of the subscriptions between the opening and the final state; `read_day` has the days."""
    connection.execute("""
        create table source.read_day (read_on date);
        alter table source.subscription_data add column read_on date;
        update source.subscription_data
        set read_on = case when read_number = 1 then date '-infinity' else date 'infinity' end
    """)
    for day in sorted((folder / READS).glob("*")):
        rows = _rows_of_file(connection, day, "subscription_data", VERSIONED_FILES["subscription_data"])
        connection.execute(f"insert into source.read_day values (date '{day.name}')")
        connection.execute(
            f"insert into source.subscription_data select *, null as read_number, date '{day.name}' from ({rows})"
        )


def _rows_of_file(connection: duckdb.DuckDBPyConnection, folder: Path, name: str, columns: str) -> str:
    """
    Compose the query for a file's rows, as text: a column that it may leave out is null, others are ignored.

    :raises ShopFileError: the file must exist and does not, or lacks a column that it must have
    """
    file = folder / f"{name}.csv"
    names = [column.removesuffix("?") for column in columns.split()]
    required = [column for column in columns.split() if not column.endswith("?")]
    if not file.exists():
        if name == REQUIRED_FILE:
            raise ShopFileError(f"{file} is missing: without its order lines a shop has no marts to expect")
        nothing = ", ".join(f'null::varchar as "{column}"' for column in names)
        return f"select {nothing} where false"
    read = f"read_csv('{file}', {CSV})"
    present = {column for column, *_ in connection.execute(f"describe from {read}").fetchall()}
    if missing := [column for column in required if column not in present]:
        raise ShopFileError(f"{file} has no column {', '.join(missing)}; it needs {', '.join(required)}")
    values = ", ".join(f'"{column}"' if column in present else f'null::varchar as "{column}"' for column in names)
    return f"select {values} from {read}"


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
