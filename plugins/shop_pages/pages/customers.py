"""The page Customers: tiers, segments, repeat purchases, cohorts, what is bought together, the funnel."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from urllib.parse import urlencode

from shop_pages.chart_queries import DAYS, by_period, ranking
from shop_pages.charts import bars, column_values, heatmap, line_chart, period_name, ranking_chart
from shop_pages.figures import Figure, FigureColumn, FigurePage, Plot, Totals, json_value
from shop_pages.formats import Format, format_value
from shop_pages.pages.shared import REFUNDS, REVENUE_AMOUNT, customer_path, list_path
from shop_pages.pool import Row

#: A customer's lifetime value, below the figures that have it.
_VALUE_HELP = "Lifetime value is net: what a customer has bought, minus what was paid back."
_LIFETIME_VALUE = FigureColumn("lifetime_value", "Lifetime value", Format.MONEY)

_EVENTS = "from marts.conversion_funnel_daily where event_date between %(first)s and %(last)s"
_COHORTS = "from marts.customer_cohorts_monthly where cohort_month >= date_trunc('month', %(since)s::timestamp)::date"


def _summarize_guests(totals: Row) -> str:
    """`Guests: 1,234.50, 12.34 % of all revenue`; empty without revenue of guests."""
    if not totals["guest_revenue"]:
        return ""
    revenue = format_value(totals["guest_revenue"], Format.MONEY)
    return f"Guests: {revenue}, {format_value(totals['guest_percent'], Format.PERCENT)} of all revenue"


def _draw_funnel(rows: list[Row]) -> Plot:
    steps = (("views", "Views"), ("add_to_carts", "Put in the cart"), ("purchases", "Purchases"))
    counts = [rows[0][name] or 0 for name, _ in steps]
    return {
        "data": [
            {
                "type": "funnel",
                "y": [label for _, label in steps],
                "x": [json_value(count) for count in counts],
                "text": [_of_the_views(count, counts[0]) for count in counts],
            }
        ],
        "layout": {"showlegend": False, "xaxis": {"visible": False}, "yaxis": {"autorange": "reversed"}},
    }


def _of_the_views(count: Decimal | int, views: Decimal | int) -> str:
    """`1,234, 12.3 % of the views`; without the share where nothing was viewed."""
    return f"{count:,}, {100 * Decimal(count) / views:.1f} % of the views" if views else f"{count:,}"


def _draw_cohorts(rows: list[Row]) -> Plot:
    named = [{**row, "cohort": _cohort_name(row)} for row in rows]
    lines = list(dict.fromkeys(row["cohort"] for row in named))
    return heatmap(named, x="months_since_first", y="cohort", z="retention_percent", unit=" %", lines=lines)


def _cohort_name(row: Row) -> str:
    """`Jan 2024`, `Q1 2024`, `2024`."""
    return period_name(row["cohort"], row["cohort_unit"])


#: Days from one order to the next.
_DAYS_BETWEEN = (
    FigureColumn("median_days_since_previous", "Half within, days", Format.COUNT),
    FigureColumn("p25_days_since_previous", "A quarter within", Format.COUNT),
    FigureColumn("p75_days_since_previous", "Three quarters within", Format.COUNT),
)

_PAIRS = """
    select
        product_affinity.product_id, coalesce(products.product_name, product_affinity.product_id) as product_name,
        other_product_id, coalesce(others.product_name, other_product_id) as other_name, customers, lift,
        confidence_percent, next_percent, support_percent
    from marts.product_affinity
    left join marts.inventory_status as products on product_affinity.product_id = products.product_id
    left join marts.inventory_status as others on other_product_id = others.product_id
    where %(product)s::text is null or product_affinity.product_id = %(product)s"""


def _segment_path(row: Row) -> str:
    """The list of a segment's customers."""
    return f"/customers?{urlencode({'segment': row['rfm_segment']})}#best"


