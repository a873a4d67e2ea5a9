"""
The way from a figure back to its source: mart row → fact rows → raw rows → batch, run and Kafka offset.

A figure that is made of orders counts lines with an amount that are not cancelled, and counts an order once, however
many lines it has. A net figure has two kinds of rows behind it: the order lines, and the refunds that it subtracts.

Keys come from addresses: their values are bound as texts, and Postgres casts them to the column's type. Which columns
exist is defined here, never by an address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ecommerce.common.value_rules import rule_in_sql
from ecommerce.figures.key_figures import ALL_PLANS
from shop_pages.figures import FigureColumn, PageTable, drill_path
from shop_pages.formats import Format
from shop_pages.limits import SHOWN_CHARACTERS
from shop_pages.pages.shared import ALL_CATEGORIES, customer_path
from shop_pages.pool import Row
from shop_pages.words import heading_of

#: Fact rows that a page shows for a mart row; the totals are those of all rows.
FACT_ROWS = 200
#: Versions of a customer or a product that a page shows.
VERSION_ROWS = 20

_LINES = (
    FigureColumn("order_id", "Order"),
    FigureColumn("line_number", "Line", Format.COUNT),
    FigureColumn("date_key", "Day", Format.DAY),
    FigureColumn("customer", "Customer"),
    FigureColumn("product_id", "Product"),
    FigureColumn("product_name", "Name"),
    FigureColumn("category_name", "Category"),
    FigureColumn("payment_method", "Paid by"),
    FigureColumn("order_quantity", "Quantity", Format.COUNT),
    FigureColumn("order_amount", "Amount", Format.MONEY),
    FigureColumn("discount_percent", "Discount", Format.PERCENT),
    FigureColumn("shipping_cost", "Shipping", Format.MONEY),
    FigureColumn("gross_profit", "Gross profit", Format.MONEY),
    FigureColumn("contribution_amount", "Contribution", Format.MONEY),
)
#: All lines of an order, also those that no mart counts.
_ORDER_LINES = (*_LINES, FigureColumn("is_counted", "Counts", Format.BOOLEAN))
REFUND_COLUMNS = (
    FigureColumn("refund_id", "Refund"),
    FigureColumn("date_key", "Day", Format.DAY),
    FigureColumn("order_id", "Order"),
    FigureColumn("line_number", "Line", Format.COUNT),
    FigureColumn("customer_id", "Customer"),
    FigureColumn("product_id", "Product"),
    FigureColumn("product_name", "Name"),
    FigureColumn("category_name", "Category"),
    FigureColumn("reason", "Reason", help="Why it was paid back, as the shop says."),
    FigureColumn("refund_quantity", "Quantity", Format.COUNT),
    FigureColumn("refund_amount", "Amount", Format.MONEY),
)
EVENT_COLUMNS = (
    FigureColumn("event_id", "Event"),
    FigureColumn("event_at", "At", Format.TIMESTAMP),
    FigureColumn("customer_id", "Customer"),
    FigureColumn("product_id", "Product"),
    FigureColumn("interaction_type", "Type"),
    FigureColumn("event_category", "Category"),
)
SUBSCRIPTION_COLUMNS = (
    FigureColumn("subscription_id", "Subscription"),
    FigureColumn("customer_id", "Customer"),
    FigureColumn("plan_type", "Plan"),
    FigureColumn("start_date", "Start", Format.DAY),
    FigureColumn("end_date", "End", Format.DAY),
    FigureColumn("monthly_fee", "Fee", Format.MONEY),
    FigureColumn("subscription_status", "Status"),
)
_WEATHER = (
    FigureColumn("city_day", "City and day"),
    FigureColumn("date_key", "Day", Format.DAY),
    FigureColumn("temperature_c", "°C", Format.NUMBER),
    FigureColumn("precipitation_mm", "mm", Format.NUMBER),
    FigureColumn("temperature_category", "Temperature"),
    FigureColumn("precipitation_category", "Rain"),
    FigureColumn("revenue", "Revenue of the day", Format.MONEY),
)

#: A line as a page shows it.
_LINE = """
            fact_sales.order_id, fact_sales.line_number, fact_sales.date_key,
            case when fact_sales.is_guest then 'Guest' else fact_sales.customer_id end as customer,
            fact_sales.product_id, products.product_name, products.category_name, fact_sales.payment_method,
            fact_sales.order_quantity, fact_sales.order_amount,
            round(fact_sales.discount_rate * 100, 2) as discount_percent, fact_sales.shipping_cost,
            fact_sales.gross_profit, fact_sales.contribution_amount"""

#: The lines that marts count, read once. Names are joined to the rows that are shown only; a left join of the products
#: costs nothing where the condition does not read them. Totals are by order first: to sort all lines in order to count
#: distinct orders would take longer than a page may; and they are materialized, since Postgres expects one line where
#: there are thousands, and would compute them for each row that is shown.
_COUNTED_LINES = f"""
    with lines as materialized (
        select
            fact_sales.order_id, fact_sales.line_number, fact_sales.date_key, fact_sales.order_quantity,
            fact_sales.order_amount, fact_sales.contribution_amount
        {{from_lines}}
    ),
    orders as (
        select
            count(*) as lines, sum(order_amount) as amount, sum(order_quantity) as units,
            sum(contribution_amount) as contribution
        from lines
        group by order_id
    ),
    totals as materialized (
        select
            coalesce(sum(lines), 0) as all_rows, count(*) as all_orders, sum(amount) as all_amount,
            sum(units) as all_units, sum(contribution) as all_contribution
        from orders
    ),
    shown as (
        select order_id, line_number
        from lines
        order by {{order}}
        limit {FACT_ROWS + 1}
    )
    select {{line}}, totals.*
    from shown
    inner join core.fact_sales using (order_id, line_number)
    inner join core.dim_products as products on fact_sales.product_key = products.product_key
    cross join totals
    order by {{order}}"""
_FROM_COUNTED_LINES = """
        from core.fact_sales
        left join core.dim_products as products on fact_sales.product_key = products.product_key
        where fact_sales.order_amount > 0 and not fact_sales.is_cancelled and {condition}"""

#: The same lines as rows that can be sorted by any column.
_COUNTED_ROWS = f"""
    select {_LINE}
    from core.fact_sales
    inner join core.dim_products as products on fact_sales.product_key = products.product_key
    where fact_sales.order_amount > 0 and not fact_sales.is_cancelled and {{condition}}"""

#: The lines that would count, had they not been cancelled.
_CANCELLED_ROWS = f"""
    select {_LINE}, count(*) over () as all_rows
    from core.fact_sales
    inner join core.dim_products as products on fact_sales.product_key = products.product_key
    where fact_sales.order_amount > 0 and fact_sales.is_cancelled and {{condition}}"""

#: All lines of an order; the amount is that of the lines that count.
_LINES_OF_ORDER = """
    with lines as (
        select {line}, fact_sales.order_amount > 0 and not fact_sales.is_cancelled as is_counted
        from core.fact_sales
        inner join core.dim_products as products on fact_sales.product_key = products.product_key
        where {condition}
    )
    select
        lines.*, count(*) over () as all_rows,
        sum(lines.order_amount) filter (where lines.is_counted) over () as all_amount
    from lines"""
_LINES_ORDER = "line_number"

_REFUNDS_WHERE = """
    select
        fact_refunds.refund_id, fact_refunds.date_key, fact_refunds.order_id, fact_refunds.line_number,
        fact_refunds.customer_id, fact_refunds.product_id, products.product_name, products.category_name,
        fact_refunds.reason, fact_refunds.refund_quantity, fact_refunds.refund_amount,
        count(*) over () as all_rows, sum(fact_refunds.refund_amount) over () as all_amount
    from core.fact_refunds
    inner join core.dim_products as products on fact_refunds.product_key = products.product_key
    where {condition}"""
REFUNDS_ORDER = "refund_amount desc, refund_id"

#: The subscriptions that are active on a day, with the fee of that day.
_SUBSCRIPTIONS_WHERE = """
    with last_day as (select {last_day} as day)
    select
        fact_subscriptions.subscription_id, fact_subscriptions.customer_id, fact_subscriptions.plan_type,
        fact_subscriptions.start_date, fact_subscriptions.end_date, fees.monthly_fee,
        fact_subscriptions.subscription_status,
        count(*) over () as all_rows, sum(fees.monthly_fee) over () as all_amount
    from core.fact_subscriptions
    cross join last_day
    inner join core.int_subscription_fees as fees
        on
            fact_subscriptions.subscription_id = fees.subscription_id
            and fees.valid_from <= last_day.day
            and last_day.day < fees.valid_to
    where
        fact_subscriptions.start_date <= last_day.day
        and coalesce(fact_subscriptions.end_date > last_day.day, true)
        and {condition}"""
_FEES_ORDER = "monthly_fee desc, subscription_id"


_MOVEMENT_COLUMNS = (
    FigureColumn("movement", "Kind"),
    FigureColumn("moved_on", "Day", Format.DAY),
    FigureColumn("amount", "Fee", Format.MONEY),
    FigureColumn("subscription_id", "Subscription"),
    FigureColumn("customer_id", "Customer"),
    FigureColumn("plan_type", "Plan"),
)

#: What moved the recurring revenue of a month, of a plan or of all, as in subscription_performance_monthly.
_MOVEMENTS = f"""
    with as_of as (
        select max(order_date) as day from marts.daily_revenue
    ),
    started as (
        select * from core.fact_subscriptions
        where start_date <= (select day from as_of)
    ),
    changed_fees as (
        select
            subscription_id, valid_from,
            monthly_fee - lag(monthly_fee) over (partition by subscription_id order by valid_from) as added_fee
        from core.int_subscription_fees
    ),
    movements as (
        select
            started.*, case when is_reactivated then 'reactivated' else 'new' end as movement,
            start_date as moved_on, fees.monthly_fee as amount
        from started
        inner join core.int_subscription_fees as fees
            on
                started.subscription_id = fees.subscription_id
                and fees.valid_from <= started.start_date
                and started.start_date < fees.valid_to
        union all
        select
            started.*, case when added_fee > 0 then 'expansion' else 'contraction' end, changed_fees.valid_from,
            abs(added_fee)
        from started
        inner join changed_fees
            on
                started.subscription_id = changed_fees.subscription_id
                and started.start_date < changed_fees.valid_from
                and coalesce(started.ended_date > changed_fees.valid_from, true)
        where changed_fees.valid_from <= (select day from as_of)
        union all
        select started.*, 'churned', started.ended_date, fees.monthly_fee
        from started
        inner join core.int_subscription_fees as fees
            on
                started.subscription_id = fees.subscription_id
                and fees.valid_from <= greatest(started.ended_date - 1, started.start_date)
                and greatest(started.ended_date - 1, started.start_date) < fees.valid_to
        where started.ended_date is not null
    )
    select
        subscription_id, customer_id, plan_type, movement, moved_on, amount, count(*) over () as all_rows,
        sum(amount) filter (where movement = 'new') over () as all_new,
        sum(amount) filter (where movement = 'reactivated') over () as all_reactivated,
        sum(amount) filter (where movement = 'expansion') over () as all_expansion,
        sum(amount) filter (where movement = 'contraction') over () as all_contraction,
        sum(amount) filter (where movement = 'churned') over () as all_churned
    from movements
    where
        moved_on >= %(revenue_month)s::date
        and moved_on < (%(revenue_month)s::date + interval '1 month')::date
        and (%(plan_type)s::text = '{ALL_PLANS}' or plan_type is not distinct from %(plan_type)s::text)"""
_MOVEMENTS_ORDER = (
    "array_position(array['new', 'reactivated', 'expansion', 'contraction', 'churned'], movement), amount desc,"
    " subscription_id"
)


def _lines_of_order(condition: str) -> str:
    return _LINES_OF_ORDER.format(line=_LINE, condition=condition)


def _refunds(condition: str) -> str:
    return _REFUNDS_WHERE.format(condition=condition)


#: The section with the cancelled lines of a day.
CANCELLED = "cancelled"

#: All refunds of a customer.
REFUNDS_OF_CUSTOMER = _refunds("fact_refunds.customer_id = %(customer_id)s::text")


def _is_line(column: str, parameter: str = "line_number") -> str:
    """The condition that a row is of the line of a parameter, or of any line if that is null."""
    return f"(%({parameter})s::integer is null or {column} = %({parameter})s::integer)"


@dataclass(frozen=True, kw_only=True)
class RelatedRows:
    """
    Rows of a fact table that belong to a row of another, or of the same.

    :param fact: their fact table
    :param rows_query: by the row's `%(order_id)s` and `%(line_number)s`
    :param order_by: SQL: their order; ``sorted_by`` the same in words
    :param no_rows: what the page says where there are none
    :param no_order: the same for a row that names no order; only a refund may lack one
    """

    fact: str
    title: str
    rows_query: str
    order_by: str
    columns: Sequence[FigureColumn]
    sorted_by: str
    no_rows: str
    no_order: str = ""

    @property
    def table(self) -> PageTable:
        """As the page has it."""
        fact = FACTS[self.fact]
        return PageTable(
            name=self.fact,
            title=self.title,
            columns=self.columns,
            query=self.rows_query,
            order_by=self.order_by,
            sorted_by=self.sorted_by,
            links={fact.key: fact.path},
        )


@dataclass(frozen=True, kw_only=True)
class Fact:
    """
    A fact table as a page shows it.

    :param key: the column that identifies one row, and its raw rows
    :param line: the second column of the key; an address without it means all lines of the order
    :param source: the raw table
    :param row_query: the fact row, by `%(key)s` and, if the fact has lines, `%(line)s` (null: all)
    :param raw_query: its raw rows, by the same; ``raw_order`` their order
    """

    name: str
    key: str
    line: str | None = None
    columns: Sequence[FigureColumn]
    source: str
    row_query: str
    raw_query: str
    raw_order: str = "_batch_id desc"
    related: Sequence[RelatedRows] = ()

    def path(self, row: Row) -> str:
        """The path of the page about one row, below the pages' own."""
        keys = {"key": row[self.key], **({"line": row[self.line]} if self.line else {})}
        return f"/facts/{self.name}?{urlencode(keys)}"


