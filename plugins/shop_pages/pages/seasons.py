"""The page Seasons & weather: seasons by category, and revenue by weather."""

from __future__ import annotations

from shop_pages.charts import grouped_chart, heatmap
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
            name="weather",
            title="Weather and revenue",
            question="In which weather does the shop sell more? 100 is an average day of the city.",
            mart="weather_sales_impact",
            query="""
                select
                    city, temperature_category, precipitation_category, days, avg_daily_revenue, revenue_index,
                    correlation_temperature_revenue, correlation_precipitation_revenue
                from marts.weather_sales_impact
                order by city, temperature_category, precipitation_category""",
            columns=(
                FigureColumn("city", "City"),
                FigureColumn("temperature_category", "Temperature"),
                FigureColumn("precipitation_category", "Rain"),
                FigureColumn("days", "Days", Format.COUNT),
                FigureColumn("avg_daily_revenue", "Revenue a day", Format.MONEY),
                FigureColumn("revenue_index", "Index", Format.NUMBER),
                FigureColumn("correlation_temperature_revenue", "Correlation with temperature", Format.NUMBER),
                FigureColumn("correlation_precipitation_revenue", "Correlation with rain", Format.NUMBER),
            ),
            draw=_draw_weather,
            keys={
                "city": "city",
                "temperature_category": "temperature_category",
                "precipitation_category": "precipitation_category",
            },
        ),
    ),
    days=None,
)
