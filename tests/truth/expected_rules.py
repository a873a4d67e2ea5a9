"""Which orders of a generated shop break which rule: by the shop's files and what the generator knows, without SQL."""

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from include.demo.shop.generate import GeneratedShop
from tests.truth.planted_dirt import FileRow

YEAR = timedelta(days=365)


@dataclass
class OrderOfFile:
    """An order of the file, by its lines that count."""

    order_id: str
    lines: list[FileRow] = field(default_factory=list)

    @property
    def day(self) -> date:
        return min(day_of(line) for line in self.lines)

    @property
    def customer_id(self) -> str:
        return customer_of(min(self.lines, key=lambda line: int(line["line_number"] or 1)))

    @property
    def amount(self) -> Decimal:
        return sum((Decimal(line["order_amount"] or 0) for line in self.lines), Decimal(0))


def customer_of(line: FileRow) -> str:
    return (line["customer_id"] or "").strip()


def day_of(line: FileRow) -> date:
    return date.fromisoformat(line["order_date"] or "")


def quantity_of(line: FileRow) -> int:
    return int(line["order_quantity"] or 0) or 1


def orders_of(lines: Sequence[FileRow]) -> list[OrderOfFile]:
    orders: dict[str, OrderOfFile] = {}
    for line in lines:
        order_id = line["order_id"] or ""
        orders.setdefault(order_id, OrderOfFile(order_id)).lines.append(line)
    return sorted(orders.values(), key=lambda order: order.day)


def medians_before(orders: Sequence[OrderOfFile]) -> dict[date, Decimal]:
    """Each day's median order of the 365 days before; no entry for a day before which there was none."""
    by_day: defaultdict[date, list[Decimal]] = defaultdict(list)
    for order in orders:
        by_day[order.day].append(order.amount)
    days, first = sorted(by_day), 0
    amounts: list[Decimal] = []
    medians: dict[date, Decimal] = {}
    for day in days:
        while days[first] < day - YEAR:
            for amount in by_day[days[first]]:
                del amounts[bisect_left(amounts, amount)]
            first += 1
        if amounts:
            medians[day] = (amounts[(len(amounts) - 1) // 2] + amounts[len(amounts) // 2]) / 2
        for amount in by_day[day]:
            insort(amounts, amount)
    return medians


class ExpectedRules:
    """
    The rules as they apply to the orders of a file.

    :param lines: the file's order lines that count
    :param categories: the file's products after the last day
    :param opening: the same before the first day
    """

    def __init__(
        self,
        shop: GeneratedShop,
        lines: Sequence[FileRow],
        categories: Sequence[FileRow],
        opening: Sequence[FileRow],
    ) -> None:
        self._first_day = shop.calendar.first
        self._orders = orders_of(lines)
        self._medians = medians_before(self._orders)
        # A negative cost is a mistake in each state of the file, so such a product has none.
        good = [row for row in categories if not (row["cost_price"] or "").startswith("-")]
        self._cost = {row["product_id"]: Decimal(row["cost_price"]) for row in good if row["cost_price"]}
        self._priced = {row["product_id"] for row in good if row["retail_price"]}
        self._products = {product.product_id: product for product in shop.products}
        self._left = {customer.customer_id: customer.left_on for customer in shop.customers}
        self._discontinued = {row["product_id"] for row in opening if row["discontinued"] == "true"}
        self._of_day = Counter((order.customer_id, order.day) for order in self._orders if order.customer_id)
        self._first_days: dict[str, date] = {}
        for line in lines:
            customer = customer_of(line)
            self._first_days[customer] = min(self._first_days.get(customer, date.max), day_of(line))

    def violations(self) -> dict[str, set[str]]:
        """Rule → ids of the orders that break it."""
        broken: defaultdict[str, set[str]] = defaultdict(set)
        for order in self._orders:
            rules = [*self._of_order(order), *(rule for line in order.lines for rule in self._of_line(line))]
            for rule in rules:
                broken[rule].add(order.order_id)
        return dict(broken)

    def _of_line(self, line: FileRow) -> Iterator[str]:
        if Decimal(line["discount_applied"] or 0) > Decimal("0.30"):
            yield "high_discount"
        cost = self._cost.get(line["product_id"])
        if cost is not None and Decimal(line["order_amount"] or 0) < quantity_of(line) * cost:
            yield "below_cost"
        if self._is_off_list(line):
            yield "price_off_list"
        if line["product_id"] in self._discontinued:
            yield "discontinued_product"
        gone = self._left.get(customer_of(line))
        # Who left within the shop's days was known to have left when all was read, after the last order.
        if gone is not None and gone <= self._first_day and gone < day_of(line):
            yield "gone_customer"
        if (datetime.fromisoformat(line["created_at"] or "").date() - day_of(line)).days > 400:
            yield "dated_back"

    def _is_off_list(self, line: FileRow) -> bool:
        product, rate = self._products.get(line["product_id"] or ""), Decimal(line["discount_applied"] or 0)
        if product is None or product.product_id not in self._priced or rate == 1:
            return False
        listed = product.price_on(day_of(line)) * quantity_of(line)
        return abs(Decimal(line["order_amount"] or 0) / (1 - rate) - listed) > listed / 20

    def _of_order(self, order: OrderOfFile) -> Iterator[str]:
        shipping = sum((Decimal(line["shipping_cost"] or 0) for line in order.lines), Decimal(0))
        if shipping > order.amount / 10:
            yield "high_shipping"
        if self._of_day[order.customer_id, order.day] > 5:
            yield "many_orders"
        median = self._medians.get(order.day)
        if median is None:
            return
        if order.amount > 10 * median:
            yield "unusual_amount"
        if order.customer_id and self._first_days[order.customer_id] == order.day and order.amount > 5 * median:
            yield "first_order_large"
