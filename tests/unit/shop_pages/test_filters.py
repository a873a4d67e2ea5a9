"""What a reader chooses on a page of figures: the days that an address means, and the ranges of one click."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fastapi import HTTPException
from starlette.datastructures import QueryParams

from shop_pages.filters import Days, Filters, filters_of, presets

FIRST, LAST = date(2023, 1, 10), date(2024, 3, 1)
DAYS = Days(FIRST, LAST, covered_first=FIRST, earliest=date(2020, 5, 5), earlier_days=1, earlier_revenue=Decimal(1))


def chosen(address: str, days: int | None = 30) -> Filters:
    page: Any = type("Page", (), {"days": days})
    request: Any = type("Request", (), {"query_params": QueryParams(address)})
    return filters_of(page, DAYS, request)


@pytest.mark.parametrize(
    ("address", "days", "first", "last"),
    [
        ("", 30, "2024-02-01", "2024-03-01"),
        ("", 1, "2024-03-01", "2024-03-01"),
        ("", 9999, "2023-01-10", "2024-03-01"),
        ("", None, "2023-01-10", "2024-03-01"),
        ("last=2024-02-10", 30, "2024-01-12", "2024-02-10"),
        ("first=2024-02-10", 30, "2024-02-10", "2024-03-01"),
        ("first=2020-05-05&last=2020-05-05", 30, "2020-05-05", "2020-05-05"),
        # Before the first loaded day there is no range of the page: only the chosen day.
        ("last=2022-01-01", 30, "2022-01-01", "2022-01-01"),
        ("last=2022-01-01", None, "2022-01-01", "2022-01-01"),
    ],
)
def test_days_of_an_address(address: str, days: int | None, first: str, last: str) -> None:
    filters = chosen(address, days)
    assert (filters.first.isoformat(), filters.last.isoformat()) == (first, last)


def test_filters_have_the_loaded_days_a_category_and_a_grain() -> None:
    filters = chosen("category=Toys&grain=week")
    assert (filters.covered_first, filters.covered_last) == (FIRST, LAST)
    assert (filters.category, filters.grain) == ("Toys", "week")
    assert (chosen("category=").category, chosen("grain=").grain) == (None, "month")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("first=2024-03-02", "The first day 2024-03-02 is after the last day 2024-03-01."),
        ("grain=decade", "There is no grain 'decade'; choose one of week, month, quarter, year."),
    ],
)
def test_address_that_makes_no_sense_is_refused(address: str, reason: str) -> None:
    with pytest.raises(HTTPException) as refused:
        chosen(address)
    assert (refused.value.status_code, refused.value.detail) == (400, reason)


@pytest.mark.parametrize(("first", "since"), [("2020-05-05", date(2020, 5, 5)), ("2024-02-10", FIRST)])
def test_figures_of_all_days_begin_with_the_first_loaded_day_or_an_earlier_chosen_one(first: str, since: date) -> None:
    assert chosen(f"first={first}").since == since


def test_query_gets_only_the_parameters_that_it_has() -> None:
    filters = chosen("category=Toys")
    assert filters.parameters("select from a where b >= %(since)s and c = %(category)s") == {
        "since": FIRST,
        "category": "Toys",
    }
    assert filters.parameters("select 1") == {}


def test_one_range_of_a_click_is_the_chosen_one() -> None:
    ranges = presets(DAYS, chosen("", 90))
    assert [(entry["label"], (LAST - entry["first"]).days + 1) for entry in ranges] == [
        ("7 days", 7), ("30 days", 30), ("90 days", 90), ("1 year", 365), ("All", (LAST - FIRST).days + 1),
    ]  # fmt: skip
    assert {entry["last"] for entry in ranges} == {LAST}
    assert [entry["label"] for entry in ranges if entry["is_current"]] == ["90 days"]
    yesterday = LAST - timedelta(days=1)
    assert not any(entry["is_current"] for entry in presets(DAYS, chosen(f"last={yesterday}", 90)))
