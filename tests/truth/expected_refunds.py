"""What the customers of the generated shop send back, by its effects alone."""

from datetime import timedelta

from include.demo.shop.generator import effects
from tests.truth.expected_sales import (
    ALL_CATEGORIES,
    LINES,
    MEAN_LINES,
    PAIRS_OF_LINES,
    QUANTITIES,
    ExpectedSales,
    OrderValue,
)
from tests.truth.intervals import Estimate

#: Of a single piece, a tenth to a half of the amount goes back; of more pieces, one to all but one of them.
PART_OF_ONE = 0.3
#: Lines → the share of orders that have so many.
SIZES = {lines: weight / sum(LINES.values()) for lines, weight in LINES.items()}


def refunded_amount(sales: ExpectedSales) -> Estimate:
    """All refunds that are made by the last day."""
    line_share, order_share = _shares()
    first, last = effects.REFUND_DAYS
    end = sales.shop.calendar.end
    total = squares = 0.0
    for day, orders in sales.orders.items():
        days_left = (end - timedelta(days=1) - day).days
        in_time = min(max(days_left - first + 1, 0), last - first + 1) / (last - first + 1)
        value = sales.values[day][ALL_CATEGORIES]
        total += in_time * orders * value.mean * (line_share + order_share)
        squares += in_time * orders * _square(value)
    return Estimate(total, squares**0.5)


def _shares() -> tuple[float, float]:
    """Of an order's value, what goes back line by line, and as a whole order."""
    pieces = sum(QUANTITIES.values())
    mean_pieces = sum(count * weight for count, weight in QUANTITIES.items()) / pieces
    part = sum(weight * (PART_OF_ONE if count == 1 else count / 2) for count, weight in QUANTITIES.items()) / pieces
    kept = (1 - effects.PARTIAL_SHARE) + effects.PARTIAL_SHARE * part / mean_pieces
    by_line = (1 - effects.WHOLE_ORDER_SHARE) * effects.REFUND_SHARE * kept
    whole = sum(share * lines * _has_refund(lines) for lines, share in SIZES.items()) / MEAN_LINES
    return by_line, effects.WHOLE_ORDER_SHARE * whole


def _square(value: OrderValue) -> float:
    """The mean square of what goes back of an order, with refunds of a part taken as whole ones."""
    line = value.mean / MEAN_LINES
    squared_line = (value.variance + value.mean**2 - PAIRS_OF_LINES * line**2) / MEAN_LINES
    by_line = (1 - effects.WHOLE_ORDER_SHARE) * effects.REFUND_SHARE * MEAN_LINES * squared_line
    whole = sum(
        share * _has_refund(lines) * (lines * squared_line + lines * (lines - 1) * line**2)
        for lines, share in SIZES.items()
    )
    return by_line + effects.WHOLE_ORDER_SHARE * whole


def _has_refund(lines: float) -> float:
    """The probability that at least one line of an order goes back."""
    return float(1 - (1 - effects.REFUND_SHARE) ** lines)
