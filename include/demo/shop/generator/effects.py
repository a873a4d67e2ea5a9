"""
All effects and shares that the generated shop has on purpose, so that tests can compare results with the truth.

Sales depend on growth, month, weekday and rain. They do not depend on the temperature. Two more truths stand beside the
rows that they shape: ``CATEGORIES`` (demand per month) and ``CHANGES`` in ``catalogue``, ``CHANGES`` in ``customers``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from include.demo.shop.generator.random_draws import between_months

# Orders a day

GROWTH_A_YEAR = 0.35
WEEKDAYS = (1.0, 0.96, 0.97, 1.0, 1.06, 1.22, 1.16)  # Monday first
MONTHS = (0.92, 0.9, 0.97, 1.0, 1.03, 1.0, 0.95, 0.93, 1.0, 1.05, 1.3, 1.45)  # in the middle of the month
#: A day counts as wet if this many mm fall in one of the cities; a wet day has this many times the orders.
WET_DAY_PRECIPITATION = 2.5
RAIN_LIFT = 1.09
#: Each day also has a random factor, uniform between these two.
DAILY_NOISE = (0.93, 1.07)


@dataclass(frozen=True)
class Demand:
    """
    How many orders and events a day has, in proportion to the other days; the demo's shop has the defaults.

    :param growth_a_year: each day has this much more than the day 365 days before; within a year, growth is linear
    :param months: January first, in the middle of the month; the days between are interpolated
    :param weekdays: Monday first
    :param rain_lift: a wet day has this many times the demand
    :param noise: each day has a random factor, uniform between these two
    """

    growth_a_year: float = GROWTH_A_YEAR
    months: Sequence[float] = MONTHS
    weekdays: Sequence[float] = WEEKDAYS
    rain_lift: float = RAIN_LIFT
    noise: tuple[float, float] = DAILY_NOISE

    def level(self, number: int) -> float:
        """What the shop has grown to by a day, counted from 0."""
        years, days = divmod(number, 365)
        return (1 + self.growth_a_year) ** years * (1 + self.growth_a_year * days / 365)

    def of_day(self, number: int, day: date, *, is_wet: bool) -> float:
        """The demand of a day without its random factor."""
        return (
            self.level(number)
            * between_months(day, self.months)
            * self.weekdays[day.weekday()]
            * (self.rain_lift if is_wet else 1)
        )


DEMAND = Demand()

# Baskets: value → weight, each set of weights adds up to 100

LINES_PER_ORDER = {1: 58, 2: 22, 3: 10, 4: 5, 5: 3, 6: 2}
QUANTITIES = {1: 66, 2: 20, 3: 8, 4: 3, 5: 2, 6: 1}
DISCOUNTS = {
    Decimal("0"): 62,
    Decimal("0.05"): 9,
    Decimal("0.10"): 10,
    Decimal("0.15"): 6,
    Decimal("0.20"): 6,
    Decimal("0.25"): 3,
    Decimal("0.35"): 2,
    Decimal("0.40"): 1,
    Decimal("0.50"): 1,
}
PAYMENTS = {"credit_card": 36, "paypal": 29, "debit_card": 14, "invoice": 11, "bank_transfer": 6, "gift_card": 4}
#: Of the amount of each line, which is without tax.
TAX_RATE = Decimal("0.19")
#: Share of orders that are recorded 1 to 9 days after the customer ordered.
LATE_SHARE = 0.04
#: Share of customers' orders whose clicks were recorded.
TRACKED_SHARE = 0.45

# Guests and cancelled orders: shares of orders

GUEST_SHARE = 0.08
#: Share of the guests' orders whose customer is a blank text instead of null.
BLANK_GUEST_SHARE = 0.08
CANCELLED_SHARE = 0.015
CANCELLED_STATUSES = {
    "cancelled": 40,
    "Cancelled": 10,
    "CANCELLED": 10,
    "canceled": 15,
    "Canceled": 5,
    "voided": 8,
    "VOIDED": 2,
    "failed": 8,
    "Failed": 2,
}
OTHER_STATUSES = {"shipped": 60, "paid": 25, "Delivered": 10, "completed": 5}

# Refunds

#: Share of the lines of orders that are not cancelled. Refunds that would come after the shop's last day are not there.
REFUND_SHARE = 0.03
#: Of the orders with a refunded line, the share that is refunded as a whole, without a line number.
WHOLE_ORDER_SHARE = 0.10
#: Of the refunds of one line, the share that names the product and the customer, and no order ...
NO_ORDER_SHARE = 0.04
#: ... and the share that is less than the line's amount.
PARTIAL_SHARE = 0.20
#: Days from the order to its refund, both included.
REFUND_DAYS = (2, 30)
REASONS: dict[str | None, int] = {
    "wrong size": 24,
    "not as described": 18,
    "changed my mind": 20,
    "damaged in transit": 14,
    "arrived too late": 8,
    "wrong item sent": 6,
    None: 10,
}
