"""
Draw random values that are the same on every Python and platform.

A seed must give the same bytes everywhere, so the generator uses only what IEEE 754 and CPython define exactly:
``+ - * /``, ``math.fsum``, and the methods of ``random.Random`` that use nothing else. The last digit of ``sin``,
``exp``, ``log`` and ``**`` depends on the maths library (``Random.gauss`` uses them), and Python 3.12 changed how
``sum`` rounds floats.
"""

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

Item = TypeVar("Item")

CENT = Decimal("0.01")
UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Calendar:
    """The UTC days that the shop's data covers: ``length`` days from ``first`` on."""

    first: date
    length: int

    @property
    def end(self) -> date:
        """The day after the last day."""
        return self.first + timedelta(days=self.length)

    @property
    def days(self) -> list[date]:
        """All days in order."""
        return [self.first + timedelta(days=number) for number in range(self.length)]

    def some_day(self, rng: Random, *, margin: int = 0) -> date:
        """Draw a day of the calendar, at least ``margin`` days from either end."""
        return self.first + timedelta(days=rng.randint(margin, self.length - 1 - margin))


class Weighted(Generic[Item]):
    """Items that are drawn in proportion to their weights; a draw costs one bisection."""

    def __init__(self, items: Sequence[Item], weights: Sequence[float]) -> None:
        self._items = items
        self._cumulative = list(accumulate(weights))

    @classmethod
    def of(cls, weights: Mapping[Item, float]) -> "Weighted[Item]":
        """Take the items and weights of a mapping."""
        return cls(tuple(weights), tuple(weights.values()))

    def draw(self, rng: Random) -> Item:
        """Draw one item; it can be drawn again."""
        place = bisect(self._cumulative, rng.random() * self._cumulative[-1])
        return self._items[min(place, len(self._items) - 1)]


def money(amount: Decimal) -> Decimal:
    """Round an amount to the cent, half up."""
    return amount.quantize(CENT, ROUND_HALF_UP)


def bell(rng: Random) -> float:
    """Draw from a bell curve of mean 0 and variance 1, between -3.5 and 3.5: the scaled sum of four uniform draws."""
    return (rng.random() + rng.random() + rng.random() + rng.random() - 2) * 1.7320508


def long_tail(rng: Random, count: int) -> list[float]:
    """Draw weights of which a few are large and most are small: Zipf's law, flattened for the largest, shuffled."""
    weights = [1 / (rank + count / 24 + 1) for rank in range(count)]
    rng.shuffle(weights)
    return weights


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Split ``total`` into whole parts in proportion to the weights (largest remainder method)."""
    whole = math.fsum(weights)
    shares = [total * weight / whole for weight in weights]
    parts = [int(share) for share in shares]
    by_remainder = sorted(range(len(parts)), key=lambda place: (parts[place] - shares[place], place))
    for place in by_remainder[: total - sum(parts)]:
        parts[place] += 1
    return parts


def between_months(day: date, monthly: Sequence[float]) -> float:
    """Interpolate the value of a day between twelve mid-month values (January first)."""
    since_mid_month = (day.day - 15) / 30
    neighbour = monthly[(day.month - (2 if since_mid_month < 0 else 0)) % 12]
    here = monthly[day.month - 1]
    return here + (neighbour - here) * (-since_mid_month if since_mid_month < 0 else since_mid_month)


def assign_changes(rng: Random, count: int, shares: dict[str, float]) -> list[str]:
    """
    Draw for each of ``count`` members what will change about it.

    :param shares: change → the share of members that it happens to, at least one of them
    :return: one change per member, ``UNCHANGED`` for all others
    """
    changes = [change for change, share in shares.items() for _ in range(max(1, int(count * share)))]
    changes += [UNCHANGED] * (count - len(changes))
    rng.shuffle(changes)
    return changes


def at_moment(day: date, second: int) -> datetime:
    """Compose the naive UTC time that is ``second`` seconds after a day's start."""
    return datetime(day.year, day.month, day.day) + timedelta(seconds=second)
