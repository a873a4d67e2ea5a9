"""
What the generated shop sells by its effects alone: mean and variance for each day and category.

The formulas are those of a random sum. An order has L lines; a line is a product (by popularity and season), a
quantity and a discount. The number of a day's orders is its demand times a uniform factor. Left out: the lines of an
order are of different products, which moves the mean by less than one percent and no comparison of months.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

from include.demo.shop.generate import GeneratedShop
from include.demo.shop.generator import effects
from include.demo.shop.generator.catalogue import CATEGORIES, Product
from include.demo.shop.generator.random_draws import between_months
from include.demo.shop.generator.weather import wet_days
from tests.truth.intervals import Estimate

ALL_CATEGORIES = "All categories"
CATEGORY_OF_SEASONS = {tuple(category["seasons"]): name for name, category in CATEGORIES.items()}


def mean(weights: Mapping[float, float], power: int = 1) -> float:
    """The mean of a power of a value that is drawn by weight."""
    return sum(value**power * weight for value, weight in weights.items()) / sum(weights.values())


LINES: dict[float, float] = {float(size): float(weight) for size, weight in effects.LINES_PER_ORDER.items()}
QUANTITIES: dict[float, float] = {float(pieces): float(weight) for pieces, weight in effects.QUANTITIES.items()}
PAID_SHARES: dict[float, float] = {1 - float(rate): float(weight) for rate, weight in effects.DISCOUNTS.items()}
MEAN_LINES = mean(LINES)
PAIRS_OF_LINES = mean(LINES, 2) - MEAN_LINES
#: A line's amount is price x these two factors; the means of the factor and of its square.
FACTOR = mean(QUANTITIES) * mean(PAID_SHARES)
SQUARED_FACTOR = mean(QUANTITIES, 2) * mean(PAID_SHARES, 2)
#: Variance of the uniform factor of a day, whose mean is 1.
DAY_VARIANCE = (effects.DAILY_NOISE[1] - effects.DAILY_NOISE[0]) ** 2 / 12


@dataclass(frozen=True)
class OrderValue:
    """Mean and variance of what one order brings to a category."""

    mean: float
    variance: float


def order_values(products: Iterable[Product], day: date) -> dict[str, OrderValue]:
    """What an order of a day brings, by category and in all."""
    whole, prices, squares = 0.0, defaultdict[str, float](float), defaultdict[str, float](float)
    for product in products:
        if product.is_sold_on(day):
            weight = product.popularity * product.seasons[day.month - 1]
            price = float(product.price_on(day))
            whole += weight
            for category in (ALL_CATEGORIES, CATEGORY_OF_SEASONS[tuple(product.seasons)]):
                prices[category] += weight * price
                squares[category] += weight * price * price
    return {category: _order_value(prices[category] / whole, squares[category] / whole) for category in prices}


def _order_value(price: float, squared_price: float) -> OrderValue:
    """
    The value of an order whose lines have these means.

    With Y = X1 + … + XL: E[Y²] = E[L] E[X²] + E[L(L-1)] E[X]².
    """
    line, squared_line = FACTOR * price, SQUARED_FACTOR * squared_price
    value = MEAN_LINES * line
    return OrderValue(value, MEAN_LINES * squared_line + PAIRS_OF_LINES * line * line - value * value)


@dataclass(frozen=True)
class ExpectedSales:
    """The sales of a shop by its effects."""

    shop: GeneratedShop

    @cached_property
    def wet_days(self) -> set[date]:
        return wet_days(self.shop.weather)

    @cached_property
    def orders(self) -> dict[date, float]:
        """Orders of each day that are not cancelled."""
        demand = {
            day: self.shop.demand.of_day(number, day, is_wet=day in self.wet_days)
            for number, day in enumerate(self.shop.calendar.days)
        }
        placed = len(self.shop.orders) * (1 - effects.CANCELLED_SHARE)
        whole = sum(demand.values())
        return {day: placed * value / whole for day, value in demand.items()}

    @cached_property
    def values(self) -> dict[date, dict[str, OrderValue]]:
        """What an order brings, by day and category."""
        return {day: order_values(self.shop.products, day) for day in self.shop.calendar.days}

    def revenue(self, first: date, days: int, category: str = ALL_CATEGORIES) -> Estimate:
        """The revenue of some days; its error is that of baskets and of the days' random factors."""
        total = variance = 0.0
        for day in (first + timedelta(days=number) for number in range(days)):
            orders, value = self.orders[day], self.values[day][category]
            total += orders * value.mean
            variance += orders * value.variance + DAY_VARIANCE * (orders * value.mean) ** 2
        return Estimate(total, variance**0.5)

    def trend(self, first: date, days: int) -> float:
        """What some days sell by season and growth alone, in proportion to other days."""
        start = (first - self.shop.calendar.first).days
        return sum(
            self.shop.demand.level(number)
            * between_months(day, self.shop.demand.months)
            * self.values[day][ALL_CATEGORIES].mean
            for number, day in list(enumerate(self.shop.calendar.days))[start : start + days]
        )

    def seasonal_factors(self, category: str = ALL_CATEGORIES) -> list[float]:
        """
        The month factors that were put in, for revenue, January first; their mean is 100.

        Days and product mix of an ordinary year, with the assortment and the prices of the shop's middle: without
        growth, weekdays and rain.
        """
        middle = self.shop.calendar.first + timedelta(days=self.shop.calendar.length // 2)
        factors = []
        for month in range(1, 13):
            days = [day for day in _ordinary_year() if day.month == month]
            orders = sum(between_months(day, self.shop.demand.months) for day in days) / len(days)
            factors.append(orders * self._value_in_month(middle, month, category))
        return [1200 * factor / sum(factors) for factor in factors]

    def _value_in_month(self, day: date, month: int, category: str) -> float:
        weights, prices = 0.0, 0.0
        for product in self.shop.products:
            if product.is_sold_on(day):
                weight = product.popularity * product.seasons[month - 1]
                weights += weight
                if category in (ALL_CATEGORIES, CATEGORY_OF_SEASONS[tuple(product.seasons)]):
                    prices += weight * float(product.price_on(day))
        return prices / weights

    def noise_of_ratio(self) -> float:
        """The variance of a day's sales against what is expected of it, as a mean over the days."""
        relative = [
            DAY_VARIANCE + value[ALL_CATEGORIES].variance / (self.orders[day] * value[ALL_CATEGORIES].mean ** 2)
            for day, value in self.values.items()
        ]
        return sum(relative) / len(relative)

    def lift(self, day: date) -> float:
        """What rain did to a day."""
        return self.shop.demand.rain_lift if day in self.wet_days else 1.0


def _ordinary_year() -> list[date]:
    return [date(2023, 1, 1) + timedelta(days=number) for number in range(365)]
