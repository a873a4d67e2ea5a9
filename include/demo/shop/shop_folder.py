"""
Read a shop folder: CSV files in UTF-8, named like the sources of the registry, each with a header line.

Only ``sales_fact.csv`` must be there; without another file, the shop does not have that source. The header names each
column at most once, in any order; a column that the registry does not require may be missing. An empty field is null.
Two parts are optional: ``messages.jsonl`` (Kafka messages that four columns cannot hold) and ``opening/`` (some of the
same files as they were before the shop's first day). A name that is not known is an error, other files are ignored.
"""

import csv
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import pendulum

from ecommerce.common.shop import did_you_mean
from ecommerce.common.sources import SOURCES
from ecommerce.common.value_rules import SQL_TYPES

REQUIRED = "sales_fact"
EVENTS = "kafka_stream"
WEATHER = "weather_data"
MESSAGES = "messages.jsonl"
OPENING = "opening"

#: The sources that are tables of the shop's database.
SHOP_TABLES = tuple(name for name, source in SOURCES.items() if source.reader not in ("kafka", "weather"))
#: Source -> column -> Postgres type, in the order in which the generator writes them. A message is JSON: all its values
#: are texts.
COLUMNS: dict[str, dict[str, str]] = {
    name: {column.name: "text" if source.reader == "kafka" else SQL_TYPES[column.kind] for column in source.columns}
    for name, source in SOURCES.items()
}
REQUIRED_COLUMNS = {
    name: {column.name for column in source.columns if column.required} for name, source in SOURCES.items()
}


class ShopDataError(ValueError):
    """A file of a shop folder is wrong; the message names the file, the place and the expected value."""


@dataclass(frozen=True)
class ShopFolder:
    """
    What a folder holds.

    :param sources: the sources that the shop has, in the registry's order
    :param opening: those of which the folder has the opening state
    """

    path: Path
    sources: tuple[str, ...]
    opening: tuple[str, ...]

    @cached_property
    def recorded_days(self) -> tuple[date, date] | None:
        """
        The first and the last day (UTC) on which an order was recorded; None without orders.

        :raises ShopDataError: a ``created_at`` is no time, or the file is malformed
        """
        days = {
            _day_of(self.path, line, text) for line, row in rows(self.path, REQUIRED) if (text := row["created_at"])
        }
        return (min(days), max(days)) if days else None


def read_folder(path: Path) -> ShopFolder:
    """
    Find the files of a shop folder, and check their names and headers; the rows are not read.

    :raises ShopDataError: a file is missing or has a name that is not known, or a header is wrong; with all mistakes
    """
    if not path.is_dir():
        raise ShopDataError(f"{path} is not a folder")
    found = _files(path)
    sources = tuple(name for name in COLUMNS if f"{name}.csv" in found)
    known = [*(f"{name}.csv" for name in COLUMNS), MESSAGES]
    errors = _unknown_files(path, found, known)
    if REQUIRED not in sources:
        errors.append(f"{path / REQUIRED}.csv is missing: it has the orders, which a shop cannot do without")
    if MESSAGES in found and EVENTS not in sources:
        errors.append(f"{path / MESSAGES} needs {EVENTS}.csv beside it; a file with the header alone is enough")
    folder = path / OPENING
    found_opening = _files(folder) if folder.is_dir() else []
    tables = [name for name in sources if name in SHOP_TABLES]
    opening = tuple(name for name in tables if f"{name}.csv" in found_opening)
    errors += _unknown_files(folder, found_opening, [f"{name}.csv" for name in tables])
    for place, names in ((path, sources), (folder, opening)):
        for name in names:
            try:
                header(place, name)
            except ShopDataError as error:
                errors.append(str(error))
    if errors:
        raise ShopDataError("\n  ".join(["the shop's files have mistakes:", *errors] if len(errors) > 1 else errors))
    return ShopFolder(path, sources, opening)


