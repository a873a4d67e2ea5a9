"""A run → the window it is about: one rule for the schedule, Airflow's backfill, and a trigger by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from ecommerce.common.errors import WindowError
from ecommerce.common.sources import CALENDAR, SOURCES

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True)
class Window:
    """Whole UTC days, half-open: ``[start, end)``."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise WindowError(f"the window {self.start} to {self.end} (exclusive) holds no day")

    @classmethod
    def of_days(cls, first: date, last: date) -> Window:
        """The window of the days ``first`` to ``last``, both included."""
        return cls(first, last + timedelta(days=1))

    @property
    def last(self) -> date:
        """The last day inside."""
        return self.end - timedelta(days=1)

    @property
    def days(self) -> Iterator[date]:
        """Every day inside, in order."""
        return (self.start + timedelta(days=n) for n in range((self.end - self.start).days))

    def __str__(self) -> str:
        return str(self.start) if self.start == self.last else f"{self.start} to {self.last}"


@dataclass(frozen=True)
class Request:
    """What a run was asked to do."""

    window: Window
    sources: frozenset[str]
    full_refresh: bool = False
    dry_run: bool = False


def window_params() -> dict[str, Param]:
    """The fields of the trigger form that say which days."""
    return {
        "start_date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="First day",
            description="UTC, inclusive. Empty: the day that the schedule would take (yesterday).",
        ),
        "end_date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Last day",
            description="UTC, inclusive. Empty: the same as the first day.",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description="Read and check everything, report what would change, change nothing.",
        ),
    }


def warehouse_params() -> dict[str, Param]:
    """The whole trigger form of `ecommerce_warehouse`."""
    days = window_params()
    return {
        "start_date": days["start_date"],
        "end_date": days["end_date"],
        "sources": Param(
            list(SOURCES),
            type="array",
            items={"type": "string", "enum": list(SOURCES)},
            examples=list(SOURCES),
            title="Sources",
            description="Read only these; whatever they change is rebuilt.",
        ),
        "full_refresh": Param(
            False,
            type="boolean",
            title="Full refresh",
            description="Rebuild every model from raw instead of only the days that changed.",
        ),
        "allow_column_changes": Param(
            False,
            type="boolean",
            title="Allow column changes",
            description="A mart that lost or retyped columns is made anew, instead of failing the publication.",
        ),
        "dry_run": days["dry_run"],
    }


def request_of(context: Context) -> Request:
    """
    What the run of ``context`` is to do, refused with a sentence before anything is read.

    Params win; without them a run takes its data interval, widened to whole UTC days; a run without one
    (a manual trigger whose logical date is null) takes the day before it was asked for.

    :raises WindowError: a date that is none, a reversed or future range, an unknown source
    """
    params = context["params"]
    sources = params.get("sources")
    return Request(
        window=_window(params, context["dag_run"]),
        sources=frozenset(_known(SOURCES if sources is None else sources)),
        full_refresh=bool(params.get("full_refresh", False)),
        dry_run=bool(params.get("dry_run", False)),
    )


def _known(names: Any) -> list[str]:
    unknown = sorted(set(names) - set(SOURCES))
    if unknown:
        raise WindowError(f"unknown source {', '.join(unknown)}; there are {', '.join(SOURCES)}")
    if not names:
        raise WindowError(f"no source was chosen; there are {', '.join(SOURCES)}")
    return list(names)


def _window(params: Any, dag_run: Any) -> Window:
    first, last = params.get("start_date"), params.get("end_date")
    if last and not first:
        raise WindowError(f"end_date {last} was given without a start_date; give both, or neither for yesterday")
    if first:
        return _asked_for(_day("start_date", first), _day("end_date", last or first))
    start, end = dag_run.data_interval_start, dag_run.data_interval_end
    if start and end and start < end:
        # Rounded outwards, so that a run every 15 minutes asks for the day it is in.
        return Window.of_days(_utc(start).date(), (_utc(end) - timedelta(microseconds=1)).date())
    asked_at = dag_run.logical_date or dag_run.run_after
    yesterday = _utc(asked_at).date() - timedelta(days=1)
    return Window.of_days(yesterday, yesterday)


def _asked_for(first: date, last: date) -> Window:
    if first > last:
        raise WindowError(f"start_date {first} is after end_date {last}; both are inclusive")
    today = datetime.now(UTC).date()
    if last > today:
        raise WindowError(f"end_date {last} is in the future; today is {today} (UTC)")
    if first.isoformat() < CALENDAR[0]:
        raise WindowError(f"start_date {first} is before {CALENDAR[0]}, where the warehouse's calendar begins")
    return Window.of_days(first, last)


def _day(name: str, text: Any) -> date:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        raise WindowError(f"{name} {text!r} is not a date such as 2024-01-31") from None


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
