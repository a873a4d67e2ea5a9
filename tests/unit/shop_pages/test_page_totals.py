"""The totals of a page: which days are compared, and what is said where there is nothing to compare with."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from shop_pages.figures import FigureColumn, Totals
from shop_pages.filters import Filters
from shop_pages.formats import Format
from shop_pages.page_totals import PageTotals, Period, periods_of
from shop_pages.pool import Row
from shop_pages.queries import Rows

FILTERS = Filters(
    date(2024, 3, 2), date(2024, 3, 31), None, covered_first=date(2022, 1, 1), covered_last=date(2024, 3, 31)
)

FIRST_LOADED = date(2022, 1, 1)


def days(first: str, last: str) -> tuple[date, date]:
    return date.fromisoformat(first), date.fromisoformat(last)


def test_chosen_days_are_compared_with_as_many_before_and_the_same_weekdays_of_last_year() -> None:
    chosen, _, _ = periods_of(FILTERS)
    assert (chosen.first, chosen.last) == days("2024-03-02", "2024-03-31")
    assert chosen.before == days("2024-02-01", "2024-03-01")
    assert chosen.year_before == days("2023-03-04", "2023-04-02")
    assert chosen.year_before[0].weekday() == chosen.first.weekday()


def test_running_month_and_quarter_are_compared_with_as_many_days_but_no_more_than_the_period_has() -> None:
    _, _, quarter = periods_of(replace(FILTERS, last=date(2024, 3, 30)))
    assert (quarter.first, quarter.before) == (date(2024, 1, 1), days("2023-10-01", "2023-12-29"))
    # A whole one with a whole one, as the mart's trends.
    _, month, quarter = periods_of(FILTERS)
    assert (month.first, month.before) == (date(2024, 3, 1), days("2024-02-01", "2024-02-29"))
    assert month.year_before == days("2023-03-01", "2023-03-31")
    assert (quarter.first, quarter.before) == (date(2024, 1, 1), days("2023-10-01", "2023-12-31"))
    _, month, _ = periods_of(replace(FILTERS, last=date(2024, 3, 10)))
    assert month.before == days("2024-02-01", "2024-02-10")


def test_days_that_are_not_all_loaded_are_not_compared_with() -> None:
    chosen, month, _ = periods_of(replace(FILTERS, covered_first=date(2024, 2, 2)))
    assert (chosen.before, chosen.year_before, month.before) == (None, None, None)


def test_days_after_the_last_loaded_one_are_in_no_comparison() -> None:
    chosen, month, _ = periods_of(replace(FILTERS, last=date(2024, 4, 3), covered_last=date(2024, 3, 31)))
    assert (chosen.last, month.first, month.last) == (date(2024, 3, 31), date(2024, 3, 1), date(2024, 3, 31))


def test_totals_of_months_are_compared_with_whole_months() -> None:
    chosen, _, _ = periods_of(replace(FILTERS, first=date(2024, 2, 20)), are_of_months=True)
    assert (chosen.first, chosen.last) == days("2024-02-01", "2024-03-31")
    assert chosen.before == days("2023-12-01", "2024-01-31")
    assert chosen.year_before == days("2023-02-01", "2023-03-31")


@pytest.mark.parametrize(
    ("before", "text", "direction"),
    [("80", "+25.0 %", "up"), ("125", "−20.0 %", "down"), ("100", "±0.0 %", "same"), ("0", "no comparison", "none")],
)
def test_total_stands_beside_the_difference(before: str, text: str, direction: str) -> None:
    period = Period("Chosen days", *days("2024-03-01", "2024-03-31"), days("2024-01-30", "2024-02-29"), None)
    totals = Totals(
        mart="daily_revenue", day="order_date", measures={FigureColumn("revenue", "Revenue", Format.MONEY): "sum(x)"}
    )
    found = [
        {"name": "Chosen days", "revenue": Decimal(100)},
        {"name": "Chosen days before", "revenue": Decimal(before)},
    ]
    (measure,) = PageTotals(totals, [period], Rows(found, datetime.now(UTC)), FIRST_LOADED).measures
    (total,) = measure.periods
    assert (total.value, total.exact) == ("100.00", "100.00")
    compared, year = total.comparisons
    assert (compared.text, compared.direction) == (text, direction)
    assert compared.detail.startswith("30 Jan 2024 to 29 Feb 2024: ")
    assert (year.text, year.direction) == ("not loaded", "none")


def test_more_refunds_are_no_gain() -> None:
    period = Period("Chosen days", *days("2024-03-01", "2024-03-31"), days("2024-01-30", "2024-02-29"), None)
    totals = Totals(
        mart="daily_revenue",
        day="order_date",
        measures={FigureColumn("refunded_amount", "Refunds", Format.MONEY): "sum(refunded_amount)"},
    )
    found = [
        {"name": "Chosen days", "refunded_amount": Decimal(9)},
        {"name": "Chosen days before", "refunded_amount": 6},
    ]
    (measure,) = PageTotals(totals, [period], Rows(found, datetime.now(UTC)), FIRST_LOADED).measures
    compared = measure.periods[0].comparisons[0]
    assert (compared.direction, compared.tone) == ("up", "down")


@pytest.mark.parametrize(
    ("name", "first_loaded", "text"),
    [
        # The days before begin a year after the first loaded one, and a day too early.
        ("new_customers", date(2023, 1, 30), "−50.0 %"),
        ("new_customers", date(2023, 1, 31), "no comparison"),
        ("orders", date(2023, 1, 31), "−50.0 %"),
    ],
)
def test_new_customers_are_not_compared_with_days_in_which_all_seem_new(
    name: str, first_loaded: date, text: str
) -> None:
    period = Period("Chosen days", *days("2024-03-01", "2024-03-31"), days("2024-01-30", "2024-02-29"), None)
    totals = Totals(
        mart="daily_revenue", day="order_date", measures={FigureColumn(name, "New", Format.COUNT): "sum(x)"}
    )
    found: list[Row] = [{"name": "Chosen days", name: 5}, {"name": "Chosen days before", name: 10}]
    (measure,) = PageTotals(totals, [period], Rows(found, datetime.now(UTC)), first_loaded).measures
    assert measure.periods[0].comparisons[0].text == text
