"""A run → its window: the schedule, a backfill, and a trigger by hand follow one rule."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecommerce.common.errors import WindowError
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Request, Window, request_of, warehouse_params, window_params

TODAY = datetime.now(UTC).date()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def ask(
    *,
    interval: tuple[str | None, str | None] = (None, None),
    logical: str | None = None,
    run_after: str = "2024-03-10T08:30:00+00:00",
    run_type: str = "manual",
    **params: Any,
) -> Request:
    """What a run asks for, by its params and Airflow's own fields."""
    start, end = (moment and at(moment) for moment in interval)
    dag_run = SimpleNamespace(
        data_interval_start=start,
        data_interval_end=end,
        logical_date=logical and at(logical),
        run_after=at(run_after),
        run_type=run_type,
    )
    return request_of({"params": params, "dag_run": dag_run})


def window(**given: Any) -> tuple[str, str]:
    """First and last day asked for."""
    asked = ask(**given).window
    return str(asked.start), str(asked.last)


DAILY = ("2024-03-01T00:00:00+00:00", "2024-03-02T00:00:00+00:00")


@pytest.mark.parametrize(
    ("interval", "first", "last"),
    [
        pytest.param(DAILY, "2024-03-01", "2024-03-01", id="daily"),
        pytest.param(("2024-03-01T10:15:00Z", "2024-03-01T10:30:00Z"), "2024-03-01", "2024-03-01", id="15 minutes"),
        pytest.param(
            ("2024-03-01T00:00:00Z", "2024-03-01T00:15:00Z"), "2024-03-01", "2024-03-01", id="first 15 minutes"
        ),
        pytest.param(
            ("2024-03-01T23:45:00Z", "2024-03-02T00:00:00Z"), "2024-03-01", "2024-03-01", id="last 15 minutes"
        ),
        pytest.param(("2024-03-01T23:55:00Z", "2024-03-02T00:10:00Z"), "2024-03-01", "2024-03-02", id="over midnight"),
        pytest.param(("2024-03-01T00:00:00+02:00", "2024-03-02T00:00:00+02:00"), "2024-02-29", "2024-03-01", id="zone"),
        pytest.param(("2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z"), "2024-02-26", "2024-03-03", id="weekly"),
    ],
)
def test_a_scheduled_run_takes_the_days_of_its_interval(interval: tuple[str, str], first: str, last: str) -> None:
    assert window(interval=interval, start_date=None, end_date=None) == (first, last)


@pytest.mark.parametrize(
    ("zone", "day", "interval"),
    [
        ("Europe/Berlin", "2024-03-31", ("2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z")),
        ("Europe/Berlin", "2024-10-27", ("2024-10-26T22:00:00Z", "2024-10-27T23:00:00Z")),
        ("America/New_York", "2024-03-10", ("2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z")),
        ("America/New_York", "2024-11-03", ("2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z")),
        ("Asia/Kolkata", "2024-03-31", ("2024-03-30T18:30:00Z", "2024-03-31T18:30:00Z")),
    ],
)
def test_daily_run_takes_the_shops_day(
    set_zone: Callable[[str], None], zone: str, day: str, interval: tuple[str, str]
) -> None:
    """Also on the days of 23 and 25 hours, and by hand right after their end."""
    set_zone(zone)
    assert window(interval=interval) == (day, day)
    assert window(run_after=interval[1]) == (day, day)


@pytest.mark.parametrize("interval", [(None, None), ("2024-03-05T08:00:00Z", "2024-03-05T08:00:00Z")])
def test_a_run_without_an_interval_takes_the_day_before_its_logical_date(interval: tuple) -> None:
    assert window(interval=interval, logical="2024-03-05T08:00:00Z") == ("2024-03-04", "2024-03-04")


@pytest.mark.parametrize(
    ("run_after", "day"),
    [
        ("2024-03-10T08:30:00Z", "2024-03-09"),
        ("2024-03-10T00:00:00Z", "2024-03-09"),
        ("2024-03-10T01:00:00+02:00", "2024-03-08"),
    ],
)
def test_a_run_without_a_logical_date_takes_yesterday(run_after: str, day: str) -> None:
    assert window(run_after=run_after) == (day, day)


