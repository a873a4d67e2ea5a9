"""Columns and conditions that several pages share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from shop_pages.figures import FigureColumn, Totals
from shop_pages.formats import Format
from shop_pages.pool import Row

DAY = FigureColumn("order_date", "Day", Format.DAY)
MONTH = FigureColumn("month", "Month", Format.MONTH)
CATEGORY = FigureColumn("category_name", "Category")
ORDERS = FigureColumn("orders", "Orders", Format.COUNT)
REVENUE_AMOUNT = FigureColumn("revenue", "Revenue", Format.MONEY)
REFUNDS = FigureColumn("refunded_amount", "Refunds", Format.MONEY, source="refund")
NET_REVENUE = FigureColumn(
    "net_revenue",
    "Net revenue",
    Format.MONEY,
    source="refund",
    help="Net revenue is revenue minus refunds; a refund counts when it was paid back.",
)
MARGIN = FigureColumn("gross_margin_percent", "Margin", Format.PERCENT)
KNOWN_COST = FigureColumn("known_cost_percent", "Revenue with known cost", Format.PERCENT)
CONTRIBUTION = FigureColumn(
    "contribution_amount", "Contribution", Format.MONEY, help="Contribution is gross profit minus shipping cost."
)

#: Of days, whatever the page is about.
TOTAL_REVENUE = {
    FigureColumn("daily_revenue", "Revenue", Format.MONEY): "sum(daily_revenue)",
    FigureColumn("net_revenue", "Net revenue", Format.MONEY, source="refund"): "sum(net_revenue)",
}
TOTAL_PROFIT = {FigureColumn("daily_gross_profit", "Gross profit", Format.MONEY): "sum(daily_gross_profit)"}
TOTAL_REVIEWS = Totals(
    mart="order_for_reviews",
    day="order_date",
    measures={
        FigureColumn("orders", "Orders that break a rule", Format.COUNT): "count(order_id)",
        FigureColumn("urgent", "Urgent ones", Format.COUNT): "count(order_id) filter (where review_priority = 'High')",
        FigureColumn("expected_loss", "Expected loss", Format.MONEY): "sum(expected_loss)",
    },
)

#: Of customer_segments, the best first.
SEGMENTS = (
    "Champions", "Loyal", "Potential Loyalists", "Promising", "Needs Attention", "About to Sleep", "Cannot Lose",
    "At Risk", "Hibernating", "No Orders",
)  # fmt: skip

#: A month is in the range if any of its days is.
MONTH_IN_RANGE = "between date_trunc('month', %(first)s::timestamp)::date and %(last)s"
IN_CATEGORY = "(%(category)s::text is null or category_name = %(category)s)"
#: Why a growth is empty.
NO_GROWTH = "No growth is shown where the days to compare with are not all loaded, or had no revenue."
#: All categories, each before those that came later: for their colours.
CATEGORY_NAMES = """
    select category_name as name
    from marts.seasonal_sales_analysis
    group by category_name
    order by min(sales_month), category_name"""
#: The row of the total, beside those of the categories: whoever adds those up must not add this one.
ALL_CATEGORIES = "All categories"


#: Before the column's name, in an address that narrows a table to one of its values; an empty value means none.
ONLY = "only."


def list_path(page: str, figure: str, only: Mapping[str, Any], **filters: Any) -> str:
    """The path of a table that is narrowed to some values: the list behind a name or a number."""
    values = {f"{ONLY}{name}": "" if value is None else value for name, value in only.items()}
    return f"/{page}/{figure}/table?{urlencode(values | filters)}"


def customer_path(row: Row) -> str:
    """The path of the page about a customer."""
    return f"/customer?{urlencode({'customer_id': row['customer_id']})}"
