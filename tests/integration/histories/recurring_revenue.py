"""
What the marts of subscriptions must hold, by the contract alone: each subscription day by day, with the fee that was
known on that day.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

DAY = timedelta(days=1)
ALL_PLANS = "All plans"


@dataclass(frozen=True)
class Read:
    """What a read found of a subscription; with `is_deleted`, that it was not there any more."""

    read_on: date
    plan: str | None = None
    start: date = date.min
    end: date | None = None
    fee: Decimal | None = None
    is_deleted: bool = False


@dataclass(frozen=True)
class Subscription:
    """The reads of a subscription that found something new, in order; the first found it."""

    customer_id: str
    reads: Sequence[Read]

    @property
    def latest(self) -> Read:
        return [read for read in self.reads if not read.is_deleted][-1]

    @property
    def start(self) -> date:
        return self.latest.start

    @property
    def has_been(self) -> bool:
        """Not if it was deleted by the day of its start."""
        last = self.reads[-1]
        return not last.is_deleted or last.read_on > self.start

    @property
    def end(self) -> date:
        """The first day on which it is not active, at the earliest that of its start; far away if it has no end."""
        last = self.reads[-1]
        ends = [self.latest.end or date.max, last.read_on if last.is_deleted else date.max]
        return max(self.start, min(ends))

    def fee_on(self, day: date) -> Decimal:
        """As it was known then."""
        found = [read for read in self.reads if not read.is_deleted]
        known = [read for n, read in enumerate(found) if n == 0 or read.read_on <= day]
        return known[-1].fee or Decimal(0)

    def is_active(self, day: date) -> bool:
        return self.start <= day < self.end


@dataclass
class Month:
    """A month of a plan, or of all."""

    opening: Decimal = Decimal(0)
    new: Decimal = Decimal(0)
    reactivated: Decimal = Decimal(0)
    expansion: Decimal = Decimal(0)
    contraction: Decimal = Decimal(0)
    churned: Decimal = Decimal(0)
    closing: Decimal = Decimal(0)
    numbers: Counter[str] = field(default_factory=Counter)


def months_of(subscriptions: Sequence[Subscription], as_of: date) -> Mapping[tuple[date, str | None], Month]:
    """By month and plan."""
    begun = [each for each in subscriptions if each.has_been and each.start <= as_of]
    months: dict[tuple[date, str | None], Month] = {}
    if not begun:
        return months
    first = min(each.start for each in begun).replace(day=1)
    for plan in {ALL_PLANS, *(each.latest.plan for each in begun)}:
        of_plan = [each for each in begun if plan in (ALL_PLANS, each.latest.plan)]
        for opens, closes in _months(first, as_of):
            months[opens, plan] = _month(of_plan, begun, opens, closes)
    return months


def _months(first: date, as_of: date) -> Iterator[tuple[date, date]]:
    opens = first
    while opens <= as_of:
        following = (opens + 31 * DAY).replace(day=1)
        yield opens, min(following - DAY, as_of)
        opens = following


def _month(of_plan: Sequence[Subscription], begun: Sequence[Subscription], opens: date, closes: date) -> Month:
    month = Month()
    for each in of_plan:
        if each.is_active(opens - DAY):
            month.opening += each.fee_on(opens - DAY)
        if each.is_active(closes):
            month.closing += each.fee_on(closes)
            month.numbers["active"] += 1
        if opens <= each.start <= closes:
            month.numbers["new"] += 1
            if _is_reactivated(each, begun):
                month.reactivated += each.fee_on(each.start)
            else:
                month.new += each.fee_on(each.start)
        if opens <= each.end <= closes:
            month.numbers["churned"] += 1
            month.churned += each.fee_on(max(each.start, each.end - DAY))
        for day in (opens + n * DAY for n in range((closes - opens).days + 1)):
            if each.is_active(day) and each.is_active(day - DAY):
                change = each.fee_on(day) - each.fee_on(day - DAY)
                month.expansion += max(change, Decimal(0))
                month.contraction += max(-change, Decimal(0))
    return month


def _is_reactivated(subscription: Subscription, begun: Sequence[Subscription]) -> bool:
    return any(
        earlier.customer_id == subscription.customer_id
        and earlier.start < subscription.start
        and earlier.end <= subscription.start
        for earlier in begun
    )


@dataclass(frozen=True)
class Subscriber:
    """What a customer pays on the as-of date, and has paid by then."""

    monthly_fee: Decimal
    active_subscriptions: int
    lifetime_fees: Decimal
    months_active: int
    first_start: date


def subscribers_of(subscriptions: Sequence[Subscription], as_of: date) -> Mapping[str, Subscriber]:
    """By customer."""
    by_customer: dict[str, list[Subscription]] = defaultdict(list)
    for each in subscriptions:
        if each.has_been and each.start <= as_of:
            by_customer[each.customer_id].append(each)
    return {customer_id: _subscriber(own, as_of) for customer_id, own in by_customer.items()}


def _subscriber(own: Sequence[Subscription], as_of: date) -> Subscriber:
    active = [
        (each, day)
        for each in own
        for day in (each.start + n * DAY for n in range((as_of - each.start).days + 1))
        if each.is_active(day)
    ]
    paying = [each for each in own if each.is_active(as_of)]
    return Subscriber(
        sum((each.fee_on(as_of) for each in paying), Decimal(0)),
        len(paying),
        sum((each.fee_on(day) for each, day in active if _begins_a_month(each.start, day)), Decimal(0)),
        len({(day.year, day.month) for _, day in active}),
        min(each.start for each in own),
    )


def _begins_a_month(start: date, day: date) -> bool:
    """Whether it is the start's day of the month, or the last day of a month that has no such day."""
    is_last = (day + DAY).month != day.month
    return day.day == start.day or (is_last and start.day > day.day)
