"""Quarantine: which rows are rejected, the reason in words, and the count of every row that was read."""

import re
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecommerce.common.errors import QuarantineOverflow
from ecommerce.common.sources import SOURCES, Column, Kind, WriteDisposition
from tests.integration.support import Loader

DAY = "2024-03-01"

ORDER: dict[str, str | None] = {
    "order_id": "O1",
    "product_id": "P1",
    "customer_id": "C1",
    "order_date": DAY,
    "order_amount": "10.50",
    "order_quantity": "2",
    "payment_method": "card",
    "discount_applied": "0.1",
    "shipping_cost": "4.99",
    "created_at": f"{DAY} 12:00:00",
}
PRODUCT: dict[str, str | None] = {
    "product_id": "P1",
    "category_id": "K1",
    "category_name": "Toys",
    "margin_percent": "-10",
    "stock_level": "-3",
    "discontinued": "false",
    "launch_date": "1970-01-01",
}
SUBSCRIPTION: dict[str, str | None] = {
    "customer_id": "7",
    "subscription_id": "S1",
    "subscription_start_date": DAY,
    "monthly_fee": "9.99",
}
REFUND: dict[str, str | None] = {
    "refund_id": "R1",
    "order_id": "O1",
    "line_number": "1",
    "refund_date": DAY,
    "refund_amount": "0.005",
    "refund_quantity": "1",
    "created_at": f"{DAY} 12:00:00",
}
CUSTOMER: dict[str, str | None] = {"customer_id": "C1", "start_date": "1970-01-01", "end_date": "2069-12-31"}
ROWS = {
    "sales_fact": ORDER,
    "refund": REFUND,
    "product_category": PRODUCT,
    "customer": CUSTOMER,
    "subscription_data": SUBSCRIPTION,
}

BOUND = "has more than 16 digits before the point"
MONEY = "is not an amount of money (at most 16 digits)"
DATE = "is not a date such as 2024-01-31"
TIMESTAMP = "is not a timestamp such as 2024-01-31 23:59:59"
CALENDAR = "is outside the calendar 1970-01-01 to 2069-12-31"
CENT = "is less than a cent"

