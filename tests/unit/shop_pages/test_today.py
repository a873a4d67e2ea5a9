"""Key figures of the page Today: the days they are compared with, and the text of a difference."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from shop_pages.data_age import data_age
from shop_pages.today import (
    _CONVERSION_MEASURE,
    _SALES_MEASURES,
    Kpi,
    _attention_items,
    _badge,
    _change,
    _fill_days,
    _kpi,
)
from tests.integration.support import set_shop


@pytest.mark.parametrize(
    ("zone", "now", "age", "is_old"),
    [
        ("UTC", "2024-11-04T04:30", "yesterday", False),
        ("America/New_York", "2024-11-04T04:30", "today, not complete yet", False),
        ("America/New_York", "2024-11-04T05:00", "yesterday", False),
        ("America/New_York", "2024-11-06T04:59", "2 days ago", False),
        ("America/New_York", "2024-11-06T05:00", "3 days ago", True),
        ("Asia/Kolkata", "2024-11-03T18:29", "today, not complete yet", False),
        ("Asia/Kolkata", "2024-11-03T18:30", "yesterday", False),
        ("UTC", "2027-04-06T12:00", "884 days ago", True),
    ],
)
def test_age_of_last_day_counts_days_of_the_shop_and_says_when_it_is_old(
    zone: str, now: str, age: str, is_old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_shop(monkeypatch, settings={"time_zone": zone})
    found = data_age(date(2024, 11, 3), datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert (found.text, found.is_old) == (age, is_old)


REVENUE = _SALES_MEASURES[0]
MARGIN = _SALES_MEASURES[3]


@pytest.mark.parametrize(
    ("measure", "value", "before", "text", "direction"),
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
    measure, value: str | None, before: str | None, text: str, direction: str
) -> None:
    numbers = [None if number is None else Decimal(number) for number in (value, before)]
    change = _change(measure, "day before", date(2024, 1, 1), *numbers)
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
    kpi = _kpi(REVENUE, rows, as_of, date.fromisoformat(covered_first), [], None, datetime(2024, 3, 2, tzinfo=UTC))
    texts = {change.label: change.text for change in kpi.changes}
    assert texts["year before"] == year_before
    assert texts["day before"] == ("±0.0 %" if covered_first < "2024-03-01" else "not loaded")
    if year_before == "not loaded":
        assert kpi.changes[2].reason == "3 Mar 2023 was not loaded."
        assert kpi.changes[2].before == "–"


DAY = {
    "refunded_amount": Decimal("20"), "net_revenue": Decimal("980"), "daily_orders": 8, "guest_orders": 2,
    "known_cost_percent": Decimal("62.50"),
}  # fmt: skip


def notes_of(row: dict) -> list[str | None]:
    """The notes beside revenue, orders, average order value and margin."""
    return [measure.note_of(row) for measure in _SALES_MEASURES]


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
NOW = datetime(2024, 3, 2, 9, tzinfo=UTC)


def test_days_have_the_row_of_the_last_change_before_them() -> None:
    changes: list = [{"day": date(2024, 3, 2)}, {"day": date(2024, 2, 29)}, {"day": date(2024, 2, 27)}]
    rows = _fill_days(changes, AS_OF)
    assert {day.isoformat(): row["day"].isoformat() for day, row in rows.items()} == {
        "2024-03-01": "2024-02-29",
        "2024-02-29": "2024-02-29",
        "2024-02-28": "2024-02-27",
        "2024-02-27": "2024-02-27",
    }
    assert _fill_days([], AS_OF) == {}


def test_days_go_back_to_the_longest_comparison_and_no_further() -> None:
    rows = _fill_days([{"day": date(2020, 1, 1)}], AS_OF)
    assert (max(rows), len(rows)) == (AS_OF, 370)
    assert AS_OF - timedelta(weeks=52) in rows


def revenue_of(days: dict[int, str | None], covered_first: date | None = None) -> Kpi:
    """The revenue of days before the as-of date."""
    rows = {
        AS_OF - timedelta(days=n): {**DAY, "daily_revenue": None if value is None else Decimal(value)}
        for n, value in days.items()
    }
    return _kpi(REVENUE, rows, AS_OF, covered_first, [], None, NOW)


def test_sparkline_has_30_days_from_the_oldest_with_gaps() -> None:
    kpi = revenue_of({0: "12345.60", 1: None, 28: "20", 29: "10", 30: "5"}, AS_OF - timedelta(days=28))
    assert list(kpi.sparkline) == [None, 20.0, *[None] * 27, 12345.6]
    assert kpi.sparkline_text == "Last 30 days: from 20.00 to 12,345.60"
    assert (kpi.value, kpi.exact) == ("12.3k", "12,345.60")


def test_sparkline_without_a_value_says_so() -> None:
    assert revenue_of({}).sparkline_text == "No earlier days"


def test_figure_is_compared_with_the_day_the_week_and_the_52_weeks_before() -> None:
    kpi = revenue_of({0: "100", 1: "50", 7: "200", 364: "100"})
    assert [(change.label, change.day, change.before, change.text) for change in kpi.changes] == [
        ("day before", date(2024, 2, 29), "50.00", "+100.0 %"),
        ("week before", date(2024, 2, 23), "200.00", "−50.0 %"),
        ("year before", date(2023, 3, 3), "100.00", "±0.0 %"),
    ]
    assert kpi.note == "20.00 refunded on this day · net 980.00"
    assert revenue_of({1: "50"}).note == ""


def test_average_is_of_the_orders_and_none_without_orders() -> None:
    average = _SALES_MEASURES[2]
    assert average.value_of({"daily_revenue": Decimal(30), "daily_orders": 4}) == Decimal("7.5")
    assert average.value_of({"daily_revenue": Decimal(0), "daily_orders": 0}) is None
    assert _CONVERSION_MEASURE.value_of({"buyers": 1, "viewers": 8}) == Decimal("12.5")
    assert _CONVERSION_MEASURE.value_of({"buyers": None, "viewers": 8}) is None


# -- how well it is checked --------------------------------------------------------------------------------------------

PUBLICATION = {"published_at": NOW - timedelta(hours=2)}


def check_of(subject: str, status: str) -> dict:
    return {"check_name": "rows", "subject": subject, "status": status, "message": f"it is {status}"}


@pytest.mark.parametrize(
    ("checks", "text", "state"),
    [
        ([], "published 2 hours ago, unchecked", "unknown"),
        ([check_of("raw.product", "fail")], "published 2 hours ago, unchecked", "unknown"),
        ([check_of("raw.sales_fact last days", "pass")], "1 check passed · 2 hours ago", "good"),
        (
            [check_of("raw.sales_fact", "pass"), check_of("core.fact_sales", "pass"), check_of("customer", "fail")],
            "2 checks passed · 2 hours ago",
            "good",
        ),
        (
            [check_of("raw.sales_fact", "pass"), check_of("daily_revenue", "warn")],
            "1 of 2 checks passed · 2 hours ago",
            "warn",
        ),
        (
            [check_of("raw.sales_fact", "warn"), check_of("daily_revenue", "fail")],
            "0 of 2 checks passed · 2 hours ago",
            "bad",
        ),
    ],
)
def test_badge_counts_the_checks_of_the_figure(checks: list, text: str, state: str) -> None:
    assert _badge(REVENUE, checks, PUBLICATION, NOW)[:2] == (text, state)


def test_badge_names_what_did_not_pass() -> None:
    checks = [check_of("raw.sales_fact", "pass"), check_of("daily_revenue", "warn")]
    assert _badge(REVENUE, checks, PUBLICATION, NOW)[2] == "rows, daily_revenue: it is warn"
    assert _badge(REVENUE, checks[:1], PUBLICATION, NOW)[2] == "rows, raw.sales_fact: it is pass"
    assert _badge(REVENUE, checks, None, NOW)[:2] == ("not published yet", "unknown")


# -- what needs attention ----------------------------------------------------------------------------------------------

NOTHING = {"reviews": 0, "urgent_reviews": 0, "reorders": 0, "sold_out": 0}


def test_nothing_needs_attention() -> None:
    loads = [{"source": "product", "status": "loaded", "rows_quarantined": 0}]
    assert _attention_items(NOTHING, [], [check_of("a", "pass")], loads) == []


def test_attention_is_called_to_checks_loads_stock_and_reviews_in_this_order() -> None:
    loads = [
        {"source": "product", "status": "failed", "rows_quarantined": 1},
        {"source": "refund", "status": "loaded", "rows_quarantined": 2},
    ]
    shop_items = {"reviews": 3, "urgent_reviews": 1, "reorders": 1, "sold_out": 2}
    checks = [check_of("a", "warn"), check_of("b", "fail"), check_of("c", "pass")]
    items = _attention_items(shop_items, [check_of("d", "fail")], checks, loads)
    assert [(item.state, item.text, item.link) for item in items] == [
        ("bad", "Check rows failed", "/status#checks"),
        ("warn", "Check rows warns", "/status#checks"),
        ("bad", "The last load of product failed", "/status#source-product"),
        ("bad", "2 products sold out", "/operations#reorder"),
        ("warn", "1 product to order again", "/operations#reorder"),
        ("warn", "3 orders of 30 days to review", "/review"),
        ("info", "3 rows rejected in the last loads", "/status#quarantine"),
    ]
    assert [item.detail for item in items[:2]] == ["d: it is fail", "a: it is warn"]


def test_reviews_without_an_urgent_one_are_only_information() -> None:
    (item,) = _attention_items({**NOTHING, "reviews": 1}, [], [], [])
    assert (item.state, item.text) == ("info", "1 order of 30 days to review")
