"""Orders, and the clicks that lead to them or to nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random

from include.demo.shop.invent.catalogue import Product, shelf
from include.demo.shop.invent.chance import Calendar, Weighted, apportion, at_moment, between_months, money
from include.demo.shop.invent.people import Customer, visitors
from include.demo.shop.invent.states import Row

WEEKDAYS = (1.0, 0.96, 0.97, 1.0, 1.06, 1.22, 1.16)  # Monday first
MONTHS = (0.92, 0.9, 0.97, 1.0, 1.03, 1.0, 0.95, 0.93, 1.0, 1.05, 1.3, 1.45)
GROWTH_A_YEAR = 0.35
RAIN_LIFT = 1.09

# No hour 0: a session reaches back at most an hour, so its steps share the day of its end.
HOURS = Weighted(range(1, 24), (1, 1, 1, 1, 2, 4, 7, 9, 10, 11, 12, 12, 11, 11, 12, 13, 14, 16, 18, 17, 13, 8, 4))
QUANTITIES = Weighted((1, 2, 3, 4, 5, 6), (66, 20, 8, 3, 2, 1))
DISCOUNTS = Weighted(
    tuple(Decimal(rate) for rate in ("0", "0.05", "0.10", "0.15", "0.20", "0.25", "0.35", "0.40", "0.50")),
    (62, 9, 10, 6, 6, 3, 2, 1, 1),
)
PAYMENTS = Weighted(
    ("credit_card", "paypal", "debit_card", "invoice", "bank_transfer", "gift_card"), (36, 29, 14, 11, 6, 4)
)
LATE_SHARE = 0.04
TRACKED_SHARE = 0.45
STEP_SECONDS = (15, 480)
Event = tuple[datetime, str, str, str]  # at (UTC), customer_id, product_id, interaction_type


@dataclass(frozen=True)
class Order:
    """One order as the shop recorded it; ``tracked`` when its clicks were recorded too."""

    order_id: str
    customer_id: str
    product_id: str
    ordered_at: datetime
    created_at: datetime
    quantity: int
    amount: Decimal
    discount: Decimal
    shipping: Decimal
    payment: str
    tracked: bool

    def row(self) -> Row:
        """As a row of ``sales_fact``."""
        return {
            "order_id": self.order_id,
            "product_id": self.product_id,
            "customer_id": self.customer_id,
            "order_date": self.ordered_at.date(),
            "order_amount": self.amount,
            "order_quantity": self.quantity,
            "payment_method": self.payment,
            "discount_applied": self.discount,
            "shipping_cost": self.shipping,
            "created_at": self.created_at,
        }


def busyness(rng: Random, calendar: Calendar, wet: set[date]) -> list[float]:
    """How much happens on each day: growth, season, weekday, rain and a little chance."""
    return [
        (1 + GROWTH_A_YEAR * number / 365)
        * between_months(day, MONTHS)
        * WEEKDAYS[day.weekday()]
        * (RAIN_LIFT if day in wet else 1)
        * (0.93 + 0.14 * rng.random())
        for number, day in enumerate(calendar.days)
    ]


def orders(
    rng: Random,
    count: int,
    calendar: Calendar,
    busy: list[float],
    customers: list[Customer],
    products: list[Product],
) -> list[Order]:
    """``count`` orders by time of order; an amount is quantity x that day's price, less the discount."""
    result: list[Order] = []
    for day, share in zip(calendar.days, apportion(count, busy), strict=True):
        buyers, offers = visitors(customers, day), shelf(products, day)
        for ordered_at in sorted(_moment(rng, day) for _ in range(share)):
            customer, product = buyers.draw(rng), offers.draw(rng)
            quantity, discount = QUANTITIES.draw(rng), DISCOUNTS.draw(rng)
            amount = money(product.price_on(day) * quantity * (1 - discount))
            result.append(
                Order(
                    order_id=f"ORD{len(result) + 1:06d}",
                    customer_id=customer.customer_id,
                    product_id=product.product_id,
                    ordered_at=ordered_at,
                    created_at=_recorded_at(rng, ordered_at, calendar),
                    quantity=quantity,
                    amount=amount,
                    discount=discount,
                    shipping=_shipping(rng, amount),
                    payment=PAYMENTS.draw(rng),
                    tracked=rng.random() < TRACKED_SHARE,
                )
            )
    return result


