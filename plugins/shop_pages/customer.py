"""What the page about a customer shows: orders, refunds, events, subscriptions, and the segment over time."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from shop_pages.drill import (
    EVENT_COLUMNS,
    FACTS,
    REFUND_COLUMNS,
    REFUNDS_OF_CUSTOMER,
    REFUNDS_ORDER,
    SUBSCRIPTION_COLUMNS,
)
from shop_pages.figures import FigureColumn, PageTable
from shop_pages.formats import Format
from shop_pages.pool import Row

CUSTOMER_QUERY = """
    select *
    from marts.customer_segments
    where customer_id = %(customer_id)s"""

SUBSCRIBER_QUERY = """
    select *
    from marts.subscription_customers
    where customer_id = %(customer_id)s"""

#: The segment at the end of the last six months, and on the as-of date: computed as in the mart, of what was bought
#: and given back up to that day.
SEGMENTS_QUERY = """
    with as_of as (
        select date_key as day
        from core.dim_date
        where is_as_of
    ),
    ends as (
        select day, true as is_last
        from as_of
        union
        select (date_trunc('month', as_of.day::timestamp) - make_interval(months => n))::date - 1, false
        from as_of
        cross join generate_series(0, 5) as n
    ),
    sales as (
        select
            ends.day, months.customer_id, sum(months.orders) as orders, sum(months.revenue) as revenue,
            max(months.last_order_date) as last_order_date
        from ends
        inner join core.int_customer_monthly_sales as months on months.order_month <= ends.day or ends.is_last
        group by ends.day, months.customer_id
    ),
    -- Orders with lines in several months count once in each of them.
    counted_again as (
        select
            ends.day, lines.customer_id,
            count(distinct (lines.order_id, lines.order_month)) - count(distinct lines.order_id) as orders
        from ends
        inner join core.int_split_order_sales as lines on lines.order_month <= ends.day or ends.is_last
        group by ends.day, lines.customer_id
    ),
    refunds as (
        select ends.day, refunds.customer_id, sum(refunds.refund_amount) as refunded_amount
        from ends
        inner join core.fact_refunds as refunds on refunds.date_key <= ends.day or ends.is_last
        group by ends.day, refunds.customer_id
    ),
    valued as (
        select
            sales.day, sales.customer_id, sales.orders - coalesce(counted_again.orders, 0) as orders,
            sales.last_order_date, sales.revenue - coalesce(refunds.refunded_amount, 0) as lifetime_value
        from sales
        left join counted_again using (day, customer_id)
        left join refunds using (day, customer_id)
    ),
    -- The rank of one customer is the number of those before it: nobody else's has to be computed.
    scored as (
        select
            own.day, own.orders, own.lifetime_value,
            1 + 5 * count(*) filter (where valued.last_order_date < own.last_order_date) / count(*) as recency,
            1 + 5 * count(*) filter (where valued.orders < own.orders) / count(*) as frequency,
            1 + 5 * count(*) filter (where valued.lifetime_value < own.lifetime_value) / count(*) as monetary
        from valued as own
        inner join valued on own.day = valued.day
        where own.customer_id = %(customer_id)s
        group by own.day, own.orders, own.lifetime_value
    ),
    measured as (
        select *, (frequency + monetary + 1) / 2 as value_score
        from scored
    )
    select
        ends.day, coalesce(orders, 0) as orders, coalesce(lifetime_value, 0) as lifetime_value, recency, frequency,
        monetary,
        case
            when orders is null then 'No Orders'
            when recency = 5 and value_score >= 4 then 'Champions'
            when recency >= 3 and value_score >= 4 then 'Loyal'
            when recency >= 4 and value_score >= 2 then 'Potential Loyalists'
            when recency >= 4 then 'Promising'
            when recency = 3 and value_score = 3 then 'Needs Attention'
            when recency = 3 then 'About to Sleep'
            when value_score = 5 then 'Cannot Lose'
            when value_score >= 3 then 'At Risk'
            else 'Hibernating'
        end as rfm_segment
    from ends
    left join measured on ends.day = measured.day"""


@dataclass(frozen=True, kw_only=True)
class CustomerRows(PageTable):
    """
    A table of the page; its query has `%(customer_id)s`.

    :param no_rows: what the page says where there are none
    :param fact: the fact table that it shows; empty for none
    """

    no_rows: str
    fact: str = ""


def _order_path(row: Row) -> str:
    return f"/facts/fact_sales?{urlencode({'key': row['order_id']})}"


_TABLES = (
    CustomerRows(
        name="segments",
        title="Segment over time",
        query=SEGMENTS_QUERY,
        order_by="day desc",
        sorted_by="the newest first",
        columns=(
            FigureColumn("day", "Day", Format.DAY),
            FigureColumn("rfm_segment", "Segment"),
            FigureColumn("orders", "Orders so far", Format.COUNT),
            FigureColumn("lifetime_value", "Value so far", Format.MONEY),
            FigureColumn("recency", "Recency", Format.COUNT),
            FigureColumn("frequency", "Frequency", Format.COUNT),
            FigureColumn("monetary", "Money", Format.COUNT),
        ),
        no_rows="Nothing is loaded.",
    ),
    CustomerRows(
        name="orders",
        title="Orders",
        query="""
            select
                order_id, order_number, min(order_date) as order_date, min(days_since_previous) as days_since_previous,
                sum(revenue) as revenue
            from core.int_customer_order_sales
            where customer_id = %(customer_id)s
            group by order_id, order_number""",
        order_by="order_number desc, order_id",
        sorted_by="the newest first",
        columns=(
            FigureColumn("order_number", "Number", Format.COUNT),
            FigureColumn("order_id", "Order"),
            FigureColumn("order_date", "Day", Format.DAY),
            FigureColumn("days_since_previous", "Days since the one before", Format.COUNT),
            FigureColumn("revenue", "Revenue", Format.MONEY),
        ),
        no_rows="No order that counts.",
        links={"order_id": _order_path},
    ),
    CustomerRows(
        name="refunds",
        title="Refunds",
        query=REFUNDS_OF_CUSTOMER,
        order_by=REFUNDS_ORDER,
        sorted_by="by amount",
        columns=REFUND_COLUMNS,
        no_rows="No refund.",
        links={"refund_id": FACTS["fact_refunds"].path, "order_id": _order_path},
        fact="fact_refunds",
    ),
    CustomerRows(
        name="subscriptions",
        title="Subscriptions",
        query="""
            select
                subscription_id, customer_id, plan_type, start_date, end_date, monthly_fee, subscription_status
            from core.fact_subscriptions
            where customer_id = %(customer_id)s""",
        order_by="start_date desc, subscription_id",
        sorted_by="the newest first",
        columns=SUBSCRIPTION_COLUMNS,
        no_rows="No subscription.",
        links={"subscription_id": FACTS["fact_subscriptions"].path},
        fact="fact_subscriptions",
    ),
    CustomerRows(
        name="events",
        title="Events",
        query="""
            select event_id, event_at, customer_id, product_id, interaction_type, event_category
            from core.fact_customer_events
            where customer_id = %(customer_id)s""",
        order_by="event_at desc, event_id",
        sorted_by="the newest first",
        columns=EVENT_COLUMNS,
        no_rows="No event.",
        links={"event_id": FACTS["fact_customer_events"].path},
        fact="fact_customer_events",
    ),
)

#: The tables of the page by name.
TABLES = {table.name: table for table in _TABLES}
