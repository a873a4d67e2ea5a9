"""A history from a seed: a small shop, loads of random windows in random order, and runs of which some die."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

from ecommerce.common.sources import SOURCES
from tests.integration.histories.history import Build, Load, Outcome, Put, Remove, Send, Step
from tests.integration.histories.shop import DAYS, FIRST, LAST, PARTITIONS, Message
from tests.integration.support import Row

#: More keys than the shop has rows for: the others are known from orders and events alone.
CUSTOMERS = [f"CUST{n:03}" for n in range(1, 25)]
PRODUCTS = [f"P{n:02}" for n in range(1, 15)]
CITIES = ("Bonn", "Oslo")
KINDS = ("view", "view", "add_to_cart", "purchase", "wish")
OUTCOMES: tuple[Outcome, ...] = (
    *("published",) * 5, "died after claim", "died after core", "died before publishing",
)  # fmt: skip


def invent(seed: int) -> list[Step]:
    """The same history for the same seed."""
    return list(_Inventor(random.Random(seed)).steps())


class _Inventor:
    """Draws what happens, one step after the other; time never goes back."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.clock = datetime.combine(rng.choice(DAYS[:20]), datetime.min.time(), tzinfo=UTC)
        self.orders = 0
        self.sent: list[Row] = []
        self.changes: list[Callable[[], Step]] = [
            self.order, self.order, self.correct, self.correct, self.cancel, self.customer, self.customer_leaves,
            self.product, self.product_goes, self.category, self.category, self.category_goes, self.subscription,
            self.subscription_goes, self.weather, self.message, self.message,
        ]  # fmt: skip

    def steps(self) -> Iterator[Step]:
        yield from self.opening()
        for _ in range(self.rng.choice((1, 2, 2))):
            for _ in range(self.rng.randint(2, 8)):
                yield from (self.rng.choice(self.changes)() for _ in range(self.rng.randint(0, 6)))
                yield self.load()
            yield self.build()

    def opening(self) -> Iterator[Step]:
        for _ in range(16):
            yield from (self.customer(), self.product(), self.category())
        for _ in range(6):
            yield self.subscription()
        for _ in range(40):
            yield from (self.order(), self.message())
        for day in DAYS[::2]:
            yield from (self.weather(day, city) for city in CITIES)
        for source in self.rng.sample(list(SOURCES), self.rng.randint(4, len(SOURCES))):
            yield self.load(source, FIRST, self.rng.choice(DAYS[10:]))

    def load(self, source: str | None = None, first: date | None = None, last: date | None = None) -> Load:
        first = first or self.rng.choice(DAYS)
        last = last or min(LAST, first + timedelta(days=self.rng.choice((0, 0, 3, 12, 40))))
        # Several loads at one instant open their versions together.
        self.clock += self.rng.choice((timedelta(0), timedelta(hours=7), timedelta(days=1)))
        source = source or self.rng.choice(list(SOURCES))
        return Load(self.clock, source, first, last, breaks_off=self.rng.random() < 0.1)

    def build(self) -> Build:
        self.clock += timedelta(hours=1)
        at = self.clock
        outcome = self.rng.choice(OUTCOMES)
        after_claim = tuple(self.load() for _ in range(self.rng.choice((0, 0, 0, 1, 3))))
        after_core = tuple(self.load() for _ in range(self.rng.choice((0, 0, 0, 1, 3))))
        return Build(at, outcome, self.rng.random() < 0.1, after_claim, after_core)

    def order(self) -> Put:
        self.orders += 1
        return Put("sales_fact", {"order_id": f"O{self.orders:03}", **self.order_values()})

    def order_values(self) -> Row:
        created = self.rng.choice(DAYS)
        late = self.rng.choice((0, 0, 0, 1, 20))
        return {
            "customer_id": self.rng.choice(CUSTOMERS),
            "product_id": self.rng.choice(PRODUCTS),
            "order_date": str(max(FIRST, created - timedelta(days=late))),
            "order_amount": self.rng.choice(("0", "-1", f"{self.rng.randint(1, 99999) / 100}", "12.345", "700")),
            "order_quantity": self.rng.choice((None, "0", "1", "3")),
            "payment_method": self.rng.choice((None, "card", "PayPal ", "cash")),
            "discount_applied": self.rng.choice((None, "0.1", "0.35")),
            "shipping_cost": self.rng.choice((None, "2.5", "90")),
            "created_at": f"{created} {self.rng.randint(0, 23):02}:30:00",
        }

    def correct(self) -> Put:
        values = self.order_values()
        names = self.rng.sample(list(values), self.rng.randint(1, 3))
        order_id = f"O{self.rng.randint(1, self.orders):03}"
        return Put("sales_fact", {"order_id": order_id, **{name: values[name] for name in names}}, is_correction=True)

    def cancel(self) -> Remove:
        return Remove("sales_fact", (f"O{self.rng.randint(1, self.orders):03}",))

    def customer(self) -> Put:
        return Put(
            "customer",
            {
                "customer_id": self.rng.choice(CUSTOMERS),
                "customer_name": self.rng.choice((None, "Ada", "Bo", "Cy")),
                "customer_email": self.rng.choice((None, "a@b.c", "nowhere")),
                "start_date": self.rng.choice((None, "2023-01-01")),
                "status": self.rng.choice(("active", "left")),
            },
        )

    def customer_leaves(self) -> Remove:
        return Remove("customer", (self.rng.choice(CUSTOMERS),))

    def product(self) -> Put:
        return Put(
            "product",
            {
                "product_id": self.rng.choice(PRODUCTS),
                "product_name": self.rng.choice(("Kettle", "Teapot", "Cup")),
                "product_category_id": self.rng.choice((None, "K1", "K2")),
            },
        )

    def product_goes(self) -> Remove:
        return Remove("product", (self.rng.choice(PRODUCTS),))

    def category(self) -> Put:
        return Put(
            "product_category",
            {
                "product_id": self.rng.choice(PRODUCTS),
                "category_id": self.rng.choice(("K1", "K2")),
                "category_name": self.rng.choice(("Tea", "Coffee", "Garden")),
                "subcategory": self.rng.choice((None, "Green", "Black")),
                "cost_price": self.rng.choice((None, "1.10", "5", "6.99")),
                "retail_price": self.rng.choice((None, "0", "8", "9.99")),
                "margin_percent": self.rng.choice((None, "30")),
                "stock_level": self.rng.choice((None, "0", "4", "50")),
                "reorder_point": self.rng.choice((None, "5")),
                "discontinued": self.rng.choice((None, "true", "false")),
                "launch_date": self.rng.choice((None, "2023-05-01")),
                "last_updated": self.rng.choice((None, str(self.rng.choice(DAYS)))),
            },
        )

    def category_goes(self) -> Remove:
        return Remove("product_category", (self.rng.choice(PRODUCTS),))

    def subscription(self) -> Put:
        start = self.rng.choice(DAYS)
        end = start + timedelta(days=self.rng.choice((-2, 0, 9, 30)))
        return Put(
            "subscription_data",
            {
                "subscription_id": f"S{self.rng.randint(1, 9)}",
                "customer_id": f"CUST{self.rng.randint(1, 26):03d}",
                "plan_type": self.rng.choice((None, "basic", "plus")),
                "subscription_start_date": str(start),
                "subscription_end_date": self.rng.choice((None, str(end))),
                "monthly_fee": self.rng.choice((None, "9.99", "20")),
                "status": self.rng.choice((None, "Active", "CANCELLED")),
            },
        )

    def subscription_goes(self) -> Remove:
        return Remove("subscription_data", (f"S{self.rng.randint(1, 9)}",))

    def weather(self, day: date | None = None, city: str | None = None) -> Put:
        return Put(
            "weather_data",
            {
                "city": city or self.rng.choice(CITIES),
                "date": str(day or self.rng.choice(DAYS)),
                "temperature": self.rng.choice((None, "-3.5", "4", "15", "25", "31")),
                "precipitation": self.rng.choice((None, "0", "1.2", "5", "20")),
            },
        )

    def message(self) -> Send:
        row: Row = {
            "customer_id": self.rng.choice(CUSTOMERS),
            "product_id": self.rng.choice(PRODUCTS),
            "interaction_type": self.rng.choice(KINDS),
            "timestamp": f"{self.rng.choice(DAYS)}T{self.rng.randint(0, 23):02}:00:00Z",
        }
        # Sent twice is one event, the first message; which is the first can change with what is read later.
        if self.sent and self.rng.random() < 0.2:
            row = self.rng.choice(self.sent)
        self.sent.append(row)
        # The broker's time goes on with every message.
        published = DAYS[min(len(DAYS) - 1, len(self.sent) // 2)]
        return Send(Message(self.rng.randrange(PARTITIONS), published, row))
