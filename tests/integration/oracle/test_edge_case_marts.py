"""The edge-case shop, loaded, built by dbt and published without Airflow: each mart is the expected one."""

import csv
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg

from ecommerce.common.sources import SOURCES
from tests.integration.dbt_runs import Dbt
from tests.integration.histories.history import Build, Load, Place
from tests.integration.histories.shop import Message, Shop
from tests.integration.support import Row
from tests.oracle.compare import compare
from tests.oracle.edge_case_shop import FIRST, LAST, write_edge_case_shop

TEMPLATE = Path(__file__).parents[3] / "include" / "shops" / "default" / "subscription_data.sql"


def test_marts_of_edge_case_shop_equal_the_expected_ones(
    connection: psycopg.Connection, dbt: Dbt, warehouse_dsn: str, tmp_path: Path
) -> None:
    write_edge_case_shop(tmp_path)
    place = Place(connection, dbt)
    place.open()
    place.shop = shop_of_files(tmp_path)
    subscriptions = place.shop.tables["subscription_data"].values()
    place.shop.tables["subscription_data"] = keyed(rows_of_template(connection, list(subscriptions)))
    at = datetime.combine(LAST + timedelta(days=1), datetime.min.time(), tzinfo=UTC)
    for source in SOURCES:
        Load(at, source, FIRST, LAST).happen(place)
    Build(at).happen(place)
    differences = compare(tmp_path, FIRST, LAST, warehouse_dsn)
    assert not differences, "\n".join(map(str, differences))


def shop_of_files(folder: Path) -> Shop:
    """All rows of the files, also those that share a key."""
    shop = Shop()
    for source in SOURCES:
        with (folder / f"{source}.csv").open(newline="", encoding="utf-8") as file:
            rows: list[Row] = [{name: text or None for name, text in row.items()} for row in csv.DictReader(file)]
        if source == "kafka_stream":
            messages = [Message(0, _day(row["timestamp"]), row) for row in rows]
            shop.topic[0] = sorted(messages, key=lambda message: message.published)
        else:
            shop.tables[source] = keyed(rows)
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


def _day(timestamp: str | None) -> date:
    """The day (UTC) on which an event's message is published; the first day if the event has no time."""
    try:
        instant = datetime.fromisoformat(timestamp or "")
    except ValueError:
        return FIRST
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC).date()
