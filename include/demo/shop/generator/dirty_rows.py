"""
Put dirty data into the tables: a few wrong or unusual values of each kind, in rows that are otherwise ordinary.

Each kind is one that the warehouse must repair, flag or reject. Rows that change (products, customers) and orders with
events or refunds stay clean, so that what they show stays right. What is true of a whole order (its customer, its day)
is dirty only in orders of one line, so that an order never contradicts itself.
"""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random

from include.demo.shop.generator.catalogue import product_id
from include.demo.shop.generator.customers import PLANS, customer_id
from include.demo.shop.generator.effects import TAX_RATE
from include.demo.shop.generator.events import Event
from include.demo.shop.generator.orders import Line, Order
from include.demo.shop.generator.random_draws import Calendar, at_moment, money
from include.demo.shop.generator.refunds import Refund, refunded_at
from include.demo.shop.generator.table_states import Row, States
from include.demo.shop.shop_folder import COLUMNS

Change = Callable[[Row], Row]

UNKNOWN_OFFSET = 7000  # ids of unknown customers and products start this far after the known ones
UNKNOWN_ORDER = 900_000  # numbers of unknown orders start here
REPEATED_AFTER = timedelta(minutes=7)
DAY_BEFORE_CALENDAR = date(1969, 12, 31)  # the warehouse's calendar begins with 1970

PRODUCT_KINDS: tuple[Change, ...] = (
    lambda row: {"product_name": f"  {row['product_name']} "},
    lambda row: {"product_name": row["product_name"].replace(" ", "   ")},
    lambda row: {"product_category_id": None},
)
CATEGORY_KINDS: tuple[Change, ...] = (
    lambda row: {"stock_level": None},
    lambda row: {"reorder_point": None},
    lambda row: {"cost_price": None, "margin_percent": None},
    lambda row: {"retail_price": None, "margin_percent": None},
    lambda row: {"cost_price": Decimal("-5.00")},
    lambda row: {"subcategory": None, "brand": None, "supplier_id": None},
    lambda row: {"discontinued": None, "launch_date": None},
)
CUSTOMER_KINDS: tuple[Change, ...] = (
    lambda row: {"customer_email": row["customer_email"].replace("@", ".at.")},
    lambda row: {"customer_email": row["customer_email"].replace("@", "@@")},
    lambda row: {"customer_email": row["customer_email"].split("@")[0] + "@localhost"},
    lambda row: {"customer_email": "@" + row["customer_email"].split("@")[1]},
    lambda row: {"customer_email": "   "},
    lambda row: {"customer_email": None},
    lambda row: {"customer_email": f" {row['customer_email']} "},
    lambda row: {"customer_name": f"  {row['customer_name']} "},
    lambda row: {"customer_name": row["customer_name"].replace(" ", "   ")},
    lambda row: {"customer_name": None},
    lambda row: {"status": None},
)
SUBSCRIPTION_KINDS: tuple[Change, ...] = (
    lambda row: {"monthly_fee": None},
    lambda row: {"status": None},
    lambda row: {"plan_type": f" {row['plan_type']} "},
)
LINE_KINDS: tuple[Change, ...] = (
    lambda row: {"order_quantity": None},
    lambda row: {"order_quantity": 0},
    lambda row: {"order_quantity": -row["order_quantity"]},
    lambda row: {"discount_applied": None},
    lambda row: {"discount_applied": Decimal("1.50")},
    lambda row: {"discount_applied": Decimal("-0.10")},
    lambda row: {"shipping_cost": None},
    lambda row: {"shipping_cost": Decimal("-4.90")},
    lambda row: {"tax_amount": None},
    lambda row: {"tax_amount": Decimal("-1.90")},
    lambda row: {"order_amount": None},
    lambda row: {"order_amount": -row["order_amount"]},
    lambda row: {"order_amount": Decimal("0.00")},
    lambda row: {"product_id": None},
)
#: Of what the lines of an order share: only in orders of one line.
ORDER_KINDS: tuple[Change, ...] = (
    lambda row: {"order_id": None},
    lambda row: {"line_number": None},
    lambda row: {"line_number": -1},
    lambda row: {"order_date": DAY_BEFORE_CALENDAR},
    lambda row: {"payment_method": None},
    lambda row: {"payment_method": "   "},
    lambda row: {"payment_method": row["payment_method"].upper()},
    lambda row: {"payment_method": f" {row['payment_method'].title()} "},
    lambda row: {"order_status": None},
    lambda row: {"order_status": "  "},
    lambda row: {"order_status": " Cancelled "},
)
REFUND_KINDS: tuple[Change, ...] = (
    lambda row: {"refund_amount": Decimal("0.00")},
    lambda row: {"refund_amount": -row["refund_amount"]},
    lambda row: {"refund_amount": None},
    lambda row: {"refund_date": DAY_BEFORE_CALENDAR},
    lambda row: {"refund_id": None},
    lambda row: {"refund_quantity": -1},
    lambda row: {"reason": "  "},
)


