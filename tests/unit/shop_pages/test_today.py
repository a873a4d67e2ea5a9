"""Key figures of the page Today: the days they are compared with, and the text of a difference."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from shop_pages.today import _SALES_MEASURES, _age, _change, _kpi
from tests.integration.support import set_shop


@pytest.mark.parametrize(
    ("zone", "now", "age"),
    [
        ("UTC", "2024-11-04T04:30", "yesterday"),
        ("America/New_York", "2024-11-04T04:30", "today, not complete yet"),
        ("America/New_York", "2024-11-04T05:00", "yesterday"),
        ("America/New_York", "2024-11-06T04:59", "2 days ago"),
        ("Asia/Kolkata", "2024-11-03T18:29", "today, not complete yet"),
        ("Asia/Kolkata", "2024-11-03T18:30", "yesterday"),
    ],
)
def test_age_of_last_day_counts_days_of_the_shop(
    zone: str, now: str, age: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_shop(monkeypatch, settings={"time_zone": zone})
    assert _age(date(2024, 11, 3), datetime.fromisoformat(now).replace(tzinfo=UTC)) == age


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
