"""The page Revenue: sales by day, category, product and payment method."""

from __future__ import annotations

from ecommerce.figures.movements import why_path
from shop_pages.absent_sources import absence_of_source
from shop_pages.chart_queries import DAYS, MONTHS, WEEKS, by_period, ranking
from shop_pages.charts import bars, grouped_chart, lines_of, period_axis, ranking_chart
from shop_pages.figures import Figure, FigureColumn, FigurePage, Plot, Totals
from shop_pages.formats import Format, format_value
from shop_pages.pages.shared import (
    CATEGORY,
    CATEGORY_NAMES,
    CONTRIBUTION,
    DAY,
    IN_CATEGORY,
    KNOWN_COST,
    MARGIN,
    MONTH,
    MONTH_IN_RANGE,
    NET_REVENUE,
    NO_GROWTH,
    ORDERS,
    REFUNDS,
    REVENUE_AMOUNT,
    TOTAL_PROFIT,
    TOTAL_REVENUE,
)
from shop_pages.pool import Row


def _draw_trend(rows: list[Row]) -> Plot:
    lines = {}
    if rows[0]["unit"] == "day":
        lines["revenue_7d_avg"] = ("7-day average of revenue", 3.0)
    if any(row["refunded_amount"] for row in rows):
        lines["net_revenue"] = ("Net revenue", 1.5)
    return {
        "data": [
            bars(rows, "period", "daily_revenue", "Revenue", opacity=0.45),
            *(
                trace
                for name, (label, width) in lines.items()
                for trace in lines_of(rows, "period", name, label, line={"width": width})
            ),
        ],
        "layout": {"yaxis": {"rangemode": "tozero"}, **period_axis(rows)},
    }


def _summarize_trend(totals: Row) -> str:
    """`Revenue 1,000.00 · refunds 20.00 · net revenue 980.00 · guests 250.00, 25.00 % of the revenue`."""
    labels = {"daily_revenue": "Revenue", "refunded_amount": "refunds", "net_revenue": "net revenue"}
    if absence_of_source("refund"):
        labels = {"daily_revenue": "Revenue"}
    parts = [f"{label} {format_value(totals[name], Format.MONEY)}" for name, label in labels.items()]
    if guests := totals["guest_revenue"]:
        share = format_value(100 * guests / totals["daily_revenue"], Format.PERCENT)
        parts.append(f"guests {format_value(guests, Format.MONEY)}, {share} of the revenue")
    return " · ".join(parts)


def _draw_shares(rows: list[Row]) -> Plot:
    plot = grouped_chart(rows, "payment_method", x="period", y="percent")
    plot["layout"]["yaxis"] = {"range": [0, 100]}
    return plot


_DAYS = "from marts.daily_revenue where order_date between %(first)s and %(last)s"
_CATEGORIES = f"from marts.product_category_revenue_monthly where revenue_month {MONTH_IN_RANGE} and {IN_CATEGORY}"
_PAYMENTS = f"from marts.product_revenue_payment_analysis where revenue_month {MONTH_IN_RANGE} and {IN_CATEGORY}"
_PRODUCTS = f"""
                from marts.product_performance_monthly
                where
                    revenue_month = date_trunc('month', %(last)s::timestamp)::date
                    and {IN_CATEGORY}"""

