"""Write disposition `version_log`: a row when a key changes, a tombstone when it vanishes, history unchanged."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from ecommerce.common.sources import SOURCES, Column, Kind, Source, WriteDisposition
from tests.integration.support import Loader

Insert = Callable[..., None]

DAY = "2024-03-01"
VERSION_LOGS = [name for name, source in SOURCES.items() if source.write_disposition is WriteDisposition.VERSION_LOG]


@pytest.fixture
def customer(insert: Insert) -> Insert:
    return lambda customer_id, **values: insert("customer", customer_id=customer_id, **values)


@pytest.fixture
def category(insert: Insert) -> Insert:
    """A product's category row, changed on a day."""

    def category(product_id: str, last_updated: str | None, **values: object) -> None:
        values = {"category_id": "K1", "category_name": "Toys"} | values
        insert("product_category", product_id=product_id, last_updated=last_updated, **values)

    return category


@pytest.fixture
def facts(connection: psycopg.Connection) -> None:
    """Orders on 1 to 4 March and an event on each of these days, at noon: of C1 and P1; on 9 March of others."""
    for table in ("sales_fact", "kafka_stream"):
        connection.execute(
            "insert into ops.load_batch (source, window_start, window_end, status, started_at)"
            " values (%s, '2024-03-01', '2024-03-10', 'loaded', now())",
            [table],
        )
    for day, customer, product in [(f"2024-03-0{n}", "C1", "P1") for n in (1, 2, 3, 4)] + [("2024-03-09", "C9", "P9")]:
        connection.execute(
            "insert into raw.sales_fact (order_id, line_number, product_id, customer_id, order_date, order_amount,"
            " created_at, _batch_id, _loaded_at) values (%s, 1, %s, %s, %s, 1, '2024-04-01', 0, now())",
            [day, product, customer, day],
        )
        connection.execute(
            'insert into raw.kafka_stream (customer_id, product_id, interaction_type, "timestamp", _topic, _partition,'
            " _offset, _batch_id, _loaded_at) values (%s, %s, 'view', %s, 't', 0, %s, 0, now())",
            # Offset by a month's days: an event counts on a day of its own.
            [customer, product, f"{day.replace('-03-', '-05-')}T23:59:59Z", int(day[-1])],
        )


def versions(loader: Loader, source: str, columns: str) -> list[tuple]:
    return loader.rows(f"select {columns} from raw.{source} order by _batch_id, {SOURCES[source].key[0]}")


def test_version_log_records_life_of_key(loader: Loader, shop: psycopg.Connection, customer: Insert) -> None:
    customer("C1", customer_name="Ada")
    customer("C2", customer_name="Bo")
    first = loader.load("customer", DAY)
    assert (first.rows_read, first.rows_loaded, first.rows_unchanged, first.rows_removed) == (2, 2, 0, 0)

    unchanged = loader.load("customer", DAY)
    assert (unchanged.rows_read, unchanged.rows_loaded, unchanged.rows_unchanged, unchanged.rows_removed) == (
        2,
        0,
        2,
        0,
    )

    shop.execute("update customer set customer_name = 'Ada L' where customer_id = 'C1'")
    changed = loader.load("customer", DAY)
    assert (changed.rows_loaded, changed.rows_unchanged) == (1, 1)

    shop.execute("delete from customer where customer_id = 'C1'")
    vanished = loader.load("customer", DAY)
    assert (vanished.rows_read, vanished.rows_loaded, vanished.rows_removed) == (1, 0, 1)
    assert loader.load("customer", DAY).rows_removed == 0

    customer("C1", customer_name="Ada L")
    back = loader.load("customer", DAY)
    assert (back.rows_loaded, back.rows_unchanged) == (1, 1)

    assert versions(loader, "customer", "customer_id, customer_name, _is_deleted, _batch_id") == [
        ("C1", "Ada", False, first.batch_id),
        ("C2", "Bo", False, first.batch_id),
        ("C1", "Ada L", False, changed.batch_id),
        ("C1", None, True, vanished.batch_id),
        ("C1", "Ada L", False, back.batch_id),
    ]