REFUSALS = [
    *(
        (source, name, None, "is missing")
        for source, row in ROWS.items()
        for name in row
        if next(column for column in SOURCES[source].columns if column.name == name).required
    ),
    ("sales_fact", "order_id", "", "is missing"),
    ("sales_fact", "product_id", "  ", "is missing"),
    ("sales_fact", "line_number", "", "is not a whole number: "),
    ("sales_fact", "line_number", "-1", "is negative: -1"),
    ("sales_fact", "line_number", "1.5", "is not a whole number: 1.5"),
    ("sales_fact", "tax_amount", "-0.01", "is negative: -0.01"),
    ("sales_fact", "order_amount", "", "is missing"),
    ("sales_fact", "order_amount", "ten", f"{MONEY}: ten"),
    ("sales_fact", "order_amount", "12,50", f"{MONEY}: 12,50"),
    ("sales_fact", "order_amount", "10000000000000000", f"{MONEY}: 10000000000000000"),
    ("sales_fact", "order_amount", "1e400", f"{MONEY}: 1e400"),
    ("sales_fact", "order_amount", "Infinity", f"{MONEY}: Infinity"),
    ("sales_fact", "order_amount", "NaN", "is not a finite number: NaN"),
    ("sales_fact", "order_amount", "-0.01", "is negative: -0.01"),
    ("sales_fact", "shipping_cost", "-1", "is negative: -1"),
    ("sales_fact", "shipping_cost", "", f"{MONEY}: "),
    ("sales_fact", "order_quantity", "-1", "is negative: -1"),
    ("sales_fact", "order_quantity", "1.5", "is not a whole number: 1.5"),
    ("sales_fact", "order_quantity", "2147483648", "is outside -2,147,483,648 to 2,147,483,647: 2147483648"),
    ("sales_fact", "discount_applied", "-0.1", "is outside 0 to 1: -0.1"),
    ("sales_fact", "discount_applied", "1.01", "is outside 0 to 1: 1.01"),
    ("sales_fact", "discount_applied", "NaN", "is not a finite number: NaN"),
    ("sales_fact", "discount_applied", "10%", "is not a number: 10%"),
    ("sales_fact", "order_date", "2024-02-30", f"{DATE}: 2024-02-30"),
    ("sales_fact", "order_date", "01.03.2024", f"{DATE}: 01.03.2024"),
    ("sales_fact", "order_date", "infinity", f"{DATE}: infinity"),
    ("sales_fact", "order_date", "today", f"{DATE}: today"),
    ("sales_fact", "order_date", "2024-03-01 10:00", f"{DATE}: 2024-03-01 10:00"),
    ("sales_fact", "order_date", "1969-12-31", f"{CALENDAR}: 1969-12-31"),
    ("sales_fact", "order_date", "2070-01-01", f"{CALENDAR}: 2070-01-01"),
    ("sales_fact", "created_at", "1969-12-31 23:59:59", f"{CALENDAR}: 1969-12-31 23:59:59"),
    ("refund", "refund_id", " ", "is missing"),
    ("refund", "refund_amount", "0", f"{CENT}: 0"),
    ("refund", "refund_amount", "0.004", f"{CENT}: 0.004"),
    ("refund", "refund_amount", "-5", f"{CENT}: -5"),
    ("refund", "refund_amount", "NaN", "is not a finite number: NaN"),
    ("refund", "refund_amount", "5 EUR", f"{MONEY}: 5 EUR"),
    ("refund", "refund_quantity", "-1", "is negative: -1"),
    ("refund", "line_number", "two", "is not a whole number: two"),
    ("refund", "refund_date", "2070-01-01", f"{CALENDAR}: 2070-01-01"),
    ("customer", "start_date", "1969-12-31", f"{CALENDAR}: 1969-12-31"),
    ("customer", "end_date", "9999-12-31", f"{CALENDAR}: 9999-12-31"),
    ("sales_fact", "created_at", "now", f"{TIMESTAMP}: now"),
    ("sales_fact", "created_at", "2024-03-01", f"{TIMESTAMP}: 2024-03-01"),
    ("sales_fact", "created_at", "2024-03-01 25:00:00", f"{TIMESTAMP}: 2024-03-01 25:00:00"),
    ("product_category", "cost_price", "-1", "is negative: -1"),
    ("product_category", "margin_percent", "high", "is not a number: high"),
    ("product_category", "margin_percent", "-Infinity", "is not a finite number: -Infinity"),
    ("product_category", "margin_percent", "1e16", f"{BOUND}: 1e16"),
    ("product_category", "margin_percent", "-1e16", f"{BOUND}: -1e16"),
    ("product_category", "stock_level", "many", "is not a whole number: many"),
    ("product_category", "discontinued", "perhaps", "is neither true nor false: perhaps"),
    ("product_category", "launch_date", "soon", f"{DATE}: soon"),
    ("sales_fact", "order_quantity", "two", "is not a whole number: two"),
    ("product_category", "launch_date", "1899-01-01", f"{CALENDAR}: 1899-01-01"),
    ("product_category", "last_updated", "2070-01-01", f"{CALENDAR}: 2070-01-01"),
    ("subscription_data", "subscription_start_date", "0001-01-01", f"{CALENDAR}: 0001-01-01"),
    ("subscription_data", "subscription_end_date", "9999-12-31", f"{CALENDAR}: 9999-12-31"),
    ("subscription_data", "monthly_fee", "free", f"{MONEY}: free"),
]


@pytest.mark.parametrize(("source", "column", "value", "reason"), REFUSALS)
def test_bad_value_is_quarantined_with_reason(
    loader: Loader, source: str, column: str, value: str | None, reason: str
) -> None:
    key = SOURCES[source].key[0]
    good = ROWS[source] | {key: "99"}
    bad = ROWS[source] | {column: value}
    result = loader.load(source, DAY, rows=[bad, good])
    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (2, 1, 1)
    assert loader.rows(f"select {key}::text from raw.{source}") == [("99",)]
    whole = {name.name: bad.get(name.name) for name in SOURCES[source].columns}
    assert loader.rows("select batch_id, source, reason, payload, replayed_at from ops.quarantine") == [
        (result.batch_id, source, f"{column} {reason}", whole, None)
    ]


