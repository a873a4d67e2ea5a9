"""The page Customers: tiers, segments, cohorts, the funnel and subscriptions."""

from __future__ import annotations

from dataclasses import replace

from shop_pages.chart_queries import DAYS, MONTHS, by_period
from shop_pages.charts import column_values, grouped_chart, heatmap, line_chart, period_name, ranking_chart
from shop_pages.figures import Figure, FigureColumn, FigurePage, Plot, json_value
from shop_pages.formats import Format, format_value
from shop_pages.pages.shared import ALL_PLANS, MONTH, MONTH_IN_RANGE, REFUNDS, REVENUE_AMOUNT
from shop_pages.pool import Row

#: A customer's lifetime value, below the figures that have it.
_VALUE_HELP = "Lifetime value is net: what a customer has bought, minus what was paid back."
_LIFETIME_VALUE = FigureColumn("lifetime_value", "Lifetime value", Format.MONEY)

_EVENTS = "from marts.conversion_funnel_daily where event_date between %(first)s and %(last)s"
_COHORTS = "from marts.customer_cohorts_monthly where cohort_month >= date_trunc('month', %(since)s::timestamp)::date"
#: Of plans, without the row that has all of them.
_PLANS = f"from marts.subscription_performance_monthly where plan_type is distinct from '{ALL_PLANS}'"

#: What changes a month's MRR, in the order of the waterfall: column → label and sign.
_CHANGES = {
    "new_mrr": ("new", 1),
    "reactivated_mrr": ("reactivated", 1),
    "expansion_mrr": ("expansion", 1),
    "contraction_mrr": ("contraction", -1),
    "churned_mrr": ("churned", -1),
}


def _summarize_guests(totals: Row) -> str:
    """`Guests: 1,234.50, 12.34 % of all revenue`; empty without revenue of guests."""
    if not totals["guest_revenue"]:
        return ""
    revenue = format_value(totals["guest_revenue"], Format.MONEY)
    return f"Guests: {revenue}, {format_value(totals['guest_percent'], Format.PERCENT)} of all revenue"


def _draw_funnel(rows: list[Row]) -> Plot:
    steps = (("views", "Views"), ("add_to_carts", "Put in the cart"), ("purchases", "Purchases"))
    return {
        "data": [
            {
                "type": "funnel",
                "y": [label for _, label in steps],
                "x": [json_value(rows[0][name] or 0) for name, _ in steps],
                "texttemplate": "%{value:,}<br>%{percentInitial:.1%}",
            }
        ],
        "layout": {"showlegend": False},
    }


def _draw_cohorts(rows: list[Row]) -> Plot:
    named = [{**row, "cohort": _cohort_name(row)} for row in rows]
    return heatmap(named, x="months_since_first", y="cohort", z="retention_percent", unit=" %")


def _cohort_name(row: Row) -> str:
    """`2024-01`, `2024 Q1`, `2024`: in this order they sort by time."""
    month = row["cohort"]
    if row["cohort_unit"] == "month":
        return f"{month:%Y-%m}"
    return f"{month.year} Q{(month.month + 2) // 3}" if row["cohort_unit"] == "quarter" else str(month.year)


