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
from fractions import Fraction
from math import floor

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
    before, after = (
        _to_places(_total(values), places)
        for values in ([member.before for member in members], [member.after for member in members])
    )
    differences = [Fraction(member.after) - Fraction(member.before) for member in members]
    effects = [
        Effect(
            member.name,
            _to_places(Fraction(member.before), places),
            _to_places(Fraction(member.after), places),
            effect,
            members=member.members,
            is_new=not member.before,
            is_gone=not member.after,
        )
        for member, effect in zip(members, apportion(differences, after - before, places), strict=True)
    ]
    return Decomposition(before, after, _sorted(effects))


def _decompose_ratio(members: Sequence[Member], factor: int, places: int) -> Decomposition:
    base_before, base_after = _total(m.base_before for m in members), _total(m.base_after for m in members)
    before = factor * _total(m.before for m in members) / base_before if base_before else None
    after = factor * _total(m.after for m in members) / base_after if base_after else None
    if before is None or after is None:
        known = [None if value is None else _to_places(value, places) for value in (before, after)]
        return Decomposition(known[0], known[1], effects=())
    mean = (before + after) / 2
    wholes, rates = [], []
    for member in members:
        share_before, share_after = _part(member.base_before, base_before), _part(member.base_after, base_after)
        whole = factor * (_part(member.after, base_after) - _part(member.before, base_before))
        wholes.append(whole - mean * (share_after - share_before))
        rate_before, rate_after = _rate(member.before, member.base_before), _rate(member.after, member.base_after)
        if rate_before is None or rate_after is None:
            rates.append(Fraction(0))
        else:
            rates.append(factor * (share_before + share_after) / 2 * (rate_after - rate_before))
    shown_before, shown_after = _to_places(before, places), _to_places(after, places)
    effects = [
        Effect(
            member.name,
            _rate_to_places(member.before, member.base_before, factor, places),
            _rate_to_places(member.after, member.base_after, factor, places),
            effect,
            rate_effect=_to_places(rate, places),
            members=member.members,
            is_new=not member.sizes[0],
            is_gone=not member.sizes[1],
        )
        for member, effect, rate in zip(
            members, apportion(wholes, shown_after - shown_before, places), rates, strict=True
        )
    ]
    return Decomposition(shown_before, shown_after, _sorted(effects))


def apportion(values: Sequence[Fraction], total: Decimal, places: int = PLACES) -> list[Decimal]:
    """
    The values rounded so that they add up to ``total``: each is cut, and the rest goes to the largest remainders.

    :param total: their sum, or what is shown of it
    """
    if not values:
        return []
    unit = 10**places
    scaled = [value * unit for value in values]
    units = [floor(value) for value in scaled]
    by_remainder = sorted(range(len(values)), key=lambda n: scaled[n] - units[n], reverse=True)
    each, rest = divmod(int(total * unit) - sum(units), len(values))
    for position, n in enumerate(by_remainder):
        units[n] += each + (position < rest)
    return [Decimal(value).scaleb(-places) for value in units]


def _sorted(effects: Iterable[Effect]) -> list[Effect]:
    return sorted(effects, key=lambda effect: (-abs(effect.effect), effect.name))


def _total(values: Iterable[Decimal | None]) -> Fraction:
    return sum((Fraction(value or 0) for value in values), Fraction(0))


def _part(value: Decimal | None, total: Fraction) -> Fraction:
    return Fraction(value or 0) / total


def _rate(value: Decimal, base: Decimal | None) -> Fraction | None:
    return Fraction(value) / Fraction(base) if base else None


def _rate_to_places(value: Decimal, base: Decimal | None, factor: int, places: int) -> Decimal | None:
    rate = _rate(value, base)
    return None if rate is None else _to_places(factor * rate, places)


def _to_places(value: Fraction, places: int) -> Decimal:
    """Rounded as Postgres rounds a number: half away from 0."""
    unit = 10**places
    magnitude = floor(abs(value) * unit + Fraction(1, 2))
    return Decimal(magnitude if value >= 0 else -magnitude).scaleb(-places)