#: The day of a key such as `Berlin 2024-01-31`; null if it is no day.
_DAY_OF_KEY = """
                    case
                        when pg_input_is_valid(substring(%(key)s from ' ([0-9-]+)$'), 'date')
                            then substring(%(key)s from ' ([0-9-]+)$')::date
                    end"""

FACTS = {
    fact.name: fact
    for fact in (
        Fact(
            name="fact_sales",
            key="order_id",
            line="line_number",
            columns=_LINES,
            source="sales_fact",
            row_query=f"""
                select * from core.fact_sales
                where order_id = %(key)s and {_is_line("line_number", "line")}
                order by line_number""",
            raw_query=f"""
                select * from raw.sales_fact
                where order_id = %(key)s and {_is_line("line_number", "line")}""",
            raw_order="line_number, _batch_id desc",
            related=(
                RelatedRows(
                    fact="fact_sales",
                    title="All lines of the order",
                    rows_query=_lines_of_order("fact_sales.order_id = %(order_id)s"),
                    order_by=_LINES_ORDER,
                    columns=_ORDER_LINES,
                    sorted_by="by line",
                    no_rows="The order has no lines.",
                ),
                RelatedRows(
                    fact="fact_refunds",
                    title="Refunds",
                    # A refund without a line is one of the whole order, and so of each of its lines.
                    rows_query=_refunds(f"""
                        fact_refunds.order_id = %(order_id)s
                        and (fact_refunds.line_number is null or {_is_line("fact_refunds.line_number")})"""),
                    order_by=REFUNDS_ORDER,
                    columns=REFUND_COLUMNS,
                    sorted_by="by amount",
                    no_rows="Nothing of it was refunded.",
                ),
            ),
        ),
        Fact(
            name="fact_refunds",
            key="refund_id",
            columns=REFUND_COLUMNS,
            source="refund",
            row_query="select * from core.fact_refunds where refund_id = %(key)s",
            raw_query="select * from raw.refund where refund_id = %(key)s",
            related=(
                RelatedRows(
                    fact="fact_sales",
                    title="What was refunded: the order line, or all lines of the order",
                    rows_query=_lines_of_order(
                        f"fact_sales.order_id = %(order_id)s and {_is_line('fact_sales.line_number')}"
                    ),
                    order_by=_LINES_ORDER,
                    columns=_ORDER_LINES,
                    sorted_by="by line",
                    no_rows="The warehouse has no order line that this refund names.",
                    no_order="This refund names no order.",
                ),
            ),
        ),
        Fact(
            name="fact_customer_events",
            key="event_id",
            columns=EVENT_COLUMNS,
            source="kafka_stream",
            row_query="select * from core.fact_customer_events where event_id = %(key)s",
            # The event, and the messages that repeat it.
            raw_query=r"""
                with event as (
                    select * from raw.kafka_stream_all
                    where
                        -- Of packed messages, only those of this day are unpacked.
                        _day = (select date_key from core.fact_customer_events where event_id = %(key)s)
                        and _topic = regexp_replace(%(key)s, '-[0-9]+-[0-9]+$', '')
                        -- As many digits as the types hold: others are of no message.
                        and _partition = substring(%(key)s from '-([0-9]{1,9})-[0-9]+$')::integer
                        and _offset = substring(%(key)s from '-([0-9]{1,18})$')::bigint
                )
                select kafka_stream.*
                from raw.kafka_stream_all as kafka_stream
                inner join event
                    on kafka_stream._day = event._day
                    and kafka_stream."timestamp" = event."timestamp"
                    and kafka_stream._below_microsecond is not distinct from event._below_microsecond
                    and ops.clean_text(kafka_stream.customer_id) = ops.clean_text(event.customer_id)
                    and ops.clean_text(kafka_stream.product_id) = ops.clean_text(event.product_id)
                    and ops.clean_text(kafka_stream.interaction_type) = ops.clean_text(event.interaction_type)""",
            raw_order="_partition, _offset",
        ),
        Fact(
            name="fact_subscriptions",
            key="subscription_id",
            columns=SUBSCRIPTION_COLUMNS,
            source="subscription_data",
            row_query="select * from core.fact_subscriptions where subscription_id = %(key)s",
            raw_query="select * from raw.subscription_data where subscription_id = %(key)s",
        ),
        Fact(
            name="fact_weather",
            key="city_day",
            columns=_WEATHER,
            source="weather_data",
            row_query=f"""
                select fact_weather.*, city || ' ' || date_key as city_day from core.fact_weather
                where
                    city = regexp_replace(%(key)s, ' [0-9-]+$', '')
                    and date_key = {_DAY_OF_KEY}""",
            raw_query=f"""
                select * from raw.weather_data
                where
                    city = regexp_replace(%(key)s, ' [0-9-]+$', '')
                    and date = {_DAY_OF_KEY}""",
        ),
    )
}

