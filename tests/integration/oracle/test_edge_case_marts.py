"""The edge-case shop, loaded, built by dbt and published without Airflow: each mart is the expected one."""

import csv
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

from ecommerce.common.sources import SOURCES
from tests.integration.dbt_runs import Dbt
from tests.integration.histories.history import Build, Load, Place
from tests.integration.histories.shop import Message, Shop
from tests.integration.support import Row
from tests.oracle.compare import compare
from tests.oracle.compute import UTC as ORACLE_UTC
from tests.oracle.compute import TimeZones
from tests.oracle.edge_case_shop import FIRST, LAST, WINDOWS, write_edge_case_shop

TEMPLATE = Path(__file__).parents[3] / "include" / "shops" / "default" / "subscription_data.sql"


@pytest.mark.parametrize(
    "zones", [TimeZones("UTC", "UTC"), TimeZones("America/New_York", "America/New_York")], ids=lambda zones: zones.shop
)
def test_marts_of_edge_case_shop_equal_the_expected_ones(
    connection: psycopg.Connection,
    dbt: Dbt,
    warehouse_dsn: str,
    tmp_path: Path,
    set_time_zone: Callable[..., None],
    zones: TimeZones,
) -> None:
    write_edge_case_shop(tmp_path)
    place = Place(connection, dbt, set_time_zone)
    load_and_build(place, tmp_path, FIRST, LAST, zones)
    differences = compare(tmp_path, FIRST, LAST, warehouse_dsn, zones)
    assert not differences, "\n".join(map(str, differences))


@pytest.mark.long_form
@pytest.mark.parametrize("window", WINDOWS)
def test_marts_of_another_window_equal_the_expected_ones(
    connection: psycopg.Connection,
    dbt: Dbt,
    warehouse_dsn: str,
    tmp_path: Path,
    set_time_zone: Callable[..., None],
    window: str,
) -> None:
    """Other first covered days and as-of dates make other months complete, and other days comparable."""
    first, last = WINDOWS[window]
    write_edge_case_shop(tmp_path)
    load_and_build(Place(connection, dbt, set_time_zone), tmp_path, first, last, ORACLE_UTC)
    differences = compare(tmp_path, first, last, warehouse_dsn)
    assert not differences, "\n".join(map(str, differences))


def load_and_build(place: Place, folder: Path, first: date, last: date, zones: TimeZones) -> None:
    """Load the window of the files into an empty warehouse, build and publish."""
    place.open()
    place.shop = shop_of_files(folder, zones)
    place.set_time_zone(zones.shop)
    subscriptions = place.shop.tables["subscription_data"].values()
    place.shop.tables["subscription_data"] = keyed(rows_of_template(place.connection, list(subscriptions)))
    # After the window, as the daily run: at the shop's midnight.
    at = datetime.combine(last + timedelta(days=1), datetime.min.time(), tzinfo=ZoneInfo(zones.shop))
    for source in SOURCES:
        Load(at, source, first, last).happen(place)
    Build(at).happen(place)


def shop_of_files(folder: Path, zones: TimeZones) -> Shop:
    """All rows of the files, also those that share a key; their times are in UTC, as a reader gives them."""
    shop = Shop()
    for source in SOURCES:
        with (folder / f"{source}.csv").open(newline="", encoding="utf-8") as file:
            rows: list[Row] = [{name: text or None for name, text in row.items()} for row in csv.DictReader(file)]
        if source == "kafka_stream":
            messages = [Message(0, _published(row["timestamp"]), row) for row in rows]
            shop.topic[0] = sorted(messages, key=lambda message: message.published)
        else:
            shop.tables[source] = keyed([_recorded_in_utc(row, zones.source) for row in rows])
    return shop


def keyed(rows: list[Row]) -> dict[tuple, Row]:
    return {(number,): row for number, row in enumerate(rows)}


def rows_of_template(connection: psycopg.Connection, rows: list[Row]) -> list[Row]:
    """What the default profile reads of the shop's subscriptions, whose customers are numbers there."""
    columns = [column.name for column in SOURCES["subscription_data"].columns]
    kinds = ", ".join(f"{name} {'integer' if name == 'customer_id' else 'text'}" for name in columns)
    with connection.transaction(force_rollback=True):
        connection.execute(f"create table public.subscription_data ({kinds})".encode())
        with connection.cursor().copy("copy public.subscription_data from stdin") as target:
            for row in rows:
                target.write_row([row[name] for name in columns])
        cursor = connection.execute(TEMPLATE.read_bytes())
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        return [dict(zip(names, values, strict=True)) for values in cursor]


def _recorded_in_utc(row: Row, source_zone: str) -> Row:
    if not (created_at := row.get("created_at")):
        return row
    instant = datetime.fromisoformat(created_at).replace(tzinfo=ZoneInfo(source_zone))
    return {**row, "created_at": f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"}


def _published(timestamp: str | None) -> datetime:
    """When an event's message is published: at the time of the event; on the first day if it has none."""
    try:
        instant = datetime.fromisoformat(timestamp or "")
    except ValueError:
        return datetime.combine(FIRST, time(12), UTC)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
