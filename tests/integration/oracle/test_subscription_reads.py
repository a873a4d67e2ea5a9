"""Subscriptions that are read on several days: their marts are those that are computed from what each read found."""

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

from tests.integration.dbt_runs import Dbt
from tests.integration.histories.history import Build, Load, Place
from tests.integration.histories.shop_files import write_shop_files
from tests.integration.support import Row
from tests.oracle.compare import compare
from tests.oracle.compute import READS, TimeZones

pytestmark = pytest.mark.slow

FIRST, LAST = date(2024, 1, 1), date(2024, 4, 10)
DAY = timedelta(days=1)
SOURCE = "subscription_data"


def subscription(chance: random.Random, number: int) -> Row:
    start = FIRST + chance.randint(-40, 110) * DAY
    end = start + chance.choice((-9, 0, 1, 31, 70)) * DAY
    return {
        "subscription_id": f"S{number:02d}",
        "customer_id": f"CUST{chance.randint(1, 8):03d}",
        "plan_type": chance.choice((None, "Basic", "Plus", "All plans", "All plans (plan)")),
        "subscription_start_date": str(start),
        "subscription_end_date": chance.choice((None, None, str(end))),
        "monthly_fee": chance.choice((None, "0", "9.99", "20", "33.335")),
        "status": chance.choice((None, "Active", "CANCELLED")),
    }


def change(chance: random.Random, place: Place) -> None:
    """Most changes are of a fee; some rows are written anew, some vanish."""
    number = chance.randint(1, 15)
    key = (f"S{number:02d}",)
    what = chance.random()
    if what < 0.15:
        place.shop.remove(SOURCE, key)
    elif what < 0.3 or key not in place.shop.tables[SOURCE]:
        place.shop.put(SOURCE, subscription(chance, number))
    else:
        fee = chance.choice((None, "9.99", "12.5", "20"))
        place.shop.put(SOURCE, {**place.shop.tables[SOURCE][key], "monthly_fee": fee})


@pytest.mark.parametrize(
    "zone", [*(pytest.param(zone, marks=pytest.mark.slow) for zone in ("UTC", "Pacific/Auckland")), "America/New_York"]
)
def test_marts_of_subscriptions_follow_what_each_read_found(
    connection: psycopg.Connection,
    dbt: Dbt,
    warehouse_dsn: str,
    tmp_path: Path,
    set_time_zone: Callable[..., None],
    zone: str,
) -> None:
    chance = random.Random(zone)
    place = Place(connection, dbt, set_time_zone)
    place.open()
    place.set_time_zone(zone)
    for number in range(1, 16):
        place.shop.put(SOURCE, subscription(chance, number))
    order = {
        "order_id": "O1", "line_number": "1", "product_id": "P1", "order_date": str(FIRST), "order_amount": "1",
        "created_at": f"{FIRST} 12:00:00",
    }  # fmt: skip
    place.shop.put("sales_fact", {**order, "customer_id": None})
    write_shop_files(place.shop, tmp_path / "opening", [SOURCE])
    days = [FIRST - 5 * DAY, *sorted(chance.sample([FIRST + n * DAY for n in range(100)], 8)), LAST + DAY]
    for number, day in enumerate(days):
        if number:
            for _ in range(6):
                change(chance, place)
        # The first and the last moments of the shop's days are those of other days in UTC.
        moment = datetime.combine(day, chance.choice((time.min, time(12), time(23, 59, 59))), ZoneInfo(zone))
        Load(moment.astimezone(UTC), SOURCE, day, day).happen(place)
        if 0 < number < len(days) - 1:
            write_shop_files(place.shop, tmp_path / READS / str(day), [SOURCE])
        if number == 4:
            Load(moment.astimezone(UTC), "sales_fact", FIRST, day - DAY).happen(place)
            Build(moment.astimezone(UTC)).happen(place)
    write_shop_files(place.shop, tmp_path)
    at = datetime.combine(LAST + 2 * DAY, time.min, UTC)
    Load(at, "sales_fact", FIRST, LAST).happen(place)
    Build(at).happen(place)
    incremental = place.tables()
    differences = compare(tmp_path, FIRST, LAST, warehouse_dsn, TimeZones(shop=zone))
    assert not differences, "\n".join(map(str, differences))
    Build(at, full_refresh=True).happen(place)
    assert place.tables() == incremental
