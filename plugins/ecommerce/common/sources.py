"""
The registry of sources: what each one means, how it is validated, and how it is written to raw.

Where a shop has them is said in its profile (`common/shop.py`). A further table or topic is one entry here, one line
there, one `create table` in `include/sql/raw.sql` and one staging model; see `docs/adding_a_source.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

#: The days of `dim_date`: a fact of another day would have no row there.
CALENDAR = ("1970-01-01", "2069-12-31")


class Kind(Enum):
    """What a column's values must be; `common/value_rules.py` has the rules of each kind."""

    TEXT = "text"
    INTEGER = "integer"
    LONG = "long"
    COUNT = "count"  # an integer that is not negative
    NUMBER = "number"
    MONEY = "money"  # numeric(18,2), not negative
    POSITIVE_MONEY = "positive_money"  # numeric(18,2), a cent or more
    FRACTION = "fraction"  # a number from 0 to 1
    AMOUNT = "amount"  # a number that is not negative, e.g. mm of rain
    BOOLEAN = "boolean"
    DATE = "date"  # a day of the calendar, like each day of the two kinds below
    TIMESTAMP = "timestamp"  # without time zone, UTC
    INSTANT = "instant"  # ISO 8601, naive means UTC


class Erased(Enum):
    """What an erasure (`ecommerce/erase`) makes of a column, in the rows of the customer who is erased."""

    KEY = "key"  # who the customer is: a random key takes its place
    EMPTIED = "emptied"
    E_MAIL = "e_mail"  # emptied, and by loads in every row that has it
    FREE_TEXT = "free_text"  # emptied; in all other rows whatever names the customer is replaced


@dataclass(frozen=True)
class Column:
    """
    One business column: its name at the source and in raw, and what its values are.

    :param required: the source has the column, and it is never null
    :param default: what null means, as text; also where the source does not have the column
    :param bounds: the least and the greatest value of a number; others are no measurements, such as -999
    :param is_personal: says who a person is: no message quotes it, and the role `inspector` does not see it
    :param erased: what an erasure makes of it; None: it never says anything of a person
    """

    name: str
    kind: Kind = Kind.TEXT
    required: bool = False
    default: str | None = None
    bounds: tuple[int, int] | None = None
    is_personal: bool = False
    erased: Erased | None = None


class WriteDisposition(Enum):
    """How a load changes raw (contract, section 1)."""

    APPEND = "append"
    REPLACE_WINDOW = "replace_window"
    VERSION_LOG = "version_log"


class NewColumns(Enum):
    """What a load does with a new column of a source's table. One that is missing or retyped always fails the load."""

    IGNORE = "ignore"
    EVOLVE = "evolve"  # raw gets the column


@dataclass(frozen=True)
class Reference:
    """
    Rows of another raw table that a row names, such as the order line of a refund.

    :param table: the other raw table
    :param columns: columns of both tables, equal in both rows; null names no row
    :param day: SQL over a row of the other table: the day whose versions a fact with such a row uses; None: its own day
    """

    table: str
    columns: Sequence[str]
    day: str | None = None


@dataclass(frozen=True)
class Touch:
    """
    Facts that use a version log's key: a new version of the key makes their days dirty.

    :param table: their raw table
    :param key: its column with the key
    :param day: SQL over a row of it that gives the day of its fact, and of the version that the fact uses
    :param references: rows that a row may name, most exact first; where there is one, its key counts, and its day too
    """

    table: str
    key: str
    day: str
    references: Sequence[Reference] = ()


