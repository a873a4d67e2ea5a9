"""
Generate a shop and write it as a shop folder: ``PYTHONPATH=plugins python -m include.demo.shop.generate FOLDER``.

The same arguments give the same bytes on every Python and platform. The tables: see ``generator``; what the shop has on
purpose: ``generator/effects.py``.
"""

import argparse
import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from random import Random

from include.demo.shop.generator import dirty_rows
from include.demo.shop.generator.catalogue import Product, catalogue
from include.demo.shop.generator.customers import Customer, customer_base, subscriptions
from include.demo.shop.generator.effects import DEMAND, GROWTH_A_YEAR, Demand
from include.demo.shop.generator.events import events_of_sessions
from include.demo.shop.generator.orders import Order, daily_activity, orders_by_time
from include.demo.shop.generator.random_draws import Calendar
from include.demo.shop.generator.refunds import refunds_by_time
from include.demo.shop.generator.table_states import Row
from include.demo.shop.generator.violations import plant_violations
from include.demo.shop.generator.weather import daily_weather, wet_days
from include.demo.shop.shop_folder import COLUMNS

SMALLEST = {"days": 14, "orders": 200, "customers": 60, "products": 48, "events": 1000}
ORDERS = 13_400


@dataclass(frozen=True)
class GeneratedShop:
    """What was drawn: the truth behind the files, in which some rows are dirty."""

    calendar: Calendar
    demand: Demand
    weather: list[Row]
    products: list[Product]
    customers: list[Customer]
    orders: list[Order]
    #: rule → ids of the orders that break it on purpose; they are not among ``orders``
    violations: dict[str, set[str]] = field(default_factory=dict)


def generate(
    folder: Path,
    *,
    seed: int = 7,
    first: date = date(2024, 1, 1),
    days: int = 180,
    orders: int = ORDERS,
    customers: int = 2_400,
    products: int = 320,
    events: int = 110_000,
    demand: Demand = DEMAND,
    violations: int = 0,
) -> GeneratedShop:
    """
    Write a CSV file for each source, ``messages.jsonl`` and ``opening/``; files of the same names are replaced.

    :param first: the first day of orders, events and weather; the last is ``days`` - 1 days later
    :param orders: baskets; an order has 1.8 lines on average, each a row of ``sales_fact``
    :param customers: all customers of all days; some join within the days, a few are gone by the end
    :param products: likewise
    :param events: rows of ``kafka_stream``; a few dirty ones and duplicates are added
    :param demand: growth, months, weekdays, rain and noise
    :param violations: further orders that break a rule for orders on purpose, so many for each rule; the demo's shop
        has only those that customers and prices bring about
    :return: what was drawn, which the files show
    :raises ValueError: a size is too small for each kind of change and dirty value
    """
    sizes = {"days": days, "orders": orders, "customers": customers, "products": products, "events": events}
    for name, smallest in SMALLEST.items():
        if sizes[name] < smallest:
            raise ValueError(f"{name} = {sizes[name]}: each kind of dirty value needs at least {smallest}")

    def rng(subject: str) -> Random:
        """Random numbers of one subject alone: more events leave the orders as they are."""
        return Random(f"{seed} {subject}")  # noqa: S311 -- reproducible is the point

    calendar = Calendar(first, days)
    weather = daily_weather(rng("weather"), calendar)
    all_products, product, product_category = catalogue(rng("products"), products, calendar)
    all_customers, customer = customer_base(rng("customers"), customers, calendar)
    subscription = subscriptions(rng("subscriptions"), all_customers, calendar)
    activity = daily_activity(rng("days"), calendar, wet_days(weather), demand)
    all_orders = orders_by_time(rng("orders"), orders, calendar, activity, all_customers, all_products)
    all_refunds, refunded = refunds_by_time(rng("refunds"), all_orders, calendar)
    all_events = events_of_sessions(rng("events"), events, calendar, activity, all_customers, all_products, all_orders)

    planted = plant_violations(
        rng("violations"), violations, all_orders, all_customers, all_products, product_category, calendar
    )

    dirt = rng("dirt")
    dirty_rows.add_dirty_values(dirt, product, dirty_rows.PRODUCT_KINDS)
    dirty_rows.add_dirty_values(dirt, product_category, dirty_rows.CATEGORY_KINDS)
    dirty_rows.add_dirty_values(dirt, customer, dirty_rows.CUSTOMER_KINDS)
    dirty_rows.add_dirty_values(dirt, subscription, dirty_rows.SUBSCRIPTION_KINDS)
    product_without_key = {"product_id": None, "product_name": "Sample", "product_category_id": "CAT01"}
    customer_without_key = {"customer_id": None, "customer_name": "Nobody", "status": "active"}

    (folder / "opening").mkdir(parents=True, exist_ok=True)
    for name, states, dirty in (
        ("product", product, [product_without_key]),
        ("product_category", product_category, []),
        ("customer", customer, [customer_without_key]),
        ("subscription_data", subscription, [dirty_rows.subscription_of_unknown_customer(customers, calendar)]),
    ):
        _write(folder / "opening", name, states.opening.values())
        _write(folder, name, [*states.final.values(), *dirty])
    sales = dirty_rows.order_rows(rng("dirty orders"), all_orders, refunded, customers, products, calendar)
    sales += [order.row(line) for order in planted.orders for line in order.lines]
    _write(folder, "sales_fact", sorted(sales, key=lambda row: row["created_at"]))
    refund = dirty_rows.refund_rows(rng("dirty refunds"), all_refunds, all_orders, refunded, calendar)
    _write(folder, "refund", refund)
    _write(folder, "kafka_stream", dirty_rows.event_rows(rng("dirty events"), all_events, customers, products))
    _write(folder, "weather_data", dirty_rows.weather_rows(rng("dirty weather"), weather, calendar))
    messages = dirty_rows.messages(rng("messages"), customers, products, calendar)
    lines = "".join(f"{json.dumps(message)}\n" for message in messages)
    (folder / "messages.jsonl").write_text(lines, encoding="utf-8", newline="\n")
    return GeneratedShop(calendar, demand, weather, all_products, all_customers, all_orders, planted.ids)


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
    """Generate a shop as the command line's arguments say."""
    parser = argparse.ArgumentParser(description="Generate a shop and write it as a shop folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=date.fromisoformat, default=date(2024, 1, 1), metavar="YYYY-MM-DD")
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--customers", type=int, default=2_400)
    parser.add_argument("--products", type=int, default=320)
    parser.add_argument("--events", type=int, default=110_000)
    parser.add_argument("--violations", type=int, default=0, help="orders that break a rule on purpose, for each rule")
    parser.add_argument("--growth", type=float, default=GROWTH_A_YEAR, help="growth a year, 0.35 for 35 %%")
    arguments = vars(parser.parse_args())
    generate(demand=Demand(growth_a_year=arguments.pop("growth")), **arguments)


if __name__ == "__main__":
    main()
