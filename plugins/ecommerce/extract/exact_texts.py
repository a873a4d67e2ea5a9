"""
Writes numbers, days and times of encoded messages as texts, exactly.

A schema says what a number means: days or milliseconds since 1970, or digits of a decimal. What it means is written as
JSON messages have it; no digit is rounded. A number of no day of any calendar stays as it is, for the rules to reject.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context
from typing import Any

#: Bytes of a decimal, and digits after its point: more are no figure of a shop, and take long to write out.
LONGEST_DECIMAL = 200

_FIRST_DAY, _FIRST_MOMENT = date(1970, 1, 1), datetime(1970, 1, 1)
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


class Undecodable(ValueError):
    """A message's bytes are not what its format says; the reason to reject it."""


def day(days: int) -> str:
    """Days since 1970 as a date."""
    try:
        return (_FIRST_DAY + timedelta(days=days)).isoformat()
    except OverflowError:
        return str(days)


def moment(number: int, digits: int, zone: str = "Z") -> str:
    """
    A time since 1970.

    :param digits: of a second: 3 of milliseconds, 6 of microseconds, 9 of nanoseconds
    :param zone: `Z` of an instant; empty: what a clock showed, without a time zone
    """
    seconds, rest = divmod(number, 10**digits)
    try:
        time = (_FIRST_MOMENT + timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        return str(number)
    fraction = f".{rest:0{digits}d}".rstrip("0") if rest else ""
    return f"{time}{fraction}{zone}"


def moment_of(time: datetime) -> str:
    """A time with a zone as text, in UTC."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def decimal(unscaled: bytes, scale: int) -> str:
    """
    A decimal from its digits: a signed number, the highest byte first.

    :raises Undecodable: it is longer than `LONGEST_DECIMAL`
    """
    if len(unscaled) > LONGEST_DECIMAL or abs(scale) > LONGEST_DECIMAL:
        raise Undecodable(f"a decimal of {len(unscaled):,} bytes and the scale {scale:,} is too long")
    number = int.from_bytes(unscaled, "big", signed=True)
    return format(_EXACT.scaleb(_EXACT.create_decimal(number), -scale), "f")


def single(number: float) -> str:
    """A number of four bytes by the fewest digits that name it: 0.1, and not the 0.10000000149011612 of eight bytes."""
    return next((text for digits in (6, 7, 8) if _is_single(text := f"{number:.{digits}g}", number)), f"{number:.9g}")


def _is_single(text: str, number: float) -> bool:
    try:
        return struct.pack("f", float(text)) == struct.pack("f", number)
    except OverflowError:
        return False


#: A logical type's name → what a value of it is as text, with the type's attributes. Of Avro …
Writer = Callable[[Any, Mapping[str, Any]], str]
AVRO: dict[tuple[str, str], Writer] = {
    ("int", "date"): lambda value, _: day(value),
    ("long", "timestamp-millis"): lambda value, _: moment(value, 3),
    ("long", "timestamp-micros"): lambda value, _: moment(value, 6),
    ("long", "timestamp-nanos"): lambda value, _: moment(value, 9),
    ("long", "local-timestamp-millis"): lambda value, _: moment(value, 3, ""),
    ("long", "local-timestamp-micros"): lambda value, _: moment(value, 6, ""),
    ("long", "local-timestamp-nanos"): lambda value, _: moment(value, 9, ""),
    ("bytes", "decimal"): lambda value, schema: decimal(value, schema.get("scale", 0)),
    ("fixed", "decimal"): lambda value, schema: decimal(value, schema.get("scale", 0)),
    ("float", ""): lambda value, _: single(value),
}

#: … and of Kafka Connect, whose names stand in the schemas of Debezium's messages, in JSON and in Avro.
CONNECT: dict[str, Writer] = {
    "org.apache.kafka.connect.data.Date": lambda value, _: day(value),
    "org.apache.kafka.connect.data.Timestamp": lambda value, _: moment(value, 3),
    "io.debezium.time.Date": lambda value, _: day(value),
    "io.debezium.time.Timestamp": lambda value, _: moment(value, 3, ""),
    "io.debezium.time.MicroTimestamp": lambda value, _: moment(value, 6, ""),
    "io.debezium.time.NanoTimestamp": lambda value, _: moment(value, 9, ""),
}
