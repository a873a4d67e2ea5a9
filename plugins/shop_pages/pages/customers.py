"""The page Customers: tiers, segments, cohorts, the funnel and subscriptions."""

from __future__ import annotations

from typing import Any

from shop_pages.charts import column_values, grouped_chart, heatmap, line_chart, ranking_chart
from shop_pages.figures import Figure, FigureColumn, FigurePage, Plot
from shop_pages.formats import Format, format_value
from shop_pages.pages.shared import MONTH, MONTH_IN_RANGE, REFUNDS, REVENUE_AMOUNT
from shop_pages.pool import Row

#: A customer's lifetime value, below the figures that have it.
_VALUE_HELP = "Lifetime value is net: what a customer has bought, minus what was paid back."
_LIFETIME_VALUE = FigureColumn("lifetime_value", "Lifetime value", Format.MONEY)


def _summarize_guests(rows: list[Row]) -> str:
    """`Guests: 1,234.50, 12.34 % of all revenue`; empty without revenue of guests."""
    revenue, percent = rows[0]["guest_revenue"], rows[0]["guest_percent"]
    if not revenue:
        return ""
    return f"Guests: {format_value(revenue, Format.MONEY)}, {format_value(percent, Format.PERCENT)} of all revenue"


def _draw_funnel(rows: list[Row]) -> Plot:
    steps = (("views", "Views"), ("add_to_carts", "Put in the cart"), ("purchases", "Purchases"))
    return {
        "data": [
            {
                "type": "funnel",
                "y": [label for _, label in steps],
                "x": [sum(row[name] or 0 for row in rows) for name, _ in steps],
                "texttemplate": "%{value:,}<br>%{percentInitial:.1%}",
            }
        ],
        "layout": {"showlegend": False},
    }


#: What a month adds to recurring revenue, and what it takes away: column → (label, sign).
_MRR_MOVES = {
    "new_mrr": ("new", 1),
    "reactivated_mrr": ("reactivated", 1),
    "expansion_mrr": ("expansion", 1),
    "contraction_mrr": ("contraction", -1),
    "churned_mrr": ("churned", -1),
}


def _draw_waterfall(rows: list[Row]) -> Plot:
    """From the first opening value, by what each month adds and takes away, to the last closing value."""
    totals: dict[Any, dict[str, float]] = {}
    for row in rows:
        amounts = totals.setdefault(row["month"], dict.fromkeys(("opening_mrr", *_MRR_MOVES), 0.0))
        for name in amounts:
            amounts[name] += float(row[name])
    months = sorted(totals)
    if not months:
        return {"data": [], "layout": {}}
    x: list[list[str]] = [[f"{months[0]:%b %Y}"], ["opening"]]
    y, measure = [totals[months[0]]["opening_mrr"]], ["absolute"]
    # A movement that there never is needs no bar of 0 in each month; new and churned always have theirs.
    moves = [name for name in _MRR_MOVES if name in ("new_mrr", "churned_mrr") or any(totals[m][name] for m in months)]
    for month in months:
        x[0] += [f"{month:%b %Y}"] * len(moves)
        x[1] += [_MRR_MOVES[name][0] for name in moves]
        y += [_MRR_MOVES[name][1] * totals[month][name] for name in moves]
        measure += ["relative"] * len(moves)
    x[0].append(f"{months[-1]:%b %Y}")
    x[1].append("closing")
    y.append(0.0)
    measure.append("total")
    return {
        "data": [{"type": "waterfall", "x": x, "y": y, "measure": measure, "name": "MRR"}],
        "layout": {"showlegend": False},
    }


