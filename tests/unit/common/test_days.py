"""The shop's days: each moment lies in exactly one, whatever the clocks do."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecommerce.common.days import day_of, midnight
from ecommerce.common.windows import Window

#: Zones whose clocks are changed at night, at midnight, by half an hour, never; and one that has left out a day.
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "America/Havana", "Africa/Cairo", "Asia/Beirut",
    "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo",
]  # fmt: skip


@pytest.mark.parametrize("zone", ZONES)
def test_day_begins_where_the_one_before_ends(set_zone: Callable[[str], None], zone: str) -> None:
    set_zone(zone)

    @given(st.dates(date(1971, 1, 1), date(2069, 12, 30)))
    def check(day: date) -> None:
        begin, end = midnight(day), midnight(day + timedelta(days=1))
        if begin == end:
            assert (zone, day) == ("Pacific/Apia", date(2011, 12, 30)), "the day that Samoa left out"
            return
        assert day_of(begin) == day == day_of(end - timedelta(microseconds=1))
        assert day_of(begin - timedelta(microseconds=1)) < day

    check()


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2024, 3, 31), 23),
        ("Europe/Berlin", date(2024, 10, 27), 25),
        ("America/New_York", date(2024, 3, 10), 23),
        ("America/New_York", date(2024, 11, 3), 25),
        ("Africa/Cairo", date(2024, 4, 26), 23),
        ("Asia/Kolkata", date(2024, 3, 31), 24),
    ],
)
def test_window_of_a_day_has_its_hours(set_zone: Callable[[str], None], zone: str, day: date, hours: int) -> None:
    set_zone(zone)
    begin, end = Window.of_days(day, day).moments
    assert end - begin == timedelta(hours=hours)


def test_moment_lies_in_the_shops_day(set_zone: Callable[[str], None]) -> None:
    moment = datetime(2024, 3, 30, 23, 30, tzinfo=UTC)
    for zone, day in (("UTC", 30), ("Europe/Berlin", 31), ("America/New_York", 30), ("Asia/Kolkata", 31)):
        set_zone(zone)
        assert day_of(moment) == date(2024, 3, day)