def test_unbounded_amount_is_rejected(loader: Loader) -> None:
    rows = [{"date": DAY, "city": city, "precipitation": mm} for city, mm in (("Oslo", "1e16"), ("Bonn", "2e3"))]
    assert loader.load("weather_data", DAY, rows=rows).rows_loaded == 1
    assert loader.value("select reason from ops.quarantine") == f"precipitation {BOUND}: 1e16"


@pytest.mark.parametrize(
    ("source", "column", "value"),
    [
        ("sales_fact", "order_amount", "0"),
        ("sales_fact", "order_amount", "9999999999999999.99"),
        ("product_category", "margin_percent", "-9999999999999999.99"),
        ("sales_fact", "order_quantity", "0"),
        ("sales_fact", "order_quantity", None),
        ("sales_fact", "discount_applied", "0"),
        ("sales_fact", "discount_applied", "1"),
        ("sales_fact", "payment_method", ""),
        ("sales_fact", "order_date", "1970-01-01"),
        ("sales_fact", "order_date", "2069-12-31"),
        ("sales_fact", "customer_id", None),
        ("sales_fact", "customer_id", "  "),
        ("sales_fact", "line_number", None),
        ("sales_fact", "line_number", "0"),
        ("sales_fact", "order_status", "Shipped"),
        ("refund", "refund_amount", "0.005"),
        ("refund", "refund_amount", "9999999999999999.99"),
        ("refund", "order_id", None),
        ("refund", "line_number", None),
        ("subscription_data", "subscription_end_date", "2069-12-31"),
        ("sales_fact", "created_at", f"{DAY}T12:00"),
        ("sales_fact", "created_at", f"{DAY} 12:00:00.123456"),
        ("product_category", "launch_date", "1970-01-01"),
    ],
)
def test_boundary_value_is_accepted(loader: Loader, source: str, column: str, value: str | None) -> None:
    assert loader.load(source, DAY, rows=[ROWS[source] | {column: value}]).rows_loaded == 1


def test_reason_names_every_bad_value_of_row(loader: Loader) -> None:
    row = ORDER | {"order_amount": "-1", "discount_applied": "2", "order_date": None}
    loader.load("sales_fact", DAY, rows=[row])
    assert loader.value("select reason from ops.quarantine") == (
        "order_date is missing; order_amount is negative: -1; discount_applied is outside 0 to 1: 2"
    )


def test_long_value_is_cut_in_reason_and_whole_in_payload(loader: Loader) -> None:
    loader.load("sales_fact", DAY, rows=[ORDER | {"order_amount": "x" * 10_000}])
    reason, payload = loader.rows("select reason, payload from ops.quarantine")[0]
    assert len(reason) < 200
    assert payload["order_amount"] == "x" * 10_000


def test_every_column_kind_has_a_tested_rejection() -> None:
    tested = {
        next(c.kind for c in SOURCES[source].columns if c.name == name)
        for source, name, _, reason in REFUSALS
        if reason != "is missing"
    }
    # Those of Kafka and the weather have their own tests; a text can only be missing.
    assert tested | {Kind.TEXT, Kind.INSTANT, Kind.AMOUNT, Kind.LONG} == set(Kind)


def orders(n: int, **values: str) -> list[dict[str, Any]]:
    return [ORDER | {"order_id": f"{values or 'good'}{number}"} | values for number in range(n)]


def test_load_above_rejection_limit_loads_nothing(loader: Loader) -> None:
    loader.load("sales_fact", DAY, rows=[ORDER])
    loader.pop_dirty_dates()
    before = loader.everything()
    says = (
        "sales_fact 2024-03-01: 11 of 50 rows were rejected, more than the 20% that the source allows; "
        "nothing was loaded. The most frequent: 7x order_amount is negative: -1; 4x order_quantity is negative: -2"
    )
    rows = orders(39) + orders(7, order_amount="-1") + orders(4, order_quantity="-2")
    with pytest.raises(QuarantineOverflow, match=f"^{re.escape(says)}$"):
        loader.load("sales_fact", DAY, rows=rows)
    after = loader.everything()
    assert {name for name in after if after[name] != before[name]} == {"ops.load_batch"}
    assert loader.rows(
        "select status, rows_read, rows_loaded, error, finished_at is not null from ops.load_batch"
        " order by batch_id desc limit 1"
    ) == [("failed", 0, 0, says, True)]