CUSTOMERS = FigurePage(
    name="customers",
    title="Customers",
    lead="Who they are, whether they come back, and what they subscribe to.",
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
                    round(sum(lifetime_value) * 100 / nullif(sum(sum(lifetime_value)) over (), 0), 2) as percent,
                    (select sum(guest_revenue) from marts.daily_revenue) as guest_revenue,
                    (
                        select round(sum(guest_revenue) * 100 / nullif(sum(daily_revenue), 0), 2)
                        from marts.daily_revenue
                    ) as guest_percent
                from marts.customer_segments
                group by customer_tier
                order by lifetime_value desc""",
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
        ),
        Figure(
            name="segments",
            title="Segments by recency, frequency and value",
            question="Who are the best customers, and who is about to leave?",
            help=_VALUE_HELP,
            mart="customer_segments",
            query="""
                select
                    rfm_segment, count(*) as customers, sum(lifetime_value) as lifetime_value,
                    round(avg(days_since_last_order), 1) as days_since_last_order,
                    round(avg(total_orders), 1) as orders
                from marts.customer_segments
                where rfm_segment is not null
                group by rfm_segment
                order by lifetime_value desc""",
            columns=(
                FigureColumn("rfm_segment", "Segment"),
                FigureColumn("customers", "Customers", Format.COUNT),
                _LIFETIME_VALUE,
                FigureColumn("days_since_last_order", "Days since the last order", Format.NUMBER),
                FigureColumn("orders", "Orders a customer", Format.NUMBER),
            ),
            draw=lambda rows: ranking_chart(rows, label="rfm_segment", y="lifetime_value"),
        ),
        Figure(
            name="cohorts",
            title="Cohorts",
            question="How many customers of each first month buy again in the months after it?",
            mart="customer_cohorts_monthly",
            query="""
                select
                    cohort_month, order_month, months_since_first, cohort_customers, active_customers,
                    retention_percent, revenue, cumulative_revenue
                from marts.customer_cohorts_monthly
                order by cohort_month, months_since_first""",
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
            # Without a cohort's first month: its 100 % would make all other cells look the same.
            draw=lambda rows: heatmap(
                [{**row, "cohort_month": f"{row['cohort_month']:%Y-%m}"} for row in rows if row["months_since_first"]],
                x="months_since_first",
                y="cohort_month",
                z="retention_percent",
                unit=" %",
            ),
            keys={"cohort_month": "cohort_month", "order_month": "order_month"},
        ),
        Figure(
            name="funnel",
            title="From view to purchase",
            question="Where do people leave on the way to an order?",
            mart="conversion_funnel_daily",
            query="""
                select
                    event_date, views, add_to_carts, purchases, viewers, carters, buyers, view_to_cart_percent,
                    cart_to_purchase_percent, view_to_purchase_percent
                from marts.conversion_funnel_daily
                where event_date between %(first)s and %(last)s
                order by event_date""",
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
            query="""
                select event_date, viewers, buyers, view_to_cart_percent, view_to_purchase_percent
                from marts.conversion_funnel_daily
                where event_date between %(first)s and %(last)s
                order by event_date""",
            columns=(
                FigureColumn("event_date", "Day", Format.DAY),
                FigureColumn("viewers", "Viewers", Format.COUNT),
                FigureColumn("buyers", "Buyers", Format.COUNT),
                FigureColumn("view_to_cart_percent", "View to cart", Format.PERCENT),
                FigureColumn("view_to_purchase_percent", "View to purchase", Format.PERCENT),
            ),
            draw=lambda rows: line_chart(
                rows,
                "event_date",
                {"view_to_cart_percent": "View to cart", "view_to_purchase_percent": "View to purchase"},
                yaxis={"ticksuffix": " %", "rangemode": "tozero"},
            ),
            keys={"event_date": "event_date"},
        ),
        Figure(
            name="subscriptions",
            title="Recurring revenue",
            question="How much monthly revenue was gained, and how much was lost?",
            mart="subscription_performance_monthly",
            query=f"""
                select
                    revenue_month as month, plan_type, opening_mrr, new_mrr, reactivated_mrr, expansion_mrr,
                    contraction_mrr, churned_mrr, closing_mrr, active_subscriptions, new_subscriptions,
                    churned_subscriptions, churn_percent, gross_retention_percent, net_retention_percent
                from marts.subscription_performance_monthly
                where revenue_month {MONTH_IN_RANGE} and plan_type is distinct from 'All plans'
                order by revenue_month, plan_type""",
            columns=(
                MONTH,
                FigureColumn("plan_type", "Plan"),
                FigureColumn("opening_mrr", "Opening MRR", Format.MONEY),
                FigureColumn("new_mrr", "New", Format.MONEY),
                FigureColumn("reactivated_mrr", "Reactivated", Format.MONEY),
                FigureColumn("expansion_mrr", "Expansion", Format.MONEY),
                FigureColumn("contraction_mrr", "Contraction", Format.MONEY),
                FigureColumn("churned_mrr", "Churned", Format.MONEY),
                FigureColumn("closing_mrr", "Closing MRR", Format.MONEY),
                FigureColumn("active_subscriptions", "Active", Format.COUNT),
                FigureColumn("new_subscriptions", "New", Format.COUNT),
                FigureColumn("churned_subscriptions", "Churned", Format.COUNT),
                FigureColumn("churn_percent", "Churn", Format.PERCENT),
                FigureColumn("gross_retention_percent", "Gross retention", Format.PERCENT),
                FigureColumn("net_retention_percent", "Net retention", Format.PERCENT),
            ),
            draw=_draw_waterfall,
            keys={"revenue_month": "month", "plan_type": "plan_type"},
        ),
        Figure(
            name="plans",
            title="Subscriptions by plan",
            question="Which plans grow?",
            mart="subscription_performance_monthly",
            query="""
                select revenue_month as month, plan_type, active_subscriptions, closing_mrr
                from marts.subscription_performance_monthly
                where plan_type is distinct from 'All plans'
                order by revenue_month, plan_type""",
            columns=(
                MONTH,
                FigureColumn("plan_type", "Plan"),
                FigureColumn("active_subscriptions", "Active", Format.COUNT),
                FigureColumn("closing_mrr", "Closing MRR", Format.MONEY),
            ),
            draw=lambda rows: grouped_chart(rows, "plan_type", x="month", y="active_subscriptions", kind="line"),
            keys={"revenue_month": "month", "plan_type": "plan_type"},
        ),
        Figure(
            name="best",
            title="Best customers",
            question="Which customers should get a personal message?",
            help=_VALUE_HELP,
            mart="customer_segments",
            query="""
                select
                    customer_id, customer_name, customer_tier, rfm_segment, lifetime_revenue, refunded_amount,
                    lifetime_value, total_orders, avg_order_value, last_order_date, days_since_last_order,
                    orders_per_30_days
                from marts.customer_segments
                order by lifetime_value desc, customer_id
                limit 200""",
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
        ),
    ),
)
