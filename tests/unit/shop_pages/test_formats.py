"""Times and texts as pages and CSV files write them."""

import csv
import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from shop_pages.formats import NO_VALUE, Format, auto_format, csv_lines, csv_text, format_value, timestamp


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "2024-11-04 04:30 UTC"),
        ("America/New_York", "2024-11-03 23:30 EST (UTC−5)"),
        ("Asia/Kolkata", "2024-11-04 10:00 IST (UTC+5:30)"),
        ("Europe/London", "2024-11-04 04:30 GMT (UTC+0)"),
        ("America/Sao_Paulo", "2024-11-04 01:30 (UTC−3)"),
        ("America/St_Johns", "2024-11-04 01:00 NST (UTC−3:30)"),
    ],
)
def test_timestamp_is_the_clock_of_the_zone_with_its_offset(zone: str, text: str) -> None:
    at = datetime(2024, 11, 4, 4, 30, 59, tzinfo=UTC)
    assert timestamp(at, ZoneInfo(zone)) == text
    assert auto_format(at, Format.TEXT, ZoneInfo(zone)) == auto_format(at, Format.TIMESTAMP, ZoneInfo(zone)) == text


def test_hour_that_the_clock_shows_twice_has_two_texts() -> None:
    first = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    texts = [timestamp(first + timedelta(hours=n), ZoneInfo("Europe/Berlin")) for n in range(3)]
    assert texts == [
        "2024-10-27 02:30 CEST (UTC+2)",
        "2024-10-27 02:30 CET (UTC+1)",
        "2024-10-27 03:30 CET (UTC+1)",
    ]


@pytest.fixture
def machine_in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def test_timestamp_without_zone_is_taken_as_utc(machine_in_tokyo: None) -> None:
    at = datetime(2024, 11, 4, 4, 30)
    assert timestamp(at, ZoneInfo("Asia/Kolkata")) == "2024-11-04 10:00 IST (UTC+5:30)"
    assert timestamp(None, ZoneInfo("Asia/Kolkata")) == NO_VALUE


def test_csv_has_timestamps_with_their_offset() -> None:
    at = datetime(2024, 11, 3, 23, 30, tzinfo=ZoneInfo("America/New_York"))
    lines = csv_text(["at"], [[at], [at.astimezone(UTC)]]).splitlines()
    assert lines[1:] == ["2024-11-03T23:30:00-05:00", "2024-11-04T04:30:00+00:00"]


def cell(text: str) -> str:
    """A text as the only cell of a CSV file has it."""
    return next(csv.reader(io.StringIO(csv_lines([[text]]), newline="")))[0]


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", " =1+1", "\u00a0=1+1", "\u3000 =1+1", "\u200b=1+1", "\ufeff=1+1", "\t=1+1", "\x00=1+1", "\x1b=1+1",
        "＝1+1", "\u3000＝1+1", "+1", "＋1", "-1+cmd", "－1", "@SUM(A1)", "＠SUM(A1)", '"=1+1', "'=1+1", "\r=1+1",
        "\n=1+1",
    ],
)  # fmt: skip
def test_text_of_a_file_is_no_formula(text: str) -> None:
    assert cell(text).startswith("'")
    assert cell(text).replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize("separator", [";", "\t", "\n", "\r\n"])
@pytest.mark.parametrize("formula", ["=1+1", " =1+1", "＝1+1", '"=1+1', "\u00a0@SUM(A1)"])
def test_text_is_no_formula_where_another_country_separates_cells(separator: str, formula: str) -> None:
    assert cell(f"Toys{separator}{formula}") == f"Toys{separator}'{formula}"


@pytest.mark.parametrize("text", ["Toys", "a-b", "a = b", "Toys; and more", "Toys\nand more", "a, -5 %", "'s", ""])
def test_other_text_of_a_file_stays_as_it_is(text: str) -> None:
    assert cell(text) == text


def test_number_of_a_file_is_no_formula() -> None:
    assert csv_lines([[-5, Decimal("-1.50"), None, ["=1", "b"]]]) == "-5,-1.50,,'=1 b\r\n"


def test_long_text_is_shown_by_its_beginning() -> None:
    assert format_value("x" * 2_000) == "x" * 2_000
    assert format_value("x" * 30_000_000) == "x" * 2_000 + "… (30,000,000 characters)"