#: A load of changes may bring several versions of a key.
NEWEST_VERSION_FIRST = "_batch_id desc, _valid_from desc"
#: The raw versions of the customer and the product of a row.
VERSION_QUERIES = {
    "customer": """
        select customer_id, start_date, end_date, status, _valid_from, _is_deleted, _batch_id, _loaded_at
        from raw.customer where customer_id = %(key)s""",
    "product": "select * from raw.product where product_id = %(key)s",
    "product_category": "select * from raw.product_category where product_id = %(key)s",
}


def raw_table(name: str, title: str, query: str, order_by: str, columns: Sequence[FigureColumn]) -> PageTable:
    """Rows of raw: their columns are those that the table has, which are more where a source has brought more."""
    return PageTable(
        name=name,
        title=title,
        columns=columns,
        query=query,
        order_by=order_by,
        sorted_by="in their order" if name == "raw" else "newest first",
        links={"_batch_id": batch_path},
    )


@dataclass(frozen=True, kw_only=True)
class FactRows:
    """
    The rows of a fact table from which a row of a mart was computed.

    :param fact: the fact table
    :param rows_query: the rows, with the keys of the mart as parameters
    :param order_by: SQL: their order; ``sorted_by`` the same in words
    :param page_query: the first of them in that order, if there is a faster query than to sort all rows. Each row has
        `all_rows`, the number of all rows, and the totals of all; otherwise those of ``rows_query`` have them
    :param totals: column of the mart → the total that it must equal
    :param columns: those of the fact, unless others are given
    :param section: its place in the page, where that has two tables of one fact
    :param is_left_out: nothing was computed from them
    """

    fact: str
    rows_query: str
    order_by: str
    totals: Mapping[str, str]
    page_query: str = ""
    sorted_by: str = ""
    note: str = ""
    columns: Sequence[FigureColumn] = ()
    section: str = ""
    is_left_out: bool = False

    @property
    def relation(self) -> str:
        """With its schema."""
        return f"core.{self.fact}"

    @property
    def absent(self) -> str:
        """The table that may be empty because the shop has no source for it."""
        return self.fact

    @property
    def query(self) -> str:
        """The first rows, for the page."""
        return self.page_query or self.table.ordered_query

    @property
    def table(self) -> PageTable:
        """As the page has it."""
        fact = FACTS[self.fact]
        return PageTable(
            name=self.section or self.fact,
            title=heading_of(self.fact) + (f", {self.section}" if self.section else ""),
            columns=self.columns or fact.columns,
            query=self.rows_query,
            order_by=self.order_by,
            sorted_by=self.sorted_by,
            links={fact.key: fact.path, "customer_id": customer_path},
        )


