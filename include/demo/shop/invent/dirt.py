"""
Wrong and odd values, few of each kind, always in rows that are otherwise ordinary.

Each kind is one that the warehouse must repair, flag or refuse. Rows that tell a story elsewhere (changed
products and customers, orders with clicks) are spared, so that the story stays true.
"""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

from include.demo.shop.form import COLUMNS
from include.demo.shop.invent.catalogue import product_id
from include.demo.shop.invent.chance import Calendar, at_moment, money
from include.demo.shop.invent.people import PLANS, customer_id
from include.demo.shop.invent.states import Row, States
from include.demo.shop.invent.trade import Event, Order

Change = Callable[[Row], Row]

STRANGERS = 7000  # customers and products nobody knows are numbered from this far beyond the known ones

PRODUCT_KINDS: tuple[Change, ...] = (
    lambda row: {"product_name": f"  {row['product_name']} "},
    lambda row: {"product_name": row["product_name"].replace(" ", "   ")},
    lambda row: {"product_category_id": None},
)
DETAIL_KINDS: tuple[Change, ...] = (
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
ORDER_KINDS: tuple[Change, ...] = (
    lambda row: {"order_quantity": None},
    lambda row: {"order_quantity": 0},
    lambda row: {"order_quantity": -row["order_quantity"]},
    lambda row: {"discount_applied": None},
    lambda row: {"discount_applied": Decimal("1.50")},
    lambda row: {"discount_applied": Decimal("-0.10")},
    lambda row: {"shipping_cost": None},
    lambda row: {"shipping_cost": Decimal("-4.90")},
    lambda row: {"order_amount": None},
    lambda row: {"order_amount": -row["order_amount"]},
    lambda row: {"order_amount": Decimal("0.00")},
    lambda row: {"payment_method": None},
    lambda row: {"payment_method": "   "},
    lambda row: {"payment_method": row["payment_method"].upper()},
    lambda row: {"payment_method": f" {row['payment_method'].title()} "},
    lambda row: {"order_id": None},
    lambda row: {"product_id": None},
    lambda row: {"customer_id": None},
)


def few(count: int) -> int:
    """How many rows of each kind a large table gets."""
    return max(1, count // 4000)


def soil(rng: Random, states: States, kinds: Sequence[Change]) -> None:
    """Change one steady row a kind, in both states alike: dirt is no change over time."""
    for key, change in zip(rng.sample(states.steady_keys(), len(kinds)), kinds, strict=True):
        for rows in (states.opening, states.final):
            rows[key] = rows[key] | change(rows[key])


def stray_subscription(customers: int, calendar: Calendar) -> Row:
    """The subscription of a customer nobody knows."""
    return {
        "customer_id": customers + STRANGERS,
        "subscription_id": "SUB99999",
        "plan_type": "Plus",
        "subscription_start_date": calendar.first,
        "subscription_end_date": None,
        "monthly_fee": PLANS["Plus"],
        "status": "active",
    }


def soil_weather(rng: Random, rows: list[Row], calendar: Calendar) -> list[Row]:
    """A city each: a day without a temperature, one without precipitation, one without a row."""
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


def order_rows(rng: Random, placed: list[Order], customers: int, products: int, calendar: Calendar) -> list[Row]:
    """
    The rows of ``sales_fact`` by the time they were recorded: the orders, some soiled, and two sent twice (a
    correction of the quantity, minutes later and a day later).
    """
    number = few(len(placed))
    strangers: list[Change] = [
        *(_put("customer_id", customer_id(customers + STRANGERS + n)) for n in range(number)),
        *(_put("product_id", product_id(products + STRANGERS + n)) for n in range(number)),
    ]
    changes = list(ORDER_KINDS) * number + strangers
    spare = [place for place, order in enumerate(placed) if not order.tracked]
    places = rng.sample(spare, len(changes))
    rows = [order.row() for order in placed]
    for place, change in zip(places, changes, strict=True):
        rows[place] |= change(rows[place])
    soiled = set(places)
    early = [
        placed[place]
        for place in spare
        if place not in soiled and placed[place].created_at.date() + timedelta(days=1) < calendar.end
    ]
    for order, delay in zip(rng.sample(early, 2), (timedelta(minutes=7), timedelta(days=1)), strict=True):
        corrected = replace(
            order,
            quantity=order.quantity + 1,
            amount=money(order.amount / order.quantity * (order.quantity + 1)),
            created_at=order.created_at + delay,
        )
        rows.append(corrected.row())
    rows.sort(key=lambda row: row["created_at"])
    return rows


def _put(column: str, value: str) -> Change:
    return lambda row: {column: value}


def event_rows(rng: Random, clicks: list[Event], customers: int, products: int) -> list[Row]:
    """
    The rows of ``kafka_stream`` by time: the events in several notations of time, and dirty ones among them.

    On top of the events come doubles (the same again, and the same instant in another notation), missing
    values, unreadable times, customers and products nobody knows.
    """
    rows = [_event_row(event, _notation(rng)) for event in clicks]
    number = max(1, len(clicks) // 20_000)
    extra: list[tuple[int, Row]] = []
    places = iter(rng.sample(range(len(clicks)), 9 * number))
    for n in range(number):
        place = next(places)
        extra.append((place, dict(rows[place])))
        place = next(places)
        rows[place] = _event_row(clicks[place], "naive")
        extra.append((place, _event_row(clicks[place], "+02:00")))
        for change in (
            {"customer_id": None},
            {"product_id": None},
            {"interaction_type": None},
            {"timestamp": "yesterday"},
            {"timestamp": "2024-13-45T10:00:00"},
            {"customer_id": customer_id(customers + STRANGERS + n)},
            {"product_id": product_id(products + STRANGERS + n)},
        ):
            place = next(places)
            extra.append((place, _event_row(clicks[place], "naive") | {"interaction_type": "view"} | change))
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
    Kafka messages that a CSV cannot express, by time of publication, as the lines of ``messages.jsonl``.

    Broken ones, and three good ones that arrive days after they happened.
    """
    result: list[Row] = []

    def publish(value: object = None, *, key: str | None = "CUST001", **changes: object) -> None:
        """An event with changes, or a value in its stead: text goes out as it is, anything else as JSON."""
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
        publish({name: value for name, value in complete.items() if name != column})
    publish('{"customer_id": "CUST001", "product_id": ')
    publish("view PROD001")
    publish("")
    publish([1, 2, 3])
    publish(42, key=None)
    publish(None)
    publish(customer_id=17, key="17")
    publish(product_id={"id": "PROD001"})
    publish(timestamp="31.12.2024 10:00")
    publish(timestamp=1704103200)
    publish(timestamp=None)
    publish(customer_id="CUST\u0000001")  # JSON allows it, Postgres text does not
    publish(product_id="\ud800")  # half a surrogate pair: no UTF-8 can hold it
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