@pytest.mark.parametrize(
    ("run", "day"),
    [
        pytest.param({}, "2024-02-28", id="without days"),
        pytest.param({"interval": DAILY}, "2024-02-28", id="with an interval"),
        pytest.param({"logical": "2024-02-20T08:00:00Z"}, "2024-02-19", id="before the end"),
        pytest.param({"start_date": "2024-03-01"}, "2024-03-01", id="of a day"),
        pytest.param({"interval": DAILY, "run_type": "scheduled"}, "2024-03-01", id="scheduled"),
        pytest.param({"interval": DAILY, "run_type": "backfill"}, "2024-03-01", id="backfill"),
    ],
)
def test_run_by_hand_without_days_is_of_the_last_day_of_a_shop_that_has_ended(
    monkeypatch: pytest.MonkeyPatch, run: dict[str, Any], day: str
) -> None:
    monkeypatch.setenv("ECOMMERCE_LAST_DAY", "2024-02-28")
    assert window(**run) == (day, day)
    assert "Empty: 2024-02-28, the shop's last day." in str(window_params()["start_date"].description)
    monkeypatch.setenv("ECOMMERCE_LAST_DAY", "")
    assert "Empty: yesterday" in str(window_params()["start_date"].description)


def test_params_win_over_the_interval() -> None:
    assert window(interval=DAILY, start_date="2023-12-30", end_date="2024-01-02") == ("2023-12-30", "2024-01-02")


@pytest.mark.parametrize("end", [None, ""])
def test_one_day_by_hand(end: str | None) -> None:
    assert window(start_date="2024-02-29", end_date=end) == ("2024-02-29", "2024-02-29")


def test_today_can_be_asked_for() -> None:
    assert window(start_date=str(TODAY)) == (str(TODAY), str(TODAY))


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"start_date": "2024-03-02", "end_date": "2024-03-01"}, "start_date 2024-03-02 is after end_date 2024-03-01"),
        ({"end_date": "2024-03-01"}, "end_date 2024-03-01 was given without a start_date"),
        ({"start_date": "2024-02-30"}, "start_date '2024-02-30' is not a date such as 2024-01-31"),
        ({"start_date": "yesterday"}, "start_date 'yesterday' is not a date"),
        ({"start_date": "2024-03-01", "end_date": 5}, "end_date 5 is not a date"),
        ({"start_date": "2024-03-01T10:00"}, "is not a date"),
        ({"start_date": "1969-12-31"}, "start_date 1969-12-31 is before 1970-01-01"),
        (
            {"start_date": "2024-03-01", "end_date": str(TODAY + timedelta(days=2))},
            rf"end_date {TODAY + timedelta(days=2)} is in the future; today is",
        ),
        (
            {"sources": ["product", "prodcut", "sale"]},
            "unknown source prodcut, sale; there are kafka_stream, product, ",
        ),
        ({"sources": []}, "no source was chosen; there are kafka_stream, "),
    ],
)
def test_a_request_that_makes_no_sense(params: dict[str, Any], says: str) -> None:
    with pytest.raises(WindowError, match=says):
        ask(interval=DAILY, **params)


def test_what_else_a_run_can_be_asked() -> None:
    plain = ask(interval=DAILY)
    assert plain == Request(Window(date(2024, 3, 1), date(2024, 3, 2)), frozenset(SOURCES), False, False)
    assert ask(interval=DAILY, sources=None).sources == frozenset(SOURCES)
    chosen = ask(interval=DAILY, sources=["product", "product", "customer"], full_refresh=True, dry_run=True)
    assert (chosen.sources, chosen.full_refresh, chosen.dry_run) == ({"product", "customer"}, True, True)
    assert not chosen.allow_mass_removal
    assert ask(interval=DAILY, allow_mass_removal=True).allow_mass_removal


def test_the_forms_own_defaults_are_a_request() -> None:
    defaults = {name: param.resolve() for name, param in warehouse_params().items()}
    assert ask(interval=DAILY, **defaults) == ask(interval=DAILY)
    assert {name: param.resolve() for name, param in window_params().items()} == {
        "start_date": None,
        "end_date": None,
        "allow_mass_removal": False,
        "dry_run": False,
    }


def test_each_field_of_a_form_says_what_it_is() -> None:
    for name, param in {**window_params(), **warehouse_params()}.items():
        assert param.schema["title"][0].isupper(), name
        assert param.description is not None, name
        assert param.description.endswith("."), name


@pytest.mark.parametrize("days", [0, -1])
def test_a_window_holds_a_day(days: int) -> None:
    with pytest.raises(WindowError, match="has no day"):
        Window(date(2024, 3, 1), date(2024, 3, 1) + timedelta(days=days))


@given(st.dates(date(1970, 1, 1), date(2069, 12, 1)), st.integers(0, 400))
def test_a_window_is_its_days(first: date, more: int) -> None:
    last = first + timedelta(days=more)
    asked = Window.of_days(first, last)
    days = list(asked.days)
    assert (
        (days[0], days[-1], len(days)) == (first, last, more + 1) == (asked.start, asked.last, (asked.end - first).days)
    )
    assert str(asked) == (f"{first} to {last}" if more else str(first))
