"""How figures are written for people: on the pages and in messages."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from enum import Enum
from typing import Any

#: Stands where there is no value.
NO_VALUE = "–"

_UNITS = ((Decimal(1_000_000_000), "bn"), (Decimal(1_000_000), "m"), (Decimal(10_000), "k"))


class Format(Enum):
    """How the values of a column are written."""

    TEXT = "text"
    COUNT = "count"
    MONEY = "money"
    PERCENT = "percent"
    NUMBER = "number"
    DAY = "day"
    MONTH = "month"
    TIMESTAMP = "timestamp"
    BOOLEAN = "boolean"
    #: A SQL name, or a text with some, which is shown as words.
    NAME = "name"


#: Aligned to the right.
NUMERIC_FORMATS = frozenset({Format.COUNT, Format.MONEY, Format.PERCENT, Format.NUMBER})


def format_number(value: Any, value_format: Format) -> str:
    """A number as people write it: `12,345`, `12,345.67`, `3.4 %`."""
    if value is None:
        return NO_VALUE
    match value_format:
        case Format.COUNT:
            return f"{value:,.0f}"
        case Format.MONEY:
            return f"{Decimal(value):,.2f}"
        case Format.PERCENT:
            return f"{Decimal(value):,.2f} %"
        case _:
            return f"{value:,}"


def signed(value: Decimal, value_format: Format) -> str:
    """A difference with its sign: `+12.00`, `−3`; of two percentages in percentage points, `+0.50 pp`."""
    sign = "+" if value > 0 else "−" if value < 0 else "±"
    if value_format is Format.PERCENT:
        return f"{sign}{abs(value):,.2f} pp"
    return f"{sign}{format_number(abs(value), value_format)}"


def day(value: date) -> str:
    """`28 Jun 2024`."""
    return f"{value.day} {value:%b %Y}"


def short_money(value: Decimal | None) -> str:
    """An amount for a headline: `843.20`, `84.3k` or `1.24m`."""
    if value is None:
        return NO_VALUE
    for unit, name in _UNITS:
        if abs(value) >= unit:
            divisor = Decimal(1000) if name == "k" else unit
            amount = (value / divisor).quantize(Decimal("0.1" if name == "k" else "0.01"), ROUND_HALF_UP)
            return f"{amount:,}{name}"
    return f"{value:,.2f}"


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 order`, `12 orders`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
