"""
Write a small shop with all edge cases of the data contract.

About 1,900 order lines of 40 products, 230 refunds, 60 customers, 3,000 events, 40 subscriptions and two cities, in a
window of 68 days with the end of a year and of three months. Ordinary rows are drawn at random from the seed; the edge
cases are written out below, each with the rule that it tests. Less than one percent of each file's rows is invalid, so
that loads do not fail.
"""

import csv
import random
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path

FIRST = date(2023, 11, 27)
LAST = date(2024, 2, 2)

# Other windows of the same files: (first day, last day). The first also covers the days of orders that were recorded a
# year and more late, so it has the complete months and the years to compare with that the window above lacks.
WINDOWS = {
    "covered since a year before": (date(2022, 10, 15), LAST),
    "covered to 30 March of a leap year": (date(2022, 1, 1), date(2024, 3, 30)),
    "to the last day of a month": (FIRST, date(2024, 1, 31)),
    "to the last day of a year": (date(2023, 12, 15), date(2023, 12, 31)),
    "a single day": (date(2024, 1, 24), date(2024, 1, 24)),
}

# Days without orders that count: two holidays, and the last day of the year.
DAYS_WITHOUT_ORDERS = {date(2023, 12, 25), date(2023, 12, 26), date(2023, 12, 31)}
DAYS_WITHOUT_EVENTS = {date(2023, 12, 25), date(2024, 1, 1)}

Value = str | int | Decimal | date | None
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


def write_edge_case_shop(folder: Path, *, seed: int = 1) -> tuple[date, date]:
    """
    Write the eight CSV files.

    :param folder: created if it does not exist; files of the same names are replaced
    :param seed: the same seed writes the same bytes
    :return: first and last day of the window to load, both inclusive; the last is the as-of date
    """
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    _write(folder, "product", _products())
    _write(folder, "product_category", _product_categories())
    _write(folder, "customer", _customers())
    orders = _Orders(chance)
    _write(folder, "sales_fact", orders.rows())
    _write(folder, "refund", _Refunds(chance, orders).rows())
    _write(folder, "subscription_data", _subscriptions())
    _write(folder, "weather_data", _weather())
    _write(folder, "kafka_stream", _Events(chance).rows())
    return FIRST, LAST


COLUMNS = {
    "product": "product_id,product_name,product_category_id",
    "product_category": (
        "product_id,category_id,category_name,subcategory,brand,supplier_id,cost_price,retail_price,"
        "margin_percent,stock_level,reorder_point,discontinued,launch_date,last_updated"
    ),
    "customer": "customer_id,customer_name,customer_email,start_date,end_date,status",
    "sales_fact": (
        "order_id,line_number,product_id,customer_id,order_date,order_amount,order_quantity,payment_method,"
        "discount_applied,shipping_cost,tax_amount,order_status,created_at"
    ),
    "refund": (
        "refund_id,order_id,line_number,product_id,customer_id,refund_date,refund_amount,refund_quantity,reason,"
        "created_at"
    ),
    "subscription_data": (
        "customer_id,subscription_id,plan_type,subscription_start_date,subscription_end_date,monthly_fee,status"
    ),
    "weather_data": "date,city,temperature,precipitation",
    "kafka_stream": "customer_id,product_id,interaction_type,timestamp",
}


def _write(folder: Path, name: str, rows: Iterable[Sequence[Value]]) -> None:
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS[name].split(","))
        writer.writerows(rows)


# Products 1-29 are ordinary and have random orders; 30-59 are edge cases, with only the orders written below; 60-159
# have no orders: with them, one invalid row of product_category is less than one percent.
ORDINARY_PRODUCTS = range(1, 30)
ALL_PRODUCTS = range(1, 160)
ORDINARY_CATEGORIES = (("CAT1", "Garden", "Tools"), ("CAT1", "Garden", None), ("CAT2", "Kitchen", "Knives"))

UNPRICED = "PROD030"  # no cost: profit unknown
LOSS = "PROD031"  # costs 440.50: November's margin is -10.125 %
TIED = "PROD032"  # two best months and two worst months
ONE_MONTH = "PROD033"  # a category that sold in one month
FLAT = "PROD034"  # every month the same: best, and a variation of 0
GAPS = "PROD035"  # months and whole quarters without sales
AT_MEAN = "PROD036"  # a month exactly at the category's mean
UNCATEGORISED = "PROD037"  # in product only
UNNAMED = "PROD038"  # in product_category only
INVALID_PRICE = "PROD039"  # its category row is invalid: a product without category
LAST_30_DAYS = "PROD040"
HALF_A_TENTH = "PROD041"  # days of stock end in a half
WHITESPACE = "PROD042"
FINE_PRICE = "PROD043"  # a cost of three places
NO_STOCK_NUMBER = "PROD049"
HALVES = "PROD050"  # percentages that end in a half
OVERSOLD = "PROD052"  # a stock below zero
ONLY_REFUNDS = "PROD053"  # refunds, but no order in the window
ONLY_CANCELLED = "PROD054"
UNPRICED_AMONG_OTHERS = "PROD055"  # no cost, in a category of products with a cost
ONLY_RUNNING = "PROD056"  # a category that begins in the running month
UNKNOWN_PRODUCT = "PROD900"  # in no file but the orders
UNKNOWN_TO_ALL_BUT_EVENTS = "PROD901"

SPECIAL_CATEGORIES = {
    TIED: "Tied",
    ONE_MONTH: "One Month",
    FLAT: "Flat",
    GAPS: "Gaps",
    AT_MEAN: "At Mean",
    HALVES: "Halves",
    LOSS: "Losses",
    UNPRICED: "All categories",  # the name of the total
    ONLY_REFUNDS: "Only Refunds",
    ONLY_RUNNING: "Only Running",
}

