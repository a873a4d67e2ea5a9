"""The source `refund`: windows, quarantine, fingerprints and dirty days, like those of orders."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.integration.support import Loader

Insert = Callable[..., None]
DAY = "2024-03-01"


@pytest.fixture
def refund(insert: Insert) -> Insert:
    """Insert a refund into the shop; created on its own day unless said otherwise."""

    def refund(refund_id: str, day: str = DAY, created: str | None = None, **values: Any) -> None:
        values = {"refund_amount": 10} | values
        insert("refund", refund_id=refund_id, refund_date=day, created_at=created or f"{day} 12:00", **values)

    return refund


def refunds(loader: Loader) -> dict[str, str]:
    return {refund: str(amount) for refund, amount in loader.rows("select refund_id, refund_amount from raw.refund")}


def test_window_of_refunds_is_replaced(loader: Loader, shop: psycopg.Connection, refund: Insert) -> None:
    refund("before", "2024-02-29", "2024-02-29 23:59:59.999999")
    refund("R1", order_id="O1", line_number=2, reason="broken")
    refund(" R2", "2024-01-15", "2024-03-01 00:00")
    refund("after", "2024-03-02", "2024-03-02 00:00")
    first = loader.load("refund", DAY)
    assert (first.rows_loaded, first.rows_quarantined) == (2, 0)
    assert refunds(loader) == {"R1": "10", "R2": "10"}
    assert loader.pop_dirty_dates() == {("refund", DAY), ("refund", "2024-01-15")}
    assert loader.load("refund", DAY).rows_unchanged == 2
    assert loader.pop_dirty_dates() == set()
    shop.execute(
        "update refund set refund_amount = 10.0 where refund_id = 'R1'; delete from refund where order_id is null"
    )
    changed = loader.load("refund", DAY)
    # Another scale is another value, as raw stores it.
    assert (changed.rows_loaded, changed.rows_removed) == (1, 2)
    assert refunds(loader) == {"R1": "10.0"}
    assert loader.pop_dirty_dates() == {("refund", DAY), ("refund", "2024-01-15")}


def test_refund_moved_to_later_window_is_stored_once(loader: Loader, shop: psycopg.Connection, refund: Insert) -> None:
    refund("R1")
    loader.load("refund", DAY)
    shop.execute("update refund set created_at = '2024-03-05 10:00', refund_amount = 20")
    loader.pop_dirty_dates()
    assert loader.load("refund", "2024-03-05").rows_loaded == 1
    assert loader.load("refund", DAY).rows_removed == 0
    assert refunds(loader) == {"R1": "20"}
    assert loader.pop_dirty_dates() == {("refund", DAY)}


def test_repeated_refund_is_rejected(loader: Loader, refund: Insert) -> None:
    refund("R1", created=f"{DAY} 09:00", refund_amount=1)
    refund("R1", refund_amount=2)
    loader.load("refund", DAY)
    assert refunds(loader) == {"R1": "2"}
    assert loader.value("select reason from ops.quarantine") == (
        "refund_id came more than once; another row with this key was taken"
    )


BAD = [
    ("refund_amount", "0", "is less than a cent: 0"),
    ("refund_amount", "-3", "is less than a cent: -3"),
    ("refund_amount", "0.004", "is less than a cent: 0.004"),
    ("refund_amount", "NaN", "is not a finite number: NaN"),
    ("refund_date", "1969-12-31", "is outside the calendar 1970-01-01 to 2069-12-31: 1969-12-31"),
]


@pytest.mark.parametrize(("column", "value", "reason"), BAD)
@pytest.mark.parametrize("in_order", [(True, False), (False, True)], ids=["first load", "load again"])
def test_bad_refund_has_the_same_reason_in_both_paths(
    loader: Loader, refund: Insert, column: str, value: str, reason: str, in_order: tuple[bool, bool]
) -> None:
    """The shop's database validates the typed value; the loader validates a text."""
    for is_bad in in_order:
        if is_bad:
            refund(
                "bad",
                created=f"{DAY} 13:00",
                **{"refund_amount": 1, "day": DAY} | {"day" if column == "refund_date" else column: value},
            )
        else:
            refund("good")
        loader.load("refund", DAY)
    assert set(refunds(loader)) == {"good"}
    typed = loader.rows("select reason from ops.quarantine")
    assert typed == [(f"{column} {reason}",)]
    loader.empty()
    row = {"refund_id": "bad", "refund_date": DAY, "refund_amount": "1", "created_at": f"{DAY} 13:00:00"}
    loader.load("refund", DAY, rows=[row | {column: value}])
    assert loader.rows("select reason from ops.quarantine") == typed


OUTSIDE: dict[str, tuple[str, dict[str, object]]] = {
    "sales_fact": (
        "order_date",
        {"order_id": "K1", "product_id": "P", "order_amount": 1, "created_at": f"{DAY} 10:00"},
    ),
    "refund": ("refund_date", {"refund_id": "K1", "refund_amount": 1, "created_at": f"{DAY} 10:00"}),
    "customer": ("start_date", {"customer_id": "K1"}),
    "product_category": ("launch_date", {"product_id": "K1", "category_id": "C", "category_name": "Toys"}),
    "subscription_data": ("subscription_start_date", {"subscription_id": "K1", "customer_id": 1}),
}


@pytest.mark.parametrize("day", ["1969-12-31", "2070-01-01", "9999-12-31"])
@pytest.mark.parametrize("source", OUTSIDE)
def test_day_outside_the_calendar_is_rejected_in_every_source_and_path(
    loader: Loader, shop: psycopg.Connection, insert: Insert, source: str, day: str
) -> None:
    column, values = OUTSIDE[source]
    insert(source, **values, **{column: day})
    reason = f"{column} is outside the calendar 1970-01-01 to 2069-12-31: {day}"
    assert loader.load(source, DAY).rows_quarantined == 1
    assert loader.rows("select reason from ops.quarantine") == [(reason,)]
    loader.empty()
    loader.load(source, DAY, rows=[{name: str(value) for name, value in values.items()} | {column: day}])
    assert loader.rows("select reason from ops.quarantine") == [(reason,)]