@dataclass(frozen=True, kw_only=True)
class MartRows:
    """
    Rows of a mart that add up to a row of another, or of the same: those of its months.

    :param mart: their mart
    :param rows_query: the rows, with the keys of the row as parameters; each has `all_rows`, and the totals of all
    :param keys: the keys of one of them, for the way to its own facts
    :param totals: column of the row → the total that it must equal. Orders have none: one can have lines in two months
    """

    mart: str
    rows_query: str
    order_by: str
    columns: Sequence[FigureColumn]
    keys: Sequence[str]
    totals: Mapping[str, str]
    sorted_by: str
    note: str = ""
    is_left_out: bool = False

    @property
    def relation(self) -> str:
        """With its schema."""
        return f"marts.{self.mart}"

    @property
    def absent(self) -> str:
        """The table that may be empty because the shop has no source for it."""
        return "fact_sales"

    @property
    def query(self) -> str:
        """All of them: there are few."""
        return self.table.ordered_query

    @property
    def table(self) -> PageTable:
        """As the page has it."""
        return PageTable(
            name="months",
            title=heading_of(self.mart),
            columns=self.columns,
            query=self.rows_query,
            order_by=self.order_by,
            sorted_by=self.sorted_by,
            links={self.keys[0]: lambda row: drill_path(self.mart, {key: row[key] for key in self.keys})},
        )