# stock, reorder point, discontinued, launch
STOCK: dict[str, tuple[int | None, int | None, str | None, date | None]] = {
    LAST_30_DAYS: (7, 3, "false", date(2020, 2, 29)),
    HALF_A_TENTH: (3, 0, "false", LAST),
    "PROD044": (0, 0, "false", LAST + DAY),
    "PROD045": (5, 5, "false", LAST - DAY),
    "PROD046": (6, 5, "false", None),
    "PROD047": (0, 5, "true", date(2010, 1, 1)),
    "PROD048": (5, None, None, date(2023, 1, 1)),
    NO_STOCK_NUMBER: (None, 5, "false", date(2023, 1, 1)),
    "PROD051": (None, None, None, None),
    OVERSOLD: (-3, 5, "false", date(2023, 1, 1)),
}


def _product(number: int) -> str:
    return f"PROD{number:03d}"


def _products() -> Iterable[Sequence[Value]]:
    for product in map(_product, ALL_PRODUCTS):
        if product == UNNAMED:
            continue
        name = f'  Product, "{product}" ' if product == WHITESPACE else f"Product {product}"
        yield product, name, None if product == UNCATEGORISED else "CAT1"


def _product_categories() -> Iterable[Sequence[Value]]:
    for number, product in enumerate(map(_product, ALL_PRODUCTS)):
        if product == UNCATEGORISED:
            continue
        category_id, category, subcategory = ORDINARY_CATEGORIES[number % len(ORDINARY_CATEGORIES)]
        supplier = f"SUP{number % 5}" if number % 4 else " "
        cost: Value = Decimal(number % 7) + Decimal("0.35")
        if product in SPECIAL_CATEGORIES:
            category_id, category, subcategory = product, SPECIAL_CATEGORIES[product], "Only"
        if product in (UNPRICED, UNPRICED_AMONG_OTHERS):
            cost = None
        elif product == LOSS:
            cost = Decimal("440.50")
        elif product == HALVES:
            cost = Decimal("0.00")
        elif product == INVALID_PRICE:
            cost = Decimal("-0.01")
        elif product == FINE_PRICE:
            cost = Decimal("2.005")
        elif product == WHITESPACE:
            category, subcategory = f" {category}  ", "   "
        stock, reorder_point, discontinued, launch = STOCK.get(product, (number, 20, "false", date(2022, 5, 1)))
        yield (
            product, category_id, category, subcategory, f" Brand {number % 3}", supplier, cost, Decimal("9.99"),
            Decimal("30.0"), stock, reorder_point, discontinued, launch, date(2023, 12, 15),
        )  # fmt: skip


# Customers 1-30 are ordinary and have random orders; 31-60 are edge cases.
ORDINARY_CUSTOMERS = range(1, 31)
HIGH, MEDIUM, ALMOST_HIGH, ALMOST_MEDIUM, ROUNDED_UP = (f"CUST{number:03d}" for number in range(31, 36))
ONE_ORDER, SAME_DAY, ONLY_FREE, TWO_ORDERS, LATE_ONLY, ORDERED_AHEAD = (f"CUST{number:03d}" for number in range(36, 42))
NAMELESS, BLANK_NAME, PADDED_NAME = (f"CUST{number:03d}" for number in range(42, 45))
ONLY_INVALID_ROWS, OUTSIDE_WINDOW, VISITOR = (f"CUST{number:03d}" for number in range(45, 48))
CASES = "CUST048"  # for orders whose customer does not matter
LINES, ONLY_CANCELLED_ORDERS, ONLY_REFUNDED = (f"CUST{number:03d}" for number in range(51, 54))
REFUNDED_TO_LOW, REFUNDED_BELOW_ZERO, ONCE_A_GUEST, TWO_DAYS = (f"CUST{number:03d}" for number in range(54, 58))
LOST, ONE_LARGE_ORDER = "CUST058", "CUST059"
UNKNOWN_CUSTOMER = "CUST900"
UNKNOWN_WITH_INVALID_ROWS = "CUST901"  # all its rows are invalid, so no customer is inferred
UNKNOWN_VISITOR = "CUST902"
UNKNOWN_REFUNDED = "CUST906"  # in no file but the refunds
NOT_ASKED = "CUST907"  # a refund names it, but the order line has another customer: no fact has it


def _customers() -> Iterable[Sequence[Value]]:
    names = {NAMELESS: None, BLANK_NAME: "   ", PADDED_NAME: "  Ada   Lovelace "}
    emails = ("a@b.de", "none", "two@@at.de", "@b.de", "a@b", None, "a@b.c@d.e")
    for number in (*range(1, 60), 1000):
        customer = f"CUST{number:03d}"
        name = names.get(customer, f"Name, {number}")
        ended = LAST if number % 9 == 0 else None
        yield customer, name, emails[number % len(emails)], date(2022, 1, number % 28 + 1), ended, "active"


