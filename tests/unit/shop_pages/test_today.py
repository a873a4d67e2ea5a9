"""What the page Today says of its figures: how old they are, how well they are checked, and what needs attention."""

from datetime import UTC, date, datetime, timedelta

import pytest

from ecommerce.figures.key_figures import ALL_FIGURES
from shop_pages.data_age import data_age
from shop_pages.today import _attention_items, _badge
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


# -- how well it is checked --------------------------------------------------------------------------------------------

NOW = datetime(2024, 3, 2, 9, tzinfo=UTC)
REVENUE = ALL_FIGURES["revenue"]
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
    assert _badge(REVENUE, checks, PUBLICATION, NOW)[2] == "Rows, daily revenue: it is warn"
    assert _badge(REVENUE, checks[:1], PUBLICATION, NOW)[2] == "Rows, sales fact: it is pass"
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
        ("warn", "1 product to order", "/stock#order"),
        ("warn", "3 orders of 30 days to review", "/review"),
        ("info", "3 rows rejected in the last loads", "/status#quarantine"),
    ]
    assert [item.detail for item in items[:2]] == ["D: it is fail", "A: it is warn"]


def test_reviews_without_an_urgent_one_are_only_information() -> None:
    (item,) = _attention_items({**NOTHING, "reviews": 1}, [], [], [])
    assert (item.state, item.text) == ("info", "1 order of 30 days to review")