@dataclass(frozen=True, kw_only=True)
class DrillPath:
    """
    From a row of a mart to the fact rows it was computed from.

    :param keys: key column of the mart → its type
    :param refunds: the refunds that a net figure of the row subtracts
    :param more: further rows, from which other figures of the row were computed
    :param months: the rows of its months, instead of the facts, of a row that has more facts than a page can read
    :param has_months: whether a row with these keys is such a one
    """

    keys: Mapping[str, str]
    facts: FactRows
    refunds: FactRows | None = None
    more: FactRows | None = None
    months: MartRows | None = None
    has_months: Callable[[Mapping[str, Any]], bool] = lambda keys: True

    def behind(self, keys: Mapping[str, Any]) -> dict[str, FactRows | MartRows]:
        """All rows behind a row of the mart, by the name of their table."""
        first = self.months if self.months is not None and self.has_months(keys) else self.facts
        return {part.table.name: part for part in (first, self.refunds, self.more) if part is not None}

    def mart_row_query(self, mart: str) -> str:
        """The query for the row of the mart."""
        conditions = " and ".join(
            f"{name} is not distinct from %({name})s::{type_}" for name, type_ in self.keys.items()
        )
        return f"select * from marts.{mart} where {conditions}"


#: Total → how it is written.
TOTAL_FORMATS = {
    "all_rows": Format.COUNT,
    "all_orders": Format.COUNT,
    "all_units": Format.COUNT,
    "all_amount": Format.MONEY,
    "all_contribution": Format.MONEY,
    **dict.fromkeys(("all_new", "all_reactivated", "all_expansion", "all_contraction", "all_churned"), Format.MONEY),
}

_SAME_CATEGORY = "products.category_name is not distinct from %(category_name)s::text"
_SAME_SUBCATEGORY = "products.subcategory is not distinct from %(subcategory)s::text"
#: Orders of lines: SQL, and the same in words.
_LARGEST_FIRST = ("order_amount desc, order_id, line_number", "by amount")
_NEWEST_FIRST = ("date_key desc, order_id, line_number", "the newest first")
_LOSSES_FIRST = ("contribution_amount nulls last, order_id, line_number", "those that lose most first")
#: As in the mart.
_SAME_BANDS = """
            case
                when fact_sales.discount_rate = 0 then 'none'
                when fact_sales.discount_rate <= 0.10 then 'to 10 %%'
                when fact_sales.discount_rate <= 0.20 then 'to 20 %%'
                when fact_sales.discount_rate <= 0.30 then 'to 30 %%'
                else 'over 30 %%'
            end = %(discount_band)s::text
            and case
                when fact_sales.shipping_cost = 0 then 'free'
                when fact_sales.shipping_cost <= 0.05 * fact_sales.order_amount then 'to 5 %%'
                when fact_sales.shipping_cost <= 0.10 * fact_sales.order_amount then 'to 10 %%'
                else 'over 10 %%'
            end = %(shipping_band)s::text"""


def _in_month(fact: str, key: str) -> str:
    return f"{fact}.date_key >= %({key})s::date and {fact}.date_key < (%({key})s::date + interval '1 month')::date"