class _Orders:
    """Collects the orders; ids count up, `created_at` is noon of the order's day by default."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.numbers = count(1)
        self.orders: list[Sequence[Value]] = []

    def add(
        self,
        product: str | None,
        customer: str | None,
        day: date | None,
        amount: str | None,
        *,
        quantity: int | None = 1,
        payment: str | None = "credit_card",
        discount: str | None = "0",
        shipping: str | None = "0",
        created: datetime | None = None,
        order_id: str | None = None,
        line: int | None = None,
        tax: str | None = None,
        status: str | None = "completed",
    ) -> str:
        """
        Add an order line; one of a day before the window is recorded late, on the window's fifth day.

        :return: the order's id
        """
        recorded = max(day, FIRST + 4 * DAY) if day and day < FIRST else min(day or LAST, LAST)
        created = created or datetime.combine(recorded, time(12, 0))
        identity = f"ORD{next(self.numbers):05d}" if order_id is None else order_id
        self.orders.append(
            (
                identity, line, product, customer, day, amount, quantity, payment, discount, shipping, tax, status,
                f"{created}",
            )
        )  # fmt: skip
        return identity

    def rows(self) -> list[Sequence[Value]]:
        self._ordinary(1_150)
        self._window()
        self._customer_tiers()
        self._defaults()
        self._reviews()
        self._categories()
        self._halves()
        self._stock()
        self._unknown()
        self._lines()
        self._guests()
        self._cancelled()
        self._invalid_rows()
        return self.orders

    def _ordinary(self, number: int) -> None:
        days = [day for day in _days(FIRST, LAST) if day not in DAYS_WITHOUT_ORDERS | {UNPRICED_DAY, GUESTS_DAY}]
        methods = ("credit_card", "Credit_Card", "paypal", " PayPal ", "bank_transfer", None)
        for _ in range(number):
            day = self.chance.choice(days)
            late = self.chance.choice((0, 0, 0, 0, 1, 9)) * DAY
            second = timedelta(seconds=self.chance.randrange(86_400))
            created = datetime.combine(min(day + late, LAST), time()) + second
            order_id = f"ORD{next(self.numbers):05d}"
            customer = self.chance.choice((*(f"CUST{number:03d}" for number in ORDINARY_CUSTOMERS), None, None))
            payment = self.chance.choice(methods)
            for line in range(1, self.chance.choice((1, 1, 1, 1, 1, 2, 3)) + 1):
                self.add(
                    _product(self.chance.choice(ORDINARY_PRODUCTS)),
                    customer,
                    day,
                    str(Decimal(self.chance.randrange(1, 9_000)) / 100),
                    quantity=self.chance.choice((1, 1, 1, 2, 3, 12)),
                    payment=payment,
                    discount=str(Decimal(self.chance.randrange(0, 5_000)) / 10_000),
                    shipping=str(Decimal(self.chance.randrange(0, 800)) / 100),
                    created=created,
                    order_id=order_id,
                    line=line,
                    tax=str(Decimal(self.chance.randrange(0, 1_700)) / 100),
                    status=self.chance.choice(("completed",) * 20 + ("shipped", None, "cancelled")),
                )

    def _window(self) -> None:
        """The edges of the window, to the microsecond, and order dates outside of it."""
        start, end = datetime.combine(FIRST, time()), datetime.combine(LAST + DAY, time())
        self.add("PROD001", CASES, FIRST, "11.11", created=start)
        self.add("PROD001", CASES, LAST, "22.22", created=end - TICK)
        self.add("PROD001", OUTSIDE_WINDOW, FIRST, "33.33", created=start - TICK)
        self.add("PROD001", OUTSIDE_WINDOW, LAST, "44.44", created=end)
        self.add("PROD902", "CUST903", LAST, "55.55", created=end)
        # Recorded a year and more late; the earliest order of all is free, so it is not the first.
        self.add("PROD002", LATE_ONLY, date(2022, 11, 30), "66.66")
        self.add("PROD002", LATE_ONLY, date(2022, 12, 31), "7.07")
        self.add("PROD002", ONLY_FREE, date(2022, 11, 1), "0.00")
        self.add("PROD002", ONLY_FREE, date(2023, 12, 25), "0")
        # The order date is in the future: after the as-of date.
        self.add("PROD003", ORDERED_AHEAD, LAST + 3 * DAY, "88.88", created=datetime.combine(LAST, time(9)))
        # The same id twice: the order that was recorded last counts, if that was in the window.
        twice = datetime.combine(date(2024, 1, 10), time(8))
        self.add("PROD004", CASES, date(2024, 1, 10), "100.00", created=twice, order_id="TWICE")
        self.add("PROD005", CASES, date(2023, 12, 9), "200.00", created=twice + TICK, order_id="TWICE")
        self.add("PROD006", CASES, date(2024, 1, 31), "12.00", order_id="ONCE")
        self.add("PROD006", CASES, date(2024, 1, 31), "13.00", created=end + DAY, order_id="ONCE")

    def _customer_tiers(self) -> None:
        self.add("PROD007", HIGH, date(2023, 11, 30), "999.99")
        self.add("PROD007", HIGH, date(2024, 1, 31), "0.01")
        self.add("PROD007", MEDIUM, date(2023, 12, 1), "500.00")
        self.add("PROD007", ALMOST_HIGH, LAST, "999.99")
        self.add("PROD007", ALMOST_MEDIUM, date(2023, 12, 30), "499.99")
        # 499.995 is rounded to 500.00.
        self.add("PROD007", ROUNDED_UP, date(2023, 12, 30), "499.995")
        self.add("PROD008", ONE_ORDER, date(2024, 1, 1), "10.00")
        self.add("PROD008", SAME_DAY, date(2024, 1, 2), "10.01")
        self.add("PROD008", SAME_DAY, date(2024, 1, 2), "10.00")
        # One who ordered much and comes no more, and one whose scores of orders and of money differ by an odd number.
        for number in range(60):
            self.add("PROD008", LOST, date(2023, 12, 1) + number % 20 * DAY, "50.00")
        self.add("PROD008", ONE_LARGE_ORDER, date(2024, 1, 5), "1900.00")
        # What is refunded takes the one out of its tier, and the other below zero.
        self.add("PROD008", REFUNDED_TO_LOW, date(2024, 1, 3), "500.00", order_id="TO LOW")
        self.add("PROD008", REFUNDED_BELOW_ZERO, date(2024, 1, 3), "20.00", order_id="BELOW ZERO")
        # Amounts are rounded to the cent: 0.004 to nothing, 0.005 to a cent.
        self.add("PROD008", ONLY_FREE, date(2023, 12, 2), "0.004")
        self.add("PROD008", TWO_ORDERS, date(2023, 11, 28), "0.005")
        self.add("PROD008", TWO_ORDERS, date(2024, 2, 1), "30.00")
        for customer in (NAMELESS, BLANK_NAME, PADDED_NAME):
            self.add("PROD009", customer, date(2023, 12, 24), "20.00", discount="0.5")

    def _defaults(self) -> None:
        for payment in (None, "", "   ", "CREDIT_CARD", "  Debit_Card"):
            self.add("PROD010", CASES, date(2024, 1, 15), "5.00", payment=payment)
        for quantity in (None, 0, 1, 2):
            self.add("PROD011", CASES, date(2024, 1, 16), "50.00", quantity=quantity)
        self.add("PROD011", CASES, date(2024, 1, 16), "50.00", discount=None, shipping=None)
        self.add("  PROD011 ", f" {CASES} ", date(2024, 1, 17), "9.00")
        self.add("\ufeffPROD011\u3000", f"\u00a0{CASES}\u200b", date(2024, 1, 17), "9.00", payment="\tPaypal\u2003")
        self.add(FINE_PRICE, CASES, date(2024, 1, 17), "9.00", quantity=3)
        self.add(WHITESPACE, CASES, date(2024, 1, 17), "9.00")

    def _reviews(self) -> None:
        """Below, at and above both thresholds."""
        for discount in ("0.3", "0.300001", "0.29999", "0.31005", "0.30005", "0.310049", "1", "0"):
            self.add("PROD012", CASES, date(2024, 1, 18), "50.00", discount=discount)
        for amount, shipping in (
            ("50.00", "5.00"), ("50.00", "5.01"), ("0.10", "0.01"), ("0.09", "0.01"), ("0.05", "0.01"),
            ("0.01", "0.00"), ("50.00", "5.004"), ("50.00", "5.005"), ("50.04", "5.00"), ("0.01", "99.99"),
        ):  # fmt: skip
            self.add("PROD012", CASES, date(2024, 1, 19), amount, shipping=shipping)
        self.add("PROD012", CASES, date(2024, 1, 19), "200.00", discount="0.4", shipping="2.01")
        self.add("PROD012", CASES, date(2024, 1, 19), "800.00", discount="0.4", shipping="0.36")
        self.add("PROD012", CASES, date(2024, 1, 19), "10.00", discount="0.31", shipping="1.01")

    def _categories(self) -> None:
        for product, months in {
            TIED: {"2023-02": "50", "2023-05": "90", "2023-06": "50", "2023-07": "90", "2023-12": "70"},
            ONE_MONTH: {"2024-01": "70"},
            FLAT: {"2023-10": "25", "2023-11": "25", "2024-02": "25"},
            GAPS: {
                "2022-12": "10",
                "2023-01": "30",
                "2023-06": "0.03",
                "2023-07": "0.04",
                "2024-01": "99.99",
            },
            AT_MEAN: {"2023-11": "100", "2023-12": "300", "2024-01": "200"},
            LOSS: {"2023-11": "400", "2023-12": "420", "2024-01": "0.01"},
        }.items():
            for month, amount in months.items():
                self.add(product, CASES, date.fromisoformat(f"{month}-01"), amount)
        for number, day in enumerate((LAST - DAY, LAST, LAST + DAY)):
            self.add(
                ONLY_RUNNING, CASES, day, "5.00", created=datetime.combine(LAST, time(8)), order_id=f"RUNNING {number}"
            )
        # The last day of months, and of a February.
        for day in (date(2023, 11, 30), date(2023, 12, 30), date(2024, 1, 31), date(2023, 2, 28)):
            self.add("PROD013", CASES, day, "31.31")
        # A day whose only order has no cost, and another order without cost.
        self.add(UNPRICED, CASES, UNPRICED_DAY, "10.00")
        self.add(UNPRICED, CASES, date(2024, 1, 5), "10.00", quantity=3)
        self.add(UNPRICED_AMONG_OTHERS, CASES, date(2024, 1, 5), "250.00")

    def _halves(self) -> None:
        """Halves are rounded away from zero: 33 of 800 is 4.125 %, rounded to 4.13."""
        self.add(HALVES, CASES, date(2023, 12, 5), "0.33", payment="paypal")
        self.add(HALVES, CASES, date(2023, 12, 6), "7.67", payment="bank_transfer")
        # January grows by 200.125 %.
        self.add(HALVES, CASES, date(2024, 1, 5), "24.01", payment="paypal")
        self.add(HALVES, CASES, date(2024, 2, 1), "0.01")
        # 7 orders in the 48 days to the as-of date are 4.375 in 30; computed from a rounded 7 / 48 it would be 4.37.
        for days in (0, 7, 14, 21, 28, 35, 47):
            self.add("PROD014", "CUST050", LAST - 47 * DAY + days * DAY, "6.00")
        # Averages that end in half a cent.
        self.add("PROD014", "CUST049", date(2024, 1, 6), "10.01")
        self.add("PROD014", "CUST049", date(2024, 1, 14), "10.00")

    def _stock(self) -> None:
        """The first and the last of the 30 days until the as-of date."""
        for day, quantity in ((LAST - 30 * DAY, 100), (LAST - 29 * DAY, 10), (LAST, 4), (LAST + DAY, 1_000)):
            self.add(LAST_30_DAYS, CASES, day, "3.00", quantity=quantity)
        self.add(LAST_30_DAYS, CASES, LAST, "0", quantity=500)
        self.add(HALF_A_TENTH, CASES, LAST, "3.00", quantity=200)
        for product in ("PROD044", "PROD046", NO_STOCK_NUMBER, OVERSOLD):
            self.add(product, CASES, LAST, "3.00", quantity=7)

    def _unknown(self) -> None:
        self.add(UNKNOWN_PRODUCT, CASES, date(2024, 1, 20), "15.00", discount="0.35")
        self.add("PROD015", UNKNOWN_CUSTOMER, date(2024, 1, 20), "15.00", discount="0.35")
        self.add("PROD903", "CUST904", date(2024, 1, 20), "0")
        for product in (UNCATEGORISED, UNNAMED, INVALID_PRICE):
            self.add(product, CASES, date(2024, 1, 21), "15.00")

    def _lines(self) -> None:
        """Orders of several lines: counted once in each group, whatever their lines have in common."""
        garden, kitchen = date(2023, 12, 19), date(2024, 1, 23)
        # Two categories, three subcategories, two payment methods; a line is free, one is of another quantity.
        for line, product, amount, payment in (
            (1, "PROD001", "40.00", "paypal"), (2, "PROD002", "30.00", "paypal"),
            (3, "PROD003", "20.00", "bank_transfer"), (4, "PROD003", "10.01", "bank_transfer"),
            (5, "PROD006", "0", "voucher"),
        ):  # fmt: skip
            self.add(product, LINES, garden, amount, payment=payment, order_id="LINES", line=line, quantity=line)
        # Lines on two days, in two months and two years; the lower line is the later one.
        self.add("PROD001", TWO_DAYS, date(2024, 1, 2), "15.00", order_id="TWO DAYS", line=1)
        self.add("PROD001", TWO_DAYS, date(2023, 12, 30), "25.00", order_id="TWO DAYS", line=2)
        # Line numbers without order and from 0; no number is line 1, and of two lines 1 the last recorded counts.
        for line in (7, 0, 2_147_483_647):
            self.add("PROD003", LINES, kitchen, "1.00", order_id="NUMBERS", line=line)
        recorded = datetime.combine(kitchen, time(9))
        self.add("PROD003", LINES, kitchen, "5.00", order_id="LINE TWICE", created=recorded)
        self.add("PROD003", LINES, kitchen, "6.00", order_id="LINE TWICE", line=1, created=recorded + TICK)
        # A discount in one line only; shipping that is too much for the order, and for a line but not for the order.
        self.add("PROD012", LINES, kitchen, "70.00", order_id="DISCOUNT", line=1, discount="0.1")
        self.add("PROD012", LINES, kitchen, "30.00", order_id="DISCOUNT", line=2, discount="0.4")
        self.add("PROD012", LINES, kitchen, "50.00", order_id="SHIPPING", line=1, shipping="10.01")
        self.add("PROD012", LINES, kitchen, "50.00", order_id="SHIPPING", line=2)
        self.add("PROD012", LINES, kitchen, "50.00", order_id="SHIPPING OF A LINE", line=1, shipping="10.00")
        self.add("PROD012", LINES, kitchen, "50.00", order_id="SHIPPING OF A LINE", line=2)
        # A line with a discount of 1 has no list amount; a line without cost has no profit.
        self.add("PROD012", LINES, kitchen, "8.00", order_id="GIVEN AWAY", line=1, discount="1")
        self.add(UNPRICED, LINES, kitchen, "6.00", order_id="GIVEN AWAY", line=2, discount="0.25")
        self.add("PROD012", LINES, kitchen, "8.00", order_id="ALL GIVEN AWAY", discount="1")
        # Two customers share an order; the lowest line says whose it is.
        self.add("PROD012", LINES, kitchen, "5.00", order_id="SHARED", line=2, discount="0.5")
        self.add("PROD012", CASES, kitchen, "5.00", order_id="SHARED", line=1)

    def _guests(self) -> None:
        """Orders without customer: in the revenue, but in no figure of a customer."""
        for customer in (None, "", "   "):
            self.add("PROD013", customer, date(2024, 1, 24), "21.00")
        self.add("PROD013", None, date(2024, 1, 24), "0")
        self.add("PROD013", None, date(2024, 1, 24), "9.00", order_id="GUEST", line=1, discount="0.45", shipping="1.01")
        self.add("PROD014", None, date(2024, 1, 24), "1.00", order_id="GUEST", line=2)
        # A guest who is known from the second line on, and a day on which nobody but guests ordered.
        self.add("PROD013", None, date(2024, 1, 25), "4.00", order_id="HALF A GUEST", line=1)
        self.add("PROD013", ONCE_A_GUEST, date(2024, 1, 25), "5.00", order_id="HALF A GUEST", line=2)
        self.add("PROD013", None, GUESTS_DAY, "12.34")

    def _cancelled(self) -> None:
        """Cancelled lines are in no mart; their customers and products are known all the same."""
        for status in (
            "cancelled",
            "Canceled",
            " VOIDED ",
            "failed",
            "CANCELLED",
            "Failed ",
            "Failed\t",
            "\u200bvoided\u00a0",
        ):
            self.add(ONLY_CANCELLED, ONLY_CANCELLED_ORDERS, date(2024, 1, 26), "1000.00", discount="0.9", status=status)
        self.add("PROD905", "CUST905", date(2024, 1, 26), "77.00", status="cancelled")
        for other_status in ("cancel", "not cancelled", "refunded", "", None, "  "):
            self.add("PROD015", CASES, date(2024, 1, 26), "2.00", status=other_status)
        self.add("PROD015", CASES, date(2024, 1, 26), "10.00", order_id="HALF CANCELLED", line=1, status="voided")
        self.add("PROD015", CASES, date(2024, 1, 26), "11.00", order_id="HALF CANCELLED", line=2)

    def _invalid_rows(self) -> None:
        """Fifteen of about 1,900 lines: none counts, and ids that only they have are not inferred."""
        day = date(2024, 1, 22)
        for amount in (None, "-0.01", "10000000000000000"):
            self.add("PROD016", ONLY_INVALID_ROWS, day, amount)
        for discount in ("1.01", "-0.01"):
            self.add("PROD016", ONLY_INVALID_ROWS, day, "10.00", discount=discount)
        self.add("PROD016", ONLY_INVALID_ROWS, day, "10.00", quantity=-1)
        self.add("PROD016", ONLY_INVALID_ROWS, day, "10.00", shipping="-0.01")
        self.add("PROD016", ONLY_INVALID_ROWS, None, "10.00")
        self.add(None, UNKNOWN_WITH_INVALID_ROWS, day, "10.00")
        self.add("  ", UNKNOWN_WITH_INVALID_ROWS, day, "10.00")
        self.add("PROD904", ONLY_INVALID_ROWS, day, "10.00", tax="-0.01")
        self.add("PROD904", ONLY_INVALID_ROWS, day, "10.00", line=-1)
        for outside in (date(1969, 12, 31), date(2070, 1, 1)):
            self.add("PROD904", ONLY_INVALID_ROWS, outside, "10.00", created=datetime.combine(day, time(12)))
        self.add("PROD016", ONLY_INVALID_ROWS, day, "10.00", order_id="")


UNPRICED_DAY = date(2024, 1, 28)
GUESTS_DAY = date(2024, 1, 27)


class _Refunds:
    """Collects the refunds; `created_at` is three in the afternoon of the refund's day by default."""

    def __init__(self, chance: random.Random, orders: _Orders) -> None:
        self.chance = chance
        self.orders = orders
        self.numbers = count(1)
        self.refunds: list[Sequence[Value]] = []

    def add(
        self,
        day: date | None,
        amount: str | None,
        *,
        order_id: str | None = None,
        line: int | None = None,
        product: str | None = None,
        customer: str | None = None,
        quantity: int | None = None,
        created: datetime | None = None,
        refund_id: str | None = None,
    ) -> None:
        """Add a refund; one of a day before the window is recorded late, on the window's fifth day."""
        recorded = max(day, FIRST + 4 * DAY) if day and day < FIRST else min(day or LAST, LAST)
        created = created or datetime.combine(recorded, time(15, 0))
        identity = f"REF{next(self.numbers):05d}" if refund_id is None else refund_id
        self.refunds.append(
            (identity, order_id, line, product, customer, day, amount, quantity, "returned", f"{created}")
        )

    def rows(self) -> list[Sequence[Value]]:
        self._ordinary(200)
        self._window()
        self._whose()
        self._amounts()
        self._months()
        self.add(date(2024, 1, 22), "-1.00", order_id="LINES", line=1)
        return self.refunds

    def _ordinary(self, number: int) -> None:
        """Of ordinary lines, days and weeks after the order."""
        lines = [row for row in self.orders.orders if str(row[0]).startswith("ORD") and row[1] is not None]
        for row in self.chance.sample(lines, number):
            ordered = row[4]
            assert isinstance(ordered, date)
            self.add(
                min(ordered + self.chance.choice((0, 1, 5, 20, 40)) * DAY, LAST),
                str(Decimal(self.chance.randrange(1, 5_000)) / 100),
                order_id=str(row[0]),
                line=int(str(row[1])) if self.chance.random() < 0.8 else None,
                product=self.chance.choice((str(row[2]), None)),
                quantity=self.chance.choice((1, 2, None)),
            )

    def _window(self) -> None:
        """The edges of the window, a refund in the future, and the same id twice."""
        start, end = datetime.combine(FIRST, time()), datetime.combine(LAST + DAY, time())
        self.add(FIRST, "1.01", order_id="LINES", line=1, created=start)
        self.add(LAST, "1.02", order_id="LINES", line=1, created=end - TICK)
        self.add(FIRST, "1.03", order_id="LINES", line=1, created=start - TICK)
        self.add(LAST, "1.04", order_id="LINES", line=1, created=end)
        self.add(LAST + 3 * DAY, "1.05", order_id="LINES", line=1, created=datetime.combine(LAST, time(9)))
        twice = datetime.combine(date(2024, 1, 10), time(8))
        self.add(date(2024, 1, 10), "3.00", order_id="LINES", line=2, created=twice, refund_id="TWICE")
        self.add(date(2024, 1, 9), "4.00", order_id="LINES", line=3, created=twice + TICK, refund_id="TWICE")

    def _whose(self) -> None:
        """Product and customer: of the line that is named, else the order's customer, else what the refund says."""
        day = date(2024, 1, 29)
        # The line's own product and customer, whatever the refund says.
        self.add(day, "1.10", order_id=" LINES ", line=3, product="PROD907", customer=NOT_ASKED)
        self.add(day, "1.11", order_id="SHARED", line=2)
        # No line, or one that there is not: the order's customer, the refund's product.
        self.add(day, "1.12", order_id="SHARED", product="PROD013", customer=NOT_ASKED)
        self.add(day, "1.13", order_id="LINES", line=99, product="  ", customer=NOT_ASKED)
        # An order that is not known, and none at all.
        self.add(day, "1.14", order_id="NO SUCH ORDER", line=1, product="PROD013", customer=UNKNOWN_REFUNDED)
        self.add(day, "1.15", product="PROD906", customer=ONLY_REFUNDED)
        self.add(day, "1.16")
        # The refunds of guests, also where the refund names a customer.
        self.add(day, "1.17", order_id="GUEST", line=1)
        self.add(day, "1.18", order_id="GUEST", line=2, customer=NOT_ASKED)
        self.add(day, "1.19", order_id="GUEST", customer=NOT_ASKED)
        self.add(day, "1.20", order_id="HALF A GUEST", line=2)
        self.add(day, "1.21", order_id="HALF A GUEST")
        # Lines that do not count: cancelled, and free.
        self.add(day, "1.22", order_id="HALF CANCELLED", line=1)
        self.add(day, "1.23", order_id="LINES", line=5)

    def _amounts(self) -> None:
        """More than the line, on a day without orders, to the cent, and into another tier."""
        self.add(date(2024, 1, 31), "400.00", order_id="TWO DAYS", line=2)
        self.add(date(2023, 12, 25), "2.00", order_id="LINES", line=4)
        self.add(date(2024, 1, 30), "0.005", order_id="LINES", line=4)
        self.add(date(2024, 1, 30), "0.01", order_id="TO LOW", line=1)
        self.add(date(2024, 1, 30), "20.01", order_id="BELOW ZERO", line=1)

    def _months(self) -> None:
        """Months in which a product, and its category, has refunds alone; one before its first order."""
        self.add(date(2023, 12, 8), "5.00", product=ONLY_REFUNDS, customer=CASES)
        self.add(date(2024, 1, 8), "5.00", product=ONLY_REFUNDS)
        self.add(date(2023, 11, 28), "6.00", product=ONE_MONTH)
        self.add(date(2024, 2, 1), "7.00", product=ONE_MONTH)
        # A day and a month before the first order of all.
        self.add(date(2022, 10, 31), "8.00", product="PROD013")