def _tier_path(row: Row) -> str:
    """The list of a tier's customers."""
    # Of all segments, as the number is.
    return list_path("customers", "best", {"customer_tier": row["customer_tier"]}, segment="")


def _product_path(column: str) -> Callable[[Row], str]:
    """A function from a row to the pairs of the product in that column."""
    return lambda row: f"/customers?{urlencode({'product': row[column]})}#together"


def _curves(value: str, name: str, condition: str = "") -> str:
    """
    A line for each cohort: at most eight by month, else by quarter or by year.

    :param value: SQL of the value of a point, over all cohorts of the line that have had that month whole; a window
        `curve` runs along the line
    """
    return f"""
        with cohorts as (
            select * {_COHORTS} and is_complete {condition}
        ),
        units as (
            select
                case when count(distinct cohort_month) <= 8 then 'month'
                    when count(distinct cohort_month) <= 24 then 'quarter' else 'year' end as cohort_unit
            from cohorts
        )
        select
            date_trunc(cohort_unit, cohort_month::timestamp)::date as cohort, cohort_unit, months_since_first,
            round({value}, 2) as {name}
        from cohorts
        cross join units
        group by 1, 2, 3
        window curve as (
            partition by date_trunc(cohort_unit, cohort_month::timestamp)::date order by months_since_first
        )
        order by 1, 3"""


def _draw_curves(rows: list[Row], value: str) -> Plot:
    names = list(dict.fromkeys(map(_cohort_name, rows)))
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [row["months_since_first"] for row in rows if _cohort_name(row) == name],
                "y": [json_value(row[value]) for row in rows if _cohort_name(row) == name],
            }
            for name in names
        ],
        "layout": {"yaxis": {"rangemode": "tozero"}},
    }


