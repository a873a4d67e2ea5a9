"""Generate the customers, how often they buy, and their subscriptions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from include.demo.shop.generator.random_draws import Calendar, Weighted, assign_changes, long_tail
from include.demo.shop.generator.table_states import Row, States

FIRST_NAMES = (
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hannah", "Ida", "Jonas", "Katharina", "Leon",
    "Mia", "Noah", "Olivia", "Paul", "Rosa", "Samir", "Theo", "Ute", "Victor", "Wanda", "Yara", "Zoe", "Jörg",
    "Käthe", "Aylin", "Mateusz", "Chiara", "Ngoc", "Amara", "Luca", "Sofia", "Elif", "Björn", "Marie",
)  # fmt: skip
LAST_NAMES = (
    "Müller", "Schmidt", "Schneider", "Fischer", "Weber", "Meyer", "Wagner", "Becker", "Schulz", "Hoffmann",
    "Koch", "Bauer", "Richter", "Klein", "Wolf", "Schröder", "Neumann", "Schwarz", "Zimmermann", "Braun",
    "Krüger", "Hofmann", "Hartmann", "Lange", "Yildiz", "Nowak", "Rossi", "Nguyen", "Okafor", "Larsen",
    "O'Neill", "García",
)  # fmt: skip
MAIL_HOSTS = ("example.com", "example.org", "mail.example.net", "post.example.de")
ASCII_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "í": "i", "'": ""})

#: Change → the share of customers that it happens to.
CHANGES = {
    "joined": 0.15,
    "new_email": 0.04,
    "new_name": 0.02,
    "closed": 0.03,
    "suspended": 0.02,
    "closed_before": 0.04,
    "vanished": 0.003,
}
PLANS = {"Basic": Decimal("9.99"), "Plus": Decimal("19.99"), "Premium": Decimal("39.99")}


@dataclass(frozen=True)
class Customer:
    """A customer, who buys from ``joined_on`` until before ``left_on``, in proportion to ``frequency``."""

    number: int
    frequency: float
    joined_on: date
    left_on: date | None

    @property
    def customer_id(self) -> str:
        """The id by which events and orders name the customer."""
        return customer_id(self.number)

    def shops_on(self, day: date) -> bool:
        """Whether the customer may buy on a day."""
        return self.joined_on <= day and (self.left_on is None or day < self.left_on)


def customer_id(number: int) -> str:
    """Format a customer's number as the shop writes it: with at least three digits."""
    return f"CUST{number:03d}"


def visitors(customers: list[Customer], day: date) -> Weighted[Customer]:
    """Collect the customers who may buy on a day, weighted by how often they do."""
    present = [customer for customer in customers if customer.shops_on(day)]
    return Weighted(present, [customer.frequency for customer in present])


