"""
Orders that break a rule of the seed ``review_rules``, on purpose: as many of each rule as the caller asks for.

They are further orders beside those of the customers' demand, which stay as they are. Each breaks its rule by far, and
other rules only where that cannot be avoided: what is sold below its cost also has a high discount.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random
from statistics import median

from include.demo.shop.generator.catalogue import Product
from include.demo.shop.generator.customers import Customer
from include.demo.shop.generator.effects import TAX_RATE
from include.demo.shop.generator.orders import Line, Order, some_moment
from include.demo.shop.generator.random_draws import Calendar, money
from include.demo.shop.generator.table_states import States

#: Days at the start of the shop without planted orders: what is unusual is compared with the days before.
QUIET_DAYS = 30
#: Orders of one customer on a day, where there are too many.
MANY_ORDERS = 7
#: How many times the median order an unusual one is at least, and about how many a large first one.
UNUSUAL, LARGE = 20, 7
#: Days between an order and its record, where it is dated back.
DATED_BACK = (401, 900)


@dataclass(frozen=True)
class Planted:
    """The orders that were planted, and rule → the ids of those that break it on purpose."""

    orders: list[Order]
    ids: dict[str, set[str]]


def plant_violations(
    rng: Random,
    each: int,
    orders: list[Order],
    customers: list[Customer],
    products: list[Product],
    details: States,
    calendar: Calendar,
) -> Planted:
    """
    Plant orders that break rules.

    :param each: orders for each rule; of a customer with too many orders, such customers
    :param details: the table ``product_category``, which says what is discontinued
    :raises ValueError: the shop is too short to compare an order with those before it
    """
    if each and calendar.length < 2 * QUIET_DAYS:
        raise ValueError(f"to plant violations, a shop needs at least {2 * QUIET_DAYS} days")
    planter = _Planter(rng, orders, customers, products, details, calendar)
    for rule, plant in planter.kinds.items():
        for _ in range(each):
            for order in plant():
                planter.planted.append(order)
                planter.ids.setdefault(rule, set()).add(order.order_id)
    return Planted(planter.planted, planter.ids)


class _Planter:
    def __init__(
        self,
        rng: Random,
        orders: list[Order],
        customers: list[Customer],
        products: list[Product],
        details: States,
        calendar: Calendar,
    ) -> None:
        self.rng = rng
        self.calendar = calendar
        self.products = products
        self.planted: list[Order] = []
        self.ids: dict[str, set[str]] = {}
        self._next = len(orders) + 1
        ordered = {order.customer_id for order in orders}
        self._known = [customer for customer in customers if customer.customer_id in ordered]
        self._new = [
            customer for customer in customers if customer.customer_id not in ordered and customer.left_on is None
        ]
        self._gone = [
            customer for customer in customers if customer.left_on is not None and customer.left_on < calendar.first
        ]
        opening = details.opening
        self._discontinued = [
            product
            for product in products
            if opening.get(product.product_id, {}).get("discontinued") and product.product_id in details.final
        ]
        self._cost = {key: row["cost_price"] for key, row in details.final.items()}
        # A product whose row is dirty has no price to compare with.
        clean = {
            key
            for key, row in details.final.items()
            if (row["cost_price"] or 0) > 0 and row["retail_price"] is not None and row["discontinued"] is False
        }
        self._offered = [product for product in products if product.product_id in clean]
        self._median = median(sum((line.amount for line in order.lines), Decimal(0)) for order in orders)
        self.kinds: dict[str, Callable[[], Iterator[Order]]] = {
            "high_discount": lambda: self._one(discount=Decimal("0.60")),
            "high_shipping": lambda: self._one(shipping_share=Decimal("0.30")),
            "below_cost": self._below_cost,
            "price_off_list": lambda: self._one(price_factor=Decimal("1.5")),
            "unusual_amount": lambda: self._one(times_median=UNUSUAL),
            "many_orders": self._many_orders,
            "first_order_large": self._first_order_large,
            "discontinued_product": lambda: self._one(product=self.rng.choice(self._discontinued)),
            "gone_customer": lambda: self._one(customer=self.rng.choice(self._gone)),
            "dated_back": self._dated_back,
        }

    def _below_cost(self) -> Iterator[Order]:
        product = self._some_product(self._day())
        paid = self._cost[product.product_id] * Decimal("0.8") / product.price
        yield from self._one(product=product, discount=1 - paid.quantize(Decimal("0.01")))

    def _many_orders(self) -> Iterator[Order]:
        day = self._day()
        customer = self._some_customer(day)
        for _ in range(MANY_ORDERS):
            yield from self._one(day=day, customer=customer)

    def _first_order_large(self) -> Iterator[Order]:
        customer = self._new.pop(self.rng.randrange(len(self._new)))
        first = max(customer.joined_on, self.calendar.first + timedelta(days=QUIET_DAYS))
        yield from self._one(day=self._day(first), customer=customer, times_median=LARGE)

    def _dated_back(self) -> Iterator[Order]:
        recorded = self._day()
        ordered = recorded - timedelta(days=self.rng.randint(*DATED_BACK))
        yield from self._one(day=ordered, recorded=some_moment(self.rng, recorded))

    def _one(
        self,
        *,
        day: date | None = None,
        customer: Customer | None = None,
        product: Product | None = None,
        discount: Decimal = Decimal(0),
        price_factor: Decimal = Decimal(1),
        shipping_share: Decimal = Decimal(0),
        times_median: int = 0,
        recorded: datetime | None = None,
    ) -> Iterator[Order]:
        """An order of one line, which is ordinary in all that is not named."""
        day = day or self._day()
        product = product or self._some_product(day)
        customer = customer or self._some_customer(day)
        price = product.price_on(day) * price_factor
        quantity = max(1, math.ceil(times_median * self._median / price))
        amount = money(price * quantity * (1 - discount))
        line = Line(
            line_number=1,
            product_id=product.product_id,
            quantity=quantity,
            amount=amount,
            discount=discount,
            shipping=money(amount * shipping_share),
            tax=money(amount * TAX_RATE),
        )
        ordered_at = some_moment(self.rng, day)
        order_id = f"ORD{self._next:06d}"
        self._next += 1
        yield Order(
            order_id=order_id,
            customer_id=customer.customer_id,
            ordered_at=ordered_at,
            created_at=recorded or ordered_at,
            payment="invoice",
            status="shipped",
            is_cancelled=False,
            is_tracked=False,
            lines=(line,),
        )

    def _day(self, first: date | None = None) -> date:
        first = first or self.calendar.first + timedelta(days=QUIET_DAYS)
        return first + timedelta(days=self.rng.randint(0, (self.calendar.end - first).days - 1))

    def _some_product(self, day: date) -> Product:
        # Of a price at which one piece is an ordinary order, on its first days as on its last.
        fitting = [product for product in self._offered if product.gone_on is None and product.price < 2 * self._median]
        return self.rng.choice([product for product in fitting if product.is_sold_on(day)] or fitting)

    def _some_customer(self, day: date) -> Customer:
        present = [customer for customer in self._known if customer.left_on is None]
        return self.rng.choice([customer for customer in present if customer.shops_on(day)] or present)