@pytest.mark.parametrize("source", VERSION_LOGS)
def test_every_version_log_loads_twice_without_change(loader: Loader, insert: Insert, source: str) -> None:
    samples: dict[str, dict[str, Any]] = {
        "product": {"product_id": "P1", "product_name": "Ball", "product_category_id": None},
        "product_category": {
            "product_id": "P1",
            "category_id": "K1",
            "category_name": "Toys",
            "cost_price": "1.005",
            "stock_level": -2,
            "margin_percent": "-3.5",
            "discontinued": True,
            "launch_date": "2023-02-28",
            "last_updated": None,
        },
        "customer": {"customer_id": "C1", "start_date": "2020-02-29"},
        "subscription_data": {
            "customer_id": 1000,
            "subscription_id": "S1",
            "subscription_start_date": "2024-01-01",
            "monthly_fee": 9,
        },
    }
    insert(source, **samples[source])
    assert loader.load(source, DAY).rows_loaded == 1
    assert loader.load(source, DAY).rows_unchanged == 1
    ((stored,),) = loader.rows(f"select to_jsonb(log) from raw.{source} as log")
    expected = {
        name: float(value) if name in ("cost_price", "margin_percent") else value
        for name, value in samples[source].items()
    }
    if source == "subscription_data":
        # The shop has the customer's number.
        expected["customer_id"] = "CUST1000"
    assert {name: stored[name] for name in expected} == expected


def test_key_returns_after_tombstone(loader: Loader, shop: psycopg.Connection, customer: Insert) -> None:
    customer("C0")
    customer("C1")
    loader.load("customer", DAY)
    shop.execute("delete from customer where customer_id = 'C1'")
    loader.load("customer", DAY)
    customer("C1")
    assert loader.load("customer", DAY).rows_loaded == 1
    deleted = "select _is_deleted from raw.customer where customer_id = 'C1' order by _batch_id"
    assert loader.rows(deleted) == [(False,), (True,), (False,)]


def test_version_is_valid_from_read_time(loader: Loader, shop: psycopg.Connection, customer: Insert) -> None:
    customer("C1", customer_name="Ada")
    before = datetime.now(UTC)
    loader.load("customer", "2019-01-01")
    shop.execute("update customer set customer_name = 'Eve'")
    loader.load("customer", "2018-01-01")
    after = datetime.now(UTC)
    times = [time for (time,) in versions(loader, "customer", "_valid_from")]
    assert before <= times[0] < times[1] <= after


def test_version_is_valid_from_source_change_date(loader: Loader, shop: psycopg.Connection, category: Insert) -> None:
    category("P1", "2024-01-10")
    loader.load("product_category", DAY)
    shop.execute("update product_category set category_name = 'Games', last_updated = '2024-02-20'")
    loader.load("product_category", DAY)
    assert versions(loader, "product_category", "category_name, _valid_from at time zone 'UTC'") == [
        ("Toys", datetime(2024, 1, 10)),
        ("Games", datetime(2024, 2, 20)),
    ]


@pytest.mark.parametrize("last_updated", ["2024-02-20", "2024-01-01"])
def test_change_whose_change_date_is_not_later_is_valid_from_read_time(
    loader: Loader, shop: psycopg.Connection, category: Insert, last_updated: str
) -> None:
    """The date was not touched, or put back: history up to now stays as it is."""
    category("P1", "2024-02-20")
    loader.load("product_category", DAY)
    shop.execute(f"update product_category set cost_price = 7, last_updated = '{last_updated}'".encode())
    loader.load("product_category", DAY)
    (_, changed) = versions(loader, "product_category", "_valid_from = _loaded_at")
    assert changed == (True,)


@pytest.mark.usefixtures("facts")
def test_change_with_untouched_change_date_marks_no_earlier_day_dirty(
    loader: Loader, shop: psycopg.Connection, category: Insert
) -> None:
    category("P1", "2024-01-01")
    loader.load("product_category", DAY)
    loader.pop_dirty_dates()
    shop.execute("update product_category set cost_price = 7")
    assert loader.load("product_category", DAY).rows_loaded == 1
    assert loader.pop_dirty_dates() == set()


def test_change_dated_in_the_future_is_valid_from_read_time(
    loader: Loader, shop: psycopg.Connection, category: Insert
) -> None:
    """Nor does it hide what comes after it: a correction counts, and a change with a date of the past."""
    category("P1", "2024-01-10")
    loader.load("product_category", DAY)
    for name, day in (("Typo", "2054-02-20"), ("Mended", "2024-02-20"), ("Later", "2024-03-01")):
        shop.execute("update product_category set category_name = %s, last_updated = %s", [name, day])
        loader.load("product_category", DAY)
    held = versions(loader, "product_category", "category_name, _valid_from <= _loaded_at, _valid_from = _loaded_at")
    assert held == [
        ("Toys", True, False),
        ("Typo", True, True),
        ("Mended", True, True),
        # Later than the change date before it, but never before the version that it follows.
        ("Later", True, False),
    ]
    times = [time for (time,) in versions(loader, "product_category", "_valid_from")]
    assert times[2] == times[3] == sorted(times)[-1]