REVENUE = FigurePage(
    name="revenue",
    totals=Totals(
        mart="daily_revenue",
        day="order_date",
        measures={
            **TOTAL_REVENUE,
            FigureColumn("refunded_amount", "Refunds", Format.MONEY, source="refund"): "sum(refunded_amount)",
            **TOTAL_PROFIT,
            FigureColumn("new_customers", "New customers", Format.COUNT): "sum(new_customers)",
        },
    ),
    title="Revenue",
    lead="How much was sold, in which categories, and how it was paid.",
    figures=(
        Figure(
            name="trend",
            title="Revenue by day",
            question="Does revenue grow, apart from the usual changes within a week?",
            help="Revenue is gross: what was sold, before refunds. Gross profit and margin are those of the revenue"
            " whose cost is known. Guests are not among the customers. An order with lines on two days counts on both."
            " Growth is against the day before, and empty where that had no revenue; a click on it says what made it.",
            mart="daily_revenue",
            query=f"""
                select
                    order_date, daily_revenue, refunded_amount, net_revenue, revenue_7d_avg, daily_gross_profit,
                    gross_margin_percent, known_cost_percent, daily_orders, daily_customers, guest_orders,
                    round(guest_orders * 100.0 / nullif(daily_orders, 0), 2) as guest_order_percent,
                    guest_revenue, avg_order_value, daily_growth_percent
                {_DAYS}""",
            order_by="order_date",
            sorted_by="by day",
            chart_query=by_period(
                f"select order_date, daily_revenue, refunded_amount, net_revenue, revenue_7d_avg {_DAYS}",
                time="order_date",
                units=DAYS,
                values={
                    "daily_revenue": "sum(daily_revenue)",
                    "refunded_amount": "sum(refunded_amount)",
                    "net_revenue": "sum(net_revenue)",
                    "revenue_7d_avg": "case when unit = 'day' then max(revenue_7d_avg) end",
                },
            ),
            # Money adds up; orders do not: one with lines on two days counts on both.
            summary_query=f"""
                select
                    sum(daily_revenue) as daily_revenue, sum(refunded_amount) as refunded_amount,
                    sum(net_revenue) as net_revenue, sum(guest_revenue) as guest_revenue
                {_DAYS}""",
            columns=(
                DAY,
                FigureColumn("daily_revenue", "Revenue", Format.MONEY),
                REFUNDS,
                NET_REVENUE,
                FigureColumn("revenue_7d_avg", "7-day average", Format.MONEY),
                FigureColumn("daily_gross_profit", "Gross profit", Format.MONEY),
                MARGIN,
                KNOWN_COST,
                FigureColumn("daily_orders", "Orders", Format.COUNT),
                FigureColumn("daily_customers", "Customers", Format.COUNT),
                FigureColumn("guest_orders", "Guest orders", Format.COUNT),
                FigureColumn("guest_order_percent", "Guests’ share of orders", Format.PERCENT),
                FigureColumn("guest_revenue", "Revenue of guests", Format.MONEY),
                FigureColumn("avg_order_value", "Average order", Format.MONEY),
                FigureColumn("daily_growth_percent", "Growth", Format.PERCENT),
            ),
            measure="Revenue",
            measured_in=Format.MONEY,
            draw=_draw_trend,
            summarize=_summarize_trend,
            keys={"order_date": "order_date"},
            links={"daily_growth_percent": lambda row: why_path("revenue", row["order_date"], "day before")},
        ),
        Figure(
            name="categories",
            title="Categories by month",
            question="Which categories carry the revenue, and with what margin?",
            help="The margin is that of the revenue whose cost is known; the table says how much that is.",
            mart="product_category_revenue_monthly",
            query=f"""
                select
                    revenue_month as month, category_name, subcategory, total_revenue as revenue, refunded_amount,
                    net_revenue, total_gross_profit, gross_margin_percent, known_cost_percent, order_count as orders,
                    units_sold
                {_CATEGORIES}""",
            order_by="month, revenue desc, category_name, subcategory",
            sorted_by="by month and revenue",
            chart_query=by_period(
                f"select revenue_month, category_name, total_revenue {_CATEGORIES}",
                time="revenue_month",
                units=MONTHS,
                values={"revenue": "sum(total_revenue)"},
                by="category_name",
                largest_by="revenue",
            ),
            series="categories",
            columns=(
                MONTH,
                CATEGORY,
                FigureColumn("subcategory", "Subcategory"),
                REVENUE_AMOUNT,
                REFUNDS,
                NET_REVENUE,
                FigureColumn("total_gross_profit", "Gross profit", Format.MONEY),
                MARGIN,
                KNOWN_COST,
                ORDERS,
                FigureColumn("units_sold", "Units", Format.COUNT),
            ),
            measure="Revenue",
            measured_in=Format.MONEY,
            names_query=CATEGORY_NAMES,
            draw=lambda rows: grouped_chart(rows, "category_name", x="period", y="revenue"),
            keys={"revenue_month": "month", "category_name": "category_name", "subcategory": "subcategory"},
        ),
        Figure(
            name="refunds",
            title="Refunds by month",
            question="How much goes back, and is that more than usual?",
            help="A refund counts in the month in which it was paid back; most belong to orders of the months before.",
            mart="product_category_revenue_monthly",
            source="refund",
            query=f"""
                select
                    revenue_month as month, sum(refunded_amount) as refunded_amount, sum(total_revenue) as revenue,
                    sum(net_revenue) as net_revenue,
                    round(sum(refunded_amount) * 100 / nullif(sum(total_revenue), 0), 2) as percent
                {_CATEGORIES}
                group by revenue_month
                having sum(refunded_amount) > 0""",
            order_by="month",
            sorted_by="by month",
            chart_query=by_period(
                f"""
                    select revenue_month, sum(refunded_amount) as refunded_amount
                    {_CATEGORIES}
                    group by revenue_month
                    having sum(refunded_amount) > 0""",
                time="revenue_month",
                units=MONTHS,
                values={"refunded_amount": "sum(refunded_amount)"},
            ),
            columns=(
                MONTH,
                FigureColumn("refunded_amount", "Refunds", Format.MONEY),
                REVENUE_AMOUNT,
                FigureColumn("net_revenue", "Net revenue", Format.MONEY),
                FigureColumn(
                    "percent",
                    "Refunds of the revenue",
                    Format.PERCENT,
                    help="Refunds in percent of the month’s revenue.",
                ),
            ),
            measure="Refunds",
            measured_in=Format.MONEY,
            draw=lambda rows: {
                "data": [bars(rows, "period", "refunded_amount", "Refunds")],
                "layout": {"showlegend": False, **period_axis(rows)},
            },
        ),
        Figure(
            name="returning",
            title="New and returning customers",
            question="How much of the revenue comes from returning customers?",
            help="Guests are in neither: nobody knows whether they have bought before.",
            mart="daily_revenue",
            query=f"""
                select
                    date_trunc('week', order_date::timestamp)::date as week,
                    sum(new_customer_revenue) as new_customers,
                    sum(returning_customer_revenue) as returning_customers, sum(guest_revenue) as guests,
                    sum(new_customers) as first_orders
                {_DAYS}
                group by 1""",
            order_by="week",
            sorted_by="by week",
            unit="week",
            chart_query=by_period(
                f"select order_date, new_customer_revenue, returning_customer_revenue, guest_revenue {_DAYS}",
                time="order_date",
                units=WEEKS,
                values={
                    "new_customers": "sum(new_customer_revenue)",
                    "returning_customers": "sum(returning_customer_revenue)",
                    "guests": "sum(guest_revenue)",
                },
            ),
            columns=(
                FigureColumn("week", "Week from", Format.DAY),
                FigureColumn(
                    "new_customers",
                    "Revenue of new customers",
                    Format.MONEY,
                    help="New: the first order is of these days.",
                ),
                FigureColumn("returning_customers", "Revenue of returning customers", Format.MONEY),
                FigureColumn("guests", "Revenue of guests", Format.MONEY),
                FigureColumn("first_orders", "New customers", Format.COUNT),
            ),
            measure="Revenue",
            measured_in=Format.MONEY,
            draw=lambda rows: {
                "data": [
                    bars(rows, "period", name, label)
                    for name, label in (
                        ("returning_customers", "Returning"),
                        ("new_customers", "New"),
                        ("guests", "Guests"),
                    )
                    if name != "guests" or any(row[name] for row in rows)
                ],
                "layout": {"barmode": "stack", **period_axis(rows)},
            },
        ),
        Figure(
            name="payments",
            title="Payment mix",
            question="How do people pay, and is that changing?",
            help="Choose a category to see numbers of orders: an order may have lines of several categories, so they"
            " cannot be added up.",
            mart="product_revenue_payment_analysis",
            query=f"""
                select
                    revenue_month as month, payment_method, sum(revenue) as revenue,
                    case when %(category)s::text is not null then sum(order_count) end as orders,
                    round(sum(revenue) * 100 / nullif(sum(sum(revenue)) over (partition by revenue_month), 0), 2)
                        as percent
                {_PAYMENTS}
                group by revenue_month, payment_method""",
            order_by="month, revenue desc, payment_method",
            sorted_by="by month and revenue",
            chart_query=by_period(
                f"select revenue_month, payment_method, revenue {_PAYMENTS}",
                time="revenue_month",
                units=MONTHS,
                values={"revenue": "sum(revenue)"},
                by="payment_method",
                largest_by="revenue",
                computed={"percent": "round(revenue * 100 / nullif(sum(revenue) over (partition by period), 0), 2)"},
            ),
            series="payment methods",
            columns=(
                MONTH,
                FigureColumn("payment_method", "Payment method"),
                REVENUE_AMOUNT,
                ORDERS,
                FigureColumn("percent", "Share", Format.PERCENT),
            ),
            measure="Of the revenue",
            measured_in=Format.PERCENT,
            names_query="""
                select payment_method as name
                from marts.payment_method_preference
                order by payment_method""",
            draw=_draw_shares,
        ),
        Figure(
            name="methods",
            title="Payment methods over all time",
            question="Which payment method has the largest orders?",
            mart="payment_method_preference",
            query="""
                select
                    payment_method, total_orders as orders, total_revenue as revenue, avg_order_value, min_order_value,
                    max_order_value, order_percent, revenue_percent
                from marts.payment_method_preference""",
            order_by="revenue desc, payment_method",
            sorted_by="by revenue",
            chart_query=ranking(
                "select payment_method, avg_order_value from marts.payment_method_preference",
                order_by="avg_order_value desc nulls last, payment_method",
            ),
            series="payment methods, by average order",
            columns=(
                FigureColumn("payment_method", "Payment method"),
                ORDERS,
                REVENUE_AMOUNT,
                FigureColumn("avg_order_value", "Average order", Format.MONEY),
                FigureColumn("min_order_value", "Smallest", Format.MONEY),
                FigureColumn("max_order_value", "Largest", Format.MONEY),
                FigureColumn("order_percent", "Of all orders", Format.PERCENT),
                FigureColumn("revenue_percent", "Of all revenue", Format.PERCENT),
            ),
            measure="Average order",
            measured_in=Format.MONEY,
            names="Payment method",
            draw=lambda rows: ranking_chart(rows, label="payment_method", y="avg_order_value"),
            keys={"payment_method": "payment_method"},
        ),
        Figure(
            name="products",
            title="Leading products",
            question="Which products lead the last month of the range, and which gain or lose?",
            help=f"Gross profit is that of the revenue whose cost is known. {NO_GROWTH}",
            mart="product_performance_monthly",
            query=f"""
                select
                    revenue_month as month, product_id, product_name, category_name, revenue, refunded_amount,
                    net_revenue, gross_profit, contribution_amount, order_count as orders, units_sold,
                    category_rank, category_revenue_percent, mom_growth_percent
                {_PRODUCTS}""",
            order_by="revenue desc, product_id",
            sorted_by="by revenue",
            chart_query=ranking(
                f"""
                    select product_id, product_name, revenue, revenue_month as period, is_complete
                    {_PRODUCTS}""",
                order_by="revenue desc, product_id",
                total_of="revenue",
            ),
            series="products, by revenue",
            columns=(
                MONTH,
                FigureColumn("product_id", "Product"),
                FigureColumn("product_name", "Name"),
                CATEGORY,
                REVENUE_AMOUNT,
                REFUNDS,
                NET_REVENUE,
                FigureColumn("gross_profit", "Gross profit", Format.MONEY),
                CONTRIBUTION,
                ORDERS,
                FigureColumn("units_sold", "Units", Format.COUNT),
                FigureColumn("category_rank", "Rank in category", Format.COUNT),
                FigureColumn("category_revenue_percent", "Of the category", Format.PERCENT),
                FigureColumn("mom_growth_percent", "Against the month before", Format.PERCENT),
            ),
            measure="Revenue",
            measured_in=Format.MONEY,
            names="Product",
            draw=lambda rows: ranking_chart(rows, label="product_name", key="product_id", y="revenue"),
            keys={"revenue_month": "month", "product_id": "product_id"},
        ),
    ),
)
