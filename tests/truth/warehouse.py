"""A generated shop, loaded by the project's loader and built by dbt: without Airflow, broker and weather server."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

from ecommerce.common.sources import SOURCES, WriteDisposition
from ecommerce.common.windows import Window
from include.demo.shop.fill_sources import fill_shop
from include.demo.shop.generate import GeneratedShop, generate
from include.demo.shop.generator.effects import DEMAND, Demand
from tests.integration.histories.history import Build, Place
from tests.integration.histories.shop import Message, Shop, TopicReader
from tests.integration.support import Loader
from tests.truth.expected_customers import ExpectedCustomers
from tests.truth.expected_sales import ExpectedSales
from tests.truth.planted_dirt import FileRow, good_rows, is_cancelled

VERSIONED = [name for name, source in SOURCES.items() if source.write_disposition is WriteDisposition.VERSION_LOG]


@dataclass(frozen=True)
class ShopSize:
    """A shop to generate; ``last`` is the as-of date."""

    name: str
    first: date
    last: date
    orders: int
    customers: int = 2_400
    seed: int = 7
    demand: Demand = field(default=DEMAND)
    violations: int = 0

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    def generate(self, folder: Path) -> GeneratedShop:
        return generate(
            folder,
            seed=self.seed,
            first=self.first,
            days=self.days,
            orders=self.orders,
            customers=self.customers,
            events=2_000,
            demand=self.demand,
            violations=self.violations,
        )


class BuiltShop:
    """A generated shop and its warehouse."""

    def __init__(self, size: ShopSize, folder: Path, place: Place, shop_dsn: str) -> None:
        self.size = size
        self.folder = folder
        self.generated = size.generate(folder)
        self.sales = ExpectedSales(self.generated)
        self.customers = ExpectedCustomers(self.sales)
        self._place = place
        self._shop_dsn = shop_dsn
        self._files: dict[str, list[FileRow]] = {}
        self.loader = Loader(place.connection)
        self._load()
        self.build()

    @property
    def last(self) -> date:
        return self.size.last

    def rows(self, query: str, *parameters: Any) -> list[tuple]:
        return self.loader.rows(query, parameters)

    def value(self, query: str, *parameters: Any) -> Any:
        return self.loader.value(query, parameters)

    def file(self, table: str) -> list[FileRow]:
        """The rows of a file, null where a field is empty."""
        if table not in self._files:
            with (self.folder / f"{table}.csv").open(newline="", encoding="utf-8") as lines:
                rows = csv.DictReader(lines)
                self._files[table] = [{name: text or None for name, text in row.items()} for row in rows]
        return self._files[table]

    @cached_property
    def counted_lines(self) -> list[FileRow]:
        """The file's order lines that marts must count: with an amount, and not cancelled."""
        lines = good_rows("sales_fact", self.file("sales_fact"))
        return [row for row in lines if Decimal(row["order_amount"] or 0) > 0 and not is_cancelled(row)]

    def change_plan_fee(self, plan: str, fee: Decimal) -> None:
        """Raise the fee of all subscriptions to a plan in the shop, and load them on the last day."""
        with psycopg.connect(self._shop_dsn) as shop:
            shop.execute("update subscription_data set monthly_fee = %s where plan_type = %s", [fee, plan])
        self._place.set_clock(_midnight(self.last) + timedelta(hours=12))
        self.load("subscription_data")
        self.build()

    def build(self) -> None:
        Build(_midnight(self.last) + timedelta(days=1)).happen(self._place)

    def _load(self) -> None:
        """The opening state on the first day, everything else on the last."""
        place = self._place
        place.open()
        fill_shop(self._shop_dsn, self.folder)
        opening = [name for name in VERSIONED if (self.folder / "opening" / f"{name}.csv").exists()]
        fill_shop(self._shop_dsn, self.folder / "opening", opening)
        place.set_clock(_midnight(self.size.first))
        for source in opening:
            self.loader.load(source, str(self.size.first))
        fill_shop(self._shop_dsn, self.folder, opening)
        place.set_clock(_midnight(self.last))
        for source in SOURCES:
            self.load(source)

    def load(self, source: str) -> None:
        """Load all days of a source, from the shop's database or from its file."""
        window = str(self.size.first), str(self.last)
        if source == "weather_data":
            self.loader.load(source, *window, rows=self.file(source))
        elif source == "kafka_stream":
            reader = TopicReader(self._topic(), Window.of_days(self.size.first, self.last))
            self.loader.load(source, *window, reader=reader)
        else:
            self.loader.load(source, *window)

    def _topic(self) -> Shop:
        shop = Shop()
        shop.topic[0] = list(self._messages())
        return shop

    def _messages(self) -> Iterator[Message]:
        """The file's events as messages; one whose time cannot be read is published with the one before it."""
        published = _midnight(self.size.first)
        for row in self.file("kafka_stream"):
            published = max(published, _instant(row["timestamp"]) or published)
            yield Message(0, published, row)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), tzinfo=UTC)


def _instant(text: str | None) -> datetime | None:
    """The instant of an event's time; None if it cannot be read."""
    try:
        instant = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
