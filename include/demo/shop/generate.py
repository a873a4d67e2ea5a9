"""
Invent a shop and write it as a shop folder: ``python -m include.demo.shop.generate FOLDER``.

The same arguments give the same bytes on every Python and platform. Sizes, shape and dirt: see ``invent``.
"""

import argparse
import csv
import json
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from random import Random

from include.demo.shop.form import COLUMNS
from include.demo.shop.invent import catalogue, climate, dirt, people, trade
from include.demo.shop.invent.chance import Calendar
from include.demo.shop.invent.states import Row

SMALLEST = {"days": 14, "orders": 200, "customers": 60, "products": 48, "events": 1000}


def generate(
    folder: Path,
    *,
    seed: int = 7,
    first: date = date(2024, 1, 1),
    days: int = 180,
    orders: int = 24_000,
    customers: int = 2_400,
    products: int = 320,
    events: int = 110_000,
) -> None:
    """
    Write the seven CSV files, ``messages.jsonl`` and ``opening/``; files of the same names are replaced.

    :param first: the first day of orders, events and weather; the last is ``days`` - 1 days later
    :param orders: rows of ``sales_fact``; a few orders sent twice come on top
    :param customers: all there ever were; some join within the days, a few are gone by the end
    :param products: likewise
    :param events: rows of ``kafka_stream``; a few dirty and doubled ones come on top
    :raises ValueError: a size too small to hold each kind of change and dirt
    """
    sizes = {"days": days, "orders": orders, "customers": customers, "products": products, "events": events}
    for name, smallest in SMALLEST.items():
        if sizes[name] < smallest:
            raise ValueError(f"{name} = {sizes[name]}: each kind of dirt needs at least {smallest}")

    def chance(subject: str) -> Random:
        """A stream of chance of its own a subject: more events leave the orders as they are."""
        return Random(f"{seed} {subject}")  # noqa: S311 -- reproducible is the point

    calendar = Calendar(first, days)
    weather = climate.weather(chance("weather"), calendar)
    goods, product, product_category = catalogue.catalogue(chance("products"), products, calendar)
    clients, customer = people.customer_base(chance("customers"), customers, calendar)
    subscription = people.subscriptions(chance("subscriptions"), clients, calendar)
    busy = trade.busyness(chance("days"), calendar, climate.wet_days(weather))
    placed = trade.orders(chance("orders"), orders, calendar, busy, clients, goods)
    clicks = trade.events(chance("events"), events, calendar, busy, clients, goods, placed)

    spoiler = chance("dirt")
    dirt.soil(spoiler, product, dirt.PRODUCT_KINDS)
    dirt.soil(spoiler, product_category, dirt.DETAIL_KINDS)
    dirt.soil(spoiler, customer, dirt.CUSTOMER_KINDS)
    dirt.soil(spoiler, subscription, dirt.SUBSCRIPTION_KINDS)
    keyless_product = {"product_id": None, "product_name": "Sample", "product_category_id": "CAT01"}
    keyless_customer = {"customer_id": None, "customer_name": "Nobody", "status": "active"}

    (folder / "opening").mkdir(parents=True, exist_ok=True)
    for name, states, stray in (
        ("product", product, [keyless_product]),
        ("product_category", product_category, []),
        ("customer", customer, [keyless_customer]),
        ("subscription_data", subscription, [dirt.stray_subscription(customers, calendar)]),
    ):
        _write(folder / "opening", name, states.opening.values())
        _write(folder, name, [*states.final.values(), *stray])
    sales = dirt.order_rows(chance("dirty orders"), placed, customers, products, calendar)
    _write(folder, "sales_fact", sales)
    _write(folder, "kafka_stream", dirt.event_rows(chance("dirty events"), clicks, customers, products))
    _write(folder, "weather_data", dirt.soil_weather(chance("dirty weather"), weather, calendar))
    messages = dirt.messages(chance("messages"), customers, products, calendar)
    lines = "".join(f"{json.dumps(message)}\n" for message in messages)
    (folder / "messages.jsonl").write_text(lines, encoding="utf-8", newline="\n")


def _write(folder: Path, table: str, rows: Iterable[Row]) -> None:
    columns = list(COLUMNS[table])
    with (folder / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_text(row.get(column)) for column in columns] for row in rows)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return str(value)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write a made-up shop as a shop folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=date.fromisoformat, default=date(2024, 1, 1), metavar="YYYY-MM-DD")
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--orders", type=int, default=24_000)
    parser.add_argument("--customers", type=int, default=2_400)
    parser.add_argument("--products", type=int, default=320)
    parser.add_argument("--events", type=int, default=110_000)
    generate(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
