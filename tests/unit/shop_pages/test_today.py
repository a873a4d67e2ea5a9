"""Key figures of the page Today: the days they are compared with, and the text of a difference."""

from datetime import date
from decimal import Decimal

import pytest

from shop_pages.today import _SALES_MEASURES, _change, year_before


def test_year_before_leap_day_is_the_28th() -> None:
    assert year_before(date(2024, 2, 29)) == date(2023, 2, 28)
    assert year_before(date(2024, 3, 1)) == date(2023, 3, 1)


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
        (REVENUE, "5", "0", "–", "none"),
        (REVENUE, None, "100", "–", "none"),
        (REVENUE, "100", None, "–", "none"),
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
