"""
What the members of a dimension, such as categories, make of the difference of a figure between two days.

A figure is a sum over its members (revenue), or a ratio of two such sums (the average order value is revenue / orders).

- Of a **sum**, the effect of a member is its own difference.
- Of a **ratio**, a member has a rate of its own (a / b) and a share of the base (b / B). With A, the mean of the figure
  on both days, the effect of a member is

  ``(a₁/B₁ − a₀/B₀) − A · (b₁/B₁ − b₀/B₀)``

  which is what its *rate* makes, ``mean share · (rate₁ − rate₀)``, and what its *share* makes, ``(share₁ − share₀) ·
  (mean rate − A)``: more orders of a member whose orders are larger than the average make the average larger. (This is
  the mix and rate decomposition with the means of the two days, which has no remainder and gives the same for the way
  back.) A member of one day only has no rate to compare: all of its effect is its share's.

The shares add up to 1 on both days, so the effects add up to the difference of the figure, for fractions exactly. They
are then rounded to cents so that they add up to the difference of the two rounded figures (largest remainders).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

#: Decimals of effects that are no counts.
PLACES = 2


@dataclass(frozen=True)
class Member:
    """
    A member of a dimension on both days; 0 on a day on which it has nothing.

    :param before: its part of the sum, or of a ratio's numerator, on the earlier day
    :param base_before: its part of the ratio's denominator; None for a sum
    :param members: how many it stands for
    """

    name: str
    before: Decimal
    after: Decimal
    base_before: Decimal | None = None
    base_after: Decimal | None = None
    members: int = 1

    @property
    def is_ratio(self) -> bool:
        """Whether it is a part of a ratio."""
        return self.base_before is not None

    @property
    def sizes(self) -> tuple[Decimal, Decimal]:
        """What says whether it is there on each of the days."""
        if self.base_before is None or self.base_after is None:
            return self.before, self.after
        return (self.base_before or self.before), (self.base_after or self.after)


@dataclass(frozen=True)
class Effect:
    """
    A member with what it makes of the difference.

    :param before: of a sum the member's amount on the earlier day, of a ratio its rate; None: it has none on that day
    :param rate_effect: of a ratio, the part of the effect that is due to its rate; the rest is due to its share
    :param members: how many members it stands for; more than 1 in the last row, of all others
    """

    name: str
    before: Decimal | None
    after: Decimal | None
    effect: Decimal
    rate_effect: Decimal | None = None
    members: int = 1
    is_new: bool = False
    is_gone: bool = False

    @property
    def share_effect(self) -> Decimal | None:
        """The part of the effect that is due to its share."""
        return None if self.rate_effect is None else self.effect - self.rate_effect


@dataclass(frozen=True)
class Decomposition:
    """
    The effects, the largest first; they add up to `difference`.

    :param before: the figure on the earlier day, rounded; None: a ratio of nothing, so that there is no difference
    """

    before: Decimal | None
    after: Decimal | None
    effects: Sequence[Effect]

    @property
    def difference(self) -> Decimal | None:
        """By how much the rounded figure moved."""
        return None if self.before is None or self.after is None else self.after - self.before

    def largest(self, n: int) -> list[Effect]:
        """The ``n`` largest effects, and one row for all others. A row is not spent on a single other one."""
        if len(self.effects) <= n + 1:
            return list(self.effects)
        return [*self.effects[:n], self._others(self.effects[n:])]

    def _others(self, others: Sequence[Effect]) -> Effect:
        is_ratio = others[0].rate_effect is not None
        return Effect(
            name="Other",
            # The rates of several members have no sum.
            before=None if is_ratio else sum((other.before or Decimal(0) for other in others), Decimal(0)),
            after=None if is_ratio else sum((other.after or Decimal(0) for other in others), Decimal(0)),
            effect=sum((other.effect for other in others), Decimal(0)),
            rate_effect=sum((other.rate_effect or Decimal(0) for other in others), Decimal(0)) if is_ratio else None,
            members=sum(other.members for other in others),
        )


def decompose(members: Sequence[Member], *, factor: int = 1, places: int = PLACES) -> Decomposition:
    """
    What each member makes of the difference.

    :param members: all sums, or all ratios
    :param factor: of a ratio, 100 for a percentage
    :param places: decimals of the figure, 0 for a number of something
    """
    # In one order, so that the last cents go to the same members each time.
    members = sorted(members, key=lambda member: member.name)
    if any(member.is_ratio for member in members):
        return _decompose_ratio(members, factor, places)
    unit, parts = _whole_numbers(members)
    before = _quotient(sum(part.before for part in parts), unit, places)
    after = _quotient(sum(part.after for part in parts), unit, places)
    differences = [part.after - part.before for part in parts]
    effects = [
        Effect(
            member.name,
            _quotient(part.before, unit, places),
            _quotient(part.after, unit, places),
            effect,
            members=member.members,
            is_new=not member.before,
            is_gone=not member.after,
        )
        for member, part, effect in zip(
            members, parts, apportion(differences, unit, after - before, places), strict=True
        )
    ]
    return Decomposition(before, after, _sorted(effects))


def _decompose_ratio(members: Sequence[Member], factor: int, places: int) -> Decomposition:
    _, parts = _whole_numbers(members)
    before, after = sum(part.before for part in parts), sum(part.after for part in parts)
    base_before, base_after = sum(part.base_before for part in parts), sum(part.base_after for part in parts)
    shown_before = _ratio(factor * before, base_before, places)
    shown_after = _ratio(factor * after, base_after, places)
    if shown_before is None or shown_after is None:
        return Decomposition(shown_before, shown_after, effects=())
    # The mean of the two ratios is `mean` / (2 · bases), and each member's share of a base is a part of `bases`.
    bases = base_before * base_after
    mean = factor * (before * base_after + after * base_before)
    wholes, rates = [], []
    for part in parts:
        whole = factor * (part.after * base_before - part.before * base_after)
        share = part.base_after * base_before - part.base_before * base_after
        wholes.append(2 * bases * whole - mean * share)
        shares = part.base_before * base_after + part.base_after * base_before
        rate = factor * shares * (part.after * part.base_before - part.before * part.base_after)
        rates.append(_ratio(rate, 2 * bases * part.base_before * part.base_after, places))
    effects = [
        Effect(
            member.name,
            _ratio(factor * part.before, part.base_before, places),
            _ratio(factor * part.after, part.base_after, places),
            effect,
            rate_effect=Decimal(0) if rate is None else rate,
            members=member.members,
            is_new=not member.sizes[0],
            is_gone=not member.sizes[1],
        )
        for member, part, effect, rate in zip(
            members, parts, apportion(wholes, 2 * bases**2, shown_after - shown_before, places), rates, strict=True
        )
    ]
    return Decomposition(shown_before, shown_after, _sorted(effects))


def apportion(numerators: Sequence[int], denominator: int, total: Decimal, places: int = PLACES) -> list[Decimal]:
    """
    Fractions rounded so that they add up to ``total``: each is cut, and the rest goes to the largest remainders.

    :param denominator: of all of them
    :param total: their sum, or what is shown of it
    """
    if not numerators:
        return []
    unit = 10**places
    units, remainders = zip(*(divmod(numerator * unit, denominator) for numerator in numerators), strict=True)
    by_remainder = sorted(range(len(units)), key=lambda n: remainders[n], reverse=True)
    each, rest = divmod(int(total * unit) - sum(units), len(units))
    rounded = [whole + each for whole in units]
    for n in by_remainder[:rest]:
        rounded[n] += 1
    return [Decimal(whole).scaleb(-places) for whole in rounded]


def _sorted(effects: Iterable[Effect]) -> list[Effect]:
    return sorted(effects, key=lambda effect: (-abs(effect.effect), effect.name))


class _WholeNumbers(NamedTuple):
    """A member's numbers, each times the same unit; of a sum, without a base."""

    before: int
    after: int
    base_before: int
    base_after: int


def _whole_numbers(members: Sequence[Member]) -> tuple[int, list[_WholeNumbers]]:
    """The unit, and the members' numbers times the unit: with whole numbers all that follows is exact, and quick."""
    numbers = [
        [member.before, member.after, member.base_before or Decimal(0), member.base_after or Decimal(0)]
        for member in members
    ]
    places = max((-int(number.as_tuple().exponent) for row in numbers for number in row), default=0)
    unit = 10 ** max(places, 0)
    return unit, [_WholeNumbers(*(int(number * unit) for number in row)) for row in numbers]


def _ratio(numerator: int, denominator: int, places: int) -> Decimal | None:
    return _quotient(numerator, denominator, places) if denominator else None


def _quotient(numerator: int, denominator: int, places: int) -> Decimal:
    """Rounded as Postgres rounds a number: half away from 0."""
    doubled = 2 * abs(denominator)
    magnitude = (2 * abs(numerator) * 10**places + abs(denominator)) // doubled
    return Decimal(magnitude if (numerator < 0) == (denominator < 0) else -magnitude).scaleb(-places)