def _subscriptions() -> Iterable[Sequence[Value]]:
    cases: Sequence[tuple[int, str | None, date, date | None, str | None, str]] = (
        # Active during the whole window; ended long before it.
        (1, "Basic", date(2023, 8, 15), None, "9.99", "Active"),
        (2, "Basic", date(2023, 8, 31), date(2023, 10, 15), "9.99", "Expired"),
        # Month ends as start and as end.
        (3, "Basic", date(2023, 9, 30), date(2023, 12, 31), "19.99", "Cancelled"),
        (4, "Basic", date(2023, 10, 1), date(2023, 11, 30), "0.01", "CANCELLED"),
        (5, "Basic", date(2023, 11, 30), date(2023, 12, 1), "5.55", "cancelled"),
        (6, "Basic", date(2023, 12, 31), date(2024, 1, 1), "5.55", "Active"),
        (7, "Basic", date(2023, 12, 1), date(2024, 1, 31), "5.55", "Active"),
        # Ended in the month it began; ended on the day it began.
        (8, "Basic", date(2023, 12, 3), date(2023, 12, 20), "7.77", "Active"),
        (9, "Basic", date(2024, 1, 9), date(2024, 1, 9), "7.77", "Active"),
        (10, "Basic", LAST, LAST, "3.33", "Active"),
        # Start and end on the as-of date, and on the days around it.
        (11, "Premium", LAST, None, "29.99", "Active"),
        (12, "Premium", LAST + DAY, None, "29.99", "Active"),
        (13, "Premium", date(2023, 12, 15), LAST, "29.99", "Active"),
        (14, "Premium", date(2023, 12, 16), LAST + DAY, "29.99", "Active"),
        (15, "Premium", date(2023, 12, 16), LAST - DAY, "29.99", "Active"),
        (16, "Premium", date(2024, 2, 20), date(2024, 3, 20), "29.99", "Active"),
        (17, "Premium", date(2024, 1, 31), date(2024, 2, 29), "29.99", "Active"),
        # Cancelled without an end date; a fee of zero, and no fee.
        (18, "Enterprise", date(2023, 10, 10), None, "99.99", "Cancelled"),
        (19, "Enterprise", date(2023, 10, 11), None, None, "Active"),
        (20, "Enterprise", date(2023, 10, 12), date(2024, 1, 12), "0", "Active"),
        (21, "Enterprise", date(2023, 10, 12), None, "33.335", "Active"),
        # A plan without name, names with blanks around them, and a month without subscriptions of a plan.
        (22, None, date(2023, 11, 5), None, "1.00", "Active"),
        (23, "  ", date(2023, 12, 5), date(2024, 1, 5), "2.00", "Active"),
        (24, " Basic ", date(2024, 1, 2), None, "4.44", "Active"),
        (25, "Trial", date(2023, 10, 5), date(2023, 10, 25), "1.11", "Expired"),
        (26, "Trial", date(2024, 1, 5), None, "1.11", "Active"),
        # A plan with the name of all plans.
        (27, "All plans", date(2024, 1, 3), None, "6.66", "Active"),
        # The second subscription of a customer, an id of four digits, and two unknown customers.
        (1, "Basic", date(2023, 12, 24), None, "9.99", "Active"),
        (1000, "Basic", date(2023, 12, 24), None, "9.99", "Active"),
        (1001, "Basic", date(2023, 12, 24), None, "9.99", "Active"),
        (77, "Basic", date(2023, 12, 24), None, "9.99", "Active"),
    )
    for number, (customer, plan, start, end, fee, status) in enumerate(cases, start=1):
        yield customer, f"SUB{number:03d}", plan, start, end, fee, status
    # A churn rate that ends in a half: one of the eight active ones, 12.5 %.
    for number in range(8):
        end = date(2024, 1, 15) if number == 0 else None
        yield number + 1, f"SUB{number + 101}", "Octet", date(2023, 12, 10), end, "8.88", "Active"


