"""
The registry: one entry a source. What is read, by which connection, how it is checked, and how it lands.

An eighth source that is a Postgres table is one entry here, one `create table` in `include/sql/raw.sql`
and one staging model; see `docs/adding_a_source.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

#: dim_date's range: a day outside it has no calendar row, so a fact could not point at it.
CALENDAR = ("2010-01-01", "2039-12-31")


class Kind(Enum):
    """What a column's values must be; the loader turns each kind into its checks (`common/value_rules.py`)."""

    TEXT = "text"
    INTEGER = "integer"
    LONG = "long"
    COUNT = "count"  # an integer that is not negative
    NUMBER = "number"
    MONEY = "money"  # numeric(18,2), not negative
    FRACTION = "fraction"  # a number from 0 to 1
    AMOUNT = "amount"  # a number that is not negative, e.g. mm of rain
    BOOLEAN = "boolean"
    DATE = "date"
    CALENDAR_DATE = "calendar_date"  # a date that `dim_date` knows
    TIMESTAMP = "timestamp"  # without time zone, UTC
    INSTANT = "instant"  # ISO 8601, naive means UTC


@dataclass(frozen=True)
class Column:
    """One business column: its name at the source and in raw, what its values are, and whether it may be null."""

    name: str
    kind: Kind = Kind.TEXT
    required: bool = False


class WriteDisposition(Enum):
    """How a load changes raw (contract, section 1)."""

    APPEND = "append"
    REPLACE_WINDOW = "replace_window"
    VERSION_LOG = "version_log"


class NewColumns(Enum):
    """What becomes of a column that a source's table has gained. One that is gone or retyped always fails the load."""

    IGNORE = "ignore"
    EVOLVE = "evolve"  # raw gets the column


@dataclass(frozen=True)
class Touch:
    """Where a version of a key shows in facts: the raw table, the column that holds the key, the day it counts on."""

    table: str
    key: str
    day: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """
    One source system's table, topic or API.

    :param name: the raw table's name, and the name used in params, ledger and marks
    :param connection: the Airflow connection that reads it
    :param reader: which extractor reads it: ``postgres``, ``kafka`` or ``weather``
    :param key: natural key, as raw's columns
    :param window_column: raw column that decides the window of a `replace_window` source
    :param latest_by: column whose greatest value wins when one key comes more than once
    :param day: SQL over a raw row that gives the day whose facts it changes; None marks nothing
    :param change_time: column with the source's own change date (`version_log`); None: when it was read
    :param touches: facts whose days a new version of a key changes (`version_log`)
    :param lineage: columns the reader adds and raw keeps, beside the business columns
    :param lookback_days: so many days before the window are read again with it, as far back as they were read before:
        a slow transaction may have committed rows into a window that was read already (`replace_window`)
    :param parallel_reads: connections that share a read of a Postgres table, all in one snapshot
    :param new_columns: what becomes of columns that the source's table gains
    :param max_refused_share: above this share of refused rows (0-1) the load fails ...
    :param max_refused_rows: ... when there are more refused rows than this
    """

    name: str
    connection: str
    reader: str
    write_disposition: WriteDisposition
    key: Sequence[str]
    columns: Sequence[Column]
    window_column: str | None = None
    latest_by: str | None = None
    day: str | None = None
    change_time: str | None = None
    touches: Sequence[Touch] = field(default=())
    lineage: Sequence[Column] = field(default=())
    lookback_days: int = 3
    parallel_reads: int = 1
    new_columns: NewColumns = NewColumns.IGNORE
    max_refused_share: float = 0.2
    max_refused_rows: int = 10

    @property
    def loaded_columns(self) -> tuple[Column, ...]:
        """Business and lineage columns: what a reader yields, in this order."""
        return (*self.columns, *self.lineage)


_ORDER_DAY = "order_date"
_EVENT_DAY = "(\"timestamp\" at time zone 'UTC')::date"


def _facts_by(key: str) -> tuple[Touch, ...]:
    return Touch("sales_fact", key, _ORDER_DAY), Touch("kafka_stream", key, _EVENT_DAY)


