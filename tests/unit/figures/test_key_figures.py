"""Key figures: the days they are compared with, their notes, and the text of a difference."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from ecommerce.figures.key_figures import (
    ALL_FIGURES,
    CONVERSION_FIGURE,
    SALES_FIGURES,
    FigureOfDay,
    change_between,
    figure_of_day,
    fill_days,
    rounded,
)
from tests.integration.support import set_shop

REVENUE, MARGIN = ALL_FIGURES["revenue"], ALL_FIGURES["gross_margin"]


@pytest.mark.parametrize(
    ("figure", "value", "before", "text", "direction"),
    [
        (REVENUE, "110", "100", "+10.0 %", "up"),
        (REVENUE, "90", "100", "−10.0 %", "down"),
        (REVENUE, "100.04", "100", "±0.0 %", "same"),
        (REVENUE, "2100", "100", "+2,000.0 %", "up"),
        (REVENUE, "0", "0", "±0.0 %", "same"),
        (REVENUE, "5", "0", "was 0", "none"),
        (REVENUE, None, "100", "no value", "none"),
        (REVENUE, "100", None, "no value then", "none"),
        (MARGIN, "40.004", "40", "±0.00 pp", "same"),
        (MARGIN, "39.5", "40", "−0.50 pp", "down"),
        (MARGIN, "5", "0", "+5.00 pp", "up"),
    ],
)
def test_change_shows_rounded_difference_with_sign(
    figure, value: str | None, before: str | None, text: str, direction: str
) -> None:
    numbers = [None if number is None else Decimal(number) for number in (value, before)]
    change = change_between(figure, "day before", date(2024, 1, 1), *numbers)
    assert (change.text, change.direction) == (text, direction)
    assert bool(change.reason) is (direction == "none")


@pytest.mark.parametrize(
    ("covered_first", "year_before"),
    [("2023-03-03", "+100.0 %"), ("2023-03-04", "not loaded"), ("2024-03-01", "not loaded")],
)
def test_change_compares_with_the_same_weekday_of_last_year_and_only_with_loaded_days(
    covered_first: str, year_before: str
) -> None:
    as_of = date(2024, 3, 1)
    # Days that no load has covered have rows, too: one stray order makes the mart begin years before.
    rows = {as_of - timedelta(days=n): {**DAY, "daily_revenue": Decimal(100 if n == 364 else 200)} for n in range(370)}
    found = figure_of_day(REVENUE, rows, as_of, date.fromisoformat(covered_first))
    texts = {change.label: change.text for change in found.changes}
    assert texts["year before"] == year_before
    assert texts["day before"] == ("±0.0 %" if covered_first < "2024-03-01" else "not loaded")
    if year_before == "not loaded":
        assert found.changes[2].reason == "3 Mar 2023 was not loaded."
        assert found.changes[2].before == "–"


DAY = {
    "refunded_amount": Decimal("20"), "net_revenue": Decimal("980"), "daily_orders": 8, "guest_orders": 2,
    "known_cost_percent": Decimal("62.50"),
}  # fmt: skip


def notes_of(row: dict) -> list[str | None]:
    """The notes beside revenue, orders, average order value and margin."""
    return [figure.note_of(row) for figure in SALES_FIGURES]


def test_notes_say_refunds_guests_and_unknown_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notes_of(DAY) == [
        "20.00 refunded on this day · net 980.00",
        "2 by guests (25.00 %)",
        None,
        "Of the 62.50 % of the day’s revenue whose cost is known",
    ]
    assert notes_of({**DAY, "guest_orders": 0, "known_cost_percent": Decimal(100)})[1:] == [None, None, None]
    assert notes_of({**DAY, "known_cost_percent": Decimal(0)})[3] == "No cost of what was sold on this day is known"
    set_shop(monkeypatch, refund="absent")
    assert notes_of(DAY)[0] is None


# -- a key figure ------------------------------------------------------------------------------------------------------

AS_OF = date(2024, 3, 1)


def test_days_have_the_row_of_the_last_change_before_them() -> None:
    changes: list = [{"day": date(2024, 3, 2)}, {"day": date(2024, 2, 29)}, {"day": date(2024, 2, 27)}]
    rows = fill_days(changes, AS_OF)
    assert {day.isoformat(): row["day"].isoformat() for day, row in rows.items()} == {
        "2024-03-01": "2024-02-29",
        "2024-02-29": "2024-02-29",
        "2024-02-28": "2024-02-27",
        "2024-02-27": "2024-02-27",
    }
    assert fill_days([], AS_OF) == {}


def test_days_go_back_to_the_longest_comparison_and_no_further() -> None:
    rows = fill_days([{"day": date(2020, 1, 1)}], AS_OF)
    assert (max(rows), len(rows)) == (AS_OF, 370)
    assert AS_OF - timedelta(weeks=52) in rows


def revenue_of(days: dict[int, str | None], covered_first: date | None = None) -> FigureOfDay:
    """The revenue of days before the as-of date."""
    rows = {
        AS_OF - timedelta(days=n): {**DAY, "daily_revenue": None if value is None else Decimal(value)}
        for n, value in days.items()
    }
    return figure_of_day(REVENUE, rows, AS_OF, covered_first)


def test_sparkline_has_30_days_from_the_oldest_with_gaps() -> None:
    found = revenue_of({0: "12345.60", 1: None, 28: "20", 29: "10", 30: "5"}, AS_OF - timedelta(days=28))
    assert list(found.history) == [None, 20, *[None] * 27, Decimal("12345.60")]
    assert found.history_text == "Last 30 days: from 20.00 to 12,345.60"
    assert (found.headline, found.exact) == ("12.3k", "12,345.60")


def test_sparkline_without_a_value_says_so() -> None:
    assert revenue_of({}).history_text == "No earlier days"


def test_figure_is_compared_with_the_day_the_week_and_the_52_weeks_before() -> None:
    found = revenue_of({0: "100", 1: "50", 7: "200", 364: "100"})
    assert [(change.label, change.day, change.before, change.text) for change in found.changes] == [
        ("day before", date(2024, 2, 29), "50.00", "+100.0 %"),
        ("week before", date(2024, 2, 23), "200.00", "−50.0 %"),
        ("year before", date(2023, 3, 3), "100.00", "±0.0 %"),
    ]
    assert found.note == "20.00 refunded on this day · net 980.00"
    assert revenue_of({1: "50"}).note == ""


def test_average_is_of_the_orders_and_none_without_orders() -> None:
    average = SALES_FIGURES[2]
    assert average.value_of({"daily_revenue": Decimal(30), "daily_orders": 4}) == Decimal("7.5")
    assert average.value_of({"daily_revenue": Decimal(0), "daily_orders": 0}) is None
    assert CONVERSION_FIGURE.value_of({"buyers": 1, "viewers": 8}) == Decimal("12.5")
    assert CONVERSION_FIGURE.value_of({"buyers": None, "viewers": 8}) is None


@pytest.mark.parametrize(
    ("value", "shown"), [("50.005", "50.01"), ("-50.005", "-50.01"), ("50.0049", "50.00"), ("0.125", "0.13")]
)
def test_values_are_rounded_as_postgres_rounds(value: str, shown: str) -> None:
    """Python's own rounding would show 50.00 beside the 50.01 of the mart."""
    assert rounded(Decimal(value)) == Decimal(shown)
