"""Generate the refunds: of one line in full or in part, of a whole order, and some that name no order."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

from include.demo.shop.generator import effects
from include.demo.shop.generator.orders import Line, Order, some_moment
from include.demo.shop.generator.random_draws import Calendar, Weighted, money
from include.demo.shop.generator.table_states import Row

REASONS = Weighted.of(effects.REASONS)


@dataclass(frozen=True)
class Refund:
    """What went back to a customer, without tax and shipping."""

    order_id: str | None
    line_number: int | None
    product_id: str | None
    customer_id: str | None
    amount: Decimal
    quantity: int | None
    reason: str | None
    created_at: datetime

    def row(self, refund_id: str | None) -> Row:
        """Convert the refund to a row of ``refund``."""
        return {
            "refund_id": refund_id,
            "order_id": self.order_id,
            "line_number": self.line_number,
            "product_id": self.product_id,
            "customer_id": self.customer_id,
            "refund_date": self.created_at.date(),
            "refund_amount": self.amount,
            "refund_quantity": self.quantity,
            "reason": self.reason,
            "created_at": self.created_at,
        }


def refunds_by_time(rng: Random, orders: list[Order], calendar: Calendar) -> tuple[list[Refund], set[str]]:
    """
    Generate the refunds of orders that are not cancelled, sorted by time; none is larger than what it refunds.

    :return: the refunds, and the ids of all orders that have one, also where the refund does not name the order
    """
    result: list[Refund] = []
    refunded: set[str] = set()
    for order in orders:
        if order.is_cancelled:
            continue
        for refund in _refunds_of(rng, order):
            if refund.created_at.date() < calendar.end:
                result.append(refund)
                refunded.add(order.order_id)
    result.sort(key=lambda refund: refund.created_at)
    return result, refunded


def _refunds_of(rng: Random, order: Order) -> Iterator[Refund]:
    lines = [line for line in order.lines if rng.random() < effects.REFUND_SHARE]
    if not lines:
        return
    if rng.random() < effects.WHOLE_ORDER_SHARE:
        yield Refund(
            order_id=order.order_id,
            line_number=None,
            product_id=None,
            customer_id=order.customer_id,
            amount=sum((line.amount for line in order.lines), Decimal(0)),
            quantity=sum(line.quantity for line in order.lines),
            reason=REASONS.draw(rng),
            created_at=refunded_at(rng, order),
        )
        return
    for line in lines:
        names_order = rng.random() >= effects.NO_ORDER_SHARE
        amount, quantity = _part(rng, line) if rng.random() < effects.PARTIAL_SHARE else (line.amount, line.quantity)
        yield Refund(
            order_id=order.order_id if names_order else None,
            line_number=line.line_number if names_order else None,
            product_id=line.product_id,
            customer_id=order.customer_id,
            amount=amount,
            quantity=quantity,
            reason=REASONS.draw(rng),
            created_at=refunded_at(rng, order),
        )


def _part(rng: Random, line: Line) -> tuple[Decimal, int | None]:
    """Draw a part of a line's amount, and the pieces sent back: of a single piece none, and a tenth to a half of it."""
    if line.quantity > 1:
        quantity = rng.randint(1, line.quantity - 1)
        return money(line.amount * quantity / line.quantity), quantity
    return money(line.amount * rng.randint(1, 5) / 10), None


def refunded_at(rng: Random, order: Order) -> datetime:
    """Draw when a refund is made: days after the order, but not before the day on which the order was recorded."""
    day = order.ordered_at.date() + timedelta(days=rng.randint(*effects.REFUND_DAYS))
    return some_moment(rng, max(day, order.created_at.date() + timedelta(days=1)))
