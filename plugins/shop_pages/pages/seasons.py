"""The page Seasons & weather: seasons by category, revenue by weather, and whether the weather has an effect."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from shop_pages.charts import column_values, grouped_chart, heatmap
from shop_pages.figures import Figure, FigureColumn, FigurePage, Plot, json_value
from shop_pages.formats import Format
from shop_pages.pages.shared import CATEGORY, IN_CATEGORY, MONTH, MONTH_IN_RANGE, ORDERS, REVENUE_AMOUNT
from shop_pages.pool import Row

_RAIN = ("No Rain", "Light Rain", "Moderate Rain", "Heavy Rain")
_WARMTH = ("Freezing", "Cold", "Cool", "Warm", "Hot")


def _draw_weather(rows: list[Row]) -> Plot:
    """A line of cells for each city and temperature, the driest on the left."""
    index = {
        (row["city"], row["temperature_category"], row["precipitation_category"]): json_value(row["revenue_index"])
        for row in rows
    }
    measured = {(city, temperature) for city, temperature, _ in index}
    lines = sorted(
        (line for line in measured if line[1] in _WARMTH), key=lambda line: (line[0], _WARMTH.index(line[1]))
    )
    return {
        "data": [
            {
                "type": "heatmap",
                "x": list(_RAIN),
                "y": [f"{city} · {temperature}" for city, temperature in lines],
                "z": [[index.get((*line, rain)) for rain in _RAIN] for line in lines],
                "zmid": 100,
                "xgap": 2,
                "ygap": 2,
                "hovertemplate": "%{y} · %{x}<br><b>%{z:.1f}</b> (100 = the city's average)<extra></extra>",
            }
        ],
        "layout": {"yaxis": {"autorange": "reversed", "type": "category"}},
    }


def _draw_effect(rows: list[Row]) -> Plot:
    """A point with its interval for each city, factor and lag, the first row on top; none where there are few days."""
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "x": column_values(rows, "correlation"),
                "y": [f"{row['city']} · {row['factor']} · {row['lag_days']} days later" for row in rows],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [_distance(row["correlation"], row["ci_high"]) for row in rows],
                    "arrayminus": [_distance(row["correlation"], row["ci_low"]) for row in rows],
                },
                "text": column_values(rows, "effect"),
                "hovertemplate": "%{y}<br><b>%{x:.2f}</b> %{text}<extra></extra>",
            }
        ],
        "layout": {"yaxis": {"autorange": "reversed", "type": "category"}, "showlegend": False},
    }


def _distance(value: Decimal | None, end: Decimal | None) -> Any:
    return None if value is None or end is None else json_value(abs(end - value))


SEASONS = FigurePage(
    name="seasons",
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
                from marts.seasonal_sales_analysis
                where sales_month {MONTH_IN_RANGE} and {IN_CATEGORY}
                order by category_name, sales_month""",
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
                from marts.seasonal_sales_analysis
                where sales_month {MONTH_IN_RANGE} and {IN_CATEGORY}
                order by sales_month, category_name""",
            columns=(
                MONTH,
                CATEGORY,
                REVENUE_AMOUNT,
                ORDERS,
                FigureColumn("avg_order_value", "Average order", Format.MONEY),
            ),
            draw=lambda rows: grouped_chart(rows, "category_name", x="month", y="revenue", kind="line"),
            keys={"sales_month": "month", "category_name": "category_name"},
        ),
        Figure(
            name="seasonal_index",
            title="Months of the year",
            question="How strong is each month of the year? 100 is the average month; growth is left out.",
            help="Every category with twelve complete months or more. With less than two years growth and season "
            "are hard to tell apart: such a category is not reliable.",
            mart="seasonal_index",
            query=f"""
                select
                    category_name, month_of_year, index_percent, lowest, highest, years_used, is_reliable
                from marts.seasonal_index
                where {IN_CATEGORY}
                order by category_name, month_of_year""",
            columns=(
                CATEGORY,
                FigureColumn("month_of_year", "Month of the year", Format.COUNT),
                FigureColumn("index_percent", "Index", Format.NUMBER),
                FigureColumn("lowest", "Lowest year", Format.NUMBER),
                FigureColumn("highest", "Highest year", Format.NUMBER),
                FigureColumn("years_used", "Years", Format.COUNT),
                FigureColumn("is_reliable", "Reliable", Format.BOOLEAN),
            ),
            draw=lambda rows: heatmap(rows, x="month_of_year", y="category_name", z="index_percent", diverges_at=100),
        ),
        Figure(
            name="weather",
            title="Weather and revenue",
            question="In which weather does the shop sell more? 100 is an average day; season and growth are left out.",
            mart="weather_sales_impact",
            query="""
                select
                    city, temperature_category, precipitation_category, days, avg_daily_revenue, revenue_index
                from marts.weather_sales_impact
                order by city, temperature_category, precipitation_category""",
            columns=(
                FigureColumn("city", "City"),
                FigureColumn("temperature_category", "Temperature"),
                FigureColumn("precipitation_category", "Rain"),
                FigureColumn("days", "Days", Format.COUNT),
                FigureColumn("avg_daily_revenue", "Revenue a day", Format.MONEY),
                FigureColumn("revenue_index", "Index", Format.NUMBER),
            ),
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
                    city, factor, lag_days, days, correlation, ci_low, ci_high,
                    case
                        when days < 30 then 'too few days'
                        when correlation is null then 'nothing varies'
                        when not is_significant then 'no effect found'
                        when factor = 'temperature' and correlation > 0 then 'more sales when it is warmer'
                        when factor = 'temperature' then 'fewer sales when it is warmer'
                        when correlation > 0 then 'more sales when it rains'
                        else 'fewer sales when it rains'
                    end as effect
                from marts.weather_correlation
                order by city, factor desc, lag_days""",
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
            draw=_draw_effect,
        ),
    ),
    days=None,
)
