"""Which days a run is about: the same rule for the schedule, Airflow's backfill, and a trigger by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from ecommerce.common.days import day_of, midnight, today
from ecommerce.common.errors import WindowError
from ecommerce.common.shop import last_day, shop
from ecommerce.common.sources import CALENDAR, SOURCES

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True)
class Window:
    """Whole days of the shop, half-open: ``[start, end)``."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise WindowError(f"the window {self.start} to {self.end} (exclusive) has no day")

    @classmethod
    def of_days(cls, first: date, last: date) -> Window:
        """The window of the days ``first`` to ``last``, both included."""
        return cls(first, last + timedelta(days=1))

    @property
    def last(self) -> date:
        """The last day inside."""
        return self.end - timedelta(days=1)

    @property
    def moments(self) -> tuple[datetime, datetime]:
        """The midnight with which it begins, and the one with which it ends, in UTC."""
        return midnight(self.start), midnight(self.end)

    @property
    def days(self) -> Iterator[date]:
        """Every day inside, in order."""
        return (self.start + timedelta(days=n) for n in range((self.end - self.start).days))

    def __str__(self) -> str:
        return str(self.start) if self.start == self.last else f"{self.start} to {self.last}"


#: All days that a window may have.
CALENDAR_WINDOW = Window.of_days(*map(date.fromisoformat, CALENDAR))


@dataclass(frozen=True)
class Request:
    """What a run has to do: its days, its sources, and options of the form."""

    window: Window
    sources: frozenset[str]
    full_refresh: bool = False
    dry_run: bool = False
    allow_mass_removal: bool = False


def days_params(*, when_empty: str) -> dict[str, Param]:
    """
    The fields of a trigger form that choose days.

    :param when_empty: the days without a first day, in words
    """
    zone = shop().time_zone
    return {
        "start_date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="First day",
            description=f"{zone}, inclusive. Empty: {when_empty}.",
        ),
        "end_date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Last day",
            description=f"{zone}, inclusive. Empty: the same as the first day.",
        ),
    }


def window_params() -> dict[str, Param]:
    """The fields of the trigger form of a load: which days, and what it may do."""
    last = last_day()
    return {
        **days_params(when_empty=f"{last}, the shop's last day" if last else "yesterday, as in a scheduled run"),
        "allow_mass_removal": Param(
            False,
            type="boolean",
            title="Allow mass removal",
            description="Load also if the source has lost more than half of the rows or keys that the warehouse has.",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description="Read and check everything and report what would change, but change nothing.",
        ),
    }


def warehouse_params() -> dict[str, Param]:
    """All fields of the trigger form of `ecommerce_warehouse`."""
    days, sources = window_params(), list(shop().sources)
    return {
        "start_date": days["start_date"],
        "end_date": days["end_date"],
        "sources": Param(
            sources,
            type="array",
            items={"type": "string", "enum": sources},
            examples=sources,
            title="Sources",
            description="Read only these; the days that they change are rebuilt.",
        ),
        "full_refresh": Param(
            False,
            type="boolean",
            title="Full refresh",
            description="Rebuild all models from raw, not only the days that changed.",
        ),
        "allow_column_changes": Param(
            False,
            type="boolean",
            title="Allow column changes",
            description="Publish a mart that lost or retyped columns as a new table, instead of failing.",
        ),
        "allow_mass_removal": days["allow_mass_removal"],
        "dry_run": days["dry_run"],
    }


def request_of(context: Context) -> Request:
    """
    What the run of ``context`` has to do; an invalid request fails before anything is read.

    The window comes from the params. Without them it is the run's data interval, widened to whole days. A run
    without an interval (a manual trigger whose logical date is null) takes the day before it was triggered. Of a shop
    that has ended, a manual trigger takes no later day than the last one: it would make all marts those of years later.

    :raises WindowError: an invalid date, a reversed or future range, an unknown source, or one that the shop has not
    :raises ShopError: the shop's profile has a mistake
    """
    params = context["params"]
    sources = params.get("sources")
    return Request(
        window=_window(params, context["dag_run"]),
        sources=frozenset(_present(shop().sources if sources is None else sources)),
        full_refresh=bool(params.get("full_refresh", False)),
        dry_run=bool(params.get("dry_run", False)),
        allow_mass_removal=bool(params.get("allow_mass_removal", False)),
    )


def _present(names: Any) -> list[str]:
    present = shop().sources
    if unknown := sorted(set(names) - set(SOURCES)):
        raise WindowError(f"unknown source {', '.join(unknown)}; there are {', '.join(present)}")
    if absent := sorted(set(names) - set(present)):
        raise WindowError(f"the shop {shop().name} has no {', '.join(absent)}; there are {', '.join(present)}")
    if not names:
        raise WindowError(f"no source was chosen; there are {', '.join(present)}")
    return list(names)


def _window(params: Any, dag_run: Any) -> Window:
    first, last = params.get("start_date"), params.get("end_date")
    if last and not first:
        raise WindowError(f"end_date {last} was given without a start_date; give both, or neither")
    if first:
        return _requested(_day("start_date", first), _day("end_date", last or first))
    window, ended = _window_of_interval(dag_run), last_day()
    if ended and dag_run.run_type == "manual" and window.last > ended:
        return Window.of_days(ended, ended)
    return window


def _window_of_interval(dag_run: Any) -> Window:
    start, end = dag_run.data_interval_start, dag_run.data_interval_end
    if start and end and start < end:
        # Rounded outwards, so that a run every 15 minutes takes the day it is in.
        return Window.of_days(day_of(start), day_of(end - timedelta(microseconds=1)))
    requested_at = dag_run.logical_date or dag_run.run_after
    yesterday = day_of(requested_at) - timedelta(days=1)
    return Window.of_days(yesterday, yesterday)


def _requested(first: date, last: date) -> Window:
    if first > last:
        raise WindowError(f"start_date {first} is after end_date {last}; both are inclusive")
    if last > today():
        raise WindowError(f"end_date {last} is in the future; today is {today()} ({shop().time_zone})")
    if first.isoformat() < CALENDAR[0]:
        raise WindowError(f"start_date {first} is before {CALENDAR[0]}, where the warehouse's calendar begins")
    return Window.of_days(first, last)


def _day(name: str, text: Any) -> date:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        raise WindowError(f"{name} {text!r} is not a date such as 2024-01-31") from None
