"""
The way from a figure back to its source: mart row → fact rows → raw rows → batch, run and Kafka offset.

Keys come from addresses: their values are bound as texts, and Postgres casts them to the column's type. Which columns
exist is defined here, never by an address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shop_pages.figures import FigureColumn
from shop_pages.formats import Format

#: Fact rows that a page shows for a mart row; the totals are those of all rows.
FACT_ROWS = 200

_SALES = (
    FigureColumn("order_id", "Order"),
    FigureColumn("date_key", "Day", Format.DAY),
    FigureColumn("customer_id", "Customer"),
    FigureColumn("product_id", "Product"),
    FigureColumn("product_name", "Name"),
    FigureColumn("category_name", "Category"),
    FigureColumn("payment_method", "Paid by"),
    FigureColumn("order_quantity", "Quantity", Format.COUNT),
    FigureColumn("order_amount", "Amount", Format.MONEY),
    FigureColumn("discount_rate", "Discount", Format.NUMBER),
    FigureColumn("shipping_cost", "Shipping", Format.MONEY),
    FigureColumn("gross_profit", "Gross profit", Format.MONEY),
)
_EVENTS = (
    FigureColumn("event_id", "Event"),
    FigureColumn("event_at", "At", Format.TIMESTAMP),
    FigureColumn("customer_id", "Customer"),
    FigureColumn("product_id", "Product"),
    FigureColumn("interaction_type", "Type"),
    FigureColumn("event_category", "Category"),
)
_SUBSCRIPTIONS = (
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


@dataclass(frozen=True, kw_only=True)
class Fact:
    """
    A fact table as a page shows it.

    :param key: the column that identifies one row, and its raw rows
    :param source: the raw table
    :param raw_query: the raw rows of one fact row, by `%(key)s`
    """

    name: str
    key: str
    columns: Sequence[FigureColumn]
    source: str
    raw_query: str


FACTS = {
    fact.name: fact
    for fact in (
        Fact(
            name="fact_sales",
            key="order_id",
            columns=_SALES,
            source="sales_fact",
            raw_query="select * from raw.sales_fact where order_id = %(key)s",
        ),
        Fact(
            name="fact_customer_events",
            key="event_id",
            columns=_EVENTS,
            source="kafka_stream",
            # The event, and the messages that repeat it.
            raw_query=r"""
                with event as (
                    select * from raw.kafka_stream
                    where
                        _topic = regexp_replace(%(key)s, '-[0-9]+-[0-9]+$', '')
                        and _partition = substring(%(key)s from '-([0-9]+)-[0-9]+$')::integer
                        and _offset = substring(%(key)s from '-([0-9]+)$')::bigint
                )
                select kafka_stream.*
                from raw.kafka_stream
                inner join event
                    on (kafka_stream."timestamp" at time zone 'UTC')::date
                    = (event."timestamp" at time zone 'UTC')::date
                    and kafka_stream."timestamp" = event."timestamp"
                    and btrim(kafka_stream.customer_id) = btrim(event.customer_id)
                    and btrim(kafka_stream.product_id) = btrim(event.product_id)
                    and btrim(kafka_stream.interaction_type) = btrim(event.interaction_type)
                order by kafka_stream._partition, kafka_stream._offset""",
        ),
        Fact(
            name="fact_subscriptions",
            key="subscription_id",
            columns=_SUBSCRIPTIONS,
            source="subscription_data",
            raw_query="select * from raw.subscription_data where subscription_id = %(key)s order by _batch_id desc",
        ),
        Fact(
            name="fact_weather",
            key="city_day",
            columns=_WEATHER,
            source="weather_data",
            raw_query="""
                select * from raw.weather_data
                where
                    city = regexp_replace(%(key)s, ' [0-9-]+$', '')
                    and date = substring(%(key)s from ' ([0-9-]+)$')::date""",
        ),
    )
}

#: The raw versions of the customer and the product of a row, newest first.
VERSION_QUERIES = {
    "customer": """
        select customer_id, customer_name, start_date, end_date, status, _valid_from, _is_deleted, _batch_id, _loaded_at
        from raw.customer where customer_id = %(key)s order by _batch_id desc""",
    "product": "select * from raw.product where product_id = %(key)s order by _batch_id desc",
    "product_category": "select * from raw.product_category where product_id = %(key)s order by _batch_id desc",
}

_SALES_FROM = """
    select
        fact_sales.order_id, fact_sales.date_key, fact_sales.customer_id, fact_sales.product_id,
        products.product_name, products.category_name, fact_sales.payment_method, fact_sales.order_quantity,
        fact_sales.order_amount, fact_sales.discount_rate, fact_sales.shipping_cost, fact_sales.gross_profit,
        count(*) over () as all_rows, sum(fact_sales.order_amount) over () as all_amount
    from core.fact_sales
    inner join core.dim_products as products on fact_sales.product_key = products.product_key
    where fact_sales.order_amount > 0 and not fact_sales.is_cancelled and {condition}
    order by {order}"""
_MONTH = "fact_sales.date_key >= %({key})s::date and fact_sales.date_key < (%({key})s::date + interval '1 month')::date"
_SAME_CATEGORY = "products.category_name is not distinct from %(category_name)s::text"


@dataclass(frozen=True, kw_only=True)
class DrillPath:
    """
    From a row of a mart to the fact rows it was computed from.

    :param fact: the fact table
    :param keys: key column of the mart → its type
    :param facts_query: the fact rows, with the keys as parameters
    :param totals: columns of the mart that must equal the number of the fact rows, and their amount
    """

    fact: str
    keys: Mapping[str, str]
    facts_query: str
    totals: tuple[str | None, str | None] = (None, None)
    note: str = ""

    def mart_row_query(self, mart: str) -> str:
        """The query for the row of the mart."""
        conditions = " and ".join(
            f"{name} is not distinct from %({name})s::{type_}" for name, type_ in self.keys.items()
        )
        return f"select * from marts.{mart} where {conditions}"


def _sales(condition: str, order: str = "fact_sales.order_amount desc, fact_sales.order_id") -> str:
    return _SALES_FROM.format(condition=condition, order=order)


DRILL_PATHS: dict[str, DrillPath] = {
    "daily_revenue": DrillPath(
        fact="fact_sales",
        keys={"order_date": "date"},
        facts_query=_sales("fact_sales.date_key = %(order_date)s::date"),
        totals=("daily_orders", "daily_revenue"),
    ),
    "product_category_revenue_monthly": DrillPath(
        fact="fact_sales",
        keys={"revenue_month": "date", "category_name": "text", "subcategory": "text"},
        facts_query=_sales(
            f"{_MONTH.format(key='revenue_month')} and {_SAME_CATEGORY}"
            " and products.subcategory is not distinct from %(subcategory)s::text"
        ),
        totals=("order_count", "total_revenue"),
    ),
    "product_revenue_payment_analysis": DrillPath(
        fact="fact_sales",
        keys={"revenue_month": "date", "category_name": "text", "payment_method": "text"},
        facts_query=_sales(
            f"{_MONTH.format(key='revenue_month')} and {_SAME_CATEGORY}"
            " and fact_sales.payment_method = %(payment_method)s::text"
        ),
        totals=("order_count", "revenue"),
    ),
    "payment_method_preference": DrillPath(
        fact="fact_sales",
        keys={"payment_method": "text"},
        facts_query=_sales("fact_sales.payment_method = %(payment_method)s::text"),
        totals=("total_orders", "total_revenue"),
    ),
    "product_performance_monthly": DrillPath(
        fact="fact_sales",
        keys={"revenue_month": "date", "product_id": "text"},
        facts_query=_sales(f"{_MONTH.format(key='revenue_month')} and fact_sales.product_id = %(product_id)s::text"),
        totals=("order_count", "revenue"),
    ),
    "customer_segments": DrillPath(
        fact="fact_sales",
        keys={"customer_id": "text"},
        facts_query=_sales(
            "fact_sales.customer_id = %(customer_id)s::text", "fact_sales.date_key desc, fact_sales.order_id"
        ),
        totals=("total_orders", "lifetime_revenue"),
    ),
    "customer_cohorts_monthly": DrillPath(
        fact="fact_sales",
        keys={"cohort_month": "date", "order_month": "date"},
        facts_query=_sales(
            f"{_MONTH.format(key='order_month')} and fact_sales.customer_id in ("
            "select customer_id from core.int_customer_monthly_sales"
            " group by customer_id having min(order_month) = %(cohort_month)s::date)"
        ),
        totals=(None, "revenue"),
    ),
    "subscription_performance_monthly": DrillPath(
        fact="fact_subscriptions",
        keys={"revenue_month": "date", "plan_type": "text"},
        facts_query="""
            select
                subscription_id, customer_id, plan_type, start_date, end_date, monthly_fee, subscription_status,
                count(*) over () as all_rows, sum(monthly_fee) over () as all_amount
            from core.fact_subscriptions
            where
                plan_type is not distinct from %(plan_type)s::text
                and start_date <= least(
                    (%(revenue_month)s::date + interval '1 month')::date - 1,
                    (select max(order_date) from marts.daily_revenue)
                )
                and (
                    end_date is null
                    or end_date > least(
                        (%(revenue_month)s::date + interval '1 month')::date - 1,
                        (select max(order_date) from marts.daily_revenue)
                    )
                )
            order by monthly_fee desc, subscription_id""",
        totals=("active_subscriptions", "closing_mrr"),
        note="subscriptions that were active at the end of the month, or at the last published day in it",
    ),
    "conversion_funnel_daily": DrillPath(
        fact="fact_customer_events",
        keys={"event_date": "date"},
        facts_query="""
            select
                event_id, event_at, customer_id, product_id, interaction_type, event_category,
                count(*) over () as all_rows, null::numeric as all_amount
            from core.fact_customer_events
            where date_key = %(event_date)s::date
            order by interaction_type = 'purchase' desc, event_at, event_id""",
    ),
    "order_for_reviews": DrillPath(
        fact="fact_sales",
        keys={"order_id": "text"},
        facts_query=_sales("fact_sales.order_id = %(order_id)s::text"),
        totals=(None, "order_amount"),
    ),
    "inventory_status": DrillPath(
        fact="fact_sales",
        keys={"product_id": "text"},
        facts_query=_sales(
            "fact_sales.product_id = %(product_id)s::text"
            " and fact_sales.date_key > (select max(order_date) from marts.daily_revenue) - 30"
            " and fact_sales.date_key <= (select max(order_date) from marts.daily_revenue)",
            "fact_sales.date_key desc, fact_sales.order_id",
        ),
        note="the product's orders of the last 30 days, from which the days of stock are computed",
    ),
    "seasonal_sales_analysis": DrillPath(
        fact="fact_sales",
        keys={"sales_month": "date", "category_name": "text"},
        facts_query=_sales(f"{_MONTH.format(key='sales_month')} and {_SAME_CATEGORY}"),
        totals=("monthly_orders", "monthly_revenue"),
    ),
    "weather_sales_impact": DrillPath(
        fact="fact_weather",
        keys={"city": "text", "temperature_category": "text", "precipitation_category": "text"},
        facts_query="""
            select
                fact_weather.city || ' ' || fact_weather.date_key as city_day, fact_weather.date_key,
                fact_weather.temperature_c, fact_weather.precipitation_mm, fact_weather.temperature_category,
                fact_weather.precipitation_category, daily_revenue.daily_revenue as revenue,
                count(*) over () as all_rows, null::numeric as all_amount
            from core.fact_weather
            inner join marts.daily_revenue on fact_weather.date_key = daily_revenue.order_date
            where
                fact_weather.city = %(city)s::text
                and fact_weather.temperature_category = %(temperature_category)s::text
                and fact_weather.precipitation_category = %(precipitation_category)s::text
            order by fact_weather.date_key desc""",
        totals=("days", None),
    ),
}

BATCH_QUERY = "select * from ops.load_batch where batch_id = %(batch_id)s"

#: The Kafka offsets of a batch.
OFFSETS_QUERY = """
    select _topic as topic, _partition as partition, min(_offset) as first_offset, max(_offset) as last_offset,
        count(*) as messages
    from raw.kafka_stream
    where _batch_id = %(batch_id)s
    group by _topic, _partition
    order by _topic, _partition"""

REJECTED_ROWS_QUERY = """
    select quarantine_id, reason, payload::text as payload, quarantined_at, replayed_at
    from ops.quarantine_shown where batch_id = %(batch_id)s order by quarantine_id"""


def fact_row_query(fact: Fact) -> str:
    """The query for one row of a fact table, by `%(key)s`."""
    if fact.name == "fact_weather":
        return """
            select fact_weather.*, city || ' ' || date_key as city_day from core.fact_weather
            where
                city = regexp_replace(%(key)s, ' [0-9-]+$', '')
                and date_key = substring(%(key)s from ' ([0-9-]+)$')::date"""
    return f"select * from core.{fact.name} where {fact.key} = %(key)s"


def keys_of(path: DrillPath, query: Mapping[str, str]) -> dict[str, Any]:
    """The keys of a mart row from an address; a key that is left out is null."""
    return {name: query.get(name) for name in path.keys}
