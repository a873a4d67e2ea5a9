"""Histories from a seed: a small shop, loads of random windows in random order, and runs of which some die."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from ecommerce.common.sources import SOURCES, WriteDisposition
from tests.integration.histories.history import Build, Load, Outcome, Put, Remove, Send, SetTimeZone, Step
from tests.integration.histories.shop import DAYS, FIRST, LAST, PARTITIONS, Message
from tests.integration.support import Row

#: More keys than the shop has rows for: the others are known from orders and events alone.
CUSTOMERS = [f"CUST{n:03}" for n in range(1, 25)]
PRODUCTS = [f"P{n:02}" for n in range(1, 15)]
CITIES = ("Bonn", "Oslo")
KINDS = ("view", "view", "add_to_cart", "purchase", "wish")
#: A guest's order has no customer.
BUYERS: tuple[str | None, ...] = (*CUSTOMERS, None, " ", None, "")
#: Of the lines of an order; none is line 1.
LINE_NUMBERS: tuple[tuple[str | None, ...], ...] = ((None,), ("1",), ("1",), ("1", "2"), ("3", "1", "2"), ("0", "1"))
STATUSES = (None, "", *("completed",) * 12, "CANCELLED", "voided")
OUTCOMES: tuple[Outcome, ...] = (
    *("published",) * 5, "died after claim", "died after core", "died before publishing",
)  # fmt: skip
#: Of days: every half hour, and more often the first and the last moment.
TIMES = (*(time(hour, 30) for hour in range(24)), *(time.min, time(23, 59, 59, 999_999)) * 4)

#: Time zones of shops, west and east of UTC.
ZONES = ("UTC", "America/New_York", "Pacific/Auckland", "Europe/Berlin")

#: Sources of which a window is read, of what is sold and given back; and those that are read whole, with versions.
SALES = ("sales_fact", "refund")
CATALOGUE = tuple(name for name, entry in SOURCES.items() if entry.write_disposition is WriteDisposition.VERSION_LOG)


@dataclass(frozen=True)
class SalesHistory:
    """
    What is sold and given back changes at will, and at the end each of its days is loaded; the rest changes once.

    :param opening: how the shop begins, without loads
    :param steps: all of it, the opening too
    """

    opening: Sequence[Step]
    steps: Sequence[Step]


def zone_of(seed: int) -> str:
    """The time zone of a history's shop: as many of each."""
    return ZONES[seed % len(ZONES)]


def invent(seed: int, zone: str = "UTC") -> list[Step]:
    """
    The same history for the same seed.

    :param zone: the shop's time zone
    """
    return list(_Inventor(random.Random(seed), zone).steps())


def invent_sales(seed: int, zone: str) -> SalesHistory:
    """
    A history whose end is known from the shop as it began and as it is then.

    Sources with versions are loaded twice, the second time after every day of the history; what changed in between has
    a later change date, or none was ever given.
    """
    inventor = _Inventor(random.Random(seed), zone)
    opening = list(_dated(inventor.opening(), lambda: "2023-01-01"))
    return SalesHistory(opening, [*opening, *inventor.sales_steps()])


def invent_shop(seed: int, zone: str = "UTC") -> list[Step]:
    """A shop, without loads."""
    return list(_Inventor(random.Random(seed), zone).opening())


def day_loads(rng: random.Random, at: datetime) -> list[Load]:
    """One load for each day of what is sold and given back, in random order."""
    loads = [Load(at, source, day, day) for source in SALES for day in DAYS]
    rng.shuffle(loads)
    return loads


def _dated(steps: Iterator[Step], last_updated: Callable[[], str]) -> Iterator[Step]:
    """Steps in which each row of `product_category` has a change date."""
    for step in steps:
        if isinstance(step, Put) and step.table == "product_category":
            yield Put(step.table, {**step.row, "last_updated": last_updated()})
        else:
            yield step