def test_key_that_returns_with_untouched_change_date_is_valid_from_read_time(
    loader: Loader, shop: psycopg.Connection, category: Insert
) -> None:
    category("P0", "2024-01-10")
    category("P1", "2024-01-10")
    loader.load("product_category", DAY)
    shop.execute("delete from product_category where product_id = 'P1'")
    loader.load("product_category", DAY)
    category("P1", "2024-01-10", category_name="Games")
    loader.load("product_category", DAY)
    query = "select _valid_from = _loaded_at from raw.product_category where product_id = 'P1' order by _batch_id"
    assert loader.rows(query) == [(False,), (True,), (True,)]


def test_version_without_change_date_is_valid_from_read_time(loader: Loader, category: Insert) -> None:
    category("P1", None)
    before = datetime.now(UTC)
    loader.load("product_category", DAY)
    ((valid_from,),) = versions(loader, "product_category", "_valid_from")
    assert before <= valid_from <= datetime.now(UTC)


@pytest.mark.parametrize("order", [("2024-02-01", "2024-03-01"), ("2024-03-01", "2024-02-01")])
def test_latest_change_of_duplicate_key_wins(loader: Loader, category: Insert, order: tuple[str, str]) -> None:
    for day in order:
        category("P1", day, category_name={"2024-02-01": "older", "2024-03-01": "newer"}[day])
    result = loader.load("product_category", DAY)
    assert (result.rows_loaded, result.rows_quarantined) == (1, 1)
    assert versions(loader, "product_category", "category_name") == [("newer",)]
    assert loader.load("product_category", DAY).rows_unchanged == 2


def test_choice_among_undated_duplicates_is_deterministic(loader: Loader, shop: psycopg.Connection, customer) -> None:
    customer("C1", customer_name="Ada")
    customer("C1", customer_name="Bo")
    loader.load("customer", DAY)
    assert versions(loader, "customer", "customer_name") == [("Bo",)]
    shop.execute("delete from customer")
    customer("C1", customer_name="Bo")
    customer("C1", customer_name="Ada")
    assert loader.load("customer", DAY).rows_unchanged == 2
    assert versions(loader, "customer", "customer_name") == [("Bo",)]


def test_blanks_around_key_are_trimmed(loader: Loader, shop: psycopg.Connection, customer: Insert) -> None:
    """A source that tidies up its keys deletes nothing."""
    customer("C1 ", customer_name="Ada")
    loader.load("customer", DAY)
    shop.execute("update customer set customer_id = 'C1'")
    result = loader.load("customer", DAY)
    assert (result.rows_unchanged, result.rows_removed) == (1, 0)
    shop.execute("update customer set customer_id = ' C1', start_date = 'infinity'")
    assert loader.load("customer", DAY).rows_removed == 0
    assert versions(loader, "customer", "customer_id, _is_deleted") == [("C1", False)]


def test_numeric_key_is_loaded(loader: Loader) -> None:
    """The same rules for a source whose key is no text."""
    loader.connection.execute(
        "create table if not exists raw.shelf (shelf_id integer not null, aisle text, _valid_from timestamptz not null,"
        " _is_deleted boolean not null, _batch_id bigint not null, _loaded_at timestamptz not null);"
        " delete from raw.shelf"
    )
    shelf = Source(
        name="shelf",
        reader="database",
        write_disposition=WriteDisposition.VERSION_LOG,
        key=("shelf_id",),
        columns=(Column("shelf_id", Kind.INTEGER, required=True), Column("aisle", required=True)),
    )
    loader.load(shelf, DAY, rows=[{"shelf_id": "007", "aisle": "A"}, {"shelf_id": "8", "aisle": "B"}])
    again = loader.load(shelf, DAY, rows=[{"shelf_id": "007", "aisle": "A"}, {"shelf_id": "8"}])
    assert (again.rows_unchanged, again.rows_quarantined, again.rows_removed) == (1, 1, 0)
    twice = loader.load(shelf, DAY, rows=[{"shelf_id": "7", "aisle": "A"}, {"shelf_id": "007", "aisle": "A"}])
    assert (twice.rows_unchanged, twice.rows_quarantined, twice.rows_removed) == (1, 1, 1)
    assert loader.load(shelf, DAY, rows=[{"shelf_id": "x", "aisle": "A"}]).rows_removed == 1