def _draw_waterfall(rows: list[Row]) -> Plot:
    """From the first opening value, by the gains and losses of each period, to the last closing value."""
    names = [period_name(row["period"], row["unit"]) + ("" if row["is_complete"] else " (part)") for row in rows]
    changes = [name for name in _CHANGES if name in ("new_mrr", "churned_mrr") or any(row[name] for row in rows)]
    x: list[list[str]] = [[names[0]], ["opening"]]
    y, measure = [float(rows[0]["opening_mrr"])], ["absolute"]
    for name, row in zip(names, rows, strict=True):
        x[0] += [name] * len(changes)
        x[1] += [_CHANGES[change][0] for change in changes]
        y += [float(row[change] or 0) * _CHANGES[change][1] for change in changes]
        measure += ["relative"] * len(changes)
    x[0].append(names[-1])
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
            draw=lambda rows: ranking_chart(rows, label="rfm_segment", y="lifetime_value"),
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
            draw=_draw_cohorts,
            keys={"cohort_month": "cohort_month", "order_month": "order_month"},
        ),
        Figure(
            name="funnel",
            title="From view to purchase",
            question="Where do people leave on the way to an order?",
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
            draw=lambda rows: line_chart(
                rows,
                "period",
                {"view_to_cart_percent": "View to cart", "view_to_purchase_percent": "View to purchase"},
                yaxis={"ticksuffix": " %", "rangemode": "tozero"},
            ),
            keys={"event_date": "event_date"},
        ),
        Figure(
            name="subscriptions",
            title="Recurring revenue",
            question="How much monthly revenue was gained, and how much was lost?",
            help="MRR (monthly recurring revenue) is the sum of the monthly fees of active subscriptions. Expansion and"
            " contraction are changes of a fee; reactivated is a customer who had an earlier subscription; churned is"
            " one that ended.",
            mart="subscription_performance_monthly",
            query=f"""
                select
                    revenue_month as month, plan_type, opening_mrr, new_mrr, reactivated_mrr, expansion_mrr,
                    contraction_mrr, churned_mrr, closing_mrr, active_subscriptions, new_subscriptions,
                    churned_subscriptions, churn_percent, gross_retention_percent, net_retention_percent
                from marts.subscription_performance_monthly
                where revenue_month {MONTH_IN_RANGE}""",
            order_by="month, plan_type",
            sorted_by="by month and plan",
            chart_query=by_period(
                f"""
                    select
                        revenue_month, sum(opening_mrr) as opening_mrr, sum(new_mrr) as new_mrr,
                        sum(reactivated_mrr) as reactivated_mrr, sum(expansion_mrr) as expansion_mrr,
                        sum(contraction_mrr) as contraction_mrr, sum(churned_mrr) as churned_mrr
                    {_PLANS} and revenue_month {MONTH_IN_RANGE}
                    group by revenue_month""",
                time="revenue_month",
                units=replace(MONTHS, days={"month": 30 * 24, "quarter": 91 * 24}),
                values={
                    "opening_mrr": "(array_agg(opening_mrr order by revenue_month))[1]",
                    **{name: f"sum({name})" for name in _CHANGES},
                },
            ),
            columns=(
                MONTH,
                FigureColumn("plan_type", "Plan"),
                FigureColumn("opening_mrr", "Opening MRR", Format.MONEY),
                FigureColumn("new_mrr", "New MRR", Format.MONEY),
                FigureColumn("reactivated_mrr", "Reactivated MRR", Format.MONEY),
                FigureColumn("expansion_mrr", "Expansion", Format.MONEY),
                FigureColumn("contraction_mrr", "Contraction", Format.MONEY),
                FigureColumn("churned_mrr", "Churned MRR", Format.MONEY),
                FigureColumn("closing_mrr", "Closing MRR", Format.MONEY),
                FigureColumn("active_subscriptions", "Active subscriptions", Format.COUNT),
                FigureColumn("new_subscriptions", "New subscriptions", Format.COUNT),
                FigureColumn("churned_subscriptions", "Churned subscriptions", Format.COUNT),
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
            query=f"""
                select revenue_month as month, plan_type, active_subscriptions, closing_mrr
                {_PLANS} and revenue_month >= date_trunc('month', %(since)s::timestamp)::date""",
            order_by="month, plan_type",
            sorted_by="by month and plan",
            # Of several months, what the last one closed with.
            chart_query=by_period(
                f"""
                    select revenue_month, plan_type, active_subscriptions
                    {_PLANS} and revenue_month >= date_trunc('month', %(since)s::timestamp)::date""",
                time="revenue_month",
                units=MONTHS,
                values={"active_subscriptions": "(array_agg(active_subscriptions order by revenue_month desc))[1]"},
                by="plan_type",
                largest_by="active_subscriptions",
            ),
            series="plans",
            columns=(
                MONTH,
                FigureColumn("plan_type", "Plan"),
                FigureColumn("active_subscriptions", "Active", Format.COUNT),
                FigureColumn("closing_mrr", "Closing MRR", Format.MONEY),
            ),
            draw=lambda rows: grouped_chart(rows, "plan_type", x="period", y="active_subscriptions", kind="line"),
            keys={"revenue_month": "month", "plan_type": "plan_type"},
        ),
        Figure(
            name="subscribers",
            title="Subscribers",
            question="Who pays how much, and since when?",
            help="The monthly fee is that of all subscriptions of the customer that are active on the last day. Fees so"
            " far are computed from fees and dates: the shop does not say what was paid.",
            mart="subscription_customers",
            query="""
                select
                    customer_id, customer_name, plan_type, subscription_status, active_subscriptions, monthly_fee,
                    first_start_date, months_active, lifetime_fees
                from marts.subscription_customers
                left join marts.customer_segments using (customer_id)""",
            order_by="monthly_fee desc, lifetime_fees desc, customer_id",
            sorted_by="by monthly fee",
            columns=(
                FigureColumn("customer_id", "Customer"),
                FigureColumn("customer_name", "Name"),
                FigureColumn("plan_type", "Plan"),
                FigureColumn("subscription_status", "Status"),
                FigureColumn("active_subscriptions", "Active subscriptions", Format.COUNT),
                FigureColumn("monthly_fee", "Monthly fee", Format.MONEY),
                FigureColumn("first_start_date", "Since", Format.DAY),
                FigureColumn("months_active", "Active months", Format.COUNT),
                FigureColumn("lifetime_fees", "Fees so far", Format.MONEY),
            ),
            keys={"customer_id": "customer_id"},
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
                from marts.customer_segments""",
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
        ),
    ),
)
