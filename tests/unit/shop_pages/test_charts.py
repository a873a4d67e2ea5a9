"""Charts from rows: rows without a category are drawn, too, and the line below a chart says what it does not draw."""

from datetime import date, timedelta
from typing import Any

import pytest

from shop_pages.charts import (
    colours_of,
    describe_parts,
    grouped_chart,
    heatmap,
    line_chart,
    period_name,
    ranking_chart,
    with_titles,
)
from shop_pages.day_marks import DayMark, marks_of
from shop_pages.figures import Plot
from shop_pages.formats import Format
from shop_pages.pages import review, subscriptions
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
    line, circles = line_chart(months(), "period", {"n": "Orders"})["data"]
    # Not joined: a month of a few days would look like a drop.
    assert (line["x"], line["y"]) == (["2024-02-01", "2024-03-01"], [3, None])
    assert (circles["mode"], circles["x"], circles["y"]) == ("markers", ["2024-03-01"], [1])
    assert circles["marker"]["symbol"] == "circle-open"
    assert circles["name"] == "Orders, not complete"
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
    ("unit", "names", "pointer"),
    [
        ("day", ["1 Feb", "1 Mar\nso far", "1 Apr"], "%-d %b %Y"),
        ("week", ["1 Feb", "1 Mar\nso far", "1 Apr"], "week of %-d %b %Y"),
        ("month", ["Feb 2024", "Mar 2024\nso far", "Apr 2024"], "%b %Y"),
        ("quarter", ["Q1 2024", "Q1 2024\nso far", "Q2 2024"], "Q%q %Y"),
        ("year", ["2024", "2024\nso far", "2024"], "%Y"),
    ],
)
def test_axis_names_each_period_as_the_table_does(unit: str, names: list[str], pointer: str) -> None:
    rows = [*months(), {"period": date(2024, 4, 1), "plan": "Basic", "n": 1}]
    rows[1]["is_running"] = True
    for row in rows:
        row["unit"] = unit
    axis = grouped_chart(rows, "plan", x="period", y="n")["layout"]["xaxis"]
    assert axis["tickvals"] == ["2024-02-01", "2024-03-01", "2024-04-01"]
    assert axis["ticktext"] == names
    assert (axis["tickmode"], axis["hoverformat"]) == ("array", pointer)


def test_axis_says_which_period_is_only_a_part() -> None:
    axis = grouped_chart(months(), "plan", x="period", y="n")["layout"]["xaxis"]
    assert axis["ticktext"] == ["Feb 2024", "Mar 2024\npart"]


@pytest.mark.parametrize(("days", "first"), [(31, "1 Jan"), (90, "1 Jan"), (366, "1 Jan")])
def test_axis_of_days_names_days_mondays_or_first_days_of_months(days: int, first: str) -> None:
    rows: list[Row] = [
        {"period": date(2024, 1, 1) + timedelta(days=n), "unit": "day", "plan": "Basic", "n": n} for n in range(days)
    ]
    texts = grouped_chart(rows, "plan", x="period", y="n")["layout"]["xaxis"]["ticktext"]
    assert texts[0] == first
    assert texts[1] == {31: "2 Jan", 90: "8 Jan", 366: "1 Feb"}[days]
    assert len(texts) == {31: 31, 90: 13, 366: 12}[days]


def test_heatmap_of_months_names_them_and_one_of_categories_has_no_time_axis() -> None:
    cells: list[Row] = [{"month": MARCH, "category": "Toys", "n": 1}]
    axis = heatmap(cells, x="month", y="category", z="n")["layout"]["xaxis"]
    assert (axis["tickvals"], axis["ticktext"]) == (["2024-03-01"], ["Mar 2024"])
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


def _month_of_subscriptions(unit: str) -> dict[str, Any]:
    changes = dict.fromkeys(("new_mrr", "reactivated_mrr", "expansion_mrr", "contraction_mrr", "churned_mrr"), 0)
    return {**changes, "period": date(2024, 1, 1), "unit": unit, "is_complete": True, "opening_mrr": 10, "new_mrr": 5}


def test_bars_of_a_month_lead_to_the_customers_behind_them() -> None:
    plot = subscriptions._draw_waterfall([_month_of_subscriptions("month")])
    path = "rows/subscription_performance_monthly?revenue_month=2024-01-01&plan_type=All+plans#movements"
    assert plot["data"][0]["x"][1] == ["opening", "new", "churned", "closing"]
    assert plot["links"] == [None, path, path, None]
    assert plot["layout"]["yaxis"] == {"range": [7.5, 16.25]}
    # A quarter has no row of the mart.
    assert subscriptions._draw_waterfall([_month_of_subscriptions("quarter")])["links"] == [None] * 4