def customer_base(rng: Random, count: int, calendar: Calendar) -> tuple[list[Customer], States]:
    """
    Generate the customers.

    :return: ``count`` customers, and the two states of the table ``customer``
    """
    customers: list[Customer] = []
    states = States()
    frequencies = long_tail(rng, count)
    for number, change in enumerate(assign_changes(rng, count, CHANGES), start=1):
        joined = calendar.first - timedelta(days=rng.randint(1, 1100))
        changed_on = calendar.some_day(rng, margin=min(5, calendar.length // 3))
        first_name, last_name = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
        row: Row = {
            "customer_id": customer_id(number),
            "customer_name": f"{first_name} {last_name}",
            "customer_email": _email(rng, first_name, last_name, number),
            "start_date": joined,
            "end_date": None,
            "status": "active",
        }
        draft = _Draft(number, first_name, last_name, row, dict(row), calendar.first, changed_on)
        if apply := _APPLY.get(change):
            apply(rng, draft)
        if change != "joined":
            states.opening[customer_id(number)] = draft.before
        if change != "vanished":
            states.final[customer_id(number)] = draft.after
        never_buys = rng.random() < 0.05
        frequency = 0.0 if never_buys else frequencies[number - 1]
        customers.append(Customer(number, frequency, draft.after["start_date"], draft.left_on))
    return customers, states


@dataclass
class _Draft:
    """A customer's row before and after the change that happens on ``changed_on``."""

    number: int
    first_name: str
    last_name: str
    before: Row
    after: Row
    first_day: date
    changed_on: date
    left_on: date | None = None


def _join(rng: Random, draft: _Draft) -> None:
    draft.after["start_date"] = draft.changed_on


def _change_email(rng: Random, draft: _Draft) -> None:
    draft.after["customer_email"] = _email(rng, draft.first_name, draft.last_name, draft.number + 10_000)


def _change_name(rng: Random, draft: _Draft) -> None:
    draft.after["customer_name"] = f"{draft.first_name} {rng.choice(LAST_NAMES)}-{draft.last_name}"


def _close(rng: Random, draft: _Draft) -> None:
    draft.left_on = draft.changed_on
    draft.after |= {"status": "inactive", "end_date": draft.left_on}


def _suspend(rng: Random, draft: _Draft) -> None:
    draft.after["status"] = "suspended"


def _close_before(rng: Random, draft: _Draft) -> None:
    joined = draft.before["start_date"]
    draft.left_on = joined + timedelta(days=rng.randint(0, (draft.first_day - joined).days))
    draft.before |= {"status": "inactive", "end_date": draft.left_on}
    draft.after = dict(draft.before)


def _vanish(rng: Random, draft: _Draft) -> None:
    draft.left_on = draft.changed_on


_APPLY: dict[str, Callable[[Random, _Draft], None]] = {
    "joined": _join,
    "new_email": _change_email,
    "new_name": _change_name,
    "closed": _close,
    "suspended": _suspend,
    "closed_before": _close_before,
    "vanished": _vanish,
}


@dataclass(frozen=True)
class _Subscription:
    """The final row of a subscription, and the day on which it was cancelled."""

    row: Row
    cancelled_on: date | None

    def has_expired_by(self, day: date) -> bool:
        """Whether its fixed year had ended by a day."""
        end = self.row["subscription_end_date"]
        return self.cancelled_on is None and end is not None and end <= day


def subscriptions(rng: Random, customers: list[Customer], calendar: Calendar) -> States:
    """
    Generate the two states of ``subscription_data``: two customers in five subscribe, some again with another plan.

    Some cancel (status ``Cancelled``, with an end), some have a fixed year (the end is known from the start), most have
    no end. In the opening state, subscriptions that are cancelled within the days are still active.
    """
    last_day = calendar.end - timedelta(days=1)
    drafts = [draft for customer in customers for draft in _subscriptions_of(rng, customer, last_day)]
    drafts.sort(key=lambda draft: (draft.row["subscription_start_date"], draft.row["customer_id"]))
    states = States()
    for number, draft in enumerate(drafts, start=1):
        key = draft.row["subscription_id"] = f"SUB{number:05d}"
        states.final[key] = draft.row | {"status": "expired"} if draft.has_expired_by(last_day) else draft.row
        if draft.row["subscription_start_date"] < calendar.first:
            states.opening[key] = _opening_row(draft, calendar.first)
    return states


def _subscriptions_of(rng: Random, customer: Customer, last_day: date) -> Iterator[_Subscription]:
    """Draw the subscriptions of one customer, one after the other, without their ids."""
    start = customer.joined_on + timedelta(days=rng.randint(0, 400))
    plan = rng.choice(list(PLANS))
    subscribes = rng.random() < 0.42
    while subscribes and start <= last_day:
        subscription = _subscription(rng, customer, plan, start, last_day)
        yield subscription
        end = subscription.row["subscription_end_date"]
        if end is None or end > last_day or rng.random() > 0.3:
            return
        start = end + timedelta(days=rng.randint(1, 40))
        plan = rng.choice([other for other in PLANS if other != plan])


def _subscription(rng: Random, customer: Customer, plan: str, start: date, last_day: date) -> _Subscription:
    row: Row = {
        "customer_id": customer.number,
        "subscription_id": "",
        "plan_type": plan,
        "subscription_start_date": start,
        "subscription_end_date": None,
        "monthly_fee": PLANS[plan],
        "status": "active",
    }
    cancelled_on: date | None = None
    draw = rng.random()
    if draw < 0.35:
        cancelled_on = start + timedelta(days=rng.randint(20, 420))
    elif draw < 0.55:
        row["subscription_end_date"] = start + timedelta(days=365)
    if cancelled_on is None or cancelled_on > last_day:
        return _Subscription(row, None)
    spelling = rng.choice(("cancelled", "cancelled", "Cancelled", "CANCELLED"))
    return _Subscription(row | {"subscription_end_date": cancelled_on, "status": spelling}, cancelled_on)


def _opening_row(draft: _Subscription, first_day: date) -> Row:
    """The row as it was before the first day: what was cancelled or expired later was still active."""
    if draft.cancelled_on is not None and draft.cancelled_on >= first_day:
        return draft.row | {"subscription_end_date": None, "status": "active"}
    if draft.has_expired_by(first_day - timedelta(days=1)):
        return draft.row | {"status": "expired"}
    return dict(draft.row)


def _email(rng: Random, first_name: str, last_name: str, number: int) -> str:
    name = f"{first_name}.{last_name}".lower().translate(ASCII_LETTERS)
    return f"{name}{number}@{rng.choice(MAIL_HOSTS)}"
