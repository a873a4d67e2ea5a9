"""Figures for people, and cells for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

#: What stands where there is no figure.
NOTHING = "–"

_UNITS = ((Decimal(1_000_000_000), "bn"), (Decimal(1_000_000), "m"), (Decimal(10_000), "k"))


class Kind(Enum):
    """What a column holds, and so how it is written."""

    TEXT = "text"
    COUNT = "count"
    MONEY = "money"
    PERCENT = "percent"
    NUMBER = "number"
    DAY = "day"
    MONTH = "month"
    MOMENT = "moment"
    FLAG = "flag"


#: Written to the right.
FIGURES = frozenset({Kind.COUNT, Kind.MONEY, Kind.PERCENT, Kind.NUMBER})


def written(value: Any, kind: Kind = Kind.TEXT) -> str:
    """A value as people write it: `12,345.67`, `3.4 %`, `28 Jun 2024`, `Jun 2024`, `yes`."""
    if value is None:
        return NOTHING
    match kind:
        case Kind.COUNT:
            return f"{value:,.0f}"
        case Kind.MONEY:
            return f"{Decimal(value):,.2f}"
        case Kind.PERCENT:
            return f"{Decimal(value):,.2f} %"
        case Kind.NUMBER:
            return f"{value:,}"
        case Kind.DAY:
            return day(value)
        case Kind.MONTH:
            return f"{value:%b %Y}"
        case Kind.MOMENT:
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        case Kind.FLAG:
            return "yes" if value else "no"
    return str(value)


def day(value: date) -> str:
    """`28 Jun 2024`."""
    return f"{value.day} {value:%b %Y}"


def short_money(value: Decimal | None) -> str:
    """An amount for a headline: two places while it is small, `84.3k` or `1.24m` when it is not."""
    if value is None:
        return NOTHING
    for unit, name in _UNITS:
        if abs(value) >= unit:
            divisor = Decimal(1000) if name == "k" else unit
            shown = (value / divisor).quantize(Decimal("0.1" if name == "k" else "0.01"), ROUND_HALF_UP)
            return f"{shown:,}{name}"
    return f"{value:,.2f}"


def moment(value: datetime | None, zone: ZoneInfo) -> str:
    """A moment in UTC, and in the shop's own time zone: `2024-06-29 05:12 UTC (07:12 Europe/Berlin)`."""
    if value is None:
        return NOTHING
    text = f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    there = value.astimezone(zone)
    if there.utcoffset() == value.astimezone(UTC).utcoffset():
        return text
    days = (there.date() - value.astimezone(UTC).date()).days
    return f"{text} ({there:%H:%M}{f', {there:%a}' if days else ''} {zone.key})"


def ago(seconds: float) -> str:
    """How long ago: `just now`, `5 minutes ago`, `3 hours ago`, `2 days ago`."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            n = int(seconds // size)
            return f"{n:,} {unit}{'' if n == 1 else 's'} ago"
    return "just now"


def seconds(value: float | None) -> str:
    """`0.8 s`, `42 s`, `3 min 12 s`, `1 h 05 min`."""
    if value is None:
        return NOTHING
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 order`, `12 orders`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """
    Comma-separated values by RFC 4180, opened by a byte order mark, which spreadsheets take for UTF-8.

    A text that a spreadsheet would run as a formula gets an apostrophe before it (OWASP, CSV injection). Numbers and
    dates are left as they are: a negative amount is no formula.
    """
    out = io.StringIO()
    out.write("\ufeff")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([_cell(name) for name in header])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{value}"
    if isinstance(value, (list, tuple)):
        return _cell(" ".join(map(str, value)))
    return value.isoformat() if isinstance(value, (date, datetime)) else value