def test_bars_of_equal_names_have_their_ids() -> None:
    rows = [{"name": name, "id": n, "y": 1} for n, name in enumerate(("Bread", "Milk", "Bread"), 1)]
    assert ranking_chart(rows, label="name", y="y", key="id")["data"][0]["y"] == ["Bread · 1", "Milk", "Bread · 3"]


def plans(*names: str) -> Plot:
    rows: list[Row] = [{"period": MARCH, "unit": "month", "plan": name, "n": n} for n, name in enumerate(names)]
    return grouped_chart(rows, "plan", x="period", y="n")


def test_name_keeps_its_colour_whatever_is_drawn_beside_it() -> None:
    names = ["Toys", "Books", "Food", "Garden"]
    drawn = colours_of(plans(*names), names)
    assert len(set(drawn.values())) == 4
    # Another rank, and a filter that leaves out the first.
    assert colours_of(plans("Garden", "Food", "Books"), names) == {name: drawn[name] for name in names[1:]}


def test_word_for_a_measure_or_a_state_has_the_same_colour_in_every_chart() -> None:
    stock = colours_of(plans("Out of Stock", "In Stock", "Toys"))
    assert colours_of(plans("In Stock", "Garden"))["In Stock"] == stock["In Stock"]
    assert stock["Out of Stock"] != stock["In Stock"]
    revenue = line_chart(months(), "period", {"n": "Revenue"})
    assert colours_of(revenue)["Revenue, not complete"] == colours_of(revenue)["Revenue"]


def test_twelfth_name_has_a_shade_of_its_own() -> None:
    names = [f"Plan {n:02}" for n in range(14)]
    assert len(set(colours_of(plans(*names), names).values())) == 14


@pytest.mark.parametrize(
    ("value_format", "currency", "title", "suffix"),
    [
        (Format.MONEY, "EUR", "Fee, EUR", None),
        (Format.MONEY, "", "Fee", None),
        (Format.PERCENT, "EUR", "Fee", " %"),
        (Format.COUNT, "EUR", "Fee", None),
    ],
)
def test_axes_have_titles_with_the_currency_of_money(
    value_format: Format, currency: str, title: str, suffix: str | None
) -> None:
    titles: dict[str, Any] = {
        "measure": "Fee",
        "measured_in": value_format,
        "lines": "Line",
        "unit": "month",
        "currency": currency,
    }
    standing = with_titles(plans("Basic"), months(), names="", **titles)["layout"]
    assert (standing["yaxis"]["title"]["text"], standing["xaxis"]["title"]["text"]) == (title, "Month")
    assert standing["yaxis"].get("ticksuffix") == suffix
    assert standing["xaxis"]["ticktext"] == ["Mar 2024"]
    lying = with_titles(ranking_chart(ROWS, label="category", y="n"), ROWS, names="Category", **titles)
    assert lying["layout"]["xaxis"]["title"]["text"] == title
    assert lying["layout"]["yaxis"]["title"]["text"] == "Category"
    cells = with_titles(heatmap(ROWS[:1], x="status", y="category", z="n"), ROWS, names="Status", **titles)
    assert cells["data"][0]["colorbar"]["title"]["text"] == title
    assert cells["layout"]["yaxis"]["title"]["text"] == "Line"


def test_marks_are_those_within_the_axis_and_a_day_is_as_wide_as_a_day() -> None:
    marks = [
        DayMark("incident", date(2024, 2, 10), date(2024, 2, 11), "Known incident: <b>Sale</b>"),
        DayMark("publication", MARCH, MARCH, "Publication 3"),
        DayMark("problem", date(2023, 1, 1), date(2023, 1, 1), "long ago"),
    ]
    drawn = marks_of(marks, line_chart(months(), "period", {"n": "Orders"}))
    assert [(mark["kind"], mark["first"], mark["end"]) for mark in drawn] == [
        ("incident", "2024-02-09 12:00", "2024-02-11 12:00"),
        ("publication", "2024-03-01", "2024-03-01 12:00"),
    ]


def test_compliance_of_more_rules_than_series_has_the_others_as_other() -> None:
    rows: list[Row] = [
        {"period": date(2024, 3, 1), "unit": "month", "is_complete": True, "rule": rule, "is_other": rule is None,
         "compliance_percent": 90}
        for rule in ("high_discount", None)
    ]  # fmt: skip
    assert [trace["name"] for trace in review._draw_compliance(rows)["data"]] == ["High discount", "Other"]
