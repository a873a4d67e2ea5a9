"""The page Seasons & weather: seasons by category, revenue by weather, and whether the weather has an effect."""

from __future__ import annotations

from calendar import month_abbr
from decimal import Decimal
from typing import Any

from shop_pages.chart_queries import MONTHS, by_period, largest
from shop_pages.charts import column_values, grouped_chart, heatmap
from shop_pages.figures import Figure, FigureColumn, FigurePage, Plot, Totals, json_value
from shop_pages.formats import Format
from shop_pages.pages.shared import (
    ALL_CATEGORIES,
    CATEGORY,
    CATEGORY_NAMES,
    IN_CATEGORY,
    MONTH,
    MONTH_IN_RANGE,
    ORDERS,
    REVENUE_AMOUNT,
    TOTAL_REVENUE,
)
from shop_pages.pool import Row

_RAIN = ("No Rain", "Light Rain", "Moderate Rain", "Heavy Rain")
_WARMTH = ("Freezing", "Cold", "Cool", "Warm", "Hot")


def _draw_weather(rows: list[Row]) -> Plot:
    """A line of cells for each city and temperature, the driest on the left."""
    known = sorted(
        (row for row in rows if row["temperature_category"] in _WARMTH),
        key=lambda row: (row["city"], _WARMTH.index(row["temperature_category"])),
    )
    drawn = [{**row, "line": f"{row['city']} · {row['temperature_category']}"} for row in known]
    lines = list(dict.fromkeys(row["line"] for row in drawn))
    return heatmap(
        drawn, x="precipitation_category", y="line", z="revenue_index", diverges_at=100, columns=_RAIN, lines=lines
    )


def _draw_index(rows: list[Row]) -> Plot:
    """A line of twelve cells for each category."""
    drawn = [{**row, "name": month_abbr[row["month_of_year"]]} for row in rows]
    return heatmap(drawn, x="name", y="category_name", z="index_percent", diverges_at=100, columns=month_abbr[1:])


def _draw_effect(rows: list[Row]) -> Plot:
    """
    A point with its interval for each city, factor and lag, the first row on top; none where there are few days.

    Those without an effect are quiet, so that nobody takes their distance from 0 for one.
    """
    series = (
        ("Effect found", "", [row for row in rows if row["is_significant"]]),
        ("No effect found", "quiet", [row for row in rows if not row["is_significant"]]),
    )
    return {
        "data": [_points(part, name=name, meta=meta) for name, meta, part in series if part],
        "layout": {
            "yaxis": {
                "autorange": "reversed",
                "type": "category",
                "categoryorder": "array",
                "categoryarray": [_effect_name(row) for row in rows],
            },
            "hovermode": "closest",
            "showlegend": True,
        },
    }


def _points(rows: list[Row], **more: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": column_values(rows, "correlation"),
        "y": [_effect_name(row) for row in rows],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [_distance(row["correlation"], row["ci_high"]) for row in rows],
            "arrayminus": [_distance(row["correlation"], row["ci_low"]) for row in rows],
        },
        "text": column_values(rows, "effect"),
        "hovertemplate": "%{y}<br><b>%{x:.2f}</b> %{text}<extra></extra>",
        **more,
    }


def _effect_name(row: Row) -> str:
    """`Berlin · rain, same day`, `Berlin · temperature, 2 days later`."""
    factor = "rain" if row["factor"] == "precipitation" else row["factor"]
    lag = row["lag_days"]
    return f"{row['city']} · {factor}, " + ("same day" if lag == 0 else f"{lag} day{'s' if lag > 1 else ''} later")


def _summarize_effects(totals: Row) -> str:
    """How many of the correlations show an effect."""
    found, measured = totals["found"], totals["measured"]
    if not measured:
        return "Nothing can be said yet: that takes 30 days of sales, and weather that varies"
    return f"An effect was found in {found} of {measured} correlations" if found else "No effect found"


def _distance(value: Decimal | None, end: Decimal | None) -> Any:
    return None if value is None or end is None else json_value(abs(end - value))


