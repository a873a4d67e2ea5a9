"""The shop's days in the warehouse, in a shop's Postgres and in MySQL are those of Python."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from ecommerce.common.days import TimeColumn, day_of, midnight
from tests.integration.support import set_shop
from tests.unit.common.test_days import ZONES

#: Around changes of the clocks in most of the zones, with days on which nothing happens.
MOMENTS = [
    begin + timedelta(minutes=30 * n)
    for begin in (
        datetime(2024, 3, 9), datetime(2024, 3, 30), datetime(2024, 4, 25), datetime(2024, 10, 26),
        datetime(2024, 11, 2), datetime(2011, 12, 29), datetime(2018, 11, 3),
    )
    for n in range(-1, 145)
]  # fmt: skip


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def warehouse(warehouse_dsn: str, zone: str, set_time_zone: Callable[..., None]) -> str:
    """The warehouse with the functions of this zone."""
    set_time_zone(zone)
    return warehouse_dsn


def test_functions_of_the_warehouse_agree_with_python(warehouse: str, zone: str) -> None:
    with psycopg.connect(warehouse) as connection:
        assert connection.execute("select ops.shop_time_zone()").fetchone() == (zone,)
        instants = [moment.replace(tzinfo=UTC) for moment in MOMENTS]
        rows = connection.execute("select at, ops.shop_day(at) from unnest(%s::timestamptz[]) as at", [instants])
        assert {at: day for at, day in rows} == {at: day_of(at) for at in instants}
        days = sorted({day_of(at) for at in instants})
        rows = connection.execute("select day, ops.shop_midnight(day) from unnest(%s::date[]) as day", [days])
        assert dict(rows.fetchall()) == {day: midnight(day) for day in days}


def test_index_of_event_days_is_used_in_each_zone(warehouse: str, zone: str) -> None:
    with psycopg.connect(warehouse) as connection:
        connection.execute("set enable_seqscan = off")
        plan = connection.execute(
            """explain select 1 from raw.kafka_stream where ops.shop_day("timestamp") = date '2024-03-31'"""
        ).fetchall()
    assert any("kafka_stream_event_date" in line for (line,) in plan), plan


@pytest.mark.parametrize("source_zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_each_row_of_a_table_lies_in_the_window_of_its_day(
    shop_dsn: str, zone: str, source_zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_shop(monkeypatch, settings={"time_zone": zone, "source_time_zone": source_zone})
    with psycopg.connect(shop_dsn, options="-c timezone=Asia/Tokyo") as connection:
        connection.execute("create temp table at_source (instant timestamptz, naive timestamp)")
        connection.execute(
            """
            insert into at_source
            select at, at at time zone %s from unnest(%s::timestamptz[]) as at
            """,
            [source_zone, [moment.replace(tzinfo=UTC) for moment in MOMENTS]],
        )
        for column, type_name in (("instant", "timestamptz"), ("naive", "timestamp")):
            time = TimeColumn(sql.Identifier(column), type_name, source_zone)
            instant = sql.SQL("instant" if column == "instant" else "naive at time zone {}").format(
                *([] if column == "instant" else [sql.Literal(source_zone)])
            )
            rows = connection.execute(sql.SQL("select {}, {} from at_source").format(instant, time.day)).fetchall()
            assert [(at, day) for at, day in rows if day != day_of(at)] == []
            for day in {day for _, day in rows}:
                read = connection.execute(
                    sql.SQL("select distinct {} from at_source where {}").format(time.day, time.among([day]))
                ).fetchall()
                assert read == [(day,)]
            some = sorted({day for _, day in rows})[::2]
            count = sql.SQL("select count(*) from at_source where {}").format(time.among(some))
            assert connection.execute(count).fetchone() == (sum(day in some for _, day in rows),)


def test_date_of_a_table_is_the_shops_midnight_as_a_time(
    shop_dsn: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_shop(monkeypatch, settings={"time_zone": zone, "source_time_zone": "Asia/Kolkata"})
    days = sorted({day_of(moment.replace(tzinfo=UTC)) for moment in MOMENTS})
    time = TimeColumn(sql.Identifier("day"), "date", "Asia/Kolkata")
    query = sql.SQL("select day, {}, {} from unnest(%s::date[]) as day").format(time.utc, time.day)
    with psycopg.connect(shop_dsn, options="-c timezone=Asia/Tokyo") as connection:
        rows = connection.execute(query, [days]).fetchall()
    assert rows == [(day, midnight(day).replace(tzinfo=None), day) for day in days]