@dataclass(frozen=True)
class Dependents:
    """
    Rows whose facts depend on a row that a load writes or deletes: their days become dirty as well.

    :param table: their raw table; it may be that of the loaded source itself
    :param key: column of both tables with equal values; of the loaded source it is a key column
    :param day: SQL over such a row that gives the day of its fact
    """

    table: str
    key: str
    day: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """
    One source system's table, topic or API.

    :param name: the raw table's name, and the source's name in params, ledger and dirty dates
    :param reader: what kind of system has it (`extract/readers.py`): ``database``, ``kafka`` or ``weather``
    :param key: natural key, as raw's columns; of a topic the place of a message: topic, partition, offset
    :param window_column: raw column that decides the window of a `replace_window` source
    :param latest_by: column whose greatest value wins if a key comes more than once
    :param day: SQL over a raw row that gives the day whose facts it changes; None: it makes no day dirty
    :param change_time: column with the source's own change date (`version_log`); None: the time of the load
    :param touches: facts whose days a new version of a key changes (`version_log`)
    :param dependents: rows whose days become dirty with a row of this source (`replace_window`)
    :param lineage: columns that the reader adds and raw keeps, beside the business columns
    :param lookback_days: days before the window that are read again with it, as far back as they were loaded before:
        a slow transaction may have committed rows into a window after it was read (`replace_window`)
    :param keeps_missing: a row or value that the source does not give (any more) stays in raw (`replace_window`)
    :param takes_changes: it may be read from a topic of its changes, too (`version_log`)
    :param is_packed: old rows may be packed (`prune/packing.py`): raw has a table of them, and a view of all rows
    :param parallel_reads: connections that share a read of a table, all in one snapshot
    :param new_columns: what a load does with new columns of the source's table
    :param max_rejected_share: a load fails if more than this share of its rows (0-1) is rejected ...
    :param max_rejected_rows: ... and more rows than this
    """

    name: str
    reader: str
    write_disposition: WriteDisposition
    key: Sequence[str]
    columns: Sequence[Column]
    window_column: str | None = None
    latest_by: str | None = None
    day: str | None = None
    change_time: str | None = None
    touches: Sequence[Touch] = field(default=())
    dependents: Sequence[Dependents] = field(default=())
    lineage: Sequence[Column] = field(default=())
    lookback_days: int = 3
    keeps_missing: bool = False
    takes_changes: bool = False
    is_packed: bool = False
    parallel_reads: int = 1
    new_columns: NewColumns = NewColumns.IGNORE
    max_rejected_share: float = 0.2
    max_rejected_rows: int = 10

    @property
    def loaded_columns(self) -> tuple[Column, ...]:
        """Business and lineage columns: what a reader yields, in this order."""
        return (*self.columns, *self.lineage)

    @property
    def is_changes(self) -> bool:
        """Whether its rows are changes, read from a topic."""
        return self.lineage == CHANGE_LINEAGE

    @property
    def all_rows(self) -> str:
        """What of raw to read for all rows; only what is not packed can be written."""
        return f"{self.name}_all" if self.is_packed else self.name

    @property
    def packed_table(self) -> str | None:
        """The table of raw with the packed rows."""
        return f"{self.name}_packed" if self.is_packed else None

    @property
    def customer_column(self) -> str | None:
        """The column that says whose a row is; None: the source has no customers."""
        return next((column.name for column in self.columns if column.erased is Erased.KEY), None)

    @property
    def emptied_columns(self) -> tuple[str, ...]:
        """The columns that an erasure empties."""
        return tuple(column.name for column in self.columns if column.erased not in (None, Erased.KEY))


#: Of each source that is a topic: the key, and what the reader adds to a message.
TOPIC_KEY = ("_topic", "_partition", "_offset")
TOPIC_LINEAGE = (
    Column("_topic"),
    Column("_partition", Kind.INTEGER),
    Column("_offset", Kind.LONG),
    Column("_published_at", Kind.INSTANT),
)
#: What a reader adds to a change of a row: its place in the topic, when it happened, and whether the row was deleted.
CHANGE_LINEAGE = (
    Column("_partition", Kind.INTEGER),
    Column("_offset", Kind.LONG),
    Column("_changed_at", Kind.INSTANT),
    Column("_is_deleted", Kind.BOOLEAN),
)
#: The digits of a message's time after the microsecond, which raw's type cannot hold: with them two events of one
#: microsecond stay two. Of the topic of events alone.
BELOW_MICROSECOND = Column("_below_microsecond")

_ORDER_DAY = "order_date"
_REFUND_DAY = "refund_date"
_EVENT_DAY = 'ops.shop_day("timestamp")'


#: Product and customer of a refund are those of the order line that it names, as they were on the order's day …
_ORDER_LINE = Reference("sales_fact", ("order_id", "line_number"), _ORDER_DAY)
#: … or, without a line, the customer is that of the order. What is known of neither is taken from the refund itself.
_ORDER = Reference("sales_fact", ("order_id",))


def _facts_by(key: str, refund_by: Sequence[Reference]) -> tuple[Touch, ...]:
    return (
        Touch("sales_fact", key, _ORDER_DAY),
        Touch("kafka_stream", key, _EVENT_DAY),
        Touch("refund", key, _REFUND_DAY, refund_by),
    )


