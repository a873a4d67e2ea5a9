"""The page Trends: weeks, months, quarters and years against the period before, the year before, and targets."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from shop_pages.chart_queries import largest_and_other, ranking
from shop_pages.charts import bars, grouped_chart, lines_of, period_axis, period_name, ranking_chart
from shop_pages.figures import Figure, FigureColumn, FigurePage, Plot, Totals, json_value
from shop_pages.formats import Format, format_value
from shop_pages.pages.shared import (
    ALL_CATEGORIES,
    CATEGORY,
    CATEGORY_NAMES,
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
from shop_pages.target_rows import TARGETS, mistake_in_targets

#: Of all categories, or of the chosen one.
_CHOSEN = f"category_name = coalesce(%(category)s::text, '{ALL_CATEGORIES}')"
_IN_RANGE = "period_start between date_trunc(%(grain)s, %(first)s::timestamp)::date and %(last)s"
_EACH = f"category_name is distinct from '{ALL_CATEGORIES}' and {IN_CATEGORY}"
#: Whether the last published day lies in the period.
_IS_LAST = "%(covered_last)s::date >= period_start and %(covered_last)s::date < period_start + days_in_period"

#: Target of each period of a grain and category: the sum of its months; none if a month has none, and for weeks.
_PERIOD_TARGETS = f"""
                    select
                        grains.grain, date_trunc(grains.grain, targets.month::timestamp)::date as period_start,
                        targets.category_name, sum(targets.target) as target
                    from {TARGETS}
                    cross join (values ('month', 1), ('quarter', 3), ('year', 12)) as grains (grain, months)
                    group by 1, 2, 3, grains.months
                    having count(*) = grains.months"""
#: A running period has to reach as much of its target as it has had days.
_WITH_TARGETS = f"""
                with period_targets as ({_PERIOD_TARGETS}
                ),
                periods as (
                    select
                        trend.*, period_targets.target,
                        round(period_targets.target * trend.days_elapsed / trend.days_in_period, 2) as target_to_date
                    from marts.revenue_trend as trend
                    left join period_targets using (grain, period_start, category_name)
                )
                select
                    grain, period_start, category_name, revenue, growth_percent, year_over_year_percent, run_rate,
                    target, target_to_date, round(revenue * 100 / nullif(target_to_date, 0), 2) as target_percent,
                    is_complete, days_elapsed, days_in_period, previous_period_revenue, last_year_revenue,
                    refunded_amount, net_revenue, gross_profit, gross_margin_percent, known_cost_percent, orders,
                    customers, units, avg_order_value,
                    {_IS_LAST} as is_last
                from periods"""
_PERIODS = f"""{_WITH_TARGETS}
                where grain = %(grain)s and {_CHOSEN} and {_IN_RANGE}"""
_TO_DATE = f"""{_WITH_TARGETS}
                where {_CHOSEN} and {_IS_LAST}"""
#: Revenue of each category, by period.
_CATEGORIES = f"from marts.revenue_trend where grain = %(grain)s and {_EACH} and {_IN_RANGE}"
#: The last period of the range, category by category, with the difference to the year before, or to the period before.
_MOVERS = f"""
                select
                    period_start, category_name, revenue, previous_period_revenue, growth_percent, last_year_revenue,
                    year_over_year_percent, is_complete, grain as unit, period_start as period,
                    revenue - coalesce(last_year_revenue, previous_period_revenue) as difference
                {_CATEGORIES}
                    and period_start = date_trunc(%(grain)s, least(%(last)s, %(covered_last)s)::timestamp)::date"""


def _draw_periods(rows: list[Row]) -> Plot:
    """Revenue by period, beside that of the same days a year before, with targets and the run rate of the last one."""
    drawn = [{**row, "name": _drawn_name(row)} for row in rows]
    texts = [[_change(row["growth_percent"]), _change(row["year_over_year_percent"])] for row in rows]
    data: list[dict[str, Any]] = [
        bars(
            drawn,
            "name",
            "revenue",
            "Revenue",
            customdata=texts,
            hovertemplate="%{y:,.2f}<br>%{customdata[0]} to the period before"
            "<br>%{customdata[1]} to the year before<extra></extra>",
        )
    ]
    if any(row["last_year_revenue"] is not None for row in rows):
        data += lines_of(drawn, "name", "last_year_revenue", "The same days a year before")
    if any(row["target"] is not None for row in rows):
        data.append(_marks(drawn, "target", "Target", "line-ew-open"))
    if running := [row for row in drawn if row["is_last"] and row["run_rate"] is not None]:
        data.append(_marks(running, "run_rate", "Run rate of the running period", "diamond-open"))
    return {"data": data, "layout": {"xaxis": {"type": "category"}, "yaxis": {"rangemode": "tozero"}}}


def _drawn_name(row: Row) -> str:
    """`Mar 2024`; of a period that is not complete `Mar 2024 so far`, or `Jan 2024, part` if it was loaded in part."""
    name = period_name(row["period_start"], row["grain"])
    return name if row["is_complete"] else f"{name} so far" if row["is_last"] else f"{name}, part"


def _marks(rows: list[Row], column: str, name: str, symbol: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [row["name"] for row in rows],
        "y": [json_value(row[column]) for row in rows],
        "marker": {"symbol": symbol, "size": 18, "line": {"width": 3}},
    }


def _change(percent: Decimal | None) -> str:
    return "no comparison" if percent is None else f"{percent:+,.2f} %"


def _summarize_periods(totals: Row) -> str:
    """`Mar 2024 so far 331.00: +5.10 % to the period before, no comparison to the year before, run rate 900.00`."""
    if totals["period_start"] is None:
        return ""
    name = period_name(totals["period_start"], totals["grain"]) + ("" if totals["is_complete"] else " so far")
    parts = [
        f"{_change(totals['growth_percent'])} to the period before",
        f"{_change(totals['year_over_year_percent'])} to the year before",
    ]
    if totals["target_percent"] is not None:
        to_date = "" if totals["is_complete"] else " to date"
        parts.append(f"{format_value(totals['target_percent'], Format.PERCENT)} of the target{to_date}")
    if totals["run_rate"] is not None:
        parts.append(f"run rate {format_value(totals['run_rate'], Format.MONEY)}")
    return f"{name} {format_value(totals['revenue'], Format.MONEY)}: {', '.join(parts)}"


def _draw_targets(rows: list[Row]) -> Plot:
    # The target of the running month is that of the whole month.
    targets = [{**row, "is_complete": True} for row in rows]
    return {
        "data": [
            bars(rows, "month", "revenue", "Revenue"),
            *lines_of(targets, "month", "target", "Target", mode="lines+markers"),
        ],
        "layout": {"yaxis": {"rangemode": "tozero"}, **period_axis(rows, "month")},
    }


_PERIOD = FigureColumn("period_start", "From", Format.DAY)
_GROWTH = FigureColumn("growth_percent", "Against the period before", Format.PERCENT)
_YEAR_OVER_YEAR = FigureColumn("year_over_year_percent", "Against the year before", Format.PERCENT)
_PREVIOUS = FigureColumn("previous_period_revenue", "Period before", Format.MONEY)
_LAST_YEAR = FigureColumn("last_year_revenue", "Year before", Format.MONEY)
_RUN_RATE = FigureColumn("run_rate", "Run rate", Format.MONEY)
_COMPLETE = FigureColumn("is_complete", "Complete", Format.BOOLEAN)
_DAYS = (
    FigureColumn("days_elapsed", "Days so far", Format.COUNT),
    FigureColumn("days_in_period", "Days", Format.COUNT),
)
_TARGETS = (
    FigureColumn("target", "Target", Format.MONEY),
    FigureColumn("target_to_date", "Target to date", Format.MONEY),
    FigureColumn("target_percent", "Of the target to date", Format.PERCENT),
)
_LIKE_FOR_LIKE = "A running period is compared with as many days of the period before, and of the year before."

TRENDS = FigurePage(
    name="trends",
    totals=Totals(mart="daily_revenue", day="order_date", measures={**TOTAL_REVENUE, **TOTAL_PROFIT}),
    title="Trends",
    lead="How revenue goes by week, month, quarter and year, like for like, and whether the targets are met.",
    days=None,
    notice=mistake_in_targets,
    figures=(
        Figure(
            name="periods",
            title="Revenue by period",
            question="Does the shop grow, against the period before, the year before and the targets?",
            help=f"{_LIKE_FOR_LIKE} The run rate is what the running period comes to at this pace; its target to date"
            f" is the target for as many days. Weeks have no targets. {NO_GROWTH}",
            mart="revenue_trend",
            query=_PERIODS,
            order_by="period_start desc",
            sorted_by="the newest first",
            chart_query=f"select *, grain as unit, period_start as period from ({_PERIODS}) as periods order by period",
            summary_query=f"""
                select periods.*
                from (select 1) as one
                left join (
                    select * from ({_PERIODS}) as periods
                    order by period_start desc
                    limit 1
                ) as periods on true""",
            columns=(
                _PERIOD,
                CATEGORY,
                REVENUE_AMOUNT,
                _GROWTH,
                _YEAR_OVER_YEAR,
                _RUN_RATE,
                *_TARGETS,
                _COMPLETE,
                *_DAYS,
                _PREVIOUS,
                _LAST_YEAR,
                REFUNDS,
                NET_REVENUE,
                FigureColumn("gross_profit", "Gross profit", Format.MONEY),
                MARGIN,
                KNOWN_COST,
                ORDERS,
                FigureColumn("customers", "Customers", Format.COUNT),
                FigureColumn("units", "Units", Format.COUNT),
                FigureColumn("avg_order_value", "Average order", Format.MONEY),
            ),
            measure="Revenue",
            measured_in=Format.MONEY,
            draw=_draw_periods,
            summarize=_summarize_periods,
            keys={"grain": "grain", "period_start": "period_start", "category_name": "category_name"},
        ),
        Figure(
            name="to_date",
            title="To date",
            question="Where do this week, month, quarter and year stand today?",
            help=_LIKE_FOR_LIKE,
            mart="revenue_trend",
            query=_TO_DATE,
            order_by="days_in_period",
            sorted_by="the shortest first",
            columns=(
                FigureColumn("grain", "Period"),
                _PERIOD,
                *_DAYS,
                REVENUE_AMOUNT,
                _PREVIOUS,
                _GROWTH,
                _LAST_YEAR,
                _YEAR_OVER_YEAR,
                _RUN_RATE,
                *_TARGETS,
                ORDERS,
                FigureColumn("customers", "Customers", Format.COUNT),
            ),
            keys={"grain": "grain", "period_start": "period_start", "category_name": "category_name"},
        ),
        Figure(
            name="movers",
            title="Which categories make the difference",
            question="Which categories gain, and which lose?",
            help="Of the last period of the range. The difference is to the year before, or to the period before where"
            f" the year before is not loaded. {_LIKE_FOR_LIKE}",
            mart="revenue_trend",
            query=_MOVERS,
            order_by="abs(difference) desc nulls last, category_name",
            sorted_by="the largest difference first",
            chart_query=ranking(
                f"""
                    select category_name, difference, unit, period, is_complete
                    from ({_MOVERS}) as movers
                    where difference is not null""",
                order_by="abs(difference) desc, category_name",
                total_of="difference",
            ),
            series="categories, by difference",
            columns=(
                _PERIOD,
                CATEGORY,
                REVENUE_AMOUNT,
                FigureColumn("difference", "Difference", Format.MONEY),
                _LAST_YEAR,
                _YEAR_OVER_YEAR,
                _PREVIOUS,
                _GROWTH,
                _COMPLETE,
            ),
            measure="Difference of revenue",
            measured_in=Format.MONEY,
            names="Category",
            draw=lambda rows: ranking_chart(rows, label="category_name", y="difference"),
        ),
        Figure(
            name="categories",
            title="Categories by period",
            question="Which categories carry the growth?",
            mart="revenue_trend",
            query=f"""
                select
                    grain, period_start, category_name, revenue, growth_percent, year_over_year_percent, run_rate,
                    previous_period_revenue, last_year_revenue, orders, units, gross_margin_percent, known_cost_percent,
                    is_complete
                {_CATEGORIES}""",
            order_by="period_start desc, revenue desc, category_name",
            sorted_by="the newest first, by revenue",
            chart_query=largest_and_other(
                f"""
                    select period_start as period, grain as unit, is_complete, category_name, revenue
                    {_CATEGORIES}""",
                by="category_name",
                largest_by="revenue",
                values=("revenue",),
                keys=("period", "unit", "is_complete"),
            ),
            series="categories",
            columns=(
                _PERIOD,
                CATEGORY,
                REVENUE_AMOUNT,
                _GROWTH,
                _YEAR_OVER_YEAR,
                _RUN_RATE,
                _PREVIOUS,
                _LAST_YEAR,
                ORDERS,
                FigureColumn("units", "Units", Format.COUNT),
                MARGIN,
                KNOWN_COST,
                _COMPLETE,
            ),
            measure="Revenue",
            measured_in=Format.MONEY,
            names_query=CATEGORY_NAMES,
            draw=lambda rows: grouped_chart(rows, "category_name", x="period", y="revenue"),
            keys={"grain": "grain", "period_start": "period_start", "category_name": "category_name"},
        ),
        Figure(
            name="targets",
            title="Targets by month",
            question="In which months and categories was the target met?",
            help="A category without a row in the marts has sold nothing, or has another name in the targets.",
            mart="revenue_trend",
            query=f"""
                select
                    targets.month, targets.category_name, trend.revenue, targets.target,
                    round(targets.target * trend.days_elapsed / trend.days_in_period, 2) as target_to_date,
                    trend.revenue - round(targets.target * trend.days_elapsed / trend.days_in_period, 2) as difference,
                    round(
                        trend.revenue * 100
                        / nullif(round(targets.target * trend.days_elapsed / trend.days_in_period, 2), 0), 2
                    ) as target_percent,
                    trend.is_complete
                from {TARGETS}
                left join marts.revenue_trend as trend
                    on
                        trend.grain = 'month'
                        and targets.month = trend.period_start
                        and targets.category_name = trend.category_name
                where
                    (%(category)s::text is null or targets.category_name = %(category)s)
                    and targets.month {MONTH_IN_RANGE}""",
            order_by="month desc, target desc, category_name",
            sorted_by="the newest first",
            when_empty="There are no targets for these months. They are in the file targets.csv of the shop’s profile"
            " (month, category, revenue).",
            chart_query=f"""
                select
                    targets.month, targets.target, trend.revenue, coalesce(trend.is_complete, false) as is_complete
                from {TARGETS}
                left join marts.revenue_trend as trend
                    on
                        trend.grain = 'month'
                        and targets.month = trend.period_start
                        and targets.category_name = trend.category_name
                where
                    targets.category_name = coalesce(%(category)s::text, '{ALL_CATEGORIES}')
                    and targets.month {MONTH_IN_RANGE}
                order by targets.month""",
            columns=(
                MONTH,
                CATEGORY,
                REVENUE_AMOUNT,
                FigureColumn("target", "Target", Format.MONEY),
                FigureColumn("target_to_date", "Target to date", Format.MONEY),
                FigureColumn("difference", "Difference", Format.MONEY),
                FigureColumn("target_percent", "Of the target to date", Format.PERCENT),
                FigureColumn("is_complete", "Complete", Format.BOOLEAN),
            ),
            measure="Revenue",
            measured_in=Format.MONEY,
            names="Month",
            draw=_draw_targets,
        ),
    ),
)
