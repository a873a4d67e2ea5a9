"""An order's lines: a key of two columns, of which the second may be null at the source, or missing."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.integration.support import Loader

Insert = Callable[..., None]
DAY = "2024-03-01"
REPEATED = (
    "order_id, line_number came more than once; another row with this key was taken (a row without line_number has "
    "line_number 1, so give each row of one order_id its own line_number at the source)"
)


@pytest.fixture
def line(insert: Insert) -> Insert:
    """Insert an order line into the shop; without a number unless it is given."""

    def line(order_id: str, number: int | None = None, day: str = DAY, **values: Any) -> None:
        numbered = {} if number is None else {"line_number": number}
        row = {"product_id": "P1", "order_amount": 10, "order_date": day, "created_at": f"{day} 12:00"}
        insert("sales_fact", order_id=order_id, **numbered, **(row | values))

    return line


def lines(loader: Loader) -> dict[tuple[str, int], int]:
    return {
        (order_id, number): int(amount)
        for order_id, number, amount in loader.rows("select order_id, line_number, order_amount from raw.sales_fact")
    }


def test_lines_of_an_order_are_rows_of_their_own(loader: Loader, shop: psycopg.Connection, line: Insert) -> None:
    line("O1", None, order_amount=1)
    line("O1", 2, order_amount=2)
    line(" O1 ", 3, order_amount=3)
    first = loader.load("sales_fact", DAY)
    assert (first.rows_loaded, first.rows_quarantined) == (3, 0)
    assert lines(loader) == {("O1", 1): 1, ("O1", 2): 2, ("O1", 3): 3}
    assert loader.load("sales_fact", DAY).rows_unchanged == 3
    # That null is 1 is no change, and neither is a blank.
    shop.execute("update sales_fact set line_number = 1, order_id = 'O1 ' where line_number is null")
    unchanged = loader.load("sales_fact", DAY)
    assert (unchanged.rows_unchanged, unchanged.rows_removed, unchanged.days_marked) == (3, 0, 0)
    shop.execute("delete from sales_fact where line_number = 2")
    shop.execute("update sales_fact set order_amount = 7 where line_number = 3")
    changed = loader.load("sales_fact", DAY)
    assert (changed.rows_loaded, changed.rows_removed) == (1, 2)
    assert lines(loader) == {("O1", 1): 1, ("O1", 3): 7}


@pytest.mark.parametrize("loaded_before", [False, True])
def test_second_row_of_an_order_without_line_numbers_is_rejected_with_advice(
    loader: Loader, shop: psycopg.Connection, line: Insert, loaded_before: bool
) -> None:
    shop.execute("alter table sales_fact drop line_number")
    line("O1", order_amount=1)
    if loaded_before:
        loader.load("sales_fact", DAY)
    line("O1", order_amount=2, created_at=f"{DAY} 13:00")
    line("O2", order_amount=3)
    loader.load("sales_fact", DAY)
    assert lines(loader) == {("O1", 1): 2, ("O2", 1): 3}
    assert loader.rows("select reason, payload ->> 'order_amount' from ops.quarantine") == [(REPEATED, "1")]
    again = loader.load("sales_fact", DAY)
    assert (again.rows_read, again.rows_unchanged) == (3, 3)
    # As advised: each line has its number now.
    shop.execute("alter table sales_fact add line_number integer")
    shop.execute("update sales_fact set line_number = order_amount where order_id = 'O1'")
    numbered = loader.load("sales_fact", DAY)
    assert (numbered.rows_loaded, numbered.rows_replayed) == (2, 1)
    assert lines(loader) == {("O1", 1): 1, ("O1", 2): 2, ("O2", 1): 3}


def test_repeated_line_with_another_number_is_rejected_without_advice(loader: Loader, line: Insert) -> None:
    line("O1", 2, order_amount=1)
    line("O1", 2, order_amount=2)
    loader.load("sales_fact", DAY)
    assert loader.value("select reason from ops.quarantine") == REPEATED.partition(" (")[0]


def test_line_in_two_windows_is_superseded_by_the_latest(loader: Loader, line: Insert) -> None:
    for number, day in ((1, DAY), (1, "2024-03-02"), (2, DAY), (3, "2024-03-02")):
        line("O1", number if number > 1 else None, day, order_amount=int(day[-1]))
    loader.load("sales_fact", "2024-03-02")
    earlier = loader.load("sales_fact", DAY)
    assert (earlier.rows_loaded, earlier.rows_quarantined) == (1, 1)
    assert lines(loader) == {("O1", 1): 2, ("O1", 2): 1, ("O1", 3): 2}
    assert loader.value("select reason from ops.quarantine").startswith(
        "order_id, line_number is held already by the row of created_at 2024-03-02 12:00:00 (a row without line_number"
    )


def test_moved_line_leaves_the_other_lines_where_they_are(
    loader: Loader, shop: psycopg.Connection, line: Insert
) -> None:
    line("O1", 1)
    line("O1", 2)
    loader.load("sales_fact", DAY)
    shop.execute("update sales_fact set created_at = '2024-03-02 10:00', order_amount = 5 where line_number = 2")
    loader.load("sales_fact", "2024-03-02")
    assert lines(loader) == {("O1", 1): 10, ("O1", 2): 5}


@pytest.mark.parametrize("number", [None, 1, 2])
def test_corrected_line_is_replayed(loader: Loader, shop: psycopg.Connection, line: Insert, number: int | None) -> None:
    line("O1", 3)
    line("O1", number, order_amount=-1)
    loader.load("sales_fact", DAY)
    assert loader.value("select payload ->> 'line_number' from ops.quarantine") == (number and str(number))
    shop.execute("update sales_fact set order_amount = 1 where order_amount < 0")
    assert loader.load("sales_fact", DAY).rows_replayed == 1
    assert lines(loader) == {("O1", number or 1): 1, ("O1", 3): 10}


def test_rejected_line_is_not_replayed_by_another_line_of_its_order(
    loader: Loader, shop: psycopg.Connection, line: Insert
) -> None:
    line("O1", None, order_amount=-1)
    loader.load("sales_fact", DAY)
    shop.execute("update sales_fact set line_number = 2, order_amount = 1")
    assert loader.load("sales_fact", DAY).rows_replayed == 0
    assert loader.value("select replayed_at is null from ops.quarantine")


def test_line_number_beyond_integer_is_rejected(loader: Loader, shop: psycopg.Connection, line: Insert) -> None:
    shop.execute("alter table sales_fact alter line_number type bigint")
    line("O1", 2**31)
    line("O2")
    for _ in range(2):
        loader.load("sales_fact", DAY)
    assert lines(loader) == {("O2", 1): 10}
    reason = "line_number is outside -2,147,483,648 to 2,147,483,647: 2147483648"
    assert loader.value("select reason from ops.quarantine") == reason


@pytest.mark.parametrize("has_column", [True, False])
def test_parallel_read_needs_no_line_number(
    loader: Loader, shop: psycopg.Connection, line: Insert, has_column: bool
) -> None:
    for number in range(40):
        line(f"O{number}")
    if not has_column:
        shop.execute("alter table sales_fact drop line_number")
    assert loader.load("sales_fact", DAY, parallel_reads=3).rows_loaded == 40


def test_guest_order_is_loaded_without_customer(loader: Loader, shop: psycopg.Connection, line: Insert) -> None:
    line("O1", customer_id=None)
    line("O2", customer_id=" ")
    assert loader.load("sales_fact", DAY).rows_loaded == 2
    assert loader.rows("select customer_id from raw.sales_fact order by order_id") == [(None,), (" ",)]
    assert loader.load("sales_fact", DAY).rows_unchanged == 2
