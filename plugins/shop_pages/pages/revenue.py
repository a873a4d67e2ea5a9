"""The page Revenue: sales by day, category, product and payment method."""

from __future__ import annotations

from shop_pages.charts import column_values, grouped_chart, ranking_chart, sum_by
from shop_pages.figures import Figure, FigureColumn, FigurePage, Plot
from shop_pages.formats import Format
from shop_pages.pages.shared import CATEGORY, DAY, IN_CATEGORY, MONTH, MONTH_IN_RANGE, ORDERS, REVENUE_AMOUNT
from shop_pages.pool import Row


def _draw_trend(rows: list[Row]) -> Plot:
    days = column_values(rows, "order_date")
    return {
        "data": [
            {"type": "bar", "name": "Day", "x": days, "y": column_values(rows, "daily_revenue"), "opacity": 0.45},
            {"type": "scatter", "mode": "lines", "name": "7-day average", "x": days,
             "y": column_values(rows, "revenue_7d_avg"), "line": {"width": 3}},
        ],
        "layout": {"yaxis": {"rangemode": "tozero"}},
    }  # fmt: skip


def _draw_shares(rows: list[Row]) -> Plot:
    plot = grouped_chart(rows, "payment_method", x="month", y="percent")
    plot["layout"]["yaxis"] = {"ticksuffix": " %", "range": [0, 100]}
    return plot


REVENUE = FigurePage(
    name="revenue",
    title="Revenue",
    lead="How much was sold, in which categories, and how it was paid.",
    figures=(
        Figure(
            name="trend",
            title="Revenue by day",
            question="Does revenue grow, apart from the usual changes within a week?",
            mart="daily_revenue",
            query="""
                select
                    order_date, daily_revenue, revenue_7d_avg, daily_gross_profit, daily_orders, daily_customers,
                    avg_order_value, daily_growth_percent
                from marts.daily_revenue
                where order_date between %(first)s and %(last)s
                order by order_date""",
            columns=(
                DAY,
                FigureColumn("daily_revenue", "Revenue", Format.MONEY),
                FigureColumn("revenue_7d_avg", "7-day average", Format.MONEY),
                FigureColumn("daily_gross_profit", "Gross profit", Format.MONEY),
                FigureColumn("daily_orders", "Orders", Format.COUNT),
                FigureColumn("daily_customers", "Customers", Format.COUNT),
                FigureColumn("avg_order_value", "Average order", Format.MONEY),
                FigureColumn("daily_growth_percent", "Growth", Format.PERCENT),
            ),
            draw=_draw_trend,
            keys={"order_date": "order_date"},
        ),
        Figure(
            name="categories",
            title="Categories by month",
            question="Which categories carry the revenue, and with what margin?",
            mart="product_category_revenue_monthly",
            query=f"""
                select
                    revenue_month as month, category_name, subcategory, total_revenue as revenue, total_gross_profit,
                    gross_margin_percent, order_count as orders, units_sold
                from marts.product_category_revenue_monthly
                where revenue_month {MONTH_IN_RANGE} and {IN_CATEGORY}
                order by revenue_month, revenue desc, category_name, subcategory""",
            columns=(
                MONTH,
                CATEGORY,
                FigureColumn("subcategory", "Subcategory"),
                REVENUE_AMOUNT,
                FigureColumn("total_gross_profit", "Gross profit", Format.MONEY),
                FigureColumn("gross_margin_percent", "Margin", Format.PERCENT),
                ORDERS,
                FigureColumn("units_sold", "Units", Format.COUNT),
            ),
            draw=lambda rows: grouped_chart(
                sum_by(rows, ("month", "category_name"), "revenue"), "category_name", x="month", y="revenue"
            ),
            keys={"revenue_month": "month", "category_name": "category_name", "subcategory": "subcategory"},
        ),
        Figure(
            name="returning",
            title="New and returning customers",
            question="How much of the revenue comes from returning customers?",
            mart="daily_revenue",
            query="""
                select
                    date_trunc('week', order_date::timestamp)::date as week,
                    sum(new_customer_revenue) as new_customers,
                    sum(returning_customer_revenue) as returning_customers,
                    sum(new_customers) as first_orders
                from marts.daily_revenue
                where order_date between %(first)s and %(last)s
                group by 1
                order by 1""",
            columns=(
                FigureColumn("week", "Week from", Format.DAY),
                FigureColumn("new_customers", "Revenue of new customers", Format.MONEY),
                FigureColumn("returning_customers", "Revenue of returning customers", Format.MONEY),
                FigureColumn("first_orders", "New customers", Format.COUNT),
            ),
            draw=lambda rows: {
                "data": [
                    {"type": "bar", "name": label, "x": column_values(rows, "week"), "y": column_values(rows, name)}
                    for name, label in (("returning_customers", "Returning"), ("new_customers", "New"))
                ],
                "layout": {"barmode": "stack"},
            },
        ),
        Figure(
            name="payments",
            title="Payment mix",
            question="How do people pay, and is that changing?",
            mart="product_revenue_payment_analysis",
            query=f"""
                select
                    revenue_month as month, payment_method, sum(revenue) as revenue, sum(order_count) as orders,
                    round(sum(revenue) * 100 / nullif(sum(sum(revenue)) over (partition by revenue_month), 0), 2)
                        as percent
                from marts.product_revenue_payment_analysis
                where revenue_month {MONTH_IN_RANGE} and {IN_CATEGORY}
                group by revenue_month, payment_method
                order by revenue_month, revenue desc, payment_method""",
            columns=(
                MONTH,
                FigureColumn("payment_method", "Payment method"),
                REVENUE_AMOUNT,
                ORDERS,
                FigureColumn("percent", "Share", Format.PERCENT),
            ),
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
                from marts.payment_method_preference
                order by revenue desc, payment_method""",
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
            draw=lambda rows: ranking_chart(rows, label="payment_method", y="avg_order_value"),
            keys={"payment_method": "payment_method"},
        ),
        Figure(
            name="products",
            title="Leading products",
            question="Which products lead the last month of the range, and which gain or lose?",
            mart="product_performance_monthly",
            query=f"""
                select
                    revenue_month as month, product_id, product_name, category_name, revenue, gross_profit,
                    order_count as orders, units_sold, category_rank, category_revenue_percent, mom_growth_percent
                from marts.product_performance_monthly
                where
                    revenue_month = date_trunc('month', %(last)s::timestamp)::date
                    and {IN_CATEGORY}
                order by revenue desc, product_id
                limit 100""",
            columns=(
                MONTH,
                FigureColumn("product_id", "Product"),
                FigureColumn("product_name", "Name"),
                CATEGORY,
                REVENUE_AMOUNT,
                FigureColumn("gross_profit", "Gross profit", Format.MONEY),
                ORDERS,
                FigureColumn("units_sold", "Units", Format.COUNT),
                FigureColumn("category_rank", "Rank in category", Format.COUNT),
                FigureColumn("category_revenue_percent", "Of the category", Format.PERCENT),
                FigureColumn("mom_growth_percent", "Against the month before", Format.PERCENT),
            ),
            draw=lambda rows: ranking_chart(rows[:15], label="product_name", y="revenue"),
            keys={"revenue_month": "month", "product_id": "product_id"},
        ),
    ),
)
