"""
Dates at both bounds of the calendar and just outside: the independent computation and the warehouse take and refuse the
same rows, so `make check-real` finds no difference in a shop that has such dates.
"""

import csv
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from ecommerce.common.sources import CALENDAR, SOURCES
from tests.integration.dbt_runs import Dbt
from tests.integration.histories.history import Build, Load, Place
from tests.integration.histories.shop import Message
from tests.integration.oracle.test_edge_case_marts import shop_of_files
from tests.integration.support import Row
from tests.oracle.compare import compare
from tests.oracle.compute import UTC as ORACLE_UTC
from tests.oracle.compute import compute
from tests.oracle.edge_case_shop import COLUMNS

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
BOUNDS = tuple(map(date.fromisoformat, CALENDAR))
OUTSIDE = (BOUNDS[0] - DAY, BOUNDS[1] + DAY)
FIRST, LAST = date(2024, 1, 1), date(2024, 1, 31)
RECORDED = "2024-01-10 12:00:00"
PUBLISHED = datetime(2024, 1, 10, 12, tzinfo=UTC)


def dated_rows() -> dict[str, list[Row]]:
    """A row for each bound, for each day just outside, and one of the window, of each file that has dates."""
    days = (*BOUNDS, *OUTSIDE, date(2024, 1, 10))
    orders: list[Row] = [
        {
            "order_id": f"O{day}",
            "line_number": "1",
            "product_id": "P1",
            "customer_id": f"C{day}",
            "order_date": str(day),
            "order_amount": "10.00",
            "created_at": RECORDED,
        }
        for day in days
    ]
    orders += [
        # Recorded outside of the calendar: of no window, so this reader does not even give them to the warehouse.
        {"order_id": f"recorded {day}", "line_number": "1", "product_id": "P1", "customer_id": "C1",
         "order_date": "2024-01-10", "order_amount": "7.00", "created_at": f"{day} 12:00:00"}
        for day in OUTSIDE
    ]  # fmt: skip
    refunds: list[Row] = [
        {"refund_id": f"R{day}", "product_id": "P1", "refund_date": str(day), "refund_amount": "1.00",
         "created_at": RECORDED}
        for day in days
    ]  # fmt: skip
    subscriptions: list[Row] = [
        {"customer_id": "C1", "subscription_id": f"from {first} to {end}", "plan_type": "Basic",
         "subscription_start_date": str(first), "subscription_end_date": str(end or ""), "monthly_fee": "5.00",
         "status": "Active"}
        for first, end in (
            (BOUNDS[0], None), (OUTSIDE[0], None), (BOUNDS[1], None), (OUTSIDE[1], None),
            (FIRST, BOUNDS[1]), (FIRST, OUTSIDE[1]),
        )
    ]  # fmt: skip
    return {
        "product": [{"product_id": "P1", "product_name": "Spade"}],
        "product_category": [
            {"product_id": "P1", "category_id": "K", "category_name": "Garden", "cost_price": "4.00",
             "launch_date": str(BOUNDS[0]), "last_updated": str(BOUNDS[0])},
            {"product_id": "P2", "category_id": "K", "category_name": "Garden", "launch_date": str(OUTSIDE[0])},
        ],
        "customer": [{"customer_id": f"C{day}", "customer_name": f"Of {day}", "start_date": str(day)} for day in days],
        "sales_fact": orders,
        "refund": refunds,
        "subscription_data": subscriptions,
        "weather_data": [{"date": "2024-01-10", "city": "Berlin", "temperature": "5", "precipitation": "0"}],
        "kafka_stream": [],
    }  # fmt: skip


def events() -> list[Row]:
    """At the first and at the last moment of the calendar, a second before and after it, and one of the window."""
    moments = [f"{BOUNDS[0]}T00:00:00Z", f"{BOUNDS[1]}T23:59:59Z", f"{OUTSIDE[0]}T23:59:59Z", f"{OUTSIDE[1]}T00:00:00Z"]
    return [
        {"customer_id": "C1", "product_id": "P1", "interaction_type": "view", "timestamp": moment}
        for moment in (*moments, "2024-01-10T12:00:00Z")
    ]


def write(folder: Path) -> None:
    for name, rows in dated_rows().items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS[name].split(","))
            writer.writeheader()
            writer.writerows(rows)
    # The time of a message is that of the window; that of its event is another.
    lines = [json.dumps({"published_at": PUBLISHED.isoformat(), "value": json.dumps(event)}) for event in events()]
    (folder / "messages.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_rows_outside_of_the_calendar_are_refused_by_warehouse_and_independent_computation(
    connection: psycopg.Connection,
    dbt: Dbt,
    warehouse_dsn: str,
    tmp_path: Path,
    set_time_zone: Callable[..., None],
) -> None:
    write(tmp_path)
    place = Place(connection, dbt, set_time_zone)
    place.open()
    place.shop = shop_of_files(tmp_path, ORACLE_UTC)
    place.shop.topic[0] = [Message(0, PUBLISHED, event) for event in events()]
    at = datetime.combine(LAST + DAY, datetime.min.time(), tzinfo=UTC)
    for source in SOURCES:
        Load(at, source, FIRST, LAST).happen(place)
    Build(at).happen(place)

    differences = compare(tmp_path, FIRST, LAST, warehouse_dsn)
    assert not differences, "\n".join(map(str, differences))

    known = [*BOUNDS, date(2024, 1, 10)]
    with compute(tmp_path, FIRST, LAST) as oracle:
        for table, column in (("loaded_line", "order_date"), ("loaded_refund", "refund_date")):
            days = oracle.execute(f"select {column} from shop.{table} order by 1").fetchall()
            assert days == [(day,) for day in sorted(known)], table
        moments = oracle.execute("select event_at::date from shop.event order by 1").fetchall()
        assert moments == [(day,) for day in sorted(known)]
        subscriptions = oracle.execute("select start_date, ended_on from shop.subscription order by 1, 2").fetchall()
        assert [start for start, _ in subscriptions] == [BOUNDS[0], FIRST, BOUNDS[1]]
        assert subscriptions[1][1] == BOUNDS[1]
    refused = connection.execute(
        "select source, count(*) from ops.quarantine group by source order by source"
    ).fetchall()
    assert refused == [
        ("customer", 2), ("kafka_stream", 2), ("product_category", 1), ("refund", 2), ("sales_fact", 2),
        ("subscription_data", 3),
    ]  # fmt: skip
