"""
A load of the shop's days, in the nights in which clocks are changed: each row is loaded once, on its day.

A shop of each zone takes an order every half hour, around the change. The time of an order is an instant, or without a
zone in UTC, or without a zone in another one.
"""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ecommerce.common.days import day_of, midnight
from tests.integration.load.events import Produce, customer_counts, event, once
from tests.integration.support import Loader, set_shop

pytestmark = pytest.mark.slow

#: A zone, and the day on which its clocks are changed; in Kolkata they never are.
CHANGES = [
    ("Europe/Berlin", date(2024, 3, 31)),
    ("Europe/Berlin", date(2024, 10, 27)),
    ("America/New_York", date(2024, 3, 10)),
    ("America/New_York", date(2024, 11, 3)),
    ("Asia/Kolkata", date(2024, 3, 31)),
]
#: What the time of an order is at the source, and the time zone of one without.
TIMES = [("timestamptz", "UTC"), ("timestamp", "UTC"), ("timestamp", "Europe/Berlin"), ("timestamp", "Asia/Kolkata")]


@pytest.fixture(params=CHANGES, ids=lambda change: f"{change[0]}-{change[1]}")
def changed_on(request: pytest.FixtureRequest) -> tuple[str, date]:
    zone, day = request.param
    return zone, day


def take_orders(shop: psycopg.Connection, day: date, type_name: str, source_zone: str) -> list[datetime]:
    """An order every half hour from the day before to the day after, with its time as its number; their times."""
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=2)
    instants = [begin + timedelta(minutes=30 * n) for n in range(5 * 48)]
    shop.execute(f"alter table sales_fact alter created_at type {type_name}".encode())
    as_stored = "at" if type_name == "timestamptz" else f"at at time zone '{source_zone}'"
    shop.execute(
        f"""
        insert into sales_fact (order_id, line_number, product_id, customer_id, order_date, order_amount, created_at)
        select extract(epoch from at)::bigint::text, 1, 'P1', 'C1', '2024-01-01', 1, {as_stored}
        from unnest(%s::timestamptz[]) as at
        """.encode(),
        [instants],
    )
    return instants


def stored(loader: Loader) -> dict[str, datetime]:
    return dict(loader.rows("select order_id, created_at at time zone 'UTC' from raw.sales_fact"))


@pytest.mark.parametrize(("type_name", "source_zone"), TIMES)
def test_each_order_is_loaded_on_its_day(
    loader: Loader,
    shop: psycopg.Connection,
    set_time_zone: Callable[..., None],
    changed_on: tuple[str, date],
    type_name: str,
    source_zone: str,
) -> None:
    zone, day = changed_on
    set_time_zone(zone, source_zone)
    instants = take_orders(shop, day, type_name, source_zone)
    by_day = Counter(day_of(at) for at in instants)
    days = [day + timedelta(days=n) for n in (-1, 0, 1)]
    for each in days:
        result = loader.load("sales_fact", str(each), lookback_days=0)
        assert (result.rows_loaded, result.rows_quarantined) == (by_day[each], 0)
    names = {str(int(at.timestamp())): at for at in instants if day_of(at) in days}
    if source_zone == "UTC":
        assert stored(loader) == names
    else:
        # A clock that is put back shows an hour twice: both are taken for the later one.
        later = {at: timedelta(hours=1) for at in names.values() if stored(loader)[str(int(at.timestamp()))] != at}
        assert stored(loader) == {name: at + later.get(at, timedelta()) for name, at in names.items()}
        assert len(later) in (0, 2)
    # The days of the range are those of its days, one by one: nothing is read again but by its fingerprint.
    again = loader.load("sales_fact", str(days[0]), str(days[-1]))
    assert (again.rows_loaded, again.rows_removed, again.rows_unchanged) == (0, 0, len(names))
    shop.execute("update sales_fact set order_amount = 2 where order_id = %s", [next(iter(names))])
    changed = loader.load("sales_fact", str(days[0]), str(days[-1]))
    assert (changed.rows_loaded, changed.rows_removed, changed.rows_unchanged) == (1, 1, len(names) - 1)


