"""Numbers become the texts that they mean, and no digit is lost."""

import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecommerce.extract.exact_texts import LONGEST_DECIMAL, Undecodable, day, decimal, moment, single

FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_are_the_moment(at: datetime) -> None:
    number = (at - EPOCH) // timedelta(microseconds=1)
    assert datetime.fromisoformat(moment(number, 6)) == at
    assert datetime.fromisoformat(moment(number // 1000, 3)) == at.replace(microsecond=at.microsecond // 1000 * 1000)


@given(st.integers(-(2**63), 2**63 - 1))
def test_nanoseconds_keep_all_digits(number: int) -> None:
    text = moment(number, 9)
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = (datetime.fromisoformat(f"{whole}Z") - EPOCH) // timedelta(seconds=1)
    assert seconds * 10**9 + int(fraction.ljust(9, "0")) == number


@pytest.mark.parametrize(
    ("number", "digits", "zone", "text"),
    [
        (0, 3, "Z", "1970-01-01T00:00:00Z"),
        (-1, 3, "Z", "1969-12-31T23:59:59.999Z"),
        (1709287200120, 3, "Z", "2024-03-01T10:00:00.12Z"),
        (1709287200000001, 6, "", "2024-03-01T10:00:00.000001"),
        (1709287200123456789, 9, "Z", "2024-03-01T10:00:00.123456789Z"),
        (253402300799999, 3, "Z", "9999-12-31T23:59:59.999Z"),
        # Of no calendar: the number itself, which the rules reject.
        (253402300800000, 3, "Z", "253402300800000"),
        (2**63 - 1, 3, "Z", "9223372036854775807"),
        (-(2**63), 3, "Z", "-9223372036854775808"),
    ],
)
def test_moment_at_its_edges(number: int, digits: int, zone: str, text: str) -> None:
    assert moment(number, digits, zone) == text


@given(st.dates())
def test_days_are_the_date(on: date) -> None:
    assert day((on - date(1970, 1, 1)).days) == on.isoformat()


def test_days_of_no_calendar_stay_a_number() -> None:
    assert (day(2**31 - 1), day(-(2**31))) == ("2147483647", "-2147483648")


@given(st.integers(-(2**400), 2**400), st.integers(-40, 40))
def test_decimal_keeps_all_digits(unscaled: int, scale: int) -> None:
    data = unscaled.to_bytes(60, "big", signed=True)
    sign, digits, exponent = Decimal(decimal(data, scale)).as_tuple()
    assert isinstance(exponent, int)
    number = int("".join(map(str, digits))) * (-1 if sign else 1)
    assert number * 10 ** (exponent + 80) == unscaled * 10 ** (80 - scale)


@pytest.mark.parametrize(
    ("data", "scale", "text"),
    [(b"", 2, "0.00"), (b"\x04\xd2", 2, "12.34"), (b"\xff", 2, "-0.01"), (b"\x80", 0, "-128"), (b"\x01", -2, "100")],
)
def test_decimal_at_its_edges(data: bytes, scale: int, text: str) -> None:
    assert Decimal(decimal(data, scale)) == Decimal(text)
    assert "E" not in decimal(data, scale)


@pytest.mark.parametrize(("data", "scale"), [(bytes(LONGEST_DECIMAL + 1), 0), (b"\x01", 10**9), (b"\x01", -(10**9))])
def test_decimal_that_is_too_long_is_refused(data: bytes, scale: int) -> None:
    with pytest.raises(Undecodable, match="too long"):
        decimal(data, scale)


@given(st.floats(width=32, allow_nan=False))
def test_single_names_the_number_by_the_fewest_digits(number: float) -> None:
    text = single(number)
    assert struct.pack("f", float(text)) == struct.pack("f", number)
    assert len(text) <= len(f"{number:.9g}")


def test_single_is_not_the_number_of_eight_bytes() -> None:
    (number,) = struct.unpack("f", struct.pack("f", 0.1))
    assert (single(number), repr(number)) == ("0.1", "0.10000000149011612")
