"""Convert the text of a source: to a value, to null, or to an error."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import pytest

from ecommerce.common.blanks import BLANKS
from tests.oracle.compute import TimeZones, open_oracle


@pytest.fixture(scope="module")
def oracle() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_oracle() as connection:
        yield connection


@pytest.mark.parametrize(
    ("macro", "text", "expected"),
    [
        ("clean", "  view\t", "view"),
        ("clean", " \t ", None),
        ("clean", "\ufeff\u00a0view\u200b\u3000", "view"),
        ("clean", "\u2028\u200d", None),
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
        ("to_recorded_at", "2069-12-31 23:59:59", datetime(2069, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("to_recorded_at", "2070-01-01 00:00:00", None),
        ("to_recorded_at", "2024-02-30 00:00:00", None),
        ("to_recorded_at", " ", None),
        ("to_event_at", "1970-01-01T00:30:00+01:00", None),
        ("to_event_at", "1970-01-01T00:30:00Z", datetime(1970, 1, 1, 0, 30, tzinfo=UTC)),
        ("to_event_at", "2024-01-01T01:30:00+02:00", datetime(2023, 12, 31, 23, 30, tzinfo=UTC)),
        ("to_event_at", "2024-01-01T01:30:00", datetime(2024, 1, 1, 1, 30, tzinfo=UTC)),
        ("to_event_at", "2024-01-01 01:30:00.25Z", datetime(2024, 1, 1, 1, 30, 0, 250_000, tzinfo=UTC)),
        ("to_event_at", "2023-12-31T23:59:59.9999999Z", datetime(2023, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("to_event_at", "2069-12-31T23:59:59.999999999", datetime(2069, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("to_event_at", "2023-12-31T23:59:60Z", None),
        ("below_microsecond", "2023-12-31T23:59:59.1234567Z", "7"),
        ("below_microsecond", "2023-12-31T23:59:59.123456700+01:00", "7"),
        ("below_microsecond", "2023-12-31T23:59:59.123456000Z", None),
        ("below_microsecond", "2023-12-31T23:59:59", None),
        ("to_event_at", "2024-02-30T00:00:00", None),
        ("to_event_at", "infinity", None),
        ("to_event_at", "1704067200", None),
    ],
)
def test_text_is_converted_to_value(oracle: duckdb.DuckDBPyConnection, macro: str, text: str, expected: object) -> None:
    assert oracle.execute(f"select {macro}(?)", [text]).fetchall() == [(expected,)]


@pytest.mark.parametrize(
    ("macro", "text", "expected"),
    [
        # In New York clocks are five hours behind UTC, in summer four; in Kolkata they are five and a half ahead.
        ("to_recorded_at", "2024-01-10 00:00:00", datetime(2024, 1, 10, 5, tzinfo=UTC)),
        ("to_recorded_at", "2024-07-10", datetime(2024, 7, 10, 4, tzinfo=UTC)),
        ("to_recorded_at", "2024-01-10 00:00:00.000001", datetime(2024, 1, 10, 5, 0, 0, 1, tzinfo=UTC)),
        ("to_recorded_at", "2024-01-10 00:00:00+00", datetime(2024, 1, 10, tzinfo=UTC)),
        ("to_recorded_at", "2024-01-10T00:00:00-01:00", datetime(2024, 1, 10, 1, tzinfo=UTC)),
        ("to_recorded_at", "2024-01-10T00:00Z", datetime(2024, 1, 10, tzinfo=UTC)),
        ("to_event_at", "2024-01-10T00:00:00", datetime(2024, 1, 10, tzinfo=UTC)),
        ("to_event_at", "1969-12-31T18:29:59Z", None),
        ("to_event_at", "1969-12-31T18:30:00Z", datetime(1969, 12, 31, 18, 30, tzinfo=UTC)),
        ("to_event_at", "2069-12-31T18:30:00Z", None),
        ("shop_day", datetime(2024, 1, 10, 18, 29, 59, tzinfo=UTC), date(2024, 1, 10)),
        ("shop_day", datetime(2024, 1, 10, 18, 30, tzinfo=UTC), date(2024, 1, 11)),
    ],
)
def test_time_is_converted_by_the_time_zones_of_shop_and_source(macro: str, text: object, expected: object) -> None:
    with open_oracle(TimeZones(shop="Asia/Kolkata", source="America/New_York")) as oracle:
        assert oracle.execute(f"select {macro}(?)", [text]).fetchall() == [(expected,)]


@pytest.mark.parametrize(("day", "hours"), [("2024-03-09", 24), ("2024-03-10", 23), ("2024-11-03", 25)])
def test_day_has_the_hours_of_the_shops_clocks(day: str, hours: int) -> None:
    with open_oracle(TimeZones(shop="America/New_York")) as oracle:
        assert oracle.execute(
            """
            select count(*)
            from range(timestamptz '2024-01-01 00:00:00+00', timestamptz '2025-01-01 00:00:00+00', interval 1 hour)
                as hours (moment)
            where shop_day(moment) = ?
            """,
            [day],
        ).fetchall() == [(hours,)]


def test_white_space_is_that_of_the_loader(oracle: duckdb.DuckDBPyConnection) -> None:
    rows = oracle.execute(
        """
        select chr(code), clean(chr(code) || 'a' || chr(code)), clean(chr(code))
        from (select unnest(range(1, 1114112))::integer as code)
        where code not between 55296 and 57343 and clean(chr(code) || 'a' || chr(code)) <> chr(code) || 'a' || chr(code)
        """
    ).fetchall()
    assert rows == [(blank, "a", None) for blank in sorted(BLANKS)]


@pytest.mark.parametrize(("text", "is_invalid"), [("1.5", True), ("1", False), ("  ", False), (None, False)])
def test_only_text_that_is_no_value_is_invalid(
    oracle: duckdb.DuckDBPyConnection, text: str | None, is_invalid: bool
) -> None:
    assert oracle.execute("select is_invalid($1, to_whole($1))", [text]).fetchall() == [(is_invalid,)]
