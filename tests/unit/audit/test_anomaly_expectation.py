"""`expect`: what a day should bring, by the same weekday before it, the season, and without known incidents."""

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecommerce.audit.anomaly import DayTotal, Expectation, expect

TODAY = date(2024, 3, 4)
WEEK = timedelta(weeks=1)


def days_of(values: dict[int, float]) -> dict[date, DayTotal]:
    """Day totals by the number of weeks before today."""
    return {TODAY - n * WEEK: DayTotal(round(value), value) for n, value in values.items()}


def expected(values: dict[int, float], *, incidents: tuple[int, ...] = (), noise: float = 1.0) -> Expectation | None:
    incident_days = {TODAY - n * WEEK for n in incidents}
    return expect(days_of(values), TODAY, weeks=8, minimum_weeks=4, incidents=incident_days, noise=noise)


def test_expect_takes_the_median_and_the_median_deviation() -> None:
    expectation = expected({1: 1000, 2: 1200, 3: 900, 4: 1100, 5: 100000})
    assert expectation is not None
    assert expectation.value == 1100
    assert expectation.spread == pytest.approx(1.4826 * 100)
    assert expectation.z_score(1100 - 1.4826 * 300) == pytest.approx(-3)


def test_spread_of_regular_days_is_chance_or_five_per_cent() -> None:
    expectation = expected(dict.fromkeys(range(1, 9), 100))
    assert expectation is not None
    assert expectation.spread == 10
    big = expected(dict.fromkeys(range(1, 9), 1_000_000))
    assert big is not None
    assert big.spread == 50_000, "5 %; chance alone would be 1,000"


def test_expect_ignores_other_weekdays() -> None:
    others = {TODAY - timedelta(days=n): DayTotal(7, 7) for n in range(1, 60) if n % 7}
    assert expect(others, TODAY, weeks=8, minimum_weeks=1, incidents=(), noise=1) is None


def test_expect_needs_enough_weeks() -> None:
    assert expected({1: 5, 2: 5, 3: 5}) is None
    assert expected({n: 5.0 for n in range(9, 20)}) is None, "too long ago"


def test_expect_ignores_known_incidents() -> None:
    weeks = {1: 100.0, 2: 100, 3: 5000, 4: 5000, 5: 5000, 6: 100, 7: 100}
    expectation = expected(weeks, incidents=(3, 4, 5))
    assert expectation is not None
    assert (expectation.value, expectation.spread) == (100, 10)
    assert expected(weeks, incidents=(1, 2, 3, 4)) is None


def test_expect_applies_the_season_of_the_year_before() -> None:
    """The same week a year before was worth twice the weeks before it."""
    weeks = dict.fromkeys(range(1, 9), 100.0)
    year = {51: 80.0, 52: 80.0, 53: 80.0, **dict.fromkeys(range(54, 62), 40.0)}
    with_a_year, without = expected(weeks | year), expected(weeks)
    assert with_a_year is not None
    assert without is not None
    assert (with_a_year.value, without.value) == (200, 100)
    assert abs(with_a_year.z_score(210)) < 1 < 4 < without.z_score(210)


@pytest.mark.parametrize(("factor", "season"), [(100, 3), (0.01, 1 / 3)])
def test_season_is_limited_to_three_times(factor: float, season: float) -> None:
    year = {n: 40.0 * factor for n in (51, 52, 53)} | dict.fromkeys(range(54, 62), 40.0)
    expectation = expected(dict.fromkeys(range(1, 9), 100.0) | year)
    assert expectation is not None
    assert expectation.value == pytest.approx(100 * season)


def test_season_ignores_known_incidents() -> None:
    year = {51: 40.0, 52: 4000.0, 53: 4000.0, **dict.fromkeys(range(54, 62), 40.0)}
    expectation = expected(dict.fromkeys(range(1, 9), 100.0) | year, incidents=(52, 53))
    assert expectation is not None
    assert expectation.value == 100


values = st.floats(0, 1e6)


@settings(max_examples=60)
@given(
    st.dictionaries(st.integers(1, 70), values, min_size=4),
    st.dictionaries(st.integers(-70, 0), values, min_size=1),
)
def test_expect_ignores_the_day_itself_and_later_ones(before: dict[int, float], since: dict[int, float]) -> None:
    assert expected(before) == expected(before | since)


@settings(max_examples=60)
@given(st.dictionaries(st.integers(1, 8), values, min_size=5), values)
def test_one_unusual_week_stays_within_the_others(weeks: dict[int, float], unusual: float) -> None:
    expectation = expected({**weeks, 1: unusual})
    others = [value for n, value in weeks.items() if n != 1]
    if expectation is not None:
        assert min(others) <= expectation.value <= max(others)
