"""How values are written: for people on the pages, and for spreadsheets in CSV files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

from ecommerce.common.blanks import BLANKS
from ecommerce.figures.number_formats import NO_VALUE, NUMERIC_FORMATS, Format, count, day, format_number
from shop_pages.limits import SHOWN_CHARACTERS
from shop_pages.words import heading_of


def format_value(value: Any, value_format: Format = Format.TEXT, zone: tzinfo = UTC) -> str:
    """
    A value as people write it: `12,345.67`, `3.4 %`, `28 Jun 2024`, `Jun 2024`, `yes`; a timestamp in ``zone``.

    Of a text of more than `SHOWN_CHARACTERS` the beginning.
    """
    if value is None:
        return NO_VALUE
    if value_format in NUMERIC_FORMATS:
        return format_number(value, value_format)
    match value_format:
        case Format.DAY:
            return day(value)
        case Format.MONTH:
            return f"{value:%b %Y}"
        case Format.TIMESTAMP:
            return timestamp(value, zone)
        case Format.BOOLEAN:
            return "yes" if value else "no"
        case Format.NAME:
            return shortened(heading_of(str(value)))
    return shortened("; ".join(map(str, value)) if isinstance(value, list) else str(value))


def shortened(text: str) -> str:
    """The beginning of a text that is too long to be shown."""
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}… ({len(text):,} characters)"


def auto_format(value: Any, value_format: Format = Format.TEXT, zone: tzinfo = UTC) -> str:
    """A value by the format of its column; in a column without one, timestamps and booleans by their type."""
    if value_format is Format.TEXT and isinstance(value, datetime):
        return timestamp(value, zone)
    if value_format is Format.TEXT and isinstance(value, bool):
        return format_value(value, Format.BOOLEAN)
    return format_value(value, value_format, zone)


def timestamp(value: datetime | None, zone: tzinfo) -> str:
    """
    A timestamp in a time zone: `2024-06-29 07:12 CEST (UTC+2)`, in UTC `2024-06-29 05:12 UTC`.

    The offset tells the two hours apart that have the same clock time when clocks go back.

    :param value: in UTC if it has no time zone, as in raw
    """
    if value is None:
        return NO_VALUE
    local = (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(zone)
    clock = local.replace(tzinfo=None).isoformat(" ", "minutes")
    return f"{clock} {_zone(local.tzname() or '', local.utcoffset() or timedelta())}"


@lru_cache
def _zone(name: str, offset: timedelta) -> str:
    """`UTC`, `CEST (UTC+2)`; `(UTC−3:30)` in a time zone without an abbreviation, whose name is the offset."""
    if name == "UTC":
        return name
    hours, minutes = divmod(abs(offset) // timedelta(minutes=1), 60)
    text = f"(UTC{'−' if offset < timedelta() else '+'}{hours}{f':{minutes:02}' if minutes else ''})"
    return f"{name} {text}" if name.isalpha() else text


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
        return NO_VALUE
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def describe_part(shown: int, all_rows: int, one: str = "row", many: str | None = None, sorted_by: str = "") -> str:
    """`12 rows`; of a table that does not show all: `the first 100 of 4,312 rows, by revenue`."""
    if shown >= all_rows:
        return count(shown, one, many)
    return f"the first {shown:,} of {count(all_rows, one, many)}" + (f", {sorted_by}" if sorted_by else "")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Comma-separated values (RFC 4180) with a byte order mark, by which spreadsheets recognise UTF-8."""
    return "\ufeff" + csv_lines([header]) + csv_lines(rows)


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """
    The lines of such a file.

    A text that a spreadsheet would run as a formula gets an apostrophe before it (OWASP, CSV injection), also within a
    cell, after a character that separates cells where another locale is set. Numbers and dates stay as they are: a
    negative amount is no formula.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


#: What separates cells, also in another program, or in the same one with the settings of another country.
_SEPARATORS = ";\t\r\n"
#: What a spreadsheet may skip at the beginning of a cell.
_SKIPPED = "".join({*BLANKS, *map(chr, range(32)), *"\"'"} - {*_SEPARATORS})
#: What makes a formula at the beginning of a cell: these and their wide forms.
_FORMULA = re.compile(rf"(^|[{_SEPARATORS}])(?=[{re.escape(_SKIPPED)}]*[=+\-@＝＋－＠])")


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        marked = _FORMULA.sub(r"\1'", value)
        return f"'{marked}" if marked.startswith(("\t", "\r", "\n")) else marked
    if isinstance(value, (list, tuple)):
        return _cell(" ".join(map(str, value)))
    return value.isoformat() if isinstance(value, (date, datetime)) else value
