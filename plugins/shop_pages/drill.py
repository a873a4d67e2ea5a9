"""
From a figure to where it comes from: mart row → fact rows → raw rows → batch, run and Kafka offset.

Keys come from addresses: their values are bound as texts and cast by Postgres to what the mart has, and which columns
there are is said here, never there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shop_pages.figures import Column
from shop_pages.formats import Kind

#: Fact rows that a page shows of a mart row; the sums beside them are of all.
FACT_ROWS = 200

_SALES = (
    Column("order_id", "Order"),
    Column("date_key", "Day", Kind.DAY),
    Column("customer_id", "Customer"),
    Column("product_id", "Product"),
    Column("product_name", "Name"),
    Column("category_name", "Category"),
    Column("payment_method", "Paid by"),
    Column("order_quantity", "Quantity", Kind.COUNT),
    Column("order_amount", "Amount", Kind.MONEY),
    Column("discount_rate", "Discount", Kind.NUMBER),
    Column("shipping_cost", "Shipping", Kind.MONEY),
    Column("gross_profit", "Gross profit", Kind.MONEY),
)
_EVENTS = (
    Column("event_id", "Event"),
    Column("event_at", "At", Kind.MOMENT),
    Column("customer_id", "Customer"),
    Column("product_id", "Product"),
    Column("interaction_type", "Type"),
    Column("event_category", "Category"),
)
_SUBSCRIPTIONS = (
    Column("subscription_id", "Subscription"),
    Column("customer_id", "Customer"),
    Column("plan_type", "Plan"),
    Column("start_date", "Start", Kind.DAY),
    Column("end_date", "End", Kind.DAY),
    Column("monthly_fee", "Fee", Kind.MONEY),
    Column("subscription_status", "Status"),
)
_WEATHER = (
    Column("city_day", "City and day"),
    Column("date_key", "Day", Kind.DAY),
    Column("temperature_c", "°C", Kind.NUMBER),
    Column("precipitation_mm", "mm", Kind.NUMBER),
    Column("temperature_category", "Temperature"),
    Column("precipitation_category", "Rain"),
    Column("revenue", "Revenue of the day", Kind.MONEY),
)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """
    A fact table as a page shows it.

    :param key: the column that finds one row, and its raw row
    :param source: the raw table
    :param raw: the raw rows of one fact row, by `%(key)s`
    """

    name: str
    key: str
    columns: Sequence[Column]
    source: str
    raw: str


FACTS = {
    fact.name: fact
    for fact in (
        Fact(
            name="fact_sales",
            key="order_id",
            columns=_SALES,
            source="sales_fact",
            raw="select * from raw.sales_fact where order_id = %(key)s",
        ),
        Fact(
            name="fact_customer_events",
            key="event_id",
            columns=_EVENTS,
            source="kafka_stream",
            # The event, and the messages that told it again.
            raw=r"""
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
            raw="select * from raw.subscription_data where subscription_id = %(key)s order by _batch_id desc",
        ),
        Fact(
            name="fact_weather",
            key="city_day",
            columns=_WEATHER,
            source="weather_data",
            raw="""
                select * from raw.weather_data
                where
                    city = regexp_replace(%(key)s, ' [0-9-]+$', '')
                    and date = substring(%(key)s from ' ([0-9-]+)$')::date""",
        ),
    )
}