_REGISTRY = (
    Source(
        name="kafka_stream",
        connection="shop_kafka",
        reader="kafka",
        write_disposition=WriteDisposition.APPEND,
        key=("_topic", "_partition", "_offset"),
        columns=(
            Column("customer_id", required=True),
            Column("product_id", required=True),
            Column("interaction_type", required=True),
            Column("timestamp", Kind.INSTANT, required=True),
        ),
        lineage=(
            Column("_topic"),
            Column("_partition", Kind.INTEGER),
            Column("_offset", Kind.LONG),
            Column("_published_at", Kind.INSTANT),
        ),
        day=_EVENT_DAY,
    ),
    Source(
        name="product",
        connection="shop_postgres",
        reader="postgres",
        write_disposition=WriteDisposition.VERSION_LOG,
        key=("product_id",),
        columns=(
            Column("product_id", required=True),
            Column("product_name", required=True),
            Column("product_category_id"),
        ),
        touches=_facts_by("product_id"),
    ),
    Source(
        name="product_category",
        connection="shop_postgres",
        reader="postgres",
        write_disposition=WriteDisposition.VERSION_LOG,
        key=("product_id",),
        columns=(
            Column("product_id", required=True),
            Column("category_id", required=True),
            Column("category_name", required=True),
            Column("subcategory"),
            Column("brand"),
            Column("supplier_id"),
            Column("cost_price", Kind.MONEY),
            Column("retail_price", Kind.MONEY),
            Column("margin_percent", Kind.NUMBER),
            Column("stock_level", Kind.INTEGER),
            Column("reorder_point", Kind.INTEGER),
            Column("discontinued", Kind.BOOLEAN),
            Column("launch_date", Kind.DATE),
            Column("last_updated", Kind.DATE),
        ),
        change_time="last_updated",
        latest_by="last_updated",
        touches=_facts_by("product_id"),
    ),
    Source(
        name="sales_fact",
        connection="shop_postgres",
        reader="postgres",
        write_disposition=WriteDisposition.REPLACE_WINDOW,
        key=("order_id",),
        columns=(
            Column("order_id", required=True),
            Column("product_id", required=True),
            Column("customer_id", required=True),
            Column("order_date", Kind.CALENDAR_DATE, required=True),
            Column("order_amount", Kind.MONEY, required=True),
            Column("order_quantity", Kind.COUNT),
            Column("payment_method"),
            Column("discount_applied", Kind.FRACTION),
            Column("shipping_cost", Kind.MONEY),
            Column("created_at", Kind.TIMESTAMP, required=True),
        ),
        window_column="created_at",
        latest_by="created_at",
        day=_ORDER_DAY,
    ),
    Source(
        name="customer",
        connection="shop_postgres",
        reader="postgres",
        write_disposition=WriteDisposition.VERSION_LOG,
        key=("customer_id",),
        columns=(
            Column("customer_id", required=True),
            Column("customer_name"),
            Column("customer_email"),
            Column("start_date", Kind.DATE),
            Column("end_date", Kind.DATE),
            Column("status"),
        ),
        touches=_facts_by("customer_id"),
    ),
    Source(
        name="subscription_data",
        connection="shop_postgres",
        reader="postgres",
        write_disposition=WriteDisposition.VERSION_LOG,
        key=("subscription_id",),
        columns=(
            Column("customer_id", Kind.COUNT, required=True),
            Column("subscription_id", required=True),
            Column("plan_type"),
            Column("subscription_start_date", Kind.DATE, required=True),
            Column("subscription_end_date", Kind.DATE),
            Column("monthly_fee", Kind.MONEY),
            Column("status"),
        ),
    ),
    Source(
        name="weather_data",
        connection="weather_api",
        reader="weather",
        write_disposition=WriteDisposition.REPLACE_WINDOW,
        key=("city", "date"),
        columns=(
            Column("date", Kind.CALENDAR_DATE, required=True),
            Column("temperature", Kind.NUMBER),
            Column("precipitation", Kind.AMOUNT),
            Column("city", required=True),
        ),
        window_column="date",
        # The public archive has a day some two to five days after it, and corrects it for some more.
        lookback_days=10,
        day="date",
    ),
)

#: Every source by name, in the order in which the DAG shows them.
SOURCES: dict[str, Source] = {source.name: source for source in _REGISTRY}
