"""
Chance that falls the same everywhere.

A seed must give the same bytes on each Python and platform, so the generator keeps to what IEEE 754 and
CPython define exactly: ``+ - * /``, ``math.fsum``, and of ``random.Random`` what uses nothing else. ``sin``,
``exp``, ``log`` and ``**`` differ between maths libraries in the last digit (``Random.gauss`` uses them), and
``sum`` of floats changed its rounding in Python 3.12.
"""

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

Item = TypeVar("Item")

CENT = Decimal("0.01")


@dataclass(frozen=True)
class Calendar:
    """The days the shop's data covers: from ``first`` on, ``end`` exclusive, whole UTC days."""

    first: date
    length: int

    @property
    def end(self) -> date:
        """The day after the last."""
        return self.first + timedelta(days=self.length)

    @property
    def days(self) -> list[date]:
        """Every day, in order."""
        return [self.first + timedelta(days=number) for number in range(self.length)]

    def some_day(self, rng: Random, *, margin: int = 0) -> date:
        """A day of the calendar at least ``margin`` days from either end."""
        return self.first + timedelta(days=rng.randint(margin, self.length - 1 - margin))


class Weighted(Generic[Item]):
    """Items to draw from by weight; drawing costs one bisection."""

    def __init__(self, items: Sequence[Item], weights: Sequence[float]) -> None:
        self._items = items
        self._cumulative = list(accumulate(weights))

    def draw(self, rng: Random) -> Item:
        """One item; it stays to be drawn again."""
        place = bisect(self._cumulative, rng.random() * self._cumulative[-1])
        return self._items[min(place, len(self._items) - 1)]


def money(amount: Decimal) -> Decimal:
    """Rounded to the cent, half up."""
    return amount.quantize(CENT, ROUND_HALF_UP)


def bell(rng: Random) -> float:
    """A draw from a bell curve of mean 0 and variance 1, within 3.5 of it: four uniform draws, scaled."""
    return (rng.random() + rng.random() + rng.random() + rng.random() - 2) * 1.7320508


def long_tail(rng: Random, count: int) -> list[float]:
    """Weights in random order, a few large and most small: Zipf's law, flattened at its head."""
    weights = [1 / (rank + count / 24 + 1) for rank in range(count)]
    rng.shuffle(weights)
    return weights


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Split ``total`` into whole parts in proportion to the weights, by largest remainder."""
    whole = math.fsum(weights)
    shares = [total * weight / whole for weight in weights]
    parts = [int(share) for share in shares]
    by_remainder = sorted(range(len(parts)), key=lambda place: (parts[place] - shares[place], place))
    for place in by_remainder[: total - sum(parts)]:
        parts[place] += 1
    return parts


def between_months(day: date, monthly: Sequence[float]) -> float:
    """The value on a day of a curve given by its twelve mid-month values (January first)."""
    since_mid_month = (day.day - 15) / 30
    neighbour = monthly[(day.month - (2 if since_mid_month < 0 else 0)) % 12]
    here = monthly[day.month - 1]
    return here + (neighbour - here) * (-since_mid_month if since_mid_month < 0 else since_mid_month)


def fates(rng: Random, count: int, shares: dict[str, float]) -> list[str]:
    """One fate a member: each named fate for its share of them (at least one), ``steady`` for the others."""
    dealt = [fate for fate, share in shares.items() for _ in range(max(1, int(count * share)))]
    dealt += ["steady"] * (count - len(dealt))
    rng.shuffle(dealt)
    return dealt


def at_moment(day: date, second: int) -> datetime:
    """The naive UTC time a number of seconds into a day."""
    return datetime(day.year, day.month, day.day) + timedelta(seconds=second)