def rows_per_kind(count: int) -> int:
    """Compute how many dirty rows of each kind a table of ``count`` rows gets."""
    return max(1, count // 4000)


def add_dirty_values(rng: Random, states: States, kinds: Sequence[Change]) -> None:
    """Make one unchanged row per kind dirty, in both states: dirty values do not come and go."""
    for key, change in zip(rng.sample(states.unchanged_keys(), len(kinds)), kinds, strict=True):
        for rows in (states.opening, states.final):
            rows[key] = rows[key] | change(rows[key])


def subscription_of_unknown_customer(customers: int, calendar: Calendar) -> Row:
    """Generate a subscription of a customer that is in no table."""
    return {
        "customer_id": customers + UNKNOWN_OFFSET,
        "subscription_id": "SUB99999",
        "plan_type": "Plus",
        "subscription_start_date": calendar.first,
        "subscription_end_date": None,
        "monthly_fee": PLANS["Plus"],
        "status": "active",
    }


def weather_rows(rng: Random, rows: list[Row], calendar: Calendar) -> list[Row]:
    """Take from each city the temperature of one day, the precipitation of another, and the whole row of a third."""
    result = rows
    for city in dict.fromkeys(row["city"] for row in rows):
        no_temperature, no_precipitation, no_row = rng.sample(calendar.days[1:-1], 3)
        result = [
            row
            | ({"temperature": None} if (row["city"], row["date"]) == (city, no_temperature) else {})
            | ({"precipitation": None} if (row["city"], row["date"]) == (city, no_precipitation) else {})
            for row in result
            if (row["city"], row["date"]) != (city, no_row)
        ]
    return result


def order_rows(
    rng: Random, orders: list[Order], refunded: set[str], customers: int, products: int, calendar: Calendar
) -> list[Row]:
    """
    Generate the rows of ``sales_fact``, sorted by the time they were recorded: the orders' lines, some of them dirty.

    In addition to the lines, two come a second time with a corrected quantity, minutes later and a day later. In some
    orders of two lines, the second has number 1 as well, and was recorded a second later.

    :param refunded: ids of the orders that have a refund
    """
    lines = [(order, line) for order in orders for line in order.lines]
    rows = [order.row(line) for order, line in lines]
    number = rows_per_kind(len(lines))
    clean = [
        place
        for place, (order, _) in enumerate(lines)
        if not order.is_tracked and not order.is_cancelled and order.order_id not in refunded
    ]

    def make_dirty(changes: Sequence[Change], fits: Callable[[Order, Line], bool] = lambda order, line: True) -> None:
        places = rng.sample([place for place in clean if fits(*lines[place])], len(changes))
        for place, change in zip(places, changes, strict=True):
            rows[place] |= change(rows[place])
        dirty = {lines[place][0].order_id for place in places}
        clean[:] = [place for place in clean if lines[place][0].order_id not in dirty]

    make_dirty(
        [
            *ORDER_KINDS * number,
            *(_replace("customer_id", customer_id(customers + UNKNOWN_OFFSET + n)) for n in range(number)),
        ],
        lambda order, line: len(order.lines) == 1,
    )
    second = timedelta(seconds=1)
    make_dirty(
        [lambda row: {"line_number": 1, "created_at": row["created_at"] + second}] * number,
        lambda order, line: (
            len(order.lines) == line.line_number == 2 and (order.created_at + second).date() < calendar.end
        ),
    )
    make_dirty(
        [
            *LINE_KINDS * number,
            *(_replace("product_id", product_id(products + UNKNOWN_OFFSET + n)) for n in range(number)),
        ]
    )
    correctable = [place for place in clean if lines[place][0].created_at.date() + timedelta(days=1) < calendar.end]
    for place, delay in zip(rng.sample(correctable, 2), (REPEATED_AFTER, timedelta(days=1)), strict=True):
        order, line = lines[place]
        quantity = line.quantity + 1
        amount = money(line.amount / line.quantity * quantity)
        corrected = replace(line, quantity=quantity, amount=amount, tax=money(amount * TAX_RATE))
        rows.append(replace(order, created_at=order.created_at + delay).row(corrected))
    rows.sort(key=lambda row: row["created_at"])
    return rows


def refund_rows(
    rng: Random, refunds: list[Refund], orders: list[Order], refunded: set[str], calendar: Calendar
) -> list[Row]:
    """
    Generate the rows of ``refund``, sorted by time: the refunds, and dirty ones of other orders.

    In addition to wrong values: a refund of an order that is in no table, and one that comes a second time, minutes
    later, with half of the amount.

    :param refunded: ids of the orders that have a refund
    """
    rows = [refund.row(f"REF{number:05d}") for number, refund in enumerate(refunds, start=1)]
    # Orders with events have no dirty line.
    others = [
        order for order in orders if order.is_tracked and not order.is_cancelled and order.order_id not in refunded
    ]
    extra: list[Row] = []
    while len(extra) < len(REFUND_KINDS) + 3:
        place = rng.randint(0, len(others) - 1)
        order = others[place]
        created_at = refunded_at(rng, order)
        if (created_at + REPEATED_AFTER).date() < calendar.end:
            del others[place]
            line = order.lines[0]
            refund = Refund(
                order_id=order.order_id,
                line_number=line.line_number,
                product_id=line.product_id,
                customer_id=order.customer_id,
                amount=line.amount,
                quantity=line.quantity,
                reason="not as described",
                created_at=created_at,
            )
            extra.append(refund.row(f"REF{len(rows) + len(extra) + 1:05d}"))
    for row, change in zip(extra, REFUND_KINDS, strict=False):
        row |= change(row)
    of_unknown_order, first, second = extra[-3:]
    of_unknown_order["order_id"] = f"ORD{UNKNOWN_ORDER}"
    second |= first | {
        "refund_amount": money(first["refund_amount"] / 2),
        "created_at": first["created_at"] + REPEATED_AFTER,
    }
    rows += extra
    rows.sort(key=lambda row: row["created_at"])
    return rows


def _replace(column: str, value: object) -> Change:
    return lambda row: {column: value}


def event_rows(rng: Random, events: list[Event], customers: int, products: int) -> list[Row]:
    """
    Generate the rows of ``kafka_stream``, sorted by time: the events in several notations of time, and dirty ones.

    In addition to the events: duplicates (the same row, and the same time in another notation), missing values, times
    that cannot be read, unknown customers and products.
    """
    rows = [_event_row(event, _notation(rng)) for event in events]
    number = max(1, len(events) // 20_000)
    extra: list[tuple[int, Row]] = []
    places = iter(rng.sample(range(len(events)), 9 * number))
    for n in range(number):
        place = next(places)
        extra.append((place, dict(rows[place])))
        place = next(places)
        rows[place] = _event_row(events[place], "naive")
        extra.append((place, _event_row(events[place], "+02:00")))
        for change in (
            {"customer_id": None},
            {"product_id": None},
            {"interaction_type": None},
            {"timestamp": "yesterday"},
            {"timestamp": "2024-13-45T10:00:00"},
            {"customer_id": customer_id(customers + UNKNOWN_OFFSET + n)},
            {"product_id": product_id(products + UNKNOWN_OFFSET + n)},
        ):
            place = next(places)
            extra.append((place, _event_row(events[place], "naive") | {"interaction_type": "view"} | change))
    for place, row in sorted(extra, key=lambda pair: pair[0], reverse=True):
        rows.insert(place + 1, row)
    return rows


def _notation(rng: Random) -> str:
    place = rng.random()
    return "naive" if place < 0.8 else "Z" if place < 0.93 else "+02:00"


def _event_row(event: Event, notation: str) -> Row:
    at, customer, product, kind = event
    if notation == "naive":
        text = at.isoformat()
    elif notation == "Z":
        text = f"{at.isoformat()}Z"
    else:
        text = f"{(at + timedelta(hours=2)).isoformat()}+02:00"
    return {"customer_id": customer, "product_id": product, "interaction_type": kind, "timestamp": text}


def messages(rng: Random, customers: int, products: int, calendar: Calendar) -> list[Row]:
    """
    Generate the Kafka messages that a CSV file cannot hold, sorted by publication, as lines of ``messages.jsonl``.

    Malformed ones, and three correct ones that arrive days after their event.
    """
    result: list[Row] = []

    def add(value: object = None, *, key: str | None = "CUST001", **changes: object) -> None:
        """Add a message: an event with changes, or a value; a text is sent as it is, any other value as JSON."""
        at = _some_moment(rng, calendar)
        if changes:
            value = event(at) | changes
        text = value if value is None or isinstance(value, str) else json.dumps(value)
        result.append({"published_at": _stamp(at), "key": key, "value": text})

    def event(at: datetime) -> Row:
        return {
            "customer_id": customer_id(rng.randint(1, customers)),
            "product_id": product_id(rng.randint(1, products)),
            "interaction_type": "view",
            "timestamp": at.isoformat(),
        }

    for column in COLUMNS["kafka_stream"]:
        complete = event(_some_moment(rng, calendar))
        add({name: value for name, value in complete.items() if name != column})
    add('{"customer_id": "CUST001", "product_id": ')
    add("view PROD001")
    add("")
    add([1, 2, 3])
    add(42, key=None)
    add(None)
    add(customer_id=17, key="17")
    add(product_id={"id": "PROD001"})
    add(timestamp="31.12.2024 10:00")
    add(timestamp=1704103200)
    add(timestamp=None)
    add(customer_id="CUST\u0000001")  # valid in JSON, not in Postgres's text
    add(product_id="\ud800")  # half of a surrogate pair, which UTF-8 cannot encode
    latin = base64.b64encode("Größe".encode("latin-1")).decode("ascii")
    result.append({"published_at": _stamp(_some_moment(rng, calendar)), "key": "CUST001", "value_base64": latin})
    for days in (1, 3, 6):
        happened_at = _some_moment(rng, calendar, before_end=days)
        late = event(happened_at)
        published_at = _stamp(happened_at + timedelta(days=days))
        result.append({"published_at": published_at, "key": late["customer_id"], "value": json.dumps(late)})
    result.sort(key=lambda line: line["published_at"])
    return result


def _some_moment(rng: Random, calendar: Calendar, *, before_end: int = 0) -> datetime:
    day = calendar.days[rng.randint(0, calendar.length - 1 - before_end)]
    return at_moment(day, rng.randint(0, 86_399))


def _stamp(at: datetime) -> str:
    return f"{at.isoformat()}Z"
