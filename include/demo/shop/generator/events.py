"""Generate the customers' events: sessions that end with an order and sessions that do not."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from random import Random

from include.demo.shop.generator.catalogue import Product, shelf
from include.demo.shop.generator.customers import Customer, visitors
from include.demo.shop.generator.orders import Order, some_moment
from include.demo.shop.generator.random_draws import Calendar, Weighted, apportion

STEP_SECONDS = (15, 480)
SESSION_SECONDS = 3600
OTHER_VIEWS = 2  # at most so many products are viewed, and not bought, before an order
Event = tuple[datetime, str, str, str]  # at (UTC), customer_id, product_id, interaction_type


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

    Each purchase belongs to a line of an order. The same customer on the same day views a product, puts it into the
    cart, and then purchases it.
    """
    tracked = _every_nth(count, [order for order in orders if order.is_tracked])
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
            result.append((reviewed_at, _customer_of(order), rng.choice(order.lines).product_id, "review"))
    for day, share in zip(calendar.days, apportion(count - len(result), activity), strict=True):
        result += _browsing(rng, share, day, visitors(customers, day), shelves[day])
    result.sort(key=lambda event: event[0])
    return result


def _every_nth(count: int, orders: list[Order]) -> list[Order]:
    """Take every n-th order, with the smallest n for which the orders' events are certainly no more than ``count``."""
    n = 1
    while sum(OTHER_VIEWS + 3 * len(order.lines) + 1 for order in orders[::n]) > count:
        n += 1
    return orders[::n]


def _customer_of(order: Order) -> str:
    if order.customer_id is None:
        raise ValueError(f"{order.order_id} is the order of a guest, and guests have no events")
    return order.customer_id


def _purchase(rng: Random, order: Order, offers: Weighted[Product]) -> Iterator[Event]:
    """The session of an order: views, then each line's view and cart, then all purchases at the time of the order."""
    steps = [("view", offers.draw(rng).product_id) for _ in range(rng.randint(0, OTHER_VIEWS))]
    steps += [(kind, line.product_id) for line in order.lines for kind in ("view", "add_to_cart")]
    steps.append(("purchase", order.lines[0].product_id))
    yield from _session(rng, order.ordered_at, _customer_of(order), steps)
    for line in order.lines[1:]:
        yield order.ordered_at, _customer_of(order), line.product_id, "purchase"


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
        result += _session(rng, some_moment(rng, day), customers.draw(rng).customer_id, steps)
    return result


def _session(rng: Random, ends_at: datetime, customer_id: str, steps: list[tuple[str, str]]) -> Iterator[Event]:
    """Date the steps of a session, the last one at ``ends_at``; all of them fit into an hour."""
    shortest, longest = STEP_SECONDS
    longest = min(longest, SESSION_SECONDS // len(steps))
    at = ends_at
    for kind, product_id in reversed(steps):
        yield at, customer_id, product_id, kind
        at -= timedelta(seconds=rng.randint(shortest, longest))