#: As in the mart: the total has a category's name, so a category of that name has another one.
_OF_TREND = f"""
            (
                %(category_name)s::text = '{ALL_CATEGORIES}'
                or case
                    when products.category_name = '{ALL_CATEGORIES}' then '{ALL_CATEGORIES} (a category)'
                    else products.category_name
                end is not distinct from %(category_name)s::text
            )"""


def _in_period(fact: str) -> str:
    """The days of a row of `revenue_trend`, which has none before the first order, and none after the as-of date."""
    return f"""
            {fact}.date_key >= %(period_start)s::date
            and {fact}.date_key < (
                %(period_start)s::date + case %(grain)s::text
                    when 'week' then interval '7 days'
                    when 'month' then interval '1 month'
                    when 'quarter' then interval '3 months'
                    when 'year' then interval '1 year'
                end
            )::date
            and {fact}.date_key >= (select min(order_date) from marts.daily_revenue)
            and {fact}.date_key <= (select max(order_date) from marts.daily_revenue)"""


def _sales(
    condition: str, totals: Mapping[str, str], order: tuple[str, str] = _LARGEST_FIRST, note: str = ""
) -> FactRows:
    order_by, sorted_by = order
    from_lines = _FROM_COUNTED_LINES.format(condition=condition)
    return FactRows(
        fact="fact_sales",
        rows_query=_COUNTED_ROWS.format(condition=condition),
        order_by=order_by,
        page_query=_COUNTED_LINES.format(line=_LINE, from_lines=from_lines, order=order_by),
        totals=totals,
        sorted_by=sorted_by,
        note=note,
    )


def _refunded(condition: str) -> FactRows:
    return FactRows(
        fact="fact_refunds",
        rows_query=_refunds(condition),
        order_by=REFUNDS_ORDER,
        totals={"refunded_amount": "all_amount"},
        sorted_by="by amount",
    )