def _files(folder: Path) -> list[str]:
    """The names of the data files of a folder, by the folder's own listing: some systems find a file in any case."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in (".csv", ".jsonl") and not path.name.startswith(".") and path.is_file()
    )


def _unknown_files(folder: Path, found: list[str], known: list[str]) -> list[str]:
    missing = [name for name in known if name not in found]
    return [
        f"{folder / name} is no file of a shop{_hint(name, missing)}. Known here: {', '.join(known)}"
        for name in found
        if name not in known
    ]


def _hint(name: str, known: Collection[str]) -> str:
    hint = did_you_mean(name, known)
    return f" ({hint})" if hint else ""


def csv_file(folder: Path, table: str) -> Path:
    """
    Find the file of a table.

    :raises ShopDataError: there is no such file
    """
    path = folder / f"{table}.csv"
    if not path.is_file():
        raise ShopDataError(f"{path} is missing")
    return path


def header(folder: Path, table: str) -> list[str]:
    """
    Read and check the header of a table's file.

    :return: the columns in the file's order
    :raises ShopDataError: no file, no header, or a column that is missing, unknown or named twice
    """
    path = csv_file(folder, table)
    try:
        with path.open("rb") as file:
            names = [name.strip() for name in next(csv.reader(_decoded(file)), [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ShopDataError(f"{path}, line 1: cannot be read as a UTF-8 CSV header ({error})") from error
    known = COLUMNS[table]
    absent = [name for name in known if name not in names]
    errors = [
        *(f"column {name} is missing" for name in absent if name in REQUIRED_COLUMNS[table]),
        *(f"column {name!r} is unknown{_hint(name, absent)}" for name in dict.fromkeys(names) if name not in known),
        *(f"column {name} is named twice" for name in known if names.count(name) > 1),
    ]
    if errors:
        raise ShopDataError(f"{path}, line 1: {'; '.join(errors)}. Known: {_known_columns(table)}")
    return names


def _known_columns(table: str) -> str:
    return ", ".join(name if name in REQUIRED_COLUMNS[table] else f"{name} (optional)" for name in COLUMNS[table])


def rows(folder: Path, table: str) -> Iterator[tuple[int, dict[str, str | None]]]:
    """
    Read the rows of a table's file one after the other.

    :return: (line number, column -> text or null); for a row of several lines, the number of the last one
    :raises ShopDataError: the header is wrong, a row has too many or too few fields, or the file is not UTF-8 CSV
    """
    names = header(folder, table)
    path = csv_file(folder, table)
    with path.open("rb") as file:
        reader = csv.reader(_decoded(file), strict=True)
        try:
            next(reader)
            for fields in reader:
                if len(fields) != len(names):
                    raise ShopDataError(
                        f"{path}, line {reader.line_num}: {len(fields)} fields, expected {len(names)}"
                        f" ({', '.join(names)})"
                    )
                yield reader.line_num, {name: text or None for name, text in zip(names, fields, strict=True)}
        except (UnicodeDecodeError, csv.Error) as error:
            raise ShopDataError(f"{path}, after line {reader.line_num}: not UTF-8 CSV ({error})") from error


def _decoded(file: BinaryIO) -> Iterator[str]:
    """Decode line by line, so that an error names the right line; Python's text files decode in blocks."""
    for number, line in enumerate(file):
        yield line.decode("utf-8" if number else "utf-8-sig")


def _day_of(folder: Path, line: int, text: str) -> date:
    try:
        at = _time(text.strip())
    except ValueError:
        place = f"{csv_file(folder, REQUIRED)}, line {line}, column created_at"
        raise ShopDataError(f"{place}: found {text!r}, expected a time such as 2024-01-31 09:30:00") from None
    return (at.astimezone(UTC) if at.tzinfo else at).date()


def _time(text: str) -> datetime:
    """
    Read a time of the forms that Postgres reads, too: ISO 8601, also with single digits, slashes, or ` UTC` at its end.

    :raises ValueError: it has another form; one that does not begin with the year is ambiguous
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        if not re.match(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}\b", text):
            raise
    at = pendulum.parse(text, strict=False)
    if not isinstance(at, datetime):
        raise ValueError(f"{text!r} is no time")
    return at


def has_numbered_customers(folder: Path) -> bool:
    """Whether the shop's customers are called 17, and not CUST017; the first one tells."""
    for table in ("customer", REQUIRED):
        if (folder / f"{table}.csv").is_file():
            names = (row.get("customer_id") or "" for _, row in rows(folder, table))
            if first := next((name.strip() for name in names if name.strip()), None):
                return _is_whole_number(first)
    return False


def has_numbered_subscribers(folder: Path) -> bool:
    """
    Whether the subscriptions have a number where the rest of the shop has a name: 1 for CUST001.

    If so, in the shop's database the column is an integer, otherwise a text.
    """
    places = [place for place in (folder, folder / OPENING) if (place / "subscription_data.csv").is_file()]
    return not has_numbered_customers(folder) and all(
        _is_whole_number(row["customer_id"])
        for place in places
        for _, row in rows(place, "subscription_data")
        if row["customer_id"]
    )


def _is_whole_number(text: str) -> bool:
    """Whether an integer of Postgres holds this text and gives it back as it was, so not 001."""
    return text.isascii() and text.isdigit() and len(text) < 10 and str(int(text)) == text
