"""What a day should bring, by the same weekday before it and the season, and without known incidents."""

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecommerce.audit.anomaly import Day, Expected, expect

TODAY = date(2024, 3, 4)
WEEK = timedelta(weeks=1)


def days_of(values: dict[int, float]) -> dict[date, Day]:
    """So many rows, by how many weeks ago."""
    return {TODAY - n * WEEK: Day(round(value), value) for n, value in values.items()}


def expected(values: dict[int, float], *, incidents: tuple[int, ...] = (), noise: float = 1.0) -> Expected | None:
    unlike = {TODAY - n * WEEK for n in incidents}
    return expect(days_of(values), TODAY, weeks=8, minimum_weeks=4, incidents=unlike, noise=noise)


def test_the_median_says_how_much_and_the_median_deviation_how_regular() -> None:
    found = expected({1: 1000, 2: 1200, 3: 900, 4: 1100, 5: 100000})
    assert found is not None
    assert found.value == 1100
    assert found.spread == pytest.approx(1.4826 * 100)
    assert found.z(1100 - 1.4826 * 300) == pytest.approx(-3)


def test_days_as_regular_as_a_clock_still_come_by_chance() -> None:
    found = expected(dict.fromkeys(range(1, 9), 100))
    assert found is not None
    assert found.spread == 10
    big = expected(dict.fromkeys(range(1, 9), 1_000_000))
    assert big is not None
    assert big.spread == 50_000, "5 %, where chance alone says 1,000"


def test_other_weekdays_say_nothing() -> None:
    others = {TODAY - timedelta(days=n): Day(7, 7) for n in range(1, 60) if n % 7}
    assert expect(others, TODAY, weeks=8, minimum_weeks=1, incidents=(), noise=1) is None


def test_too_few_weeks_say_nothing() -> None:
    assert expected({1: 5, 2: 5, 3: 5}) is None
    assert expected({n: 5.0 for n in range(9, 20)}) is None, "too long ago"


def test_a_known_incident_is_not_learned_from() -> None:
    weeks = {1: 100.0, 2: 100, 3: 5000, 4: 5000, 5: 5000, 6: 100, 7: 100}
    found = expected(weeks, incidents=(3, 4, 5))
    assert found is not None
    assert (found.value, found.spread) == (100, 10)
    assert expected(weeks, incidents=(1, 2, 3, 4)) is None


def test_december_is_expected_where_last_december_was_known() -> None:
    """The same week a year before was worth twice the weeks before it."""
    weeks = dict.fromkeys(range(1, 9), 100.0)
    year = {51: 80.0, 52: 80.0, 53: 80.0, **dict.fromkeys(range(54, 62), 40.0)}
    with_a_year, without = expected(weeks | year), expected(weeks)
    assert with_a_year is not None
    assert without is not None
    assert (with_a_year.value, without.value) == (200, 100)
    assert abs(with_a_year.z(210)) < 1 < 4 < without.z(210)


@pytest.mark.parametrize(("factor", "season"), [(100, 3), (0.01, 1 / 3)])
def test_a_season_makes_no_more_than_three_times_of_a_day(factor: float, season: float) -> None:
    year = {n: 40.0 * factor for n in (51, 52, 53)} | dict.fromkeys(range(54, 62), 40.0)
    found = expected(dict.fromkeys(range(1, 9), 100.0) | year)
    assert found is not None
    assert found.value == pytest.approx(100 * season)


def test_an_incident_a_year_before_is_not_a_season() -> None:
    year = {51: 40.0, 52: 4000.0, 53: 4000.0, **dict.fromkeys(range(54, 62), 40.0)}
    found = expected(dict.fromkeys(range(1, 9), 100.0) | year, incidents=(52, 53))
    assert found is not None
    assert found.value == 100


values = st.floats(0, 1e6)


@settings(max_examples=60)
@given(
    st.dictionaries(st.integers(1, 70), values, min_size=4),
    st.dictionaries(st.integers(-70, 0), values, min_size=1),
)
def test_neither_the_day_itself_nor_a_later_one_counts(before: dict[int, float], since: dict[int, float]) -> None:
    assert expected(before) == expected(before | since)


@settings(max_examples=60)
@given(st.dictionaries(st.integers(1, 8), values, min_size=5), values)
def test_one_odd_week_does_not_lead_out_of_what_the_others_are(weeks: dict[int, float], odd: float) -> None:
    found = expected({**weeks, 1: odd})
    others = [value for n, value in weeks.items() if n != 1]
    if found is not None:
        assert min(others) <= found.value <= max(others)
