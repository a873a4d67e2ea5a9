"""A row that has left the window for another one stays in raw, with its new time; one that is gone does not."""

from collections.abc import Callable

import psycopg
import pytest

from ecommerce.common.errors import MassRemoval
from ecommerce.extract.postgres_reader import PostgresReader
from ecommerce.load import moved_rows
from tests.integration.support import Loader, set_shop

Insert = Callable[..., None]

DAY, OLDER, NEWER = "2024-03-05", "2024-02-01", "2024-03-20"


@pytest.fixture
def order(insert: Insert) -> Insert:
    def order(order_id: str, day: str = DAY, **values: object) -> None:
        values = {"product_id": "P1", "order_date": day, "order_amount": 10, "created_at": f"{day} 12:00"} | values
        insert("sales_fact", order_id=order_id, **values)

    return order


def held(loader: Loader) -> list[tuple]:
    return loader.rows("select order_id, line_number, created_at::date::text from raw.sales_fact order by 1, 2")


@pytest.mark.parametrize("way", ["by day", "row by row"])
@pytest.mark.parametrize("moved_to", [OLDER, NEWER])
def test_moved_order_stays_with_its_new_time(
    loader: Loader,
    shop: psycopg.Connection,
    order: Insert,
    monkeypatch: pytest.MonkeyPatch,
    moved_to: str,
    way: str,
) -> None:
    if way == "row by row":
        monkeypatch.setattr(PostgresReader, "has_fingerprints", lambda self: False)
    order("O1")
    order("O2")
    loader.load("sales_fact", DAY)
    loader.pop_dirty_dates()
    shop.execute(
        "update sales_fact set created_at = %s, order_date = %s where order_id = 'O1'", [f"{moved_to} 10:00", moved_to]
    )
    result = loader.load("sales_fact", DAY)
    assert (result.rows_read, result.rows_loaded, result.rows_removed) == (2, 1, 1)
    assert held(loader) == [("O1", 1, moved_to), ("O2", 1, DAY)]
    assert loader.pop_dirty_dates() == {("sales_fact", DAY), ("sales_fact", moved_to)}
    # The load of the other window finds it as it is.
    again = loader.load("sales_fact", moved_to)
    assert (again.rows_read, again.rows_loaded, again.rows_removed) == (1, 0, 0)
    assert loader.rows("select day::text, rows from ops.loaded_day order by 1") == sorted([(DAY, 1), (moved_to, 1)])


def test_deleted_order_is_removed_though_another_line_lies_elsewhere(
    loader: Loader, shop: psycopg.Connection, order: Insert
) -> None:
    order("O1", line_number=1)
    order("O1", line_number=2)
    order("O1", OLDER, line_number=3)
    order("O2")
    loader.load("sales_fact", DAY)
    shop.execute("delete from sales_fact where line_number = 1 or order_id = 'O2'")
    assert loader.load("sales_fact", DAY).rows_removed == 2
    # Line 3 was never in this window.
    assert held(loader) == [("O1", 2, DAY)]


def test_moved_order_without_line_number_stays(loader: Loader, shop: psycopg.Connection, order: Insert) -> None:
    order("O1", line_number=None)
    order("O2", line_number=2)
    loader.load("sales_fact", DAY)
    shop.execute("update sales_fact set created_at = %s", [f"{OLDER} 10:00"])
    assert loader.load("sales_fact", DAY).rows_loaded == 2
    assert held(loader) == [("O1", 1, OLDER), ("O2", 2, OLDER)]


def test_moved_order_with_bad_value_is_quarantined(loader: Loader, shop: psycopg.Connection, order: Insert) -> None:
    order("O1")
    loader.load("sales_fact", DAY)
    shop.execute("update sales_fact set created_at = %s, order_amount = -1", [f"{OLDER} 10:00"])
    result = loader.load("sales_fact", DAY)
    assert (result.rows_read, result.rows_quarantined, result.rows_removed) == (1, 1, 1)
    assert held(loader) == []
    assert loader.rows("select reason from ops.quarantine") == [("order_amount is negative: -1",)]


