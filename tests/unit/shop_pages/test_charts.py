"""Charts from rows: rows without a category are drawn, too."""

from shop_pages.charts import grouped_chart, heatmap
from shop_pages.pool import Row

ROWS: list[Row] = [
    {"category": "Toys", "status": "In Stock", "n": 3},
    {"category": None, "status": "In Stock", "n": 7},
    {"category": None, "status": None, "n": 1},
]


def test_grouped_chart_draws_rows_without_category() -> None:
    series = grouped_chart(ROWS, "status", x="category", y="n")["data"]
    assert [(trace["name"], trace["x"], trace["y"]) for trace in series] == [
        ("In Stock", ["Toys", "(none)"], [3, 7]),
        ("(none)", ["(none)"], [1]),
    ]


def test_heatmap_draws_rows_without_category() -> None:
    (trace,) = heatmap(ROWS[:2], x="status", y="category", z="n")["data"]
    assert (trace["x"], trace["y"], trace["z"]) == (["In Stock"], ["Toys", "(none)"], [[3], [7]])