def test_rejected_row_makes_no_tombstone(loader: Loader, shop: psycopg.Connection, category: Insert) -> None:
    category("P1", "2024-01-01", cost_price=5)
    category("P2", "2024-01-01", cost_price=5)
    loader.load("product_category", DAY)
    shop.execute("update product_category set cost_price = -5 where product_id = 'P1'")
    result = loader.load("product_category", DAY)
    assert (result.rows_quarantined, result.rows_unchanged, result.rows_removed) == (1, 1, 0)
    assert versions(loader, "product_category", "product_id, cost_price, _is_deleted") == [
        ("P1", 5, False),
        ("P2", 5, False),
    ]


def days(*of_march: int) -> set[str]:
    """Order days in March, and the event day of the same number in May."""
    return {f"2024-{month}-0{day}" for day in of_march for month in ("03", "05")}


@pytest.mark.usefixtures("facts")
@pytest.mark.parametrize("source", ["product", "product_category", "customer"])
def test_first_version_marks_all_days_of_key_dirty(loader: Loader, source: str) -> None:
    row = {"product_id": "P1", "product_name": "Ball", "category_id": "K", "category_name": "T", "customer_id": " C1"}
    result = loader.load(source, DAY, rows=[row])
    assert result.days_marked == 8
    assert loader.pop_dirty_dates() == {(source, day) for day in days(1, 2, 3, 4)}


@pytest.mark.usefixtures("facts")
def test_later_version_marks_days_from_valid_from_dirty(loader: Loader, category, shop: psycopg.Connection) -> None:
    category("P1", "2024-01-01")
    loader.load("product_category", DAY)
    loader.pop_dirty_dates()
    shop.execute("update product_category set cost_price = 7, last_updated = '2024-03-03'")
    loader.load("product_category", DAY)
    assert loader.pop_dirty_dates() == {("product_category", day) for day in days(3, 4) | {"2024-05-01", "2024-05-02"}}
    assert loader.load("product_category", DAY).days_marked == 0


@pytest.mark.usefixtures("facts")
def test_event_later_on_day_of_change_is_marked_dirty(loader: Loader, category, shop: psycopg.Connection) -> None:
    category("P1", "2024-01-01")
    loader.load("product_category", DAY)
    loader.pop_dirty_dates()
    shop.execute("update product_category set cost_price = 7, last_updated = '2024-05-04'")
    loader.load("product_category", DAY)
    assert loader.pop_dirty_dates() == {("product_category", "2024-05-04")}


@pytest.mark.usefixtures("facts")
def test_change_now_marks_no_earlier_day_dirty(loader: Loader, shop: psycopg.Connection, customer: Insert) -> None:
    customer("C1", customer_name="Ada")
    customer("C9", customer_name="Bo")
    loader.load("customer", DAY)
    loader.pop_dirty_dates()
    shop.execute("update customer set customer_name = 'Eve' where customer_id = 'C1'")
    loader.load("customer", DAY)
    shop.execute("delete from customer where customer_id = 'C9'")
    assert loader.load("customer", DAY).rows_removed == 1
    assert loader.pop_dirty_dates() == set()
    # An order of today, or one dated ahead, is touched.
    loader.connection.execute("update raw.sales_fact set order_date = '2069-12-31' where order_id = '2024-03-09'")
    customer("C9", customer_name="Bo")
    loader.load("customer", DAY)
    assert loader.pop_dirty_dates() == {("customer", "2069-12-31")}


@pytest.mark.usefixtures("facts")
def test_subscription_marks_no_day_dirty(loader: Loader) -> None:
    row = {"customer_id": "1", "subscription_id": "S1", "subscription_start_date": "2024-03-01"}
    assert loader.load("subscription_data", DAY, rows=[row]).days_marked == 0


def test_dry_run_leaves_no_trace(loader: Loader, shop: psycopg.Connection, customer: Insert) -> None:
    customer("C1", customer_name="Ada")
    loader.load("customer", DAY)
    shop.execute("update customer set customer_id = 'C2'")
    before = loader.everything()
    result = loader.load("customer", DAY, dry_run=True)
    assert (result.rows_loaded, result.rows_removed) == (1, 1)
    assert loader.everything() == before
