"""Charts draw every row that they are given."""

from shop_pages.charts import grouped_chart, heatmap
from shop_pages.pool import Row

ROWS: list[Row] = [
    {"category": "Toys", "status": "In Stock", "n": 3},
    {"category": None, "status": "In Stock", "n": 7},
    {"category": None, "status": None, "n": 1},
]


def test_bars_have_a_place_for_what_has_no_category() -> None:
    drawn = grouped_chart(ROWS, "status", x="category", y="n")["data"]
    assert [(series["name"], series["x"], series["y"]) for series in drawn] == [
        ("In Stock", ["Toys", "(none)"], [3, 7]),
        ("(none)", ["(none)"], [1]),
    ]


def test_a_field_has_a_row_for_what_has_no_category() -> None:
    (field,) = heatmap(ROWS[:2], x="status", y="category", z="n")["data"]
    assert (field["x"], field["y"], field["z"]) == (["In Stock"], ["Toys", "(none)"], [[3], [7]])