CUSTOMERS = FigurePage(
    name="customers",
    totals=Totals(
        mart="daily_revenue",
        day="order_date",
        measures={
            FigureColumn("new_customers", "New customers", Format.COUNT): "sum(new_customers)",
            FigureColumn("new_customer_revenue", "Revenue of new customers", Format.MONEY): "sum(new_customer_revenue)",
            FigureColumn(
                "returning_customer_revenue", "Revenue of returning customers", Format.MONEY
            ): "sum(returning_customer_revenue)",
            FigureColumn("guest_revenue", "Revenue of guests", Format.MONEY): "sum(guest_revenue)",
        },
    ),
    title="Customers",
    lead="Who they are, whether they come back, and what they buy together.",
    figures=(
        Figure(
            name="tiers",
            title="Customer tiers",
            question="How many customers make how much of the value?",
            help=f"{_VALUE_HELP} Guests are not customers; their amount is revenue before refunds.",
            mart="customer_segments",
            query="""
                select
                    customer_tier, count(*) as customers, sum(lifetime_revenue) as revenue,
                    sum(refunded_amount) as refunded_amount, sum(lifetime_value) as lifetime_value,
                    round(avg(lifetime_value), 2) as average_value,
                    round(sum(lifetime_value) * 100 / nullif(sum(sum(lifetime_value)) over (), 0), 2) as percent
                from marts.customer_segments
                group by customer_tier""",
            order_by="lifetime_value desc",
            sorted_by="by value",
            summary_query="""
                select
                    sum(guest_revenue) as guest_revenue,
                    round(sum(guest_revenue) * 100 / nullif(sum(daily_revenue), 0), 2) as guest_percent
                from marts.daily_revenue""",
            columns=(
                FigureColumn("customer_tier", "Tier"),
                FigureColumn("customers", "Customers", Format.COUNT),
                REVENUE_AMOUNT,
                REFUNDS,
                _LIFETIME_VALUE,
                FigureColumn("average_value", "Average value", Format.MONEY),
                FigureColumn("percent", "Of all", Format.PERCENT),
            ),
            draw=lambda rows: {
                "data": [
                    {
                        "type": "pie",
                        "hole": 0.6,
                        "labels": column_values(rows, "customer_tier"),
                        "name": label,
                        "values": column_values(rows, name),
                        "domain": {"column": n},
                        "title": {"text": label},
                        "sort": False,
                    }
                    for n, (name, label) in enumerate((("customers", "Customers"), ("lifetime_value", "Value")))
                ],
                "layout": {"grid": {"rows": 1, "columns": 2}},
            },
            summarize=_summarize_guests,
            links={"customer_tier": _tier_path, "customers": _tier_path},
        ),
        Figure(
            name="segments",
            title="Segments by recency, frequency and value",
            question="Who are the best customers, and who is about to leave?",
            help=f"{_VALUE_HELP} A click on a segment lists its customers, to download as CSV.",
            mart="customer_segments",
            query="""
                select
                    rfm_segment, count(*) as customers, sum(lifetime_value) as lifetime_value,
                    round(avg(days_since_last_order), 1) as days_since_last_order,
                    round(avg(total_orders), 1) as orders
                from marts.customer_segments
                where rfm_segment is not null
                group by rfm_segment""",
            order_by="lifetime_value desc",
            sorted_by="by value",
            columns=(
                FigureColumn("rfm_segment", "Segment"),
                FigureColumn("customers", "Customers", Format.COUNT),
                _LIFETIME_VALUE,
                FigureColumn("days_since_last_order", "Days since the last order", Format.NUMBER),
                FigureColumn("orders", "Orders a customer", Format.NUMBER),
            ),
            measure="Lifetime value",
            measured_in=Format.MONEY,
            names="Segment",
            draw=lambda rows: ranking_chart(rows, label="rfm_segment", y="lifetime_value"),
            links={"rfm_segment": _segment_path, "customers": _segment_path},
        ),
        Figure(
            name="repeat",
            title="Repeat purchases",
            question="Of those who have ordered, how many order again?",
            help="A percentage is of those who made the order before it. Days are of those who came back.",
            mart="repeat_purchases",
            query="""
                select
                    order_number, customers, repeat_rate_percent, median_days_since_previous, p25_days_since_previous,
                    p75_days_since_previous, avg_order_value
                from marts.repeat_purchases
                where cohort_month is null""",
            order_by="order_number",
            sorted_by="by order",
            columns=(
                FigureColumn("order_number", "Order", Format.COUNT),
                FigureColumn("customers", "Customers", Format.COUNT),
                FigureColumn("repeat_rate_percent", "Of those before", Format.PERCENT),
                *_DAYS_BETWEEN,
                FigureColumn("avg_order_value", "Average order", Format.MONEY),
            ),
            measure="Of those who made the order before",
            measured_in=Format.PERCENT,
            names="Order",
            draw=lambda rows: {
                "data": [bars(rows[1:], "order_number", "repeat_rate_percent", "Of those who made the order before")],
                "layout": {"xaxis": {"type": "category"}},
            },
        ),
        Figure(
            name="second_order",
            title="Time to the second order",
            question="After how many days does a new customer come back?",
            help="By the month of the first order. Customers of young months have had less time to come back: their"
            " days will grow.",
            mart="repeat_purchases",
            query="""
                select
                    second.cohort_month, firsts.customers as cohort_customers, second.customers,
                    second.repeat_rate_percent, second.median_days_since_previous, second.p25_days_since_previous,
                    second.p75_days_since_previous
                from marts.repeat_purchases as second
                inner join marts.repeat_purchases as firsts
                    on second.cohort_month = firsts.cohort_month and firsts.order_number = 1
                where
                    second.order_number = 2
                    and second.cohort_month >= date_trunc('month', %(since)s::timestamp)::date""",
            order_by="cohort_month",
            sorted_by="by first month",
            columns=(
                FigureColumn("cohort_month", "First bought in", Format.MONTH),
                FigureColumn("cohort_customers", "Customers", Format.COUNT),
                FigureColumn("customers", "Came back", Format.COUNT),
                FigureColumn("repeat_rate_percent", "Share", Format.PERCENT),
                *_DAYS_BETWEEN,
            ),
            measure="Days to the second order",
            names="First bought in",
            draw=lambda rows: line_chart(
                rows,
                "cohort_month",
                {
                    "p75_days_since_previous": "three quarters",
                    "median_days_since_previous": "half",
                    "p25_days_since_previous": "a quarter",
                },
                yaxis={"rangemode": "tozero"},
            ),
        ),
        Figure(
            name="cohorts",
            title="Cohorts",
            question="How many customers of each first month buy again in the months after it?",
            mart="customer_cohorts_monthly",
            query=f"""
                select
                    cohort_month, order_month, months_since_first, cohort_customers, active_customers,
                    retention_percent, revenue, cumulative_revenue
                {_COHORTS}""",
            order_by="cohort_month, months_since_first",
            sorted_by="by first month",
            # Cohorts of several months are one of all their customers: each is in one cohort only. Without a cohort's
            # first month: its 100 % would make all other cells look the same.
            chart_query=f"""
                with cohorts as (
                    select * {_COHORTS}
                ),
                units as (
                    select
                        case when count(distinct cohort_month) <= 48 then 'month'
                            when count(distinct cohort_month) <= 144 then 'quarter' else 'year' end as cohort_unit
                    from cohorts
                )
                select
                    date_trunc(cohort_unit, cohort_month::timestamp)::date as cohort, cohort_unit, months_since_first,
                    round(sum(active_customers) * 100.0 / nullif(sum(cohort_customers), 0), 2) as retention_percent,
                    max(order_month) as period, bool_and(is_complete) as is_complete
                from cohorts
                cross join units
                where months_since_first > 0
                group by 1, 2, 3
                order by 1, 3""",
            columns=(
                FigureColumn("cohort_month", "First bought in", Format.MONTH),
                FigureColumn("order_month", "Month", Format.MONTH),
                FigureColumn("months_since_first", "Months after", Format.COUNT),
                FigureColumn("cohort_customers", "Cohort", Format.COUNT),
                FigureColumn("active_customers", "Active", Format.COUNT),
                FigureColumn("retention_percent", "Retention", Format.PERCENT),
                REVENUE_AMOUNT,
                FigureColumn("cumulative_revenue", "Revenue so far", Format.MONEY),
            ),
            measure="Retention",
            measured_in=Format.PERCENT,
            names="Months after the first order",
            lines="First bought in",
            draw=_draw_cohorts,
            keys={"cohort_month": "cohort_month", "order_month": "order_month"},
        ),
        Figure(
            name="cohort_money",
            title="What a customer brings over time",
            question="Are the customers of a later cohort worth more, at the same age?",
            help="Revenue for each customer of the cohort, up to that many months after the first one. Only whole"
            " months count; with many cohorts, those of a quarter or a year are one.",
            mart="customer_cohorts_monthly",
            query=f"""
                select
                    cohort_month, months_since_first, cohort_customers, cumulative_revenue,
                    round(cumulative_revenue / cohort_customers, 2) as revenue_per_customer
                {_COHORTS} and is_complete""",
            order_by="cohort_month, months_since_first",
            sorted_by="by first month",
            chart_query=_curves("sum(sum(revenue) / sum(cohort_customers)) over curve", "revenue_per_customer"),
            columns=(
                FigureColumn("cohort_month", "First bought in", Format.MONTH),
                FigureColumn("months_since_first", "Months after", Format.COUNT),
                FigureColumn("cohort_customers", "Cohort", Format.COUNT),
                FigureColumn("cumulative_revenue", "Revenue so far", Format.MONEY),
                FigureColumn("revenue_per_customer", "For each customer", Format.MONEY),
            ),
            measure="Revenue for each customer",
            measured_in=Format.MONEY,
            names="Months after the first order",
            draw=lambda rows: _draw_curves(rows, "revenue_per_customer"),
        ),
        Figure(
            name="cohort_share",
            title="How many are still buying",
            question="Does a later cohort come back more often, at the same age?",
            help="The share of the cohort's customers who ordered so many months after the first one. Only whole months"
            " count.",
            mart="customer_cohorts_monthly",
            query=f"""
                select cohort_month, months_since_first, cohort_customers, active_customers, retention_percent
                {_COHORTS} and is_complete and months_since_first > 0""",
            order_by="cohort_month, months_since_first",
            sorted_by="by first month",
            chart_query=_curves(
                "100 * sum(active_customers) / sum(cohort_customers)", "retention_percent", "and months_since_first > 0"
            ),
            columns=(
                FigureColumn("cohort_month", "First bought in", Format.MONTH),
                FigureColumn("months_since_first", "Months after", Format.COUNT),
                FigureColumn("cohort_customers", "Cohort", Format.COUNT),
                FigureColumn("active_customers", "Active", Format.COUNT),
                FigureColumn("retention_percent", "Retention", Format.PERCENT),
            ),
            measure="Retention",
            measured_in=Format.PERCENT,
            names="Months after the first order",
            draw=lambda rows: _draw_curves(rows, "retention_percent"),
        ),
        Figure(
            name="together",
            title="Bought by the same customers",
            question="What do customers buy together, and what next?",
            help="Of the last 12 whole months: at least 10 customers bought both within 90 days. A lift of 2 is twice"
            " as many as if one product had nothing to do with the other. Next: on a later day. A click on a product"
            " shows its pairs.",
            mart="product_affinity",
            query=_PAIRS,
            order_by="lift desc, customers desc, product_id, other_product_id",
            sorted_by="by lift",
            when_empty="No two products were bought by enough of the same customers in the last whole months.",
            columns=(
                FigureColumn("product_id", "Product"),
                FigureColumn("product_name", "Name"),
                FigureColumn("other_product_id", "With"),
                FigureColumn("other_name", "Name"),
                FigureColumn("customers", "Customers", Format.COUNT),
                FigureColumn("lift", "Lift", Format.NUMBER),
                FigureColumn("confidence_percent", "Of its customers", Format.PERCENT),
                FigureColumn("next_percent", "Next", Format.PERCENT),
                FigureColumn("support_percent", "Of all customers", Format.PERCENT),
            ),
            # Of the two rows of a pair one, but for a chosen product: then all are its own.
            chart_query=ranking(
                f"""
                    select
                        *, concat_ws(' + ', product_name, other_name) as pair,
                        concat_ws(' + ', product_id, other_product_id) as pair_ids
                    from ({_PAIRS}) as pairs
                    where %(product)s::text is not null or product_id < other_product_id""",
                order_by="lift desc, customers desc, product_id, other_product_id",
            ),
            series="pairs, by lift",
            measure="Lift",
            measured_in=Format.NUMBER,
            names="Pair",
            draw=lambda rows: ranking_chart(rows, label="pair", key="pair_ids", y="lift"),
            links={"product_id": _product_path("product_id"), "other_product_id": _product_path("other_product_id")},
        ),
        Figure(
            name="funnel",
            title="From view to purchase",
            question="Where do people leave on the way to an order?",
            help="The chart counts events: a customer who views ten products has ten views. The percentages of the"
            " table, and conversion, are of customers: of those who view on a day, how many buy.",
            mart="conversion_funnel_daily",
            query=f"""
                select
                    event_date, views, add_to_carts, purchases, viewers, carters, buyers, view_to_cart_percent,
                    cart_to_purchase_percent, view_to_purchase_percent
                {_EVENTS}""",
            order_by="event_date",
            sorted_by="by day",
            # Events add up; the customers behind them do not.
            chart_query=f"""
                select sum(views) as views, sum(add_to_carts) as add_to_carts, sum(purchases) as purchases
                {_EVENTS}
                having count(*) > 0""",
            columns=(
                FigureColumn("event_date", "Day", Format.DAY),
                FigureColumn("views", "Views", Format.COUNT),
                FigureColumn("add_to_carts", "Put in the cart", Format.COUNT),
                FigureColumn("purchases", "Purchases", Format.COUNT),
                FigureColumn("viewers", "Viewers", Format.COUNT),
                FigureColumn("carters", "With a cart", Format.COUNT),
                FigureColumn("buyers", "Buyers", Format.COUNT),
                FigureColumn("view_to_cart_percent", "View to cart", Format.PERCENT),
                FigureColumn("cart_to_purchase_percent", "Cart to purchase", Format.PERCENT),
                FigureColumn("view_to_purchase_percent", "View to purchase", Format.PERCENT),
            ),
            draw=_draw_funnel,
            keys={"event_date": "event_date"},
        ),
        Figure(
            name="conversion",
            title="Conversion by day",
            question="Do more or fewer visits end with a purchase than before?",
            mart="conversion_funnel_daily",
            help="In a long range each point is the mean of its days: a customer who comes on ten days counts on each.",
            query=f"""
                select event_date, viewers, buyers, view_to_cart_percent, view_to_purchase_percent
                {_EVENTS}""",
            order_by="event_date",
            sorted_by="by day",
            chart_query=by_period(
                f"select event_date, viewers, carters, buyers {_EVENTS}",
                time="event_date",
                units=DAYS,
                # Of the customers of each day: one who comes on ten days counts on each of them.
                values={
                    "view_to_cart_percent": "round(sum(carters) * 100.0 / nullif(sum(viewers), 0), 2)",
                    "view_to_purchase_percent": "round(sum(buyers) * 100.0 / nullif(sum(viewers), 0), 2)",
                },
            ),
            columns=(
                FigureColumn("event_date", "Day", Format.DAY),
                FigureColumn("viewers", "Viewers", Format.COUNT),
                FigureColumn("buyers", "Buyers", Format.COUNT),
                FigureColumn("view_to_cart_percent", "View to cart", Format.PERCENT),
                FigureColumn("view_to_purchase_percent", "View to purchase", Format.PERCENT),
            ),
            measure="Of the viewers of a day",
            measured_in=Format.PERCENT,
            draw=lambda rows: line_chart(
                rows,
                "period",
                {"view_to_cart_percent": "View to cart", "view_to_purchase_percent": "View to purchase"},
                yaxis={"rangemode": "tozero"},
            ),
            keys={"event_date": "event_date"},
        ),
        Figure(
            name="best",
            title="Customers, the best first",
            question="Which customers should get a personal message?",
            help=f"{_VALUE_HELP} Of the segment that is chosen above, or else of all; the CSV has all of them.",
            mart="customer_segments",
            query="""
                select
                    customer_id, customer_name, customer_tier, rfm_segment, lifetime_revenue, refunded_amount,
                    lifetime_value, total_orders, avg_order_value, last_order_date, days_since_last_order,
                    orders_per_30_days
                from marts.customer_segments
                where %(segment)s::text is null or rfm_segment = %(segment)s""",
            order_by="lifetime_value desc, customer_id",
            sorted_by="by lifetime value",
            columns=(
                FigureColumn("customer_id", "Customer"),
                FigureColumn("customer_name", "Name"),
                FigureColumn("customer_tier", "Tier"),
                FigureColumn("rfm_segment", "Segment"),
                FigureColumn("lifetime_revenue", "Revenue", Format.MONEY),
                REFUNDS,
                _LIFETIME_VALUE,
                FigureColumn("total_orders", "Orders", Format.COUNT),
                FigureColumn("avg_order_value", "Average order", Format.MONEY),
                FigureColumn("last_order_date", "Last order", Format.DAY),
                FigureColumn("days_since_last_order", "Days since", Format.COUNT),
                FigureColumn("orders_per_30_days", "Orders in 30 days", Format.NUMBER),
            ),
            keys={"customer_id": "customer_id"},
            links={"customer_id": customer_path},
        ),
    ),
)
