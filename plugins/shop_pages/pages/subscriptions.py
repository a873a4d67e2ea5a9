"""The page Subscriptions: recurring revenue, what moved it, who stays, and for how long."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from urllib.parse import urlencode

from ecommerce.figures.key_figures import ALL_PLANS
from shop_pages.chart_queries import MONTHS, by_period
from shop_pages.charts import grouped_chart, line_chart, period_name
from shop_pages.figures import Figure, FigureColumn, FigurePage, Plot, Totals
from shop_pages.formats import Format
from shop_pages.pages.shared import MONTH, MONTH_IN_RANGE, customer_path
from shop_pages.pool import Row

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

#: A month of the tenure curve: the customers who have had it, and those whose last one it was.
_TENURE = """
    with months as (
        select generate_series(1, max(months_active)) as month_number
        from marts.subscription_customers
    ),
    counted as (
        select
            months.month_number,
            count(*) as customers,
            count(*) filter (
                where subscribers.months_active = months.month_number and subscribers.active_subscriptions = 0
            ) as ended
        from months
        inner join marts.subscription_customers as subscribers on subscribers.months_active >= months.month_number
        group by months.month_number
    )
    select
        month_number, customers, ended,
        round(
            100 * case
                when bool_or(ended = customers) over so_far then 0
                else exp(sum(ln(1 - ended::numeric / nullif(customers, ended))) over so_far)
            end,
            2
        ) as still_subscribed_percent
    from counted
    window so_far as (order by month_number)"""


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
    levels = list(accumulate(y))
    lowest, margin = min(levels), max(levels) - min(levels)
    # What changes in a month is small beside all there is: drawn from 0 it could not be seen.
    zoomed = {"range": [lowest - margin / 2, max(levels) + margin / 4]} if 0 < margin < lowest else {}
    x[0].append(names[-1])
    x[1].append("closing")
    y.append(0.0)
    measure.append("total")
    links = [None, *(_movements_path(row) for row in rows for _ in changes), None]
    return {
        "data": [{"type": "waterfall", "x": x, "y": y, "measure": measure, "name": "MRR"}],
        "layout": {"showlegend": False, "yaxis": zoomed},
        "links": links,
    }


def _movements_path(row: Row) -> str | None:
    """The customers behind the bars of a month; none for those of a quarter or a year."""
    if row["unit"] != "month":
        return None
    keys = {"revenue_month": row["period"].isoformat(), "plan_type": ALL_PLANS}
    return f"rows/subscription_performance_monthly?{urlencode(keys)}#movements"


SUBSCRIPTIONS = FigurePage(
    name="subscriptions",
    totals=Totals(
        mart="subscription_performance_monthly",
        day="revenue_month",
        are_of_months=True,
        measures={
            FigureColumn("mrr", "Monthly recurring revenue", Format.MONEY): (
                f"sum(closing_mrr) filter (where plan_type = '{ALL_PLANS}')"
            ),
            FigureColumn("active", "Active subscriptions", Format.COUNT): (
                f"sum(active_subscriptions) filter (where plan_type = '{ALL_PLANS}')"
            ),
        },
        note="As at the end of the month of the last day, or on the last loaded day of a running month.",
    ),
    title="Subscriptions",
    lead="Recurring revenue, what moved it, who stays, and for how long.",
    figures=(
        Figure(
            name="subscriptions",
            title="Recurring revenue",
            question="How much monthly revenue was gained, and how much was lost?",
            help="MRR (monthly recurring revenue) is the sum of the monthly fees of active subscriptions. Expansion and"
            " contraction are changes of a fee; reactivated is a customer who had an earlier subscription; churned is"
            " one that ended. A click on a bar of a month shows the customers behind it. The axis does not"
            " begin at 0 where the changes are small.",
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
            measure="MRR",
            measured_in=Format.MONEY,
            draw=_draw_waterfall,
            keys={"revenue_month": "month", "plan_type": "plan_type"},
        ),
        Figure(
            name="retention",
            title="Retention",
            question="How much of the recurring revenue of a month's beginning is still there at its end?",
            help="Gross retention is without what was contracted and churned. Net retention has expansion as well, and"
            " may be above 100 %. Neither has new subscriptions.",
            mart="subscription_performance_monthly",
            query=f"""
                select
                    revenue_month as month, opening_mrr, expansion_mrr, contraction_mrr, churned_mrr,
                    gross_retention_percent, net_retention_percent, churn_percent, is_complete
                from marts.subscription_performance_monthly
                where plan_type = '{ALL_PLANS}' and revenue_month >= date_trunc('month', %(since)s::timestamp)::date""",
            order_by="month",
            sorted_by="by month",
            columns=(
                MONTH,
                FigureColumn("opening_mrr", "Opening MRR", Format.MONEY),
                FigureColumn("expansion_mrr", "Expansion", Format.MONEY),
                FigureColumn("contraction_mrr", "Contraction", Format.MONEY),
                FigureColumn("churned_mrr", "Churned MRR", Format.MONEY),
                FigureColumn("gross_retention_percent", "Gross retention", Format.PERCENT),
                FigureColumn("net_retention_percent", "Net retention", Format.PERCENT),
                FigureColumn("churn_percent", "Churn of subscriptions", Format.PERCENT),
            ),
            measure="Of the month’s opening MRR",
            measured_in=Format.PERCENT,
            names="Month",
            draw=lambda rows: line_chart(
                rows,
                "month",
                {"net_retention_percent": "Net retention", "gross_retention_percent": "Gross retention"},
            ),
        ),
        Figure(
            name="tenure",
            title="How long they stay",
            question="What share of the subscribers is still there after so many months?",
            help="Kaplan-Meier: each month is counted over the customers who have had it, so that those who have only"
            " just begun do not look as if they had left. A month counts if a subscription was active on one of its"
            " days.",
            mart="subscription_customers",
            query=_TENURE,
            order_by="month_number",
            sorted_by="by month",
            columns=(
                FigureColumn("month_number", "Month", Format.COUNT),
                FigureColumn("customers", "Have had it", Format.COUNT),
                FigureColumn("ended", "Ended in it", Format.COUNT),
                FigureColumn("still_subscribed_percent", "Still there", Format.PERCENT),
            ),
            measure="Still subscribed",
            measured_in=Format.PERCENT,
            names="Months with a subscription",
            draw=lambda rows: {
                "data": [
                    {
                        "type": "scatter",
                        "mode": "lines",
                        "line": {"shape": "hv"},
                        "name": "Still there",
                        "x": [0, *(row["month_number"] for row in rows)],
                        "y": [100, *(float(row["still_subscribed_percent"]) for row in rows)],
                    }
                ],
                "layout": {
                    "yaxis": {"range": [0, 105]},
                    "showlegend": False,
                },
            },
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
            measure="Active subscriptions",
            names_query="""
                select plan_type as name
                from marts.subscription_performance_monthly
                group by plan_type
                order by min(revenue_month), plan_type""",
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
            links={"customer_id": customer_path},
        ),
    ),
)
