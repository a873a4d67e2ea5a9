"""Generate the orders: baskets of one to six lines, of customers and of guests, some of them cancelled."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random

from include.demo.shop.generator import effects
from include.demo.shop.generator.catalogue import Product, shelf
from include.demo.shop.generator.customers import Customer, visitors
from include.demo.shop.generator.random_draws import Calendar, Weighted, apportion, at_moment, money
from include.demo.shop.generator.table_states import Row

# No hour 0: a session takes at most an hour, so all its steps are on the day on which it ends.
HOURS = Weighted(range(1, 24), (1, 1, 1, 1, 2, 4, 7, 9, 10, 11, 12, 12, 11, 11, 12, 13, 14, 16, 18, 17, 13, 8, 4))
LINES_PER_ORDER = Weighted.of(effects.LINES_PER_ORDER)
QUANTITIES = Weighted.of(effects.QUANTITIES)
DISCOUNTS = Weighted.of(effects.DISCOUNTS)
PAYMENTS = Weighted.of(effects.PAYMENTS)
CANCELLED_STATUSES = Weighted.of(effects.CANCELLED_STATUSES)
OTHER_STATUSES = Weighted.of(effects.OTHER_STATUSES)
#: The customer of some guests' orders; the others have null.
BLANK = "   "


@dataclass(frozen=True)
class Line:
    """One line of an order; ``shipping`` is that of the whole order on line 1, and 0 on all others."""

    line_number: int
    product_id: str
    quantity: int
    amount: Decimal
    discount: Decimal
    shipping: Decimal
    tax: Decimal


@dataclass(frozen=True)
class Order:
    """An order as the shop recorded it; ``is_tracked`` if the events that led to it were recorded too."""

    order_id: str
    customer_id: str | None
    ordered_at: datetime
    created_at: datetime
    payment: str
    status: str
    is_cancelled: bool
    is_tracked: bool
    lines: tuple[Line, ...]

    def row(self, line: Line) -> Row:
        """Convert a line to a row of ``sales_fact``."""
        return {
            "order_id": self.order_id,
            "line_number": line.line_number,
            "product_id": line.product_id,
            "customer_id": self.customer_id,
            "order_date": self.ordered_at.date(),
            "order_amount": line.amount,
            "order_quantity": line.quantity,
            "payment_method": self.payment,
            "discount_applied": line.discount,
            "shipping_cost": line.shipping,
            "tax_amount": line.tax,
            "order_status": self.status,
            "created_at": self.created_at,
        }


def daily_activity(rng: Random, calendar: Calendar, wet_days: set[date], demand: effects.Demand) -> list[float]:
    """Weigh each day by its demand and a random part: orders and events follow these weights."""
    lowest, highest = demand.noise
    return [
        demand.of_day(number, day, is_wet=day in wet_days) * (lowest + (highest - lowest) * rng.random())
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
    """Generate ``count`` orders, sorted by time."""
    result: list[Order] = []
    for day, share in zip(calendar.days, apportion(count, activity), strict=True):
        buyers, offers = visitors(customers, day), shelf(products, day)
        for ordered_at in sorted(some_moment(rng, day) for _ in range(share)):
            customer_id = _buyer(rng, buyers)
            is_cancelled = rng.random() < effects.CANCELLED_SHARE
            is_tracked = rng.random() < effects.TRACKED_SHARE
            result.append(
                Order(
                    order_id=f"ORD{len(result) + 1:06d}",
                    customer_id=customer_id,
                    ordered_at=ordered_at,
                    created_at=_recorded_at(rng, ordered_at, calendar),
                    payment=PAYMENTS.draw(rng),
                    status=(CANCELLED_STATUSES if is_cancelled else OTHER_STATUSES).draw(rng),
                    is_cancelled=is_cancelled,
                    is_tracked=is_tracked and customer_id not in (None, BLANK),
                    lines=tuple(_lines(rng, day, offers)),
                )
            )
    return result


def _buyer(rng: Random, buyers: Weighted[Customer]) -> str | None:
    """Draw the customer who orders; null or blank: a guest."""
    if rng.random() >= effects.GUEST_SHARE:
        return buyers.draw(rng).customer_id
    return BLANK if rng.random() < effects.BLANK_GUEST_SHARE else None


def _lines(rng: Random, day: date, offers: Weighted[Product]) -> Iterator[Line]:
    """Draw the lines of an order, of different products; an amount is quantity x price of the day less the discount."""
    drawn: dict[str, tuple[int, Decimal, Decimal]] = {}
    size = LINES_PER_ORDER.draw(rng)
    while len(drawn) < size:
        product, quantity, discount = offers.draw(rng), QUANTITIES.draw(rng), DISCOUNTS.draw(rng)
        if product.product_id not in drawn:
            drawn[product.product_id] = quantity, discount, money(product.price_on(day) * quantity * (1 - discount))
    shipping = _shipping(rng, sum((amount for _, _, amount in drawn.values()), Decimal(0)))
    for number, (product_id, (quantity, discount, amount)) in enumerate(drawn.items(), start=1):
        yield Line(
            line_number=number,
            product_id=product_id,
            quantity=quantity,
            amount=amount,
            discount=discount,
            shipping=shipping if number == 1 else Decimal("0.00"),
            tax=money(amount * effects.TAX_RATE),
        )


def some_moment(rng: Random, day: date) -> datetime:
    """Draw a time of a day, at which customers shop."""
    return at_moment(day, HOURS.draw(rng) * 3600 + rng.randint(0, 3599))


def _recorded_at(rng: Random, ordered_at: datetime, calendar: Calendar) -> datetime:
    """Draw when an order is recorded: most at once, some 1 to 9 days later, none after the last day."""
    late_at = ordered_at + timedelta(days=rng.randint(1, 9))
    is_late = rng.random() < effects.LATE_SHARE
    return late_at if is_late and late_at.date() < calendar.end else ordered_at


def _shipping(rng: Random, amount: Decimal) -> Decimal:
    """Draw the shipping cost: by the order's amount, free from 60 on, a fixed price for some express orders."""
    if rng.random() < 0.07 and amount >= 40:
        return Decimal("8.90")
    if amount >= 60:
        return Decimal("0.00")
    return Decimal("2.90") if amount >= 30 else Decimal("1.45") if amount >= 15 else Decimal("0.95")
