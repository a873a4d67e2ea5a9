"""Charts from rows: rows without a category are drawn, too, and the line below a chart says what it does not draw."""

from datetime import date
from typing import Any

import pytest

from shop_pages.charts import describe_parts, grouped_chart, heatmap, line_chart, period_name, ranking_chart
from shop_pages.pages import review
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


def test_incomplete_month_is_hatched_in_a_ranking_and_a_circle_in_a_heatmap() -> None:
    (bar,) = ranking_chart(months(), label="plan", y="n")["data"]
    assert bar["marker"] == {"pattern": {"shape": ["", "/"]}}
    (cells,) = heatmap(months(), x="period", y="plan", z="n")["data"]
    assert (cells["text"], cells["texttemplate"]) == ([["", "○"]], "%{text}")
    whole = [ranking_chart(months()[:1], label="plan", y="n"), heatmap(months()[:1], x="period", y="plan", z="n")]
    assert all("marker" not in plot["data"][0] and "text" not in plot["data"][0] for plot in whole)


def test_heatmap_keeps_a_given_order_also_of_values_without_a_row() -> None:
    columns, lines = ["Sold Out", "In Stock"], [None, "Toys"]
    (trace,) = heatmap(ROWS[:2], x="status", y="category", z="n", columns=columns, lines=lines)["data"]
    assert (trace["x"], trace["y"], trace["z"]) == (
        ["Sold Out", "In Stock"],
        ["(none)", "Toys"],
        [[None, 7], [None, 3]],
    )


@pytest.mark.parametrize(
    ("unit", "axis"), [("month", {"nticks": 4}), ("year", {"nticks": 4}), ("week", None), ("day", None)]
)
def test_axis_has_no_more_names_than_months_or_years(unit: str, axis: dict[str, Any] | None) -> None:
    rows = [*months(), {"period": date(2024, 4, 1), "plan": "Basic", "n": 1}]
    for row in rows:
        row["unit"] = unit
    assert grouped_chart(rows, "plan", x="period", y="n")["layout"].get("xaxis") == axis


def test_axis_of_one_or_two_months_has_their_names_and_no_days() -> None:
    axis = {"tickvals": ["2024-02-01", "2024-03-01"], "tickformat": "%b %Y"}
    assert grouped_chart(months(), "plan", x="period", y="n")["layout"]["xaxis"] == axis
    axis["tickvals"] = ["2024-03-01"]
    cells: list[Row] = [{"month": MARCH, "category": "Toys", "n": 1}]
    assert heatmap(cells, x="month", y="category", z="n")["layout"]["xaxis"] == axis
    assert "xaxis" not in heatmap(cells, x="category", y="month", z="n")["layout"]


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


def test_compliance_of_more_rules_than_series_has_the_others_as_other() -> None:
    rows: list[Row] = [
        {"period": date(2024, 3, 1), "unit": "month", "is_complete": True, "rule": rule, "is_other": rule is None,
         "compliance_percent": 90}
        for rule in ("high_discount", None)
    ]  # fmt: skip
    assert [trace["name"] for trace in review._draw_compliance(rows)["data"]] == ["High discount", "Other"]