DRILL_PATHS: dict[str, DrillPath] = {
    "daily_revenue": DrillPath(
        keys={"order_date": "date"},
        facts=_sales(
            "fact_sales.date_key = %(order_date)s::date", {"daily_orders": "all_orders", "daily_revenue": "all_amount"}
        ),
        refunds=_refunded("fact_refunds.date_key = %(order_date)s::date"),
        more=FactRows(
            fact="fact_sales",
            rows_query=_CANCELLED_ROWS.format(condition="fact_sales.date_key = %(order_date)s::date"),
            order_by=_LARGEST_FIRST[0],
            totals={},
            sorted_by="by amount",
            note="cancelled lines, which no figure counts",
            section=CANCELLED,
            is_left_out=True,
        ),
    ),
    "revenue_trend": DrillPath(
        keys={"grain": "text", "period_start": "date", "category_name": "text"},
        facts=_sales(
            f"{_in_period('fact_sales')} and {_OF_TREND}",
            {"orders": "all_orders", "revenue": "all_amount", "units": "all_units"},
        ),
        refunds=_refunded(f"{_in_period('fact_refunds')} and {_OF_TREND}"),
        # A large shop's year has more than a million lines.
        has_months=lambda keys: keys["grain"] in ("quarter", "year"),
        months=MartRows(
            mart="revenue_trend",
            rows_query="""
                select
                    *, count(*) over () as all_rows, sum(revenue) over () as all_amount, sum(units) over () as all_units
                from marts.revenue_trend
                where
                    grain = 'month' and category_name is not distinct from %(category_name)s::text
                    and period_start >= %(period_start)s::date
                    and period_start < (
                        %(period_start)s::date
                        + case %(grain)s::text when 'year' then interval '1 year' else interval '3 months' end
                    )::date""",
            order_by="period_start desc",
            sorted_by="the newest first",
            columns=(
                FigureColumn("period_start", "Month", Format.MONTH),
                FigureColumn("revenue", "Revenue", Format.MONEY),
                FigureColumn("refunded_amount", "Refunds", Format.MONEY),
                FigureColumn("orders", "Orders", Format.COUNT),
                FigureColumn("units", "Units", Format.COUNT),
                FigureColumn("is_complete", "Complete", Format.BOOLEAN),
            ),
            keys=("period_start", "grain", "category_name"),
            totals={"revenue": "all_amount", "units": "all_units"},
            note="Each month leads to its order lines. An order with lines in two months counts in both.",
        ),
    ),
    "product_category_revenue_monthly": DrillPath(
        keys={"revenue_month": "date", "category_name": "text", "subcategory": "text"},
        facts=_sales(
            f"{_in_month('fact_sales', 'revenue_month')} and {_SAME_CATEGORY} and {_SAME_SUBCATEGORY}",
            {"order_count": "all_orders", "total_revenue": "all_amount", "units_sold": "all_units"},
        ),
        refunds=_refunded(f"{_in_month('fact_refunds', 'revenue_month')} and {_SAME_CATEGORY} and {_SAME_SUBCATEGORY}"),
    ),
    "product_revenue_payment_analysis": DrillPath(
        keys={"revenue_month": "date", "category_name": "text", "payment_method": "text"},
        facts=_sales(
            f"{_in_month('fact_sales', 'revenue_month')} and {_SAME_CATEGORY}"
            " and fact_sales.payment_method = %(payment_method)s::text",
            {"order_count": "all_orders", "revenue": "all_amount"},
        ),
    ),
    "payment_method_preference": DrillPath(
        keys={"payment_method": "text"},
        facts=_sales(
            "fact_sales.payment_method = %(payment_method)s::text",
            {"total_orders": "all_orders", "total_revenue": "all_amount"},
        ),
        # All there is of one payment method.
        months=MartRows(
            mart="product_revenue_payment_analysis",
            rows_query="""
                select *, count(*) over () as all_rows, sum(revenue) over () as all_amount
                from marts.product_revenue_payment_analysis
                where payment_method = %(payment_method)s::text""",
            order_by="revenue_month desc, revenue desc, category_name",
            sorted_by="the newest first",
            columns=(
                FigureColumn("revenue_month", "Month", Format.MONTH),
                FigureColumn("category_name", "Category"),
                FigureColumn("revenue", "Revenue", Format.MONEY),
                FigureColumn("order_count", "Orders", Format.COUNT),
                FigureColumn("is_complete", "Complete", Format.BOOLEAN),
            ),
            keys=("revenue_month", "category_name", "payment_method"),
            totals={"total_revenue": "all_amount"},
            note="Each leads to its order lines. An order with lines in several categories or months counts in each.",
        ),
    ),
    "product_performance_monthly": DrillPath(
        keys={"revenue_month": "date", "product_id": "text"},
        facts=_sales(
            f"{_in_month('fact_sales', 'revenue_month')} and fact_sales.product_id = %(product_id)s::text",
            {"order_count": "all_orders", "revenue": "all_amount", "units_sold": "all_units"},
        ),
        refunds=_refunded(
            f"{_in_month('fact_refunds', 'revenue_month')} and fact_refunds.product_id = %(product_id)s::text"
        ),
    ),
    "order_profitability_monthly": DrillPath(
        keys={"revenue_month": "date", "category_name": "text", "discount_band": "text", "shipping_band": "text"},
        facts=_sales(
            f"{_in_month('fact_sales', 'revenue_month')} and {_SAME_CATEGORY} and {_SAME_BANDS}",
            {
                "orders": "all_orders",
                "revenue": "all_amount",
                "units": "all_units",
                "contribution_amount": "all_contribution",
            },
            _LOSSES_FIRST,
        ),
    ),
    "margin_bridge_monthly": DrillPath(
        keys={"revenue_month": "date"},
        facts=_sales(
            f"{_in_month('fact_sales', 'revenue_month')}"
            " and fact_sales.date_key <= (select max(order_date) from marts.daily_revenue)",
            {"contribution": "all_contribution"},
            _LOSSES_FIRST,
            note="the lines of the month up to the last published day; those without a known cost have no contribution",
        ),
    ),
    "customer_segments": DrillPath(
        keys={"customer_id": "text"},
        facts=_sales(
            # By the keys of the customer's orders: the lines have no index of customers.
            """
            fact_sales.customer_id = %(customer_id)s::text
            and fact_sales.order_id in (
                select order_id from core.int_customer_order_sales where customer_id = %(customer_id)s::text
            )""",
            {"total_orders": "all_orders", "lifetime_revenue": "all_amount"},
            _NEWEST_FIRST,
        ),
        refunds=_refunded("fact_refunds.customer_id = %(customer_id)s::text"),
    ),
    "customer_cohorts_monthly": DrillPath(
        keys={"cohort_month": "date", "order_month": "date"},
        facts=_sales(
            f"{_in_month('fact_sales', 'order_month')} and fact_sales.customer_id in ("
            "select customer_id from core.int_customer_sales"
            " where first_order_date >= %(cohort_month)s::date"
            " and first_order_date < (%(cohort_month)s::date + interval '1 month')::date)",
            {"revenue": "all_amount"},
        ),
    ),
    "subscription_performance_monthly": DrillPath(
        keys={"revenue_month": "date", "plan_type": "text"},
        facts=FactRows(
            fact="fact_subscriptions",
            order_by=_FEES_ORDER,
            rows_query=_SUBSCRIPTIONS_WHERE.format(
                last_day="""least(
                    (%(revenue_month)s::date + interval '1 month')::date - 1,
                    (select max(order_date) from marts.daily_revenue)
                )""",
                condition=f"""
                    (%(plan_type)s::text = '{ALL_PLANS}' or plan_type is not distinct from %(plan_type)s::text)""",
            ),
            totals={"active_subscriptions": "all_rows", "closing_mrr": "all_amount"},
            sorted_by="by fee",
            note="subscriptions that were active at the end of the month, or at the last published day in it, with "
            "the fee that was known then",
        ),
        more=FactRows(
            fact="fact_subscriptions",
            rows_query=_MOVEMENTS,
            order_by=_MOVEMENTS_ORDER,
            totals={
                "new_mrr": "all_new",
                "reactivated_mrr": "all_reactivated",
                "expansion_mrr": "all_expansion",
                "contraction_mrr": "all_contraction",
                "churned_mrr": "all_churned",
            },
            sorted_by="by kind, then by fee",
            note="what moved the recurring revenue in the month: subscriptions that began or ended, and fees that "
            "changed",
            columns=_MOVEMENT_COLUMNS,
            section="movements",
        ),
    ),
    "subscription_customers": DrillPath(
        keys={"customer_id": "text"},
        facts=FactRows(
            fact="fact_subscriptions",
            order_by=_FEES_ORDER,
            rows_query=_SUBSCRIPTIONS_WHERE.format(
                last_day="(select max(order_date) from marts.daily_revenue)",
                condition="customer_id = %(customer_id)s::text",
            ),
            totals={"active_subscriptions": "all_rows", "monthly_fee": "all_amount"},
            sorted_by="by fee",
            note="the customer's subscriptions that were active on the last published day",
        ),
    ),
    "conversion_funnel_daily": DrillPath(
        keys={"event_date": "date"},
        facts=FactRows(
            fact="fact_customer_events",
            rows_query="""
                select
                    event_id, event_at, customer_id, product_id, interaction_type, event_category,
                    count(*) over () as all_rows
                from core.fact_customer_events
                where date_key = %(event_date)s::date""",
            order_by="interaction_type = 'purchase' desc, event_at, event_id",
            totals={},
            sorted_by="purchases first",
        ),
    ),
    "order_for_reviews": DrillPath(
        keys={"order_id": "text"},
        facts=FactRows(
            fact="fact_sales",
            rows_query=_lines_of_order("fact_sales.order_id = %(order_id)s::text"),
            order_by=_LINES_ORDER,
            totals={"order_amount": "all_amount"},
            sorted_by="by line",
            note="all lines of the order; cancelled ones and those without an amount do not count",
            columns=_ORDER_LINES,
        ),
    ),
    "inventory_status": DrillPath(
        keys={"product_id": "text"},
        facts=_sales(
            "fact_sales.product_id = %(product_id)s::text"
            " and fact_sales.date_key > (select max(order_date) from marts.daily_revenue) - 30"
            " and fact_sales.date_key <= (select max(order_date) from marts.daily_revenue)",
            {"units_sold_30d": "all_units"},
            _NEWEST_FIRST,
            note="the product's order lines of the last 30 days, from which the days of stock are computed",
        ),
    ),
    "inventory_daily": DrillPath(
        keys={"date_key": "date", "product_id": "text"},
        facts=_sales(
            "fact_sales.product_id = %(product_id)s::text and fact_sales.date_key = %(date_key)s::date",
            {"units_sold": "all_units"},
        ),
    ),
    "seasonal_sales_analysis": DrillPath(
        keys={"sales_month": "date", "category_name": "text"},
        facts=_sales(
            f"{_in_month('fact_sales', 'sales_month')} and {_SAME_CATEGORY}",
            {"monthly_orders": "all_orders", "monthly_revenue": "all_amount"},
        ),
    ),
    "weather_sales_impact": DrillPath(
        keys={"city": "text", "temperature_category": "text", "precipitation_category": "text"},
        facts=FactRows(
            fact="fact_weather",
            rows_query="""
                select
                    fact_weather.city || ' ' || fact_weather.date_key as city_day, fact_weather.date_key,
                    fact_weather.temperature_c, fact_weather.precipitation_mm, fact_weather.temperature_category,
                    fact_weather.precipitation_category, daily_revenue.daily_revenue as revenue,
                    count(*) over () as all_rows
                from core.fact_weather
                inner join marts.daily_revenue on fact_weather.date_key = daily_revenue.order_date
                where
                    fact_weather.city = %(city)s::text
                    and fact_weather.temperature_category = %(temperature_category)s::text
                    and fact_weather.precipitation_category = %(precipitation_category)s::text""",
            order_by="date_key desc",
            totals={"days": "all_rows"},
            sorted_by="the newest first",
        ),
    ),
}