_REGISTRY = (
    Source(
        name="kafka_stream",
        reader="kafka",
        write_disposition=WriteDisposition.APPEND,
        key=TOPIC_KEY,
        columns=(
            Column("customer_id", required=True, erased=Erased.KEY),
            Column("product_id", required=True),
            Column("interaction_type", required=True),
            Column("timestamp", Kind.INSTANT, required=True),
        ),
        lineage=(*TOPIC_LINEAGE, BELOW_MICROSECOND),
        day=_EVENT_DAY,
        is_packed=True,
    ),
    Source(
        name="product",
        reader="database",
        write_disposition=WriteDisposition.VERSION_LOG,
        takes_changes=True,
        key=("product_id",),
        columns=(
            Column("product_id", required=True),
            Column("product_name", required=True),
            Column("product_category_id"),
        ),
        touches=_facts_by("product_id", [_ORDER_LINE]),
    ),
    Source(
        name="product_category",
        reader="database",
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
        touches=_facts_by("product_id", [_ORDER_LINE]),
    ),
    Source(
        name="sales_fact",
        reader="database",
        write_disposition=WriteDisposition.REPLACE_WINDOW,
        key=("order_id", "line_number"),
        columns=(
            Column("order_id", required=True),
            Column("line_number", Kind.COUNT, default="1"),
            Column("product_id", required=True),
            # Null or blank: the order of a guest.
            Column("customer_id", erased=Erased.KEY),
            Column("order_date", Kind.DATE, required=True),
            Column("order_amount", Kind.MONEY, required=True),
            Column("order_quantity", Kind.COUNT),
            Column("payment_method"),
            Column("discount_applied", Kind.FRACTION),
            Column("shipping_cost", Kind.MONEY),
            Column("tax_amount", Kind.MONEY),
            Column("order_status"),
            Column("created_at", Kind.TIMESTAMP, required=True),
        ),
        window_column="created_at",
        latest_by="created_at",
        day=_ORDER_DAY,
        # An order is counted once however many days its lines have; a refund has customer and product of its line.
        dependents=(
            Dependents("sales_fact", "order_id", _ORDER_DAY),
            Dependents("refund", "order_id", _REFUND_DAY),
        ),
    ),
    Source(
        name="refund",
        reader="database",
        write_disposition=WriteDisposition.REPLACE_WINDOW,
        key=("refund_id",),
        columns=(
            Column("refund_id", required=True),
            Column("order_id"),
            Column("line_number", Kind.COUNT),
            Column("product_id"),
            Column("customer_id", erased=Erased.KEY),
            Column("refund_date", Kind.DATE, required=True),
            Column("refund_amount", Kind.POSITIVE_MONEY, required=True),
            Column("refund_quantity", Kind.COUNT),
            Column("reason", erased=Erased.FREE_TEXT),
            Column("created_at", Kind.TIMESTAMP, required=True),
        ),
        window_column="created_at",
        latest_by="created_at",
        day=_REFUND_DAY,
    ),
    Source(
        name="customer",
        reader="database",
        write_disposition=WriteDisposition.VERSION_LOG,
        takes_changes=True,
        key=("customer_id",),
        columns=(
            Column("customer_id", required=True, erased=Erased.KEY),
            Column("customer_name", is_personal=True, erased=Erased.EMPTIED),
            Column("customer_email", is_personal=True, erased=Erased.E_MAIL),
            Column("start_date", Kind.DATE),
            Column("end_date", Kind.DATE),
            Column("status"),
        ),
        touches=_facts_by("customer_id", [_ORDER_LINE, _ORDER]),
    ),
    Source(
        name="subscription_data",
        reader="database",
        write_disposition=WriteDisposition.VERSION_LOG,
        key=("subscription_id",),
        columns=(
            Column("customer_id", required=True, erased=Erased.KEY),
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
        reader="weather",
        write_disposition=WriteDisposition.REPLACE_WINDOW,
        key=("city", "date"),
        columns=(
            Column("date", Kind.DATE, required=True),
            Column("temperature", Kind.NUMBER, bounds=(-90, 60)),
            Column("precipitation", Kind.AMOUNT, bounds=(0, 2000)),
            Column("city", required=True),
        ),
        window_column="date",
        # The public archive gets a day two to five days later, and corrects it for some days more.
        lookback_days=10,
        # An archive has gaps for a time, and takes back values while it corrects them.
        keeps_missing=True,
        day="date",
    ),
)

#: Every source by name, in the order in which the DAG shows them. A shop may not have all of them.
SOURCES: dict[str, Source] = {source.name: source for source in _REGISTRY}

#: The columns that say who a person is, by their names: staging and core keep the names.
PERSONAL_COLUMNS = frozenset(
    column.name for source in _REGISTRY for column in source.loaded_columns if column.is_personal
)

#: Table of core or marts → the one source without which it is empty: then no check reads it, and its page says so.
FILLED_BY = {
    "fact_refunds": "refund",
    "fact_customer_events": "kafka_stream",
    "conversion_funnel_daily": "kafka_stream",
    "fact_subscriptions": "subscription_data",
    "int_subscription_fees": "subscription_data",
    "subscription_performance_monthly": "subscription_data",
    "subscription_customers": "subscription_data",
    "fact_weather": "weather_data",
    "weather_sales_impact": "weather_data",
    "weather_correlation": "weather_data",
}

#: Source → what a shop without it does not have.
_SUBJECTS = {
    "kafka_stream": "customer interactions",
    "product": "product list",
    "product_category": "product categories and stock",
    "refund": "refunds",
    "customer": "customer list",
    "subscription_data": "subscriptions",
    "weather_data": "weather",
}


def absence_in_words(absent: Sequence[str]) -> str:
    """`This shop has no customer interactions, subscriptions or weather.`; empty if no source is absent."""
    *others, last = [_SUBJECTS.get(source, source) for source in absent] or [""]
    return f"This shop has no {', '.join(others)}{' or ' if others else ''}{last}." if absent else ""
