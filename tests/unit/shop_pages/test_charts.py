"""Charts from rows: rows without a category are drawn, too, and the line below a chart says what it does not draw."""

from datetime import date
from typing import Any

import pytest

from shop_pages.charts import describe_parts, grouped_chart, heatmap, line_chart, period_name
from shop_pages.pool import Row

ROWS: list[Row] = [
    {"category": "Toys", "status": "In Stock", "n": 3},
    {"category": None, "status": "In Stock", "n": 7},
    {"category": None, "status": None, "n": 1},
]
FEBRUARY, MARCH = date(2024, 2, 1), date(2024, 3, 1)


def test_grouped_chart_draws_rows_without_category() -> None:
    series = grouped_chart(ROWS, "status", x="category", y="n")["data"]
    assert [(trace["name"], trace["x"], trace["y"]) for trace in series] == [
        ("In Stock", ["Toys", "(none)"], [3, 7]),
        ("(none)", ["(none)"], [1]),
    ]


def test_heatmap_draws_rows_without_category() -> None:
    (trace,) = heatmap(ROWS[:2], x="status", y="category", z="n")["data"]
    assert (trace["x"], trace["y"], trace["z"]) == (["In Stock"], ["Toys", "(none)"], [[3], [7]])


def test_other_is_the_last_series_and_none_of_a_category_of_that_name() -> None:
    rows: list[Row] = [
        {"category": None, "is_other": True, "month": MARCH, "n": 900},
        {"category": "Other", "is_other": False, "month": MARCH, "n": 5},
        {"category": None, "is_other": False, "month": MARCH, "n": 4},
    ]
    series = grouped_chart(rows, "category", x="month", y="n")["data"]
    assert [(trace["name"], trace["y"]) for trace in series] == [("Other", [5]), ("(none)", [4]), ("Other", [900])]


def months(**more: Any) -> list[Row]:
    """A complete month and the running one."""
    return [
        {"period": FEBRUARY, "unit": "month", "is_complete": True, "plan": "Basic", "n": 3, **more},
        {"period": MARCH, "unit": "month", "is_complete": False, "plan": "Basic", "n": 1, **more},
    ]


def test_incomplete_month_is_hatched_as_a_bar_and_a_circle_on_a_line() -> None:
    (bar,) = grouped_chart(months(), "plan", x="period", y="n")["data"]
    assert bar["marker"] == {"pattern": {"shape": ["", "/"]}}
    (line,) = line_chart(months(), "period", {"n": "Orders"})["data"]
    assert (line["mode"], line["marker"]) == ("lines+markers", {"symbol": "circle-open", "size": [0, 8]})
    (whole,) = grouped_chart(months()[:1], "plan", x="period", y="n")["data"]
    assert "marker" not in whole


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (months()[:1], ""),
        (months(), "Not complete: Mar 2024."),
        (months(series_count=12)[:1], ""),
        (months(series_count=24)[:1], "24 plans: the 11 largest, and the rest as Other."),
        ([{**months()[0], "unit": "quarter"}], "Drawn by quarter."),
        (months(ranked_count=15)[:1], ""),
        (months(ranked_count=4312)[:1], "The first 15 of 4,312 plans."),
        (months(ranked_count=4312, rest=1234)[:1], "The first 15 of 4,312 plans; all others together: 1,234."),
        (
            [{**months()[1], "period": date(2024, n, 1)} for n in range(1, 6)],
            "Not complete: Jan 2024 to May 2024, 5 periods.",
        ),
    ],
)
def test_line_below_a_chart_says_what_is_added_up_left_out_or_not_complete(rows: list[Row], text: str) -> None:
    assert describe_parts(rows, "plans", "month") == text


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("day", "5 Feb 2024"),
        ("week", "week of 5 Feb 2024"),
        ("month", "Feb 2024"),
        ("quarter", "Q1 2024"),
        ("year", "2024"),
    ],
)
def test_period_has_the_name_of_its_unit(unit: str, name: str) -> None:
    assert period_name(date(2024, 2, 5), unit) == name