_SALES = f"from marts.seasonal_sales_analysis where sales_month {MONTH_IN_RANGE} and {IN_CATEGORY}"

SEASONS = FigurePage(
    name="seasons",
    totals=Totals(mart="daily_revenue", day="order_date", measures=TOTAL_REVENUE),
    title="Seasons & weather",
    lead="Which categories sell in which season, and how weather changes sales.",
    figures=(
        Figure(
            name="seasonality",
            title="Seasonality",
            question="Which months are the best of each category? 100 is its average month.",
            mart="seasonal_sales_analysis",
            query=f"""
                select
                    sales_month as month, category_name, season, monthly_revenue as revenue, monthly_orders as orders,
                    percent_of_average, performance_category, mom_growth_percent, qoq_growth_percent,
                    coefficient_of_variation_percent
                {_SALES}""",
            order_by="category_name, month",
            sorted_by="by category",
            # A category's share of its own average cannot be added to that of another.
            chart_query=largest(
                f"""
                    select
                        sales_month as month, category_name, percent_of_average, is_complete, monthly_revenue
                    {_SALES}""",
                by="category_name",
                largest_by="monthly_revenue",
            ),
            series="categories, by revenue",
            columns=(
                MONTH,
                CATEGORY,
                FigureColumn("season", "Season"),
                REVENUE_AMOUNT,
                ORDERS,
                FigureColumn("percent_of_average", "Of the average month", Format.PERCENT),
                FigureColumn("performance_category", "Month"),
                FigureColumn("mom_growth_percent", "Against the month before", Format.PERCENT),
                FigureColumn("qoq_growth_percent", "Against the quarter before", Format.PERCENT),
                FigureColumn("coefficient_of_variation_percent", "Coefficient of variation", Format.PERCENT),
            ),
            measure="Of the average month",
            measured_in=Format.PERCENT,
            names="Month",
            lines="Category",
            draw=lambda rows: heatmap(
                rows, x="month", y="category_name", z="percent_of_average", unit=" %", diverges_at=100
            ),
            keys={"sales_month": "month", "category_name": "category_name"},
        ),
        Figure(
            name="months",
            title="Revenue by month and category",
            question="How does the revenue of each category change through the year?",
            mart="seasonal_sales_analysis",
            query=f"""
                select sales_month as month, category_name, monthly_revenue as revenue, monthly_orders as orders,
                    avg_order_value
                {_SALES}""",
            order_by="month, revenue desc, category_name",
            sorted_by="by month and revenue",
            chart_query=by_period(
                f"select sales_month, category_name, monthly_revenue {_SALES}",
                time="sales_month",
                units=MONTHS,
                values={"revenue": "sum(monthly_revenue)"},
                by="category_name",
                largest_by="revenue",
            ),
            series="categories",
            columns=(
                MONTH,
                CATEGORY,
                REVENUE_AMOUNT,
                ORDERS,
                FigureColumn("avg_order_value", "Average order", Format.MONEY),
            ),
            measure="Revenue",
            measured_in=Format.MONEY,
            names_query=CATEGORY_NAMES,
            draw=lambda rows: grouped_chart(rows, "category_name", x="period", y="revenue", kind="line"),
            keys={"sales_month": "month", "category_name": "category_name"},
        ),
        Figure(
            name="seasonal_index",
            when_empty="A category needs twelve complete months of sales to be shown here.",
            title="Months of the year",
            question="How strong is each month of the year? 100 is the average month; growth is left out.",
            help="Every category with twelve complete months or more. With less than two years growth and season "
            "are hard to tell apart: such a category is not reliable.",
            mart="seasonal_index",
            query=f"""
                select
                    category_name, month_of_year, index_percent, lowest, highest, years_used, is_reliable
                from marts.seasonal_index
                where {IN_CATEGORY}""",
            order_by="category_name, month_of_year",
            sorted_by="by category",
            chart_query=largest(
                f"""
                    select
                        category_name, month_of_year, index_percent,
                        case when category_name = '{ALL_CATEGORIES}' then 'infinity' else sales.revenue end as revenue
                    from marts.seasonal_index
                    left join (
                        select coalesce(category_name, '') as name, sum(monthly_revenue) as revenue
                        from marts.seasonal_sales_analysis
                        group by 1
                    ) as sales
                        on coalesce(category_name, '') = sales.name
                    where {IN_CATEGORY}""",
                by="category_name",
                largest_by="revenue",
            ),
            series="categories and their total, by revenue",
            columns=(
                CATEGORY,
                FigureColumn("month_of_year", "Month of the year", Format.COUNT),
                FigureColumn("index_percent", "Index", Format.NUMBER),
                FigureColumn("lowest", "Lowest year", Format.NUMBER),
                FigureColumn("highest", "Highest year", Format.NUMBER),
                FigureColumn("years_used", "Years", Format.COUNT),
                FigureColumn("is_reliable", "Reliable", Format.BOOLEAN),
            ),
            measure="Index",
            measured_in=Format.NUMBER,
            names="Month of the year",
            lines="Category",
            draw=_draw_index,
        ),
        Figure(
            name="weather",
            title="Weather and revenue",
            question="In which weather does the shop sell more? 100 is an average day; season and growth are left out.",
            mart="weather_sales_impact",
            query="""
                select
                    city, temperature_category, precipitation_category, days, avg_daily_revenue, revenue_index
                from marts.weather_sales_impact""",
            order_by="city, temperature_category, precipitation_category",
            sorted_by="by city",
            columns=(
                FigureColumn("city", "City"),
                FigureColumn("temperature_category", "Temperature"),
                FigureColumn("precipitation_category", "Rain"),
                FigureColumn("days", "Days", Format.COUNT),
                FigureColumn("avg_daily_revenue", "Revenue a day", Format.MONEY),
                FigureColumn("revenue_index", "Index", Format.NUMBER),
            ),
            measure="Index",
            measured_in=Format.NUMBER,
            names="Rain",
            lines="City and temperature",
            draw=_draw_weather,
            keys={
                "city": "city",
                "temperature_category": "temperature_category",
                "precipitation_category": "precipitation_category",
            },
        ),
        Figure(
            name="weather_effect",
            title="Effect of the weather",
            question="Do sales follow temperature or rain? An interval that contains 0 shows no effect.",
            help="Each correlation is of the weather of a day with the sales of that day or up to three days later, "
            "against what is usual then. It goes from -1 to 1, and lies in the interval with 95 % certainty: of twenty "
            "without any effect, one seems to have one by chance.",
            mart="weather_correlation",
            query="""
                select
                    city, factor, lag_days, days, correlation, ci_low, ci_high, is_significant,
                    case
                        when days < 30 then 'too few days'
                        when correlation is null then 'nothing varies'
                        when not is_significant then 'no effect found'
                        when factor = 'temperature' and correlation > 0 then 'more sales when it is warmer'
                        when factor = 'temperature' then 'fewer sales when it is warmer'
                        when correlation > 0 then 'more sales when it rains'
                        else 'fewer sales when it rains'
                    end as effect
                from marts.weather_correlation""",
            order_by="city, factor desc, lag_days",
            sorted_by="by city",
            summary_query="""
                select count(*) filter (where is_significant) as found, count(correlation) as measured
                from marts.weather_correlation""",
            columns=(
                FigureColumn("city", "City"),
                FigureColumn("factor", "Weather"),
                FigureColumn("lag_days", "Days later", Format.COUNT),
                FigureColumn("effect", "Effect"),
                FigureColumn("days", "Days", Format.COUNT),
                FigureColumn("correlation", "Correlation", Format.NUMBER),
                FigureColumn("ci_low", "Interval from", Format.NUMBER),
                FigureColumn("ci_high", "Interval to", Format.NUMBER),
            ),
            measure="Correlation",
            measured_in=Format.NUMBER,
            names="City, weather and delay",
            draw=_draw_effect,
            summarize=_summarize_effects,
        ),
    ),
    days=None,
)