@pytest.mark.parametrize("type_name", ["timestamptz", "timestamp"])
def test_time_where_a_day_is_expected_is_the_shops_day_of_it(
    loader: Loader,
    shop: psycopg.Connection,
    set_time_zone: Callable[..., None],
    changed_on: tuple[str, date],
    type_name: str,
) -> None:
    zone, day = changed_on
    set_time_zone(zone)
    instants = take_orders(shop, day, "timestamp", "UTC")
    shop.execute(f"alter table sales_fact alter order_date type {type_name} using created_at".encode())
    # One that does not pass.
    shop.execute(
        "update sales_fact set order_date = '2070-01-02' where order_id = %s", [str(int(instants[0].timestamp()))]
    )
    loader.load("sales_fact", str(day - timedelta(days=3)), str(day + timedelta(days=3)))
    days = loader.rows("select created_at at time zone 'UTC', order_date from raw.sales_fact")
    assert dict(days) == {at: day_of(at) for at in instants[1:]}
    assert loader.pop_dirty_dates() == {("sales_fact", str(day_of(at))) for at in instants[1:]}
    assert [reason[:40] for (reason,) in loader.rows("select reason from ops.quarantine")] == [
        "order_date is outside the calendar 1970-"
    ]


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("UTC", date(2024, 3, 31)),
        ("Europe/Berlin", date(2024, 3, 31)),
        # Clocks skip midnight, and strike it twice.
        ("America/Havana", date(2024, 3, 10)),
        ("America/Havana", date(2024, 11, 3)),
    ],
    ids=str,
)
@pytest.mark.parametrize("place", [{"table": "sales_fact"}, {"template": "it.sql"}], ids=["table", "template"])
def test_day_where_a_time_is_expected_is_the_shops_midnight(
    loader: Loader,
    shop: psycopg.Connection,
    insert: Callable[..., None],
    set_time_zone: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    zone: str,
    day: date,
    place: dict[str, str],
) -> None:
    set_time_zone(zone, "Asia/Kolkata")
    set_shop(
        monkeypatch,
        settings={"time_zone": zone, "source_time_zone": "Asia/Kolkata"},
        templates={"it.sql": "select * from public.sales_fact"},
        sales_fact={"connection": "shop_postgres", **place},
    )
    shop.execute("alter table sales_fact alter created_at type date")
    days = [day + timedelta(days=n) for n in (-1, 0, 1)]
    order: dict[str, Any] = {"line_number": 1, "product_id": "P1", "order_date": "2024-01-01", "order_amount": 1}
    for each in days:
        insert("sales_fact", **order, order_id=str(each), created_at=each)
    insert("sales_fact", **order | {"order_amount": -1}, order_id="bad", created_at=day)
    for each in days:
        result = loader.load("sales_fact", str(each), lookback_days=0)
        assert (result.rows_loaded, result.rows_quarantined) == (1, each == day)
    midnights = {str(each): midnight(each) for each in days}
    assert stored(loader) == midnights
    ((payload,),) = loader.rows("select payload from ops.quarantine")
    assert payload["created_at"] == str(midnight(day).replace(tzinfo=None))
    again = loader.load("sales_fact", str(days[0]), str(days[-1]))
    assert (again.rows_read, again.rows_unchanged) == (4, 4)
    # A refused order that is gone is looked for in the window of its day.
    shop.execute("delete from sales_fact where order_id = 'bad'")
    shop.execute("update sales_fact set created_at = %s where order_id = %s", [days[1], str(days[0])])
    changed = loader.load("sales_fact", str(day), lookback_days=0)
    assert (changed.rows_read, changed.rows_loaded) == (2, 1)
    assert stored(loader) == midnights | {str(days[0]): midnight(day)}
    assert loader.value("select starts_with(reason, 'the source does not hold this row any more') from ops.quarantine")


def test_rejected_order_that_is_gone_is_noticed_in_the_window_of_its_day(
    loader: Loader, shop: psycopg.Connection, set_time_zone: Callable[..., None], changed_on: tuple[str, date]
) -> None:
    zone, day = changed_on
    set_time_zone(zone, "Europe/Berlin")
    take_orders(shop, day, "timestamp", "Europe/Berlin")
    shop.execute("update sales_fact set order_amount = -1")
    kept: dict[str, Any] = {"lookback_days": 0, "max_rejected_share": 1.0}
    of_day, of_next_day = (
        loader.load("sales_fact", str(each), **kept).rows_quarantined for each in (day, day + timedelta(days=1))
    )
    rejected = "select count(*) from ops.quarantine where reason like 'order_amount is negative%'"
    assert loader.value(rejected) == of_day + of_next_day > of_day > 0
    shop.execute("delete from sales_fact")
    loader.load("sales_fact", str(day), **kept)
    assert loader.value(rejected) == of_next_day


def test_events_are_read_on_their_day(
    loader: Loader, set_time_zone: Callable[..., None], produce: Produce, changed_on: tuple[str, date]
) -> None:
    zone, day = changed_on
    set_time_zone(zone)
    begin, end = (midnight(each).replace(tzinfo=None) for each in (day, day + timedelta(days=1)))
    instant = timedelta(milliseconds=1)
    for name, at in (("before", begin - instant), ("first", begin), ("last", end - instant), ("after", end)):
        produce(event(name, at.isoformat(timespec="milliseconds")))
    loader.load("kafka_stream", str(day))
    assert customer_counts(loader) == once("first", "last")
    assert loader.pop_dirty_dates() == {("kafka_stream", str(day))}
    loader.load("kafka_stream", str(day - timedelta(days=1)), str(day + timedelta(days=1)))
    assert customer_counts(loader) == once("before", "first", "last", "after")
    assert loader.pop_dirty_dates() == {("kafka_stream", str(day + n * timedelta(days=1))) for n in (-1, 1)}


def test_change_date_is_valid_from_the_shops_midnight(
    loader: Loader, insert: Callable[..., None], set_time_zone: Callable[..., None], changed_on: tuple[str, date]
) -> None:
    zone, day = changed_on
    set_time_zone(zone)
    insert("product_category", product_id="P1", category_id="K", category_name="N", last_updated=day)
    loader.load("product_category", str(day))
    assert loader.value("select _valid_from from raw.product_category") == midnight(day)
