"""Convert the text of a source: to a value, to null, or to an error."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import pytest

from tests.oracle.compute import open_oracle


@pytest.fixture(scope="module")
def oracle() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_oracle() as connection:
        yield connection


@pytest.mark.parametrize(
    ("macro", "text", "expected"),
    [
        ("clean", "  view\t", "view"),
        ("clean", " \t ", None),
        ("to_number", "1e3", Decimal(1000)),
        ("to_number", "-9999999999999999.99", Decimal("-9999999999999999.99")),
        ("to_number", "10000000000000000", None),
        ("to_number", "NaN", None),
        ("to_number", "Infinity", None),
        ("to_whole", " 12 ", 12),
        ("to_whole", "1.5", None),
        ("to_whole", "2147483648", None),
        ("to_subscriber", "1", "CUST001"),
        ("to_subscriber", " 0012 ", "CUST012"),
        ("to_subscriber", "0", "CUST000"),
        ("to_subscriber", "1000", "CUST1000"),
        ("to_subscriber", "99999999999999999999", "CUST99999999999999999999"),
        ("to_subscriber", " CUST001 ", "CUST001"),
        ("to_subscriber", "1a", "1a"),
        ("to_subscriber", "-1", None),
        ("to_subscriber", " ", None),
        ("to_date", "1970-01-01", date(1970, 1, 1)),
        ("to_date", "1969-12-31", None),
        ("to_date", "2069-12-31", date(2069, 12, 31)),
        ("to_date", "2070-01-01", None),
        ("to_naive_timestamp", "2069-12-31 23:59:59", datetime(2069, 12, 31, 23, 59, 59)),
        ("to_naive_timestamp", "2070-01-01 00:00:00", None),
        ("to_timestamp_utc", "1970-01-01T00:30:00+01:00", None),
        ("to_timestamp_utc", "1970-01-01T00:30:00Z", datetime(1970, 1, 1, 0, 30, tzinfo=UTC)),
        ("to_timestamp_utc", "2024-01-01T01:30:00+02:00", datetime(2023, 12, 31, 23, 30, tzinfo=UTC)),
        ("to_timestamp_utc", "2024-01-01T01:30:00", datetime(2024, 1, 1, 1, 30, tzinfo=UTC)),
        ("to_timestamp_utc", "2024-01-01 01:30:00.25Z", datetime(2024, 1, 1, 1, 30, 0, 250_000, tzinfo=UTC)),
        ("to_timestamp_utc", "2024-02-30T00:00:00", None),
        ("to_timestamp_utc", "infinity", None),
        ("to_timestamp_utc", "1704067200", None),
    ],
)
def test_text_is_converted_to_value(oracle: duckdb.DuckDBPyConnection, macro: str, text: str, expected: object) -> None:
    assert oracle.execute(f"select {macro}(?)", [text]).fetchall() == [(expected,)]


@pytest.mark.parametrize(("text", "is_invalid"), [("1.5", True), ("1", False), ("  ", False), (None, False)])
def test_only_text_that_is_no_value_is_invalid(
    oracle: duckdb.DuckDBPyConnection, text: str | None, is_invalid: bool
) -> None:
    assert oracle.execute("select is_invalid($1, to_whole($1))", [text]).fetchall() == [(is_invalid,)]