BATCH_QUERY = "select * from ops.load_batch where batch_id = %(batch_id)s"

#: The Kafka offsets of a batch.
OFFSETS_QUERY = """
    select _topic as topic, _partition as partition, min(_offset) as first_offset, max(_offset) as last_offset,
        count(*) as messages
    from raw.kafka_stream_all
    where _batch_id = %(batch_id)s
    group by _topic, _partition"""

#: Rejected rows that are searched for a key.
SEARCHED_REJECTED_ROWS = 50_000

#: The rejected rows: of a source, for a reason (the rule, without the value), of a batch, with a key among their
#: values. Null asks for any. A key is searched in the newest ones: there is no index, which would slow each load down.
REJECTED_QUERY = f"""
    select
        quarantine_id, batch_id, source, reason, left(payload::text, {SHOWN_CHARACTERS}) as payload, quarantined_at,
        replayed_at
    from ops.quarantine_shown
    where
        (%(source)s::text is null or source = %(source)s)
        and (%(reason)s::text is null or {rule_in_sql("reason")} = %(reason)s)
        and (%(batch_id)s::bigint is null or batch_id = %(batch_id)s)
        and (
            %(key)s::text is null
            or (
                quarantine_id > (
                    select max(newest.quarantine_id) - {SEARCHED_REJECTED_ROWS}
                    from ops.quarantine_shown as newest
                )
                and strpos(keys, %(key)s) > 0
                and %(key)s = any(string_to_array(keys, e'\\n'))
            )
        )"""


def batch_path(row: Row) -> str:
    """The path of the page about the batch that wrote a raw row."""
    return f"/batches/{row['_batch_id']}"


def keys_of(path: DrillPath, query: Mapping[str, str]) -> dict[str, Any]:
    """The keys of a mart row from an address; a key that is left out is null."""
    return {name: query.get(name) for name in path.keys}