def _weather() -> Iterable[Sequence[Value]]:
    """All limits of the categories in Berlin; no rain and one missing day in Hamburg."""
    temperatures = ("-0.1", "0", "0.1", "10", "10.1", "20", "20.1", "30", "30.1", None, "-12.5")
    precipitations = ("0", "0.1", "2.4", "2.5", "7.4", "7.5", None, "31.4", "0.0")
    for number, day in enumerate(_days(FIRST, LAST)):
        temperature = temperatures[number % len(temperatures)]
        yield day, "Berlin", temperature, precipitations[number % len(precipitations)]
        if day != date(2024, 1, 13):
            yield day, "Hamburg", Decimal(number % 23) - 5, None if number % 13 == 0 else "0.0"


class _Events:
    """Collects the events in the order of the file, which is not the order of time."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.events: list[Sequence[Value]] = []

    def add(self, kind: str | None, customer: str | None, timestamp: str, product: str = "PROD001") -> None:
        self.events.append((customer, product, kind, timestamp))

    def rows(self) -> list[Sequence[Value]]:
        self._ordinary(2_960)
        self._window()
        self._repeated()
        self._funnels()
        self._invalid_rows()
        return self.events

    def _ordinary(self, number: int) -> None:
        without_events = DAYS_WITHOUT_EVENTS | FUNNEL_DAYS
        days = [day for day in _days(FIRST, LAST) if day not in without_events]
        kinds = ("view",) * 6 + ("add_to_cart",) * 3 + ("purchase", "purchase", "wishlist", "review")
        for _ in range(number):
            day = self.chance.choice(days)
            second = timedelta(seconds=self.chance.randrange(86_400))
            self.add(
                self.chance.choice(kinds),
                f"CUST{self.chance.choice(ORDINARY_CUSTOMERS):03d}",
                (datetime.combine(day, time()) + second).isoformat() + self.chance.choice(("", "Z", "+00:00")),
                _product(self.chance.choice(ORDINARY_PRODUCTS)),
            )

    def _window(self) -> None:
        """The edges of the window, and UTC offsets that move an event to another day or out of the window."""
        self.add("view", VISITOR, f"{FIRST}T00:00:00")
        self.add("view", OUTSIDE_WINDOW, f"{FIRST - DAY}T23:59:59.999")
        self.add("view", VISITOR, f"{LAST}T23:59:59.999Z")
        self.add("view", OUTSIDE_WINDOW, f"{LAST + DAY}T00:00:00")
        self.add("view", "CUST905", f"{LAST + DAY}T00:00:00Z", "PROD905")
        self.add("view", VISITOR, f"{FIRST - DAY}T22:30:00-02:00")
        self.add("view", OUTSIDE_WINDOW, f"{FIRST}T01:59:59+02:00")
        self.add("purchase", VISITOR, "2024-01-01T01:30:00+02:00")
        self.add("purchase", VISITOR, "2023-12-31T23:30:00-05:30")
        # Digits after the microsecond are cut, and lead to no other day.
        self.add("view", CASES, "2023-12-31T23:59:59.9999999Z")
        self.add("view", CASES, "2024-01-31T23:59:59.999999999")

    def _repeated(self) -> None:
        """The same time in several notations is one event; another type, product or customer is another event."""
        for timestamp in ("T12:00:00", "T12:00:00Z", "T14:00:00+02:00", "T12:00:00.000", "T12:00:00"):
            self.add("view", VISITOR, f"2024-01-08{timestamp}")
        self.add("purchase", VISITOR, "2024-01-08T12:00:00")
        self.add("view", CASES, "2024-01-08T12:00:00")
        self.add("view", VISITOR, "2024-01-08T12:00:00", "PROD002")
        self.add("view", VISITOR, "2024-01-08T12:00:00.001")
        self.add("\u00a0purchase\t", f"\ufeff{VISITOR}\u200b", "2024-01-08T12:00:00Z", "PROD001\u3000")
        # Two events of one microsecond, one of them twice.
        for decimals in ("0000001", "0000002", "000000100"):
            self.add("view", VISITOR, f"2024-01-08T12:00:00.{decimals}Z")

    def _funnels(self) -> None:
        only_others, no_views, no_carts, halves = sorted(FUNNEL_DAYS)
        self.add("wishlist", VISITOR, f"{only_others}T10:00:00Z")
        for customer in (VISITOR, CASES):
            self.add("add_to_cart", customer, f"{no_views}T10:00:00Z")
        self.add("purchase", VISITOR, f"{no_views}T11:00:00Z")
        self.add("view", UNKNOWN_VISITOR, f"{no_carts}T10:00:00Z", UNKNOWN_TO_ALL_BUT_EVENTS)
        self.add("purchase", UNKNOWN_VISITOR, f"{no_carts}T11:00:00Z", UNKNOWN_TO_ALL_BUT_EVENTS)
        # One of 32 is 3.125 %; a customer with two views is one viewer.
        for number in range(32):
            self.add("view", f"CUST{number + 1:03d}", f"{halves}T10:00:{number:02d}Z")
        self.add("view", "CUST001", f"{halves}T12:00:00Z")
        self.add(" add_to_cart ", "CUST001", f"{halves}T13:00:00Z")
        self.add("purchase", " CUST001 ", f"{halves}T14:00:00Z")

    def _invalid_rows(self) -> None:
        self.add("view", UNKNOWN_WITH_INVALID_ROWS, "soon")
        self.add("view", UNKNOWN_WITH_INVALID_ROWS, "2024-02-30T10:00:00")
        self.add("view", None, "2024-01-08T12:00:00", "PROD906")
        self.add(None, UNKNOWN_WITH_INVALID_ROWS, "2024-01-08T12:00:00")


FUNNEL_DAYS = {date(2024, 1, 3), date(2024, 1, 4), date(2024, 1, 11), date(2024, 1, 12)}


def _days(first: date, last: date) -> list[date]:
    return [first + number * DAY for number in range((last - first).days + 1)]
