"""
How often the customers of the generated shop buy, by its effects alone.

Each order is of a customer who is there on its day, in proportion to the customers' frequencies. So a customer's orders
are, very nearly, those of a Poisson process whose rate is known for each day.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import accumulate
from math import exp, expm1

from include.demo.shop.generator import effects
from include.demo.shop.generator.customers import Customer
from tests.truth.expected_sales import ExpectedSales
from tests.truth.intervals import Estimate

#: The first days of a customer in which the marts know no frequency.
FIRST_DAYS = 30


@dataclass(frozen=True)
class ExpectedCustomers:
    """The customers of a shop by its effects."""

    sales: ExpectedSales

    @cached_property
    def buyers(self) -> list[Customer]:
        return [customer for customer in self.sales.shop.customers if customer.frequency > 0]

    @cached_property
    def up_to(self) -> list[float]:
        """Orders of a customer of frequency 1 before the n-th day, were the customer always there."""
        rates = [
            orders
            * (1 - effects.GUEST_SHARE)
            / sum(customer.frequency for customer in self.buyers if customer.shops_on(day))
            for day, orders in self.sales.orders.items()
        ]
        return [0.0, *accumulate(rates)]

    def orders(self, customer: Customer, first: int, end: int) -> float:
        """The expected orders of a customer from the n-th day until before another."""
        begin, left = self._presence(customer)
        first, end = max(first, begin), min(end, left)
        return customer.frequency * (self.up_to[end] - self.up_to[first]) if first < end else 0.0

    def repeat_share(self) -> Estimate:
        """Of the customers who ordered, the share that ordered again, in percent."""
        means = [self.orders(customer, 0, self.sales.shop.calendar.length) for customer in self.buyers]
        once = [1 - exp(-mean) for mean in means]
        again = [1 - exp(-mean) * (1 + mean) for mean in means]
        value = sum(again) / sum(once)
        # The variance of sum(again) - value x sum(once), whose mean is 0.
        variance = sum(
            a * (1 - a) - 2 * value * a * (1 - o) + value * value * o * (1 - o)
            for a, o in zip(again, once, strict=True)
        )
        return Estimate(100 * value, 100 * variance**0.5 / sum(once))

    def retention(self, cohort: date, month: date) -> Estimate:
        """Of the customers whose first order was in a month, the share that ordered in a later one, in percent."""
        joined = active = variance = 0.0
        for customer in self.buyers:
            in_cohort = exp(-self.orders(customer, 0, self._number(cohort))) * -expm1(
                -self.orders(customer, *self._month(cohort))
            )
            orders_then = -expm1(-self.orders(customer, *self._month(month)))
            joined += in_cohort
            active += in_cohort * orders_then
            variance += in_cohort * orders_then * (1 - orders_then)
        return Estimate(100 * active / joined, 100 * variance**0.5 / joined)

    @cached_property
    def orders_per_30_days(self) -> Estimate:
        """The mean over the customers whose first order is at least 30 days old."""
        total = customers = squares = 0.0
        for customer in self.buyers:
            probability, first, second = self._frequency(customer)
            total += first
            customers += probability
            squares += second
        value = total / customers
        # The variance of sum(frequency) - value x number of customers, whose mean is 0.
        variance = squares - 2 * value * total + value * value * customers
        return Estimate(value, variance**0.5 / customers)

    def _frequency(self, customer: Customer) -> tuple[float, float, float]:
        """The probability that a customer has a frequency, and the means of it and of its square where it has one."""
        begin, end = self._presence(customer)
        up_to = [customer.frequency * orders for orders in self.up_to]
        length = self.sales.shop.calendar.length
        probability = first = second = 0.0
        for number in range(begin, min(end, length - FIRST_DAYS)):
            today, later = up_to[number + 1] - up_to[number], up_to[end] - up_to[number + 1]
            begins = exp(up_to[begin] - up_to[number]) * -expm1(-today)
            on_first_day = today / -expm1(-today)
            # Orders of the first day, of which there is one at least, and those of the days after it.
            mean = on_first_day + later
            variance = on_first_day * (1 + today - on_first_day) + later
            scale = FIRST_DAYS / (length - number)
            probability += begins
            first += begins * scale * mean
            second += begins * scale * scale * (variance + mean * mean)
        return probability, first, second

    def _presence(self, customer: Customer) -> tuple[int, int]:
        """The number of the first day on which a customer may buy, and of the day after the last."""
        length = self.sales.shop.calendar.length
        joined, left = self._number(customer.joined_on), customer.left_on
        begin = min(max(joined, 0), length)
        return begin, max(begin, min(self._number(left), length) if left else length)

    def _number(self, day: date) -> int:
        return (day - self.sales.shop.calendar.first).days

    def _month(self, first: date) -> tuple[int, int]:
        after = (first + timedelta(days=31)).replace(day=1)
        return self._number(first), self._number(after)