def events(
    rng: Random,
    count: int,
    calendar: Calendar,
    busy: list[float],
    customers: list[Customer],
    products: list[Product],
    placed: list[Order],
) -> list[Event]:
    """
    ``count`` events by time: the sessions of tracked orders (every n-th, if not all fit) and those that end
    without a purchase.

    A purchase is always that of an order. A cart follows a view of the same product, a purchase a cart, by
    the same customer on the same day.
    """
    tracked = [order for order in placed if order.tracked]
    tracked = tracked[:: 1 + len(tracked) * 8 // count]
    by_day: dict[date, list[Order]] = {}
    for order in tracked:
        by_day.setdefault(order.ordered_at.date(), []).append(order)
    shelves = {day: shelf(products, day) for day in calendar.days}
    result: list[Event] = []
    for day in calendar.days:
        for order in by_day.get(day, ()):
            result += _purchase(rng, order, shelves[day])
    for order in tracked:
        reviewed_at = order.ordered_at + timedelta(days=rng.randint(2, 20), seconds=rng.randint(0, 3600))
        if rng.random() < 0.06 and reviewed_at.date() < calendar.end:
            result.append((reviewed_at, order.customer_id, order.product_id, "review"))
    for day, share in zip(calendar.days, apportion(count - len(result), busy), strict=True):
        result += _browsing(rng, share, day, visitors(customers, day), shelves[day])
    result.sort(key=lambda event: event[0])
    return result


def _purchase(rng: Random, order: Order, offers: Weighted[Product]) -> Iterator[Event]:
    looks_around = [("view", offers.draw(rng).product_id) for _ in range(rng.randint(0, 2))]
    buys = [(kind, order.product_id) for kind in ("view", "add_to_cart", "purchase")]
    return _session(rng, order.ordered_at, order.customer_id, looks_around + buys)


def _browsing(
    rng: Random, count: int, day: date, present: Weighted[Customer], offers: Weighted[Product]
) -> list[Event]:
    """``count`` events of sessions that end without a purchase; the last session is cut to fit."""
    result: list[Event] = []
    while len(result) < count:
        steps: list[tuple[str, str]] = []
        for _ in range(rng.randint(1, 4)):
            product_id = offers.draw(rng).product_id
            steps.append(("view", product_id))
            mood = rng.random()
            if mood < 0.13:
                steps.append(("add_to_cart", product_id))
            elif mood < 0.16:
                steps.append(("wishlist", product_id))
        steps = steps[: count - len(result)]
        result += _session(rng, _moment(rng, day), present.draw(rng).customer_id, steps)
    return result


def _session(rng: Random, ends_at: datetime, customer_id: str, steps: list[tuple[str, str]]) -> Iterator[Event]:
    """The steps in time, the last one at ``ends_at``; at most eight of them, so within an hour."""
    at = ends_at
    for kind, product_id in reversed(steps):
        yield at, customer_id, product_id, kind
        at -= timedelta(seconds=rng.randint(*STEP_SECONDS))


def _moment(rng: Random, day: date) -> datetime:
    return at_moment(day, HOURS.draw(rng) * 3600 + rng.randint(0, 3599))


def _recorded_at(rng: Random, ordered_at: datetime, calendar: Calendar) -> datetime:
    """Most orders are recorded at once, some 1 to 9 days later, none after the last day."""
    late_at = ordered_at + timedelta(days=rng.randint(1, 9))
    is_late = rng.random() < LATE_SHARE
    return late_at if is_late and late_at.date() < calendar.end else ordered_at


def _shipping(rng: Random, amount: Decimal) -> Decimal:
    """By value, free from 60 on; some have it sent express."""
    if rng.random() < 0.07 and amount >= 40:
        return Decimal("8.90")
    if amount >= 60:
        return Decimal("0.00")
    return Decimal("2.90") if amount >= 30 else Decimal("1.45") if amount >= 15 else Decimal("0.95")
