"""Other days become dirty with a row: those of the order's other lines, of its refunds, of a product's refunds."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from ecommerce.load import strategies
from tests.integration.support import Loader

Insert = Callable[..., None]
DAYS = ("2024-03-01", "2024-03-31")


@pytest.fixture
def line(insert: Insert) -> Insert:
    """Insert an order line of a day of March into the shop, recorded on that day or another."""

    def line(order_id: str, number: int | None, day: int, recorded: int | None = None, **values: Any) -> None:
        row = {"product_id": "P1", "customer_id": "C1", "order_amount": 10} | values
        created = f"2024-03-{recorded or day:02} 12:00"
        insert("sales_fact", order_id=order_id, line_number=number, order_date=f"2024-03-{day:02}",
               created_at=created, **row)  # fmt: skip

    return line


@pytest.fixture
def refund(insert: Insert) -> Insert:
    """Insert a refund of a day of March into the shop."""

    def refund(refund_id: str, day: int, **values: Any) -> None:
        insert("refund", refund_id=refund_id, refund_date=f"2024-03-{day:02}", refund_amount=1,
               created_at=f"2024-03-{day:02} 12:00", **values)  # fmt: skip

    return refund


def dirty(loader: Loader) -> dict[str, set[int]]:
    """Source → days of March."""
    days: dict[str, set[int]] = {}
    for source, day in loader.pop_dirty_dates():
        assert day.startswith("2024-03-")
        days.setdefault(source, set()).add(int(day[-2:]))
    return days


CHANGES = [
    pytest.param(
        "update sales_fact set order_amount = 11 where order_id = 'O1' and line_number = 1", {1, 2, 20}, id="changed"
    ),
    pytest.param("delete from sales_fact where order_id = 'O1' and line_number = 1", {1, 2, 20}, id="deleted"),
    pytest.param(
        "update sales_fact set order_amount = -1 where order_id = 'O1' and line_number = 1", {1, 2, 20}, id="now bad"
    ),
    pytest.param(
        "update sales_fact set order_id = 'O9' where order_id = 'O1' and line_number = 1",
        {1, 2, 20},
        id="of another order",
    ),
    pytest.param(
        "update sales_fact set order_date = '2024-03-07' where order_id = 'O1' and line_number = 1",
        {1, 2, 7, 20},
        id="other day",
    ),
    pytest.param("update sales_fact set order_amount = 11 where order_id = 'O2'", {5}, id="without dependents"),
]


@pytest.mark.parametrize(("change", "days"), CHANGES)
@pytest.mark.parametrize("row_by_row", [False, True])
def test_changed_line_marks_the_days_of_its_order_and_refunds(
    loader: Loader,
    shop: psycopg.Connection,
    line: Insert,
    refund: Insert,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    days: set[int],
    row_by_row: bool,
) -> None:
    line("O1", None, 1)
    line("O1", 2, 2)
    line("O2", None, 5)
    line("O3", None, 6)
    refund("R1", 20, order_id=" O1 ")
    refund("R3", 21, order_id="O3")
    refund("none", 22)
    loader.load("refund", *DAYS)
    loader.load("sales_fact", *DAYS)
    loader.pop_dirty_dates()
    shop.execute("update sales_fact set line_number = 1 where line_number is null")
    shop.execute(change.encode())
    if row_by_row:
        monkeypatch.setattr(strategies, "CompareByDay", strategies.PrevalidatedRows)
    loader.load("sales_fact", *DAYS)
    assert dirty(loader) == {"sales_fact": days}
    assert loader.load("sales_fact", *DAYS).days_marked == 0


def test_line_that_moves_into_the_window_marks_the_days_of_its_order(
    loader: Loader, shop: psycopg.Connection, line: Insert, refund: Insert
) -> None:
    line("O1", 1, 1)
    line("O1", 2, 2)
    refund("R1", 20, order_id="O1")
    loader.load("refund", *DAYS)
    loader.load("sales_fact", *DAYS)
    loader.pop_dirty_dates()
    shop.execute("update sales_fact set created_at = '2024-04-02' where line_number = 2")
    loader.load("sales_fact", "2024-04-02")
    assert dirty(loader) == {"sales_fact": {1, 2, 20}}


@pytest.mark.parametrize("is_bulk", [False, True])
def test_first_load_marks_the_days_of_refunds_that_were_loaded_before(
    loader: Loader,
    shop: psycopg.Connection,
    line: Insert,
    refund: Insert,
    monkeypatch: pytest.MonkeyPatch,
    is_bulk: bool,
) -> None:
    line("O1", None, 1)
    line("O2", None, 2)
    refund("R1", 20, order_id="O1")
    refund("other", 21, order_id="O7")
    loader.load("refund", *DAYS)
    loader.pop_dirty_dates()
    if is_bulk:
        monkeypatch.setattr(strategies, "BULK_ROWS", 1)
        shop.execute("analyze sales_fact")
    loader.load("sales_fact", *DAYS)
    assert dirty(loader) == {"sales_fact": {1, 2, 20}}


def test_first_load_of_a_window_marks_the_days_of_lines_in_other_windows(
    loader: Loader, line: Insert, refund: Insert
) -> None:
    line("O1", 1, 1)
    line("O2", 1, 2)
    line("O1", 2, 10)
    loader.load("sales_fact", "2024-03-01", "2024-03-05")
    loader.pop_dirty_dates()
    loader.load("sales_fact", "2024-03-10")
    assert dirty(loader) == {"sales_fact": {1, 10}}


def test_table_that_was_never_loaded_is_not_read(
    loader: Loader, line: Insert, other_connection: psycopg.Connection
) -> None:
    """It may be locked by its own first load."""
    line("O1", 1, 1)
    with other_connection.transaction():
        other_connection.execute("lock table raw.refund in access exclusive mode")
        loader.connection.execute("set lock_timeout = '2s'")
        loader.load("sales_fact", *DAYS)
        line("O1", 2, 2)
        loader.load("sales_fact", *DAYS)
        loader.load("product", "2024-03-01", rows=[{"product_id": "P1", "product_name": "Ball"}])
    assert dirty(loader) == {"sales_fact": {1, 2}, "product": {1, 2}}


@pytest.fixture
def orders_and_refunds(loader: Loader, line: Insert, refund: Insert) -> None:
    """Orders and refunds, loaded; each refund on a day of its own."""
    line("O1", 1, 1, product_id="P1", customer_id="C1")
    line("O1", 2, 8, product_id="P2", customer_id="C1")
    line("guest", 1, 1, product_id="P1", customer_id=None)
    refund("line 1", 11, order_id=" O1", line_number=1, product_id="P3", customer_id="C3")
    refund("line 2", 12, order_id="O1", line_number=2)
    refund("order", 13, order_id="O1", product_id=" P3")
    refund("unknown line", 14, order_id="O1", line_number=9, product_id="P3")
    refund("unknown order", 15, order_id="O9", line_number=1, product_id="P3", customer_id="C3 ")
    refund("nothing", 16)
    refund("own", 17, product_id="P3", customer_id="C3")
    refund("guest", 18, order_id="guest", line_number=1)
    loader.load("sales_fact", *DAYS)
    loader.load("refund", *DAYS)
    loader.pop_dirty_dates()


@pytest.mark.usefixtures("orders_and_refunds")
@pytest.mark.parametrize(
    ("source", "key", "orders", "refunds"),
    [
        ("product", "P1", {1}, {11, 18}),
        ("product", "P2", {8}, {12}),
        ("product_category", "P3", set(), {13, 14, 15, 17}),
        ("customer", "C1", {1, 8}, {11, 12, 13, 14}),
        ("customer", "C3", set(), {15, 17}),
        ("customer", "C9", set(), set()),
    ],
)
def test_first_version_marks_the_refunds_of_its_key(
    loader: Loader, source: str, key: str, orders: set[int], refunds: set[int]
) -> None:
    row = {"product_id": key, "product_name": "Ball", "category_id": "K", "category_name": "T", "customer_id": key}
    loader.load(source, "2024-03-01", rows=[row])
    assert dirty(loader) == ({source: orders | refunds} if orders | refunds else {})


@pytest.mark.usefixtures("orders_and_refunds")
@pytest.mark.parametrize(
    ("product", "changed_at", "days"),
    [
        # The version of an order line's refund is that of the order's day, however late the refund.
        pytest.param("P1", "2024-03-01", {1, 11, 18}, id="on the day of the order"),
        pytest.param("P1", "2024-03-02", set(), id="between order and refund"),
        pytest.param("P2", "2024-03-08", {8, 12}, id="on the day of another line"),
        pytest.param("P2", "2024-03-09", set(), id="after the order"),
        # Without a line it is that of the refund's day.
        pytest.param("P3", "2024-03-14", {14, 15, 17}, id="without a line"),
    ],
)
def test_later_version_marks_the_refunds_that_use_it(
    loader: Loader, insert: Insert, shop: psycopg.Connection, product: str, changed_at: str, days: set[int]
) -> None:
    insert("product_category", product_id=product, category_id="K", category_name="T", last_updated="2024-01-01")
    loader.load("product_category", "2024-03-01")
    loader.pop_dirty_dates()
    shop.execute(f"update product_category set cost_price = 7, last_updated = '{changed_at}'".encode())
    loader.load("product_category", "2024-03-01")
    assert dirty(loader) == ({"product_category": days} if days else {})


def test_version_marks_refunds_by_their_own_columns_if_no_order_was_loaded(loader: Loader, refund: Insert) -> None:
    refund("R1", 11, order_id="O1", line_number=1, product_id="P1")
    loader.load("refund", *DAYS)
    loader.pop_dirty_dates()
    loader.load("product", "2024-03-01", rows=[{"product_id": "P1", "product_name": "Ball"}])
    assert dirty(loader) == {"product": {11}}
