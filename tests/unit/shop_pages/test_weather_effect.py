"""What the page of seasons says of the weather's effect."""

from decimal import Decimal

import pytest

from shop_pages.pages import PAGES
from shop_pages.pool import Row

FIGURE = PAGES["seasons"].figure("weather_effect")


def correlation(factor: str, lag_days: int, value: str | None, *, is_significant: bool | None) -> Row:
    """A row of the figure: an interval of 0.2 around the value, if there is one."""
    found = None if value is None else Decimal(value)
    return {
        "city": "Berlin",
        "factor": factor,
        "lag_days": lag_days,
        "correlation": found,
        "ci_low": found and found - Decimal("0.1"),
        "ci_high": found and found + Decimal("0.1"),
        "is_significant": is_significant,
        "effect": "",
    }


def test_correlations_without_an_effect_are_quiet_and_keep_their_place() -> None:
    assert FIGURE is not None
    assert FIGURE.draw is not None
    rows = [
        correlation("temperature", 0, "0.05", is_significant=False),
        correlation("precipitation", 0, "0.3", is_significant=True),
        correlation("precipitation", 1, None, is_significant=None),
        correlation("precipitation", 2, "-0.02", is_significant=False),
    ]
    plot = FIGURE.draw(rows)
    found, none = plot["data"]
    assert (found["name"], found["meta"], found["y"]) == ("Effect found", "", ["Berlin · rain, same day"])
    assert (found["error_x"]["array"], found["error_x"]["arrayminus"]) == ([0.1], [0.1])
    assert (none["name"], none["meta"], none["x"]) == ("No effect found", "quiet", [0.05, None, -0.02])
    assert plot["layout"]["yaxis"]["categoryarray"] == [
        "Berlin · temperature, same day",
        "Berlin · rain, same day",
        "Berlin · rain, 1 day later",
        "Berlin · rain, 2 days later",
    ]
    assert [trace["name"] for trace in FIGURE.draw(rows[:1])["data"]] == ["No effect found"]


@pytest.mark.parametrize(
    ("found", "measured", "text"),
    [
        (0, 0, "Nothing can be said yet: that takes 30 days of sales, and weather that varies"),
        (0, 16, "No effect found"),
        (2, 16, "An effect was found in 2 of 16 correlations"),
    ],
)
def test_summary_says_whether_there_is_an_effect(found: int, measured: int, text: str) -> None:
    assert FIGURE is not None
    assert FIGURE.summarize is not None
    assert FIGURE.summarize({"found": found, "measured": measured}) == text
