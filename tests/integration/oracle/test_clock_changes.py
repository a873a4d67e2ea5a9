"""
A shop around the night in which its clocks are changed, from its own tables to the marts: each mart is the expected
one, whatever the time zones of the shop and of its times without one are.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

from tests.integration.dbt_runs import Dbt
from tests.integration.histories.history import Build, Load, Place
from tests.integration.histories.shop import Message
from tests.integration.support import Loader
from tests.oracle.compare import compare
from tests.oracle.compute import TimeZones
from tests.oracle.edge_case_shop import COLUMNS

pytestmark = pytest.mark.long_form

#: The time zones, and the day on which the shop's clocks are changed; how many hours it has.
CHANGES = [
    (TimeZones("America/New_York", "UTC"), date(2024, 3, 10), 23),
    (TimeZones("America/New_York", "America/New_York"), date(2024, 11, 3), 25),
    (TimeZones("Europe/Berlin", "Asia/Kolkata"), date(2024, 3, 31), 23),
    (TimeZones("Europe/Berlin", "UTC"), date(2024, 10, 27), 25),
]
DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True)
class ClockShop:
    """Orders, refunds and events every half hour, and a microsecond before, from two days before the change on."""

    zones: TimeZones
    changed_on: date

    @property
    def moments(self) -> list[datetime]:
        begin = datetime(self.changed_on.year, self.changed_on.month, self.changed_on.day, tzinfo=UTC) - 3 * DAY
        half_hours = (begin + timedelta(minutes=30 * n) for n in range(6 * 48))
        return [moment for each in half_hours for moment in (each - MOMENT, each)]

    def write(self, folder: Path) -> None:
        """The shop's files; its products were changed on the day of the change, and are in `opening` as before."""
        before, after = self.changed_on - 30 * DAY, self.changed_on
        write(folder / "opening", "product_category", [self.category("Old", "1.00", before)])
        write(folder, "product_category", [self.category("New", "3.00", after)])
        write(folder, "sales_fact", [self.order(n, moment) for n, moment in enumerate(self.moments)])
        write(folder, "refund", [self.refund(n, moment) for n, moment in enumerate(self.moments)])
        write(folder, "kafka_stream", [self.event(n, moment) for n, moment in enumerate(self.moments)])

    def category(self, name: str, cost: str, last_updated: date) -> dict[str, object]:
        return {
            "product_id": "P1", "category_id": "K", "category_name": name, "cost_price": cost,
            "last_updated": last_updated,
        }  # fmt: skip

    def order(self, number: int, moment: datetime) -> dict[str, object]:
        return {
            "order_id": f"O{number}", "line_number": 1, "product_id": "P1", "customer_id": f"C{number % 50}",
            "order_date": self.day_of(moment), "order_amount": f"{number + 1}.01", "created_at": self.at_source(moment),
        }  # fmt: skip

    def refund(self, number: int, moment: datetime) -> dict[str, object]:
        return {
            "refund_id": f"R{number}", "order_id": f"O{number}", "line_number": 1,
            "refund_date": self.day_of(moment), "refund_amount": f"0.{number % 90 + 10}",
            "created_at": self.at_source(moment),
        }  # fmt: skip

    def event(self, number: int, moment: datetime) -> dict[str, str]:
        """Of its own customer; every other time has no offset, and is of UTC."""
        at = moment.replace(tzinfo=None) if number % 2 else moment
        return {
            "customer_id": f"V{number}", "product_id": "P1", "interaction_type": "view", "timestamp": at.isoformat(),
        }  # fmt: skip

    def day_of(self, moment: datetime) -> date:
        return moment.astimezone(ZoneInfo(self.zones.shop)).date()

    def at_source(self, moment: datetime) -> datetime:
        """What a clock of the source shows."""
        return moment.astimezone(ZoneInfo(self.zones.source)).replace(tzinfo=None)


def write(folder: Path, name: str, rows: Sequence[dict[str, object]] | Sequence[dict[str, str]]) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS[name].split(","))
        writer.writeheader()
        writer.writerows(rows)


def copy(shop: psycopg.Connection, file: Path) -> None:
    """Into the shop's table of that name, in place of its rows."""
    table = file.stem
    shop.execute(f"delete from {table}".encode())
    with shop.cursor().copy(f"copy {table} ({COLUMNS[table]}) from stdin (format csv, header)".encode()) as target:
        target.write(file.read_bytes())


@pytest.mark.parametrize(
    ("zones", "changed_on", "hours"), CHANGES, ids=[f"{zones.shop}-{day}" for zones, day, _ in CHANGES]
)
def test_marts_of_days_around_clock_change_equal_the_expected_ones(
    connection: psycopg.Connection,
    shop: psycopg.Connection,
    dbt: Dbt,
    warehouse_dsn: str,
    tmp_path: Path,
    set_time_zone: Callable[..., None],
    zones: TimeZones,
    changed_on: date,
    hours: int,
) -> None:
    clock_shop = ClockShop(zones, changed_on)
    clock_shop.write(tmp_path)
    place = Place(connection, dbt, lambda zone: set_time_zone(zone, zones.source))
    place.open()
    place.set_time_zone(zones.shop)
    place.shop.topic[0] = [Message(0, at, clock_shop.event(n, at)) for n, at in enumerate(clock_shop.moments)]
    first, last = changed_on - DAY, changed_on + DAY
    at = datetime.combine(last + 2 * DAY, datetime.min.time(), tzinfo=UTC)
    place.set_clock(at)
    loader = Loader(connection)
    for file in ("opening/product_category", "product_category", "sales_fact", "refund"):
        copy(shop, tmp_path / f"{file}.csv")
        loader.load(Path(file).name, str(first), str(last))
    Load(at, "kafka_stream", first, last).happen(place)
    Build(at).happen(place)

    differences = compare(tmp_path, first, last, warehouse_dsn, zones)
    assert not differences, "\n".join(map(str, differences))
    views = connection.execute("select event_date, views from marts.conversion_funnel_daily order by 1").fetchall()
    assert views == [(first, 4 * 24), (changed_on, 4 * hours), (last, 4 * 24)]
    costs = connection.execute(
        "select order_date, daily_revenue - daily_gross_profit - daily_orders from marts.daily_revenue order by 1"
    ).fetchall()
    assert [day for day, over_old_cost in costs if over_old_cost > 0] == [changed_on, last]