class _Inventor:
    """Draws what happens, one step after the other; time never goes back."""

    def __init__(self, rng: random.Random, zone: str) -> None:
        self.rng = rng
        self.zone = zone
        self.clock = datetime.combine(rng.choice(DAYS[:20]), datetime.min.time(), tzinfo=UTC)
        self.orders = 0
        #: order → its line numbers, as the shop writes them
        self.lines: dict[str, list[str | None]] = {}
        self.refunds = 0
        self.sent: list[Row] = []
        #: of what is sold and given back
        self.sales: list[Callable[[], Iterator[Step]]] = [
            self.order, self.order, self.order, self.line_added, self.line_added, self.correct, self.correct,
            self.correct, self.line_gone, self.line_renumbered, self.order_moved, self.order_cancelled,
            self.order_gone, self.guest_known, self.refund, self.refund, self.refund_changed, self.refund_gone,
        ]  # fmt: skip
        #: of what is read whole
        self.catalogue: list[Callable[[], Iterator[Step]]] = [
            self.customer, self.customer_leaves, self.product, self.product_goes, self.category, self.category,
            self.category_goes, self.subscription, self.subscription_goes,
        ]  # fmt: skip
        self.changes: list[Callable[[], Iterator[Step]]] = [
            *self.sales,
            *self.catalogue,
            self.weather,
            self.message,
            self.message,
        ]

    def steps(self) -> Iterator[Step]:
        yield from self.opening()
        for source in self.rng.sample(list(SOURCES), self.rng.randint(5, len(SOURCES))):
            yield self.load(source, FIRST, self.rng.choice(DAYS[10:]))
        for _ in range(self.rng.choice((1, 2, 2))):
            for _ in range(self.rng.randint(2, 8)):
                for _ in range(self.rng.randint(0, 6)):
                    yield from self.rng.choice(self.changes)()
                yield self.load()
            yield self.build()

    def opening(self) -> Iterator[Step]:
        if self.zone != "UTC":
            yield SetTimeZone(self.zone)
        for _ in range(16):
            yield from (*self.customer(), *self.product(), *self.category())
        for _ in range(6):
            yield from self.subscription()
        for _ in range(40):
            yield from (*self.order(), *self.message())
        for _ in range(12):
            yield from self.refund()
        for day in DAYS[::2]:
            for city in CITIES:
                yield from self.weather(day, city)

    def sales_steps(self) -> Iterator[Step]:
        yield from (Load(self.clock, source, FIRST, LAST) for source in (*CATALOGUE, "weather_data", "kafka_stream"))
        for _ in range(self.rng.choice((1, 2))):
            for _ in range(self.rng.randint(2, 6)):
                for _ in range(self.rng.randint(1, 8)):
                    yield from self.rng.choice(self.sales)()
                yield self.load(self.rng.choice(SALES))
            yield self.build(others=SALES)
        for _ in range(10):
            yield from _dated(self.rng.choice(self.catalogue)(), lambda: str(self.rng.choice(DAYS)))
        self.clock = datetime.combine(LAST + timedelta(days=20), datetime.min.time(), tzinfo=UTC)
        yield from (Load(self.clock, source, FIRST, LAST) for source in CATALOGUE)
        yield from day_loads(self.rng, self.clock)
        yield self.build(others=())
        # And again: a row whose `created_at` went back is rejected as long as raw has it at the later time.
        yield from day_loads(self.rng, self.clock)

    def moment(self, day: date) -> datetime:
        """In UTC; within the shop's day."""
        at = datetime.combine(day, self.rng.choice(TIMES), ZoneInfo(self.zone))
        return at.astimezone(UTC)

    def load(self, source: str | None = None, first: date | None = None, last: date | None = None) -> Load:
        first = first or self.rng.choice(DAYS)
        last = last or min(LAST, first + timedelta(days=self.rng.choice((0, 0, 3, 12, 40))))
        # Several loads at one instant open their versions together.
        self.clock += self.rng.choice((timedelta(0), timedelta(hours=7), timedelta(days=1)))
        source = source or self.rng.choice(list(SOURCES))
        return Load(self.clock, source, first, last, breaks_off=self.rng.random() < 0.1)

    def build(self, others: Sequence[str] = tuple(SOURCES)) -> Build:
        """:param others: sources of which windows may be loaded during the build"""
        self.clock += timedelta(hours=1)
        at = self.clock
        outcome = self.rng.choice(OUTCOMES)
        after_claim, after_core = (
            tuple(self.load(self.rng.choice(others)) for _ in range(self.rng.choice((0, 0, 0, 1, 3))) if others)
            for _ in range(2)
        )
        return Build(at, outcome, self.rng.random() < 0.1, after_claim, after_core)

    def order(self) -> Iterator[Step]:
        """An order of one to three lines: as a rule of one customer and day, each with a product of its own."""
        self.orders += 1
        order_id = f"O{self.orders:03}"
        numbers = self.rng.choice(LINE_NUMBERS)
        self.lines[order_id] = list(numbers)
        shared = self.order_values()
        for number in numbers:
            yield self.line(order_id, number, shared | self.line_values())

    def line(self, order_id: str, number: str | None, values: Row) -> Put:
        return Put("sales_fact", {"order_id": order_id, "line_number": number, **values})

    def order_values(self) -> dict[str, str | None]:
        created = self.rng.choice(DAYS)
        late = self.rng.choice((0, 0, 0, 1, 20))
        return {
            "customer_id": self.rng.choice(BUYERS),
            "order_date": str(max(FIRST, created - timedelta(days=late))),
            "created_at": f"{self.moment(created):%Y-%m-%d %H:%M:%S.%f}",
        }

    def line_values(self) -> dict[str, str | None]:
        return {
            "product_id": self.rng.choice(PRODUCTS),
            "order_amount": self.order_amount(),
            "order_quantity": self.rng.choice((None, "0", "1", "3")),
            "payment_method": self.rng.choice((None, "card", "PayPal ", "cash")),
            "discount_applied": self.rng.choice((None, "0.1", "0.35", "1")),
            "shipping_cost": self.rng.choice((None, "2.5", "90")),
            "tax_amount": self.rng.choice((None, "1.9")),
            "order_status": self.rng.choice(STATUSES),
        }

    def order_amount(self) -> str:
        """A tenth is rejected: of a window with many rows that is less than a load allows, so as a rule it loads."""
        amount = f"{self.rng.randint(1, 99999) / 100}"
        return self.rng.choice(("-1", "0", "0", *("12.345",) * 2, *("700",) * 2, *(amount,) * 3))

    def some_order(self) -> str:
        return self.rng.choice([order_id for order_id, numbers in self.lines.items() if numbers])

    def some_line(self) -> tuple[str, str | None]:
        order_id = self.some_order()
        return order_id, self.rng.choice(self.lines[order_id])

    def corrected(self, order_id: str, values: Row) -> Iterator[Step]:
        """All lines of an order change alike."""
        for number in self.lines[order_id]:
            yield Put("sales_fact", {"order_id": order_id, "line_number": number, **values}, is_correction=True)

    def correct(self) -> Iterator[Step]:
        """Of one line, so the lines of an order come to have different days, customers and windows."""
        values = self.order_values() | self.line_values()
        names = self.rng.sample(list(values), self.rng.randint(1, 3))
        order_id, number = self.some_line()
        row = {"order_id": order_id, "line_number": number, **{name: values[name] for name in names}}
        yield Put("sales_fact", row, is_correction=True)

    def line_added(self) -> Iterator[Step]:
        order_id = self.some_order()
        number = str(max(int(number or "1") for number in self.lines[order_id]) + self.rng.choice((1, 7)))
        self.lines[order_id].append(number)
        yield self.line(order_id, number, self.order_values() | self.line_values())

    def line_gone(self) -> Iterator[Step]:
        order_id, number = self.some_line()
        self.lines[order_id].remove(number)
        yield Remove("sales_fact", (order_id, number or "1"))

    def line_renumbered(self) -> Iterator[Step]:
        """The order is written anew, with other numbers for its lines."""
        order_id = self.some_order()
        yield from self.without_lines(order_id)
        numbers: list[str | None] = [str(10 * n) for n in range(1, self.rng.randint(2, 4))]
        self.lines[order_id] = numbers
        shared = self.order_values()
        for number in numbers:
            yield self.line(order_id, number, shared | self.line_values())

    def without_lines(self, order_id: str) -> Iterator[Step]:
        for number in self.lines[order_id]:
            yield Remove("sales_fact", (order_id, number or "1"))
        self.lines[order_id] = []

    def order_gone(self) -> Iterator[Step]:
        yield from self.without_lines(self.some_order())

    def order_moved(self) -> Iterator[Step]:
        """To another day, and sometimes it is recorded in another window as well."""
        values = self.order_values()
        names = self.rng.choice((["order_date"], ["order_date", "created_at"], ["created_at"]))
        yield from self.corrected(self.some_order(), {name: values[name] for name in names})

    def order_cancelled(self) -> Iterator[Step]:
        yield from self.corrected(self.some_order(), {"order_status": self.rng.choice(("Canceled", "failed", None))})

    def guest_known(self) -> Iterator[Step]:
        """Who ordered becomes known, or is forgotten."""
        yield from self.corrected(self.some_order(), {"customer_id": self.rng.choice((*CUSTOMERS[:6], None))})

    def refund(self) -> Iterator[Step]:
        self.refunds += 1
        yield Put("refund", {"refund_id": f"R{self.refunds:03}", **self.refund_values()})

    def refund_values(self) -> dict[str, str | None]:
        """Of an order, one that is still to come, or of none; recorded on any day, also before its order is."""
        created = self.rng.choice(DAYS)
        order_id, number = self.some_line()
        coming = f"O{self.orders + self.rng.randint(1, 5):03}"
        return {
            "order_id": self.rng.choice((order_id, order_id, order_id, order_id, coming, None)),
            "line_number": self.rng.choice((number or "1", number or "1", number, "9", None)),
            "product_id": self.rng.choice((None, *PRODUCTS[:5])),
            "customer_id": self.rng.choice((None, *CUSTOMERS[:5])),
            "refund_date": str(created + timedelta(days=self.rng.choice((0, 0, 0, -3, -30, 2)))),
            "refund_amount": self.rng.choice((f"{self.rng.randint(1, 9999) / 100}", "5", "700", "0", "0.005")),
            "created_at": f"{self.moment(created):%Y-%m-%d %H:%M:%S.%f}",
        }

    def refund_changed(self) -> Iterator[Step]:
        """It names another line, moves to another day or window, or is of another amount."""
        values = self.refund_values()
        names = self.rng.sample(list(values), self.rng.randint(1, 3))
        refund_id = f"R{self.rng.randint(1, max(1, self.refunds)):03}"
        yield Put("refund", {"refund_id": refund_id, **{name: values[name] for name in names}}, is_correction=True)

    def refund_gone(self) -> Iterator[Step]:
        yield Remove("refund", (f"R{self.rng.randint(1, max(1, self.refunds)):03}",))

    def customer(self) -> Iterator[Step]:
        yield Put(
            "customer",
            {
                "customer_id": self.rng.choice(CUSTOMERS),
                "customer_name": self.rng.choice((None, "Ada", "Bo", "Cy")),
                "customer_email": self.rng.choice((None, "a@b.c", "nowhere")),
                "start_date": self.rng.choice((None, "2023-01-01")),
                "status": self.rng.choice(("active", "left")),
            },
        )

    def customer_leaves(self) -> Iterator[Step]:
        yield Remove("customer", (self.rng.choice(CUSTOMERS),))

    def product(self) -> Iterator[Step]:
        yield Put(
            "product",
            {
                "product_id": self.rng.choice(PRODUCTS),
                "product_name": self.rng.choice(("Kettle", "Teapot", "Cup")),
                "product_category_id": self.rng.choice((None, "K1", "K2")),
            },
        )

    def product_goes(self) -> Iterator[Step]:
        yield Remove("product", (self.rng.choice(PRODUCTS),))

    def category(self) -> Iterator[Step]:
        yield Put(
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

    def category_goes(self) -> Iterator[Step]:
        yield Remove("product_category", (self.rng.choice(PRODUCTS),))

    def subscription(self) -> Iterator[Step]:
        start = self.rng.choice(DAYS)
        end = start + timedelta(days=self.rng.choice((-2, 0, 9, 30)))
        yield Put(
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

    def subscription_goes(self) -> Iterator[Step]:
        yield Remove("subscription_data", (f"S{self.rng.randint(1, 9)}",))

    def weather(self, day: date | None = None, city: str | None = None) -> Iterator[Step]:
        yield Put(
            "weather_data",
            {
                "city": city or self.rng.choice(CITIES),
                "date": str(day or self.rng.choice(DAYS)),
                "temperature": self.rng.choice((None, "-3.5", "4", "15", "25", "31")),
                "precipitation": self.rng.choice((None, "0", "1.2", "5", "20")),
            },
        )

    def message(self) -> Iterator[Step]:
        row: Row = {
            "customer_id": self.rng.choice(CUSTOMERS),
            "product_id": self.rng.choice(PRODUCTS),
            "interaction_type": self.rng.choice(KINDS),
            "timestamp": self.moment(self.rng.choice(DAYS)).isoformat(),
        }
        # Sent twice is one event, the first message; which is the first can change with what is read later.
        if self.sent and self.rng.random() < 0.2:
            row = self.rng.choice(self.sent)
        self.sent.append(row)
        # The broker's time goes on with every message.
        opened, last = (datetime.combine(day, time(10), UTC) for day in (FIRST, LAST))
        published = min(opened + len(self.sent) * timedelta(hours=11), last)
        yield Send(Message(self.rng.randrange(PARTITIONS), published, row))