#: The versions of what a sale refers to, as they were read, newest first.
VERSIONS = {
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
    where fact_sales.order_amount > 0 and {condition}
    order by {order}"""
_MONTH = "fact_sales.date_key >= %({key})s::date and fact_sales.date_key < (%({key})s::date + interval '1 month')::date"
_SAME_CATEGORY = "products.category_name is not distinct from %(category_name)s::text"


@dataclass(frozen=True, kw_only=True)
class Drill:
    """
    How a row of a mart is found, and the fact rows it was made of.

    :param keys: column of the mart's key → its type
    :param facts: the fact rows, by the keys as parameters
    :param adds_up: the mart's columns that the rows must add up to: their number, and their amount
    """

    fact: str
    keys: Mapping[str, str]
    facts: str
    adds_up: tuple[str | None, str | None] = (None, None)
    note: str = ""

    def mart_row(self, mart: str) -> str:
        """The query for the row of the mart."""
        conditions = " and ".join(f"{name} is not distinct from %({name})s::{kind}" for name, kind in self.keys.items())
        return f"select * from marts.{mart} where {conditions}"


def _sales(condition: str, order: str = "fact_sales.order_amount desc, fact_sales.order_id") -> str:
    return _SALES_FROM.format(condition=condition, order=order)


DRILLS: dict[str, Drill] = {
    "daily_revenue": Drill(
        fact="fact_sales",
        keys={"order_date": "date"},
        facts=_sales("fact_sales.date_key = %(order_date)s::date"),
        adds_up=("daily_orders", "daily_revenue"),
    ),
    "product_category_revenue_monthly": Drill(
        fact="fact_sales",
        keys={"revenue_month": "date", "category_name": "text", "subcategory": "text"},
        facts=_sales(
            f"{_MONTH.format(key='revenue_month')} and {_SAME_CATEGORY}"
            " and products.subcategory is not distinct from %(subcategory)s::text"
        ),
        adds_up=("order_count", "total_revenue"),
    ),
    "product_revenue_payment_analysis": Drill(
        fact="fact_sales",
        keys={"revenue_month": "date", "category_name": "text", "payment_method": "text"},
        facts=_sales(
            f"{_MONTH.format(key='revenue_month')} and {_SAME_CATEGORY}"
            " and fact_sales.payment_method = %(payment_method)s::text"
        ),
        adds_up=("order_count", "revenue"),
    ),
    "payment_method_preference": Drill(
        fact="fact_sales",
        keys={"payment_method": "text"},
        facts=_sales("fact_sales.payment_method = %(payment_method)s::text"),
        adds_up=("total_orders", "total_revenue"),
    ),
    "product_performance_monthly": Drill(
        fact="fact_sales",
        keys={"revenue_month": "date", "product_id": "text"},
        facts=_sales(f"{_MONTH.format(key='revenue_month')} and fact_sales.product_id = %(product_id)s::text"),
        adds_up=("order_count", "revenue"),
    ),
    "customer_segments": Drill(
        fact="fact_sales",
        keys={"customer_id": "text"},
        facts=_sales("fact_sales.customer_id = %(customer_id)s::text", "fact_sales.date_key desc, fact_sales.order_id"),
        adds_up=("total_orders", "lifetime_value"),
    ),
    "customer_cohorts_monthly": Drill(
        fact="fact_sales",
        keys={"cohort_month": "date", "order_month": "date"},
        facts=_sales(
            f"{_MONTH.format(key='order_month')} and fact_sales.customer_id in ("
            "select customer_id from core.int_customer_monthly_sales"
            " group by customer_id having min(order_month) = %(cohort_month)s::date)"
        ),
        adds_up=(None, "revenue"),
    ),
    "subscription_performance_monthly": Drill(
        fact="fact_subscriptions",
        keys={"revenue_month": "date", "plan_type": "text"},
        facts="""
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
        adds_up=("active_subscriptions", "closing_mrr"),
        note="those that were active when the month, or what there is of it, ended",
    ),
    "conversion_funnel_daily": Drill(
        fact="fact_customer_events",
        keys={"event_date": "date"},
        facts="""
            select
                event_id, event_at, customer_id, product_id, interaction_type, event_category,
                count(*) over () as all_rows, null::numeric as all_amount
            from core.fact_customer_events
            where date_key = %(event_date)s::date
            order by interaction_type = 'purchase' desc, event_at, event_id""",
    ),
    "order_for_reviews": Drill(
        fact="fact_sales",
        keys={"order_id": "text"},
        facts=_sales("fact_sales.order_id = %(order_id)s::text"),
        adds_up=(None, "order_amount"),
    ),
    "inventory_status": Drill(
        fact="fact_sales",
        keys={"product_id": "text"},
        facts=_sales(
            "fact_sales.product_id = %(product_id)s::text"
            " and fact_sales.date_key > (select max(order_date) from marts.daily_revenue) - 30"
            " and fact_sales.date_key <= (select max(order_date) from marts.daily_revenue)",
            "fact_sales.date_key desc, fact_sales.order_id",
        ),
        note="its orders of the last 30 days, by which its stock lasts",
    ),
    "seasonal_sales_analysis": Drill(
        fact="fact_sales",
        keys={"sales_month": "date", "category_name": "text"},
        facts=_sales(f"{_MONTH.format(key='sales_month')} and {_SAME_CATEGORY}"),
        adds_up=("monthly_orders", "monthly_revenue"),
    ),
    "weather_sales_impact": Drill(
        fact="fact_weather",
        keys={"city": "text", "temperature_category": "text", "precipitation_category": "text"},
        facts="""
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
        adds_up=("days", None),
    ),
}

BATCH = "select * from ops.load_batch where batch_id = %(batch_id)s"

#: Which messages a batch took; read by the index of the days that its window has.
BATCH_OFFSETS = """
    select _topic as topic, _partition as partition, min(_offset) as first_offset, max(_offset) as last_offset,
        count(*) as messages
    from raw.kafka_stream
    where _batch_id = %(batch_id)s
    group by _topic, _partition
    order by _topic, _partition"""

BATCH_REFUSALS = """
    select quarantine_id, reason, payload::text as payload, quarantined_at, replayed_at
    from ops.quarantine_shown where batch_id = %(batch_id)s order by quarantine_id"""


def fact_row(fact: Fact) -> str:
    """The query for one row of a fact table, by `%(key)s`."""
    if fact.name == "fact_weather":
        return """
            select fact_weather.*, city || ' ' || date_key as city_day from core.fact_weather
            where
                city = regexp_replace(%(key)s, ' [0-9-]+$', '')
                and date_key = substring(%(key)s from ' ([0-9-]+)$')::date"""
    return f"select * from core.{fact.name} where {fact.key} = %(key)s"


def given(drill: Drill, query: Mapping[str, str]) -> dict[str, Any]:
    """The keys of a mart row from an address; one that is left out is null."""
    return {name: query.get(name) for name in drill.keys}
