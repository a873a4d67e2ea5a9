"""The public holidays of a country: by name, on each day of the calendar; and which countries a profile may name."""

from datetime import date, timedelta

import pytest
from holidays.registry import EntityLoader

from ecommerce.common.public_holidays import COUNTRIES, public_holidays


def test_countries_are_those_of_the_package_that_have_holidays() -> None:
    without = {"BV", "HM", "IO"}
    assert frozenset(EntityLoader.get_country_codes(include_aliases=False)) == COUNTRIES | without
    assert not COUNTRIES & without
    for country in without:
        assert public_holidays(country) == ()


def easter(year: int) -> date:
    """Gauss' rule, in the form of Meeus, Jones and Butcher."""
    century, of_century = divmod(year, 100)
    moon = (19 * (year % 19) + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (of_century // 4) - moon - of_century % 4) % 7
    shift = moon + weekday - 7 * ((year % 19 + 11 * moon + 22 * weekday) // 451) + 114
    return date(year, shift // 31, shift % 31 + 1)


def test_holidays_of_germany_lie_around_easter_of_each_year() -> None:
    holidays = dict(public_holidays("DE"))
    # The package knows Germany since its unity.
    for year in range(1991, 2070):
        sunday = easter(year)
        for days, name in ((-2, "Good Friday"), (1, "Easter Monday"), (50, "Pentecost Monday")):
            assert name in holidays[sunday + timedelta(days=days)]
        assert "New Year's Day" in holidays[date(year, 1, 1)]
    # Ascension Day and 1 May.
    assert holidays[date(2008, 5, 1)] == "Ascension Day; Labor Day"
    assert date(2024, 6, 4) not in holidays


@pytest.mark.parametrize(
    ("country", "day", "name"),
    [
        ("US", date(2024, 11, 28), "Thanksgiving Day"),
        ("FR", date(2024, 7, 14), "National Day"),
        ("GB", date(2024, 12, 26), "Boxing Day"),
        ("JP", date(2024, 2, 23), "Emperor's Birthday"),
    ],
)
def test_holidays_have_english_names(country: str, day: date, name: str) -> None:
    assert dict(public_holidays(country))[day] == name
