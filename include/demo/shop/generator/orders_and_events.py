"""Generate the orders, and the customers' events: sessions that end with an order and sessions that do not."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random

from include.demo.shop.generator.catalogue import Product, shelf
from include.demo.shop.generator.customers import Customer, visitors
from include.demo.shop.generator.random_draws import Calendar, Weighted, apportion, at_moment, between_months, money
from include.demo.shop.generator.table_states import Row

WEEKDAYS = (1.0, 0.96, 0.97, 1.0, 1.06, 1.22, 1.16)  # Monday first
MONTHS = (0.92, 0.9, 0.97, 1.0, 1.03, 1.0, 0.95, 0.93, 1.0, 1.05, 1.3, 1.45)
GROWTH_A_YEAR = 0.35
RAIN_LIFT = 1.09

# No hour 0: a session takes at most an hour, so all its steps are on the day on which it ends.
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
    """An order as the shop recorded it; ``tracked`` if the events that led to it were recorded too."""

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
        """Convert the order to a row of ``sales_fact``."""
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


def daily_activity(rng: Random, calendar: Calendar, wet_days: set[date]) -> list[float]:
    """Weigh each day by growth, season, weekday, rain and a random part: orders and events follow these weights."""
    return [
        (1 + GROWTH_A_YEAR * number / 365)
        * between_months(day, MONTHS)
        * WEEKDAYS[day.weekday()]
        * (RAIN_LIFT if day in wet_days else 1)
        * (0.93 + 0.14 * rng.random())
        for number, day in enumerate(calendar.days)
    ]


def orders_by_time(
    rng: Random,
    count: int,
    calendar: Calendar,
    activity: list[float],
    customers: list[Customer],
    products: list[Product],
) -> list[Order]:
    """Generate ``count`` orders, sorted by time; an amount is quantity x price of the day, less the discount."""
    result: list[Order] = []
    for day, share in zip(calendar.days, apportion(count, activity), strict=True):
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


def events_of_sessions(
    rng: Random,
    count: int,
    calendar: Calendar,
    activity: list[float],
    customers: list[Customer],
    products: list[Product],
    orders: list[Order],
) -> list[Event]:
    """
    Generate ``count`` events, sorted by time: the sessions of tracked orders (every n-th if not all fit), and sessions
    that end without a purchase.

    Each purchase belongs to an order. The same customer on the same day views a product, puts it into the cart, and
    then purchases it.
    """
    tracked = [order for order in orders if order.tracked]
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
    for day, share in zip(calendar.days, apportion(count - len(result), activity), strict=True):
        result += _browsing(rng, share, day, visitors(customers, day), shelves[day])
    result.sort(key=lambda event: event[0])
    return result


def _purchase(rng: Random, order: Order, offers: Weighted[Product]) -> Iterator[Event]:
    other_views = [("view", offers.draw(rng).product_id) for _ in range(rng.randint(0, 2))]
    purchase = [(kind, order.product_id) for kind in ("view", "add_to_cart", "purchase")]
    return _session(rng, order.ordered_at, order.customer_id, other_views + purchase)


def _browsing(
    rng: Random, count: int, day: date, customers: Weighted[Customer], offers: Weighted[Product]
) -> list[Event]:
    """Generate ``count`` events of sessions that end without a purchase; the last session is cut to fit."""
    result: list[Event] = []
    while len(result) < count:
        steps: list[tuple[str, str]] = []
        for _ in range(rng.randint(1, 4)):
            product_id = offers.draw(rng).product_id
            steps.append(("view", product_id))
            draw = rng.random()
            if draw < 0.13:
                steps.append(("add_to_cart", product_id))
            elif draw < 0.16:
                steps.append(("wishlist", product_id))
        steps = steps[: count - len(result)]
        result += _session(rng, _moment(rng, day), customers.draw(rng).customer_id, steps)
    return result


def _session(rng: Random, ends_at: datetime, customer_id: str, steps: list[tuple[str, str]]) -> Iterator[Event]:
    """Date the steps of a session, the last one at ``ends_at``: at most eight steps, so they fit into an hour."""
    at = ends_at
    for kind, product_id in reversed(steps):
        yield at, customer_id, product_id, kind
        at -= timedelta(seconds=rng.randint(*STEP_SECONDS))


def _moment(rng: Random, day: date) -> datetime:
    return at_moment(day, HOURS.draw(rng) * 3600 + rng.randint(0, 3599))


def _recorded_at(rng: Random, ordered_at: datetime, calendar: Calendar) -> datetime:
    """Draw when an order is recorded: most at once, some 1 to 9 days later, none after the last day."""
    late_at = ordered_at + timedelta(days=rng.randint(1, 9))
    is_late = rng.random() < LATE_SHARE
    return late_at if is_late and late_at.date() < calendar.end else ordered_at


def _shipping(rng: Random, amount: Decimal) -> Decimal:
    """Draw the shipping cost: by the order's amount, free from 60 on, a fixed price for some express orders."""
    if rng.random() < 0.07 and amount >= 40:
        return Decimal("8.90")
    if amount >= 60:
        return Decimal("0.00")
    return Decimal("2.90") if amount >= 30 else Decimal("1.45") if amount >= 15 else Decimal("0.95")