@pytest.mark.parametrize(("good", "bad"), [(0, 10), (44, 11), (89, 11)])
def test_load_at_rejection_limit_is_loaded(loader: Loader, good: int, bad: int) -> None:
    result = loader.load("sales_fact", DAY, rows=orders(good) + orders(bad, order_amount="-1"))
    assert (result.rows_loaded, result.rows_quarantined) == (good, bad)


def test_rejection_limit_is_set_by_source(loader: Loader) -> None:
    rows = orders(90) + orders(10, order_amount="-1")
    with pytest.raises(QuarantineOverflow, match="10 of 100 rows were rejected, more than the 5%"):
        loader.load("sales_fact", DAY, rows=rows, max_rejected_share=0.05, max_rejected_rows=5)


def test_reread_bad_row_is_kept_once_and_identical_rows_twice(loader: Loader) -> None:
    bad = ORDER | {"order_amount": "-1"}
    first = loader.load("sales_fact", DAY, rows=[bad, bad])
    again = loader.load("sales_fact", DAY, rows=[bad, bad, bad])
    assert (first.rows_quarantined, again.rows_quarantined, again.rows_unchanged) == (2, 1, 2)
    assert loader.value("select count(*) from ops.quarantine") == 3
    # One that was replayed and is bad again is a new refusal.
    loader.rows("update ops.quarantine set replayed_at = now() returning 1")
    assert loader.load("sales_fact", DAY, rows=[bad]).rows_quarantined == 1


WRONG = st.sampled_from(
    ["", " ", "-1", "NaN", "Infinity", "x", "1e999", "\t", "\\N", "\\.", "ä", "2024-13-01", "true", "9" * 30]
)


def dirty(column: Column) -> st.SearchStrategy[str | None]:
    """Mostly a value that fits, sometimes one that does not."""
    fits = {
        Kind.DATE: st.dates().map(str),
        # A reader gives rows of its window alone.
        Kind.TIMESTAMP: st.datetimes(datetime(2024, 3, 1), datetime(2024, 3, 1, 23, 59, 59)).map(str),
        Kind.TEXT: st.text("ab \t\\'\"", max_size=2),
    }.get(column.kind, st.integers(0, 1).map(str))
    return st.one_of(fits, fits, fits, WRONG, st.none())


def dirty_rows(source: str) -> st.SearchStrategy[list[dict[str, str | None]]]:
    row = st.fixed_dictionaries({column.name: dirty(column) for column in SOURCES[source].columns})
    # Rows that differ from a good one in a column or two, besides wild ones.
    nearly = st.builds(
        lambda key, wild, names: ROWS[source] | {SOURCES[source].key[0]: key} | {name: wild[name] for name in names},
        st.sampled_from("123"),
        row,
        st.sets(st.sampled_from([column.name for column in SOURCES[source].columns]), max_size=2),
    )
    return st.lists(st.one_of(nearly, nearly, row), min_size=1, max_size=8)


@pytest.mark.parametrize("source", ["sales_fact", "refund", "product_category", "subscription_data"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_read_equal_loaded_plus_unchanged_plus_quarantined(
    loader: Loader, source: str, data: st.DataObject
) -> None:
    quarantined, held = "select count(*) from ops.quarantine", f"select count(*) from raw.{source}"
    loader.empty()
    for rows in data.draw(st.lists(dirty_rows(source), min_size=1, max_size=3)):
        had, refused = loader.value(held), loader.value(quarantined)
        result = loader.load(source, DAY, rows=rows, max_rejected_rows=len(rows))
        assert result.rows_read == len(rows)
        assert result.rows_read == result.rows_loaded + result.rows_unchanged + result.rows_quarantined
        assert min(result.rows_loaded, result.rows_unchanged, result.rows_quarantined, result.rows_removed) >= 0
        assert loader.value(quarantined) - refused == result.rows_quarantined
        # A row that vanished leaves a window, and adds a tombstone to a log.
        gone = (
            result.rows_removed
            if SOURCES[source].write_disposition is WriteDisposition.VERSION_LOG
            else -result.rows_removed
        )
        assert loader.value(held) - had == result.rows_loaded + gone
    again = loader.load(source, DAY, rows=rows, max_rejected_rows=len(rows))
    assert (again.rows_read, again.rows_unchanged, again.rows_removed) == (len(rows), len(rows), 0)