def test_older_copy_of_a_deleted_order_is_loaded(loader: Loader, shop: psycopg.Connection, order: Insert) -> None:
    """Raw had the later one of two rows with one key."""
    order("O1", OLDER, order_amount=1)
    order("O1", DAY, order_amount=2)
    loader.load("sales_fact", DAY)
    shop.execute("delete from sales_fact where order_amount = 2")
    loader.load("sales_fact", DAY)
    assert loader.rows("select order_amount, created_at::date::text from raw.sales_fact") == [(1, OLDER)]


def test_moved_refund_stays_with_its_new_time(loader: Loader, shop: psycopg.Connection, insert: Insert) -> None:
    insert("refund", refund_id="R1", refund_date=DAY, refund_amount=1, created_at=f"{DAY} 12:00")
    loader.load("refund", DAY)
    shop.execute("update refund set created_at = %s", [f"{OLDER} 12:00"])
    loader.load("refund", DAY)
    assert loader.rows("select refund_id, created_at::date::text from raw.refund") == [("R1", OLDER)]


@pytest.mark.parametrize(
    "type_name", ["text", "varchar(20)", "character(36)", "uuid", "other_id", "kind_of_id"], ids=lambda name: name
)
def test_key_of_any_type_is_found(loader: Loader, shop: psycopg.Connection, order: Insert, type_name: str) -> None:
    key, other = "6f1c2c9e-0000-4000-8000-0000000000aa", "6f1c2c9e-0000-4000-8000-0000000000bb"
    if type_name == "varchar(20)":
        key, other = "O1", "O2"
    shop.execute(f"create domain other_id as text; create type kind_of_id as enum ('{key}', '{other}')".encode())
    shop.execute(f"alter table sales_fact alter order_id type {type_name} using order_id::{type_name}".encode())
    order(key)
    order(other)
    loader.load("sales_fact", DAY)
    shop.execute("update sales_fact set created_at = %s where order_id::text = %s", [f"{OLDER} 10:00", key])
    loader.load("sales_fact", DAY)
    assert held(loader) == [(key, 1, OLDER), (other, 1, DAY)]


@pytest.mark.parametrize(
    "condition", ["", " where created_at >= %(start)s and created_at < %(end)s"], ids=["whole", "chooses the window"]
)
def test_moved_order_of_a_template_stays(
    loader: Loader, shop: psycopg.Connection, order: Insert, monkeypatch: pytest.MonkeyPatch, condition: str
) -> None:
    set_shop(
        monkeypatch,
        templates={"orders.sql": f"select * from public.sales_fact{condition} -- lines"},
        sales_fact={"connection": "shop_postgres", "template": "orders.sql"},
    )
    order("O1")
    loader.load("sales_fact", DAY)
    shop.execute("update sales_fact set created_at = %s", [f"{OLDER} 10:00"])
    loader.load("sales_fact", DAY)
    assert held(loader) == [("O1", 1, OLDER)]


def test_many_keys_are_looked_up_in_parts(
    loader: Loader, shop: psycopg.Connection, order: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    in_other_windows = PostgresReader.in_other_windows

    def counted(self, keys):
        asked.append(len(keys["order_id"]))
        return in_other_windows(self, keys)

    monkeypatch.setattr(moved_rows, "KEYS_AT_A_TIME", 4)
    monkeypatch.setattr(PostgresReader, "in_other_windows", counted)
    for number in range(10):
        order(f"O{number}")
    loader.load("sales_fact", DAY)
    loader.load("sales_fact", DAY)
    assert asked == []
    shop.execute("update sales_fact set created_at = %s where order_id <> 'O3'", [f"{OLDER} 10:00"])
    loader.load("sales_fact", DAY)
    assert asked == [4, 4, 1]
    assert len(held(loader)) == 10


def test_moved_orders_do_not_excuse_lost_ones(loader: Loader, shop: psycopg.Connection, order: Insert) -> None:
    for number in range(20):
        order(f"O{number:02}")
    loader.load("sales_fact", DAY)
    shop.execute("update sales_fact set created_at = %s where order_id < 'O05'", [f"{OLDER} 10:00"])
    shop.execute("delete from sales_fact where order_id >= 'O08'")
    with pytest.raises(MassRemoval, match="would remove 12 of 20 rows"):
        loader.load("sales_fact", DAY)
