"""Customers, how often they buy, and their subscriptions."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from include.demo.shop.invent.chance import Calendar, Weighted, fates, long_tail
from include.demo.shop.invent.states import Row, States

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
PLAIN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "í": "i", "'": ""})

FATES = {
    "joined": 0.15,
    "new_email": 0.04,
    "new_name": 0.02,
    "closed": 0.03,
    "suspended": 0.02,
    "long_closed": 0.04,
    "vanished": 0.003,
}
PLANS = {"Basic": Decimal("9.99"), "Plus": Decimal("19.99"), "Premium": Decimal("39.99")}


@dataclass(frozen=True)
class Customer:
    """Who buys: from ``joined_on`` on and before ``left_on``, as often as ``frequency`` says."""

    number: int
    frequency: float
    joined_on: date
    left_on: date | None

    @property
    def customer_id(self) -> str:
        """As events and orders name the customer."""
        return customer_id(self.number)

    def shops_on(self, day: date) -> bool:
        """Whether the customer is one on a day."""
        return self.joined_on <= day and (self.left_on is None or day < self.left_on)


def customer_id(number: int) -> str:
    """As the shop writes it: at least three digits."""
    return f"CUST{number:03d}"


def visitors(customers: list[Customer], day: date) -> Weighted[Customer]:
    """The customers of a day, by how often they shop."""
    present = [customer for customer in customers if customer.shops_on(day)]
    return Weighted(present, [customer.frequency for customer in present])


def customer_base(rng: Random, count: int, calendar: Calendar) -> tuple[list[Customer], States]:
    """
    :return: ``count`` customers, and the two states of the table ``customer``
    """
    people: list[Customer] = []
    states = States()
    frequencies = long_tail(rng, count)
    for number, fate in enumerate(fates(rng, count, FATES), start=1):
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
        after = dict(row)
        left: date | None = None
        if fate == "joined":
            joined = after["start_date"] = changed_on
        elif fate == "new_email":
            after["customer_email"] = _email(rng, first_name, last_name, number + 10_000)
        elif fate == "new_name":
            after["customer_name"] = f"{first_name} {rng.choice(LAST_NAMES)}-{last_name}"
        elif fate == "closed":
            left = changed_on
            after |= {"status": "inactive", "end_date": left}
        elif fate == "suspended":
            after["status"] = "suspended"
        elif fate == "long_closed":
            left = joined + timedelta(days=rng.randint(0, (calendar.first - joined).days))
            row |= {"status": "inactive", "end_date": left}
            after = dict(row)
        elif fate == "vanished":
            left = changed_on
        if fate != "joined":
            states.opening[customer_id(number)] = row
        if fate != "vanished":
            states.final[customer_id(number)] = after
        never_buys = rng.random() < 0.05
        people.append(Customer(number, 0.0 if never_buys else frequencies[number - 1], joined, left))
    return people, states


def subscriptions(rng: Random, customers: list[Customer], calendar: Calendar) -> States:
    """
    The two states of ``subscription_data``: two customers in five subscribe, some again with another plan.

    Some cancel (status ``Cancelled``, with an end), some have a fixed year (the end is known from the start),
    most go on. The opening state does not yet know what was cancelled later.
    """
    last_day = calendar.end - timedelta(days=1)
    drafts: list[tuple[Row, date | None]] = []  # a row as it is in the end, and the day it was cancelled
    for customer in customers:
        start = customer.joined_on + timedelta(days=rng.randint(0, 400))
        plan = rng.choice(list(PLANS))
        subscribes = rng.random() < 0.42
        while subscribes and start <= last_day:
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
            course = rng.random()
            if course < 0.35:
                cancelled_on = start + timedelta(days=rng.randint(20, 420))
            elif course < 0.55:
                row["subscription_end_date"] = start + timedelta(days=365)
            if cancelled_on is not None and cancelled_on > last_day:
                cancelled_on = None
            if cancelled_on is not None:
                spelling = rng.choice(("cancelled", "cancelled", "Cancelled", "CANCELLED"))
                row |= {"subscription_end_date": cancelled_on, "status": spelling}
            drafts.append((row, cancelled_on))
            end = row["subscription_end_date"]
            if end is None or end > last_day or rng.random() > 0.3:
                break
            start = end + timedelta(days=rng.randint(1, 40))
            plan = rng.choice([other for other in PLANS if other != plan])

    states = States()
    drafts.sort(key=lambda draft: (draft[0]["subscription_start_date"], draft[0]["customer_id"]))
    for number, (row, cancelled_on) in enumerate(drafts, start=1):
        key = row["subscription_id"] = f"SUB{number:05d}"
        end = row["subscription_end_date"]
        ended = cancelled_on is None and end is not None and end <= last_day
        states.final[key] = row | {"status": "expired"} if ended else row
        if row["subscription_start_date"] >= calendar.first:
            continue
        if cancelled_on is not None and cancelled_on >= calendar.first:
            states.opening[key] = row | {"subscription_end_date": None, "status": "active"}
        elif ended and end < calendar.first:
            states.opening[key] = row | {"status": "expired"}
        else:
            states.opening[key] = dict(row)
    return states


def _email(rng: Random, first_name: str, last_name: str, number: int) -> str:
    name = f"{first_name}.{last_name}".lower().translate(PLAIN)
    return f"{name}{number}@{rng.choice(MAIL_HOSTS)}"
