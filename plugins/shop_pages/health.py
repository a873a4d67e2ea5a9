"""The answer for monitors: is the warehouse ok, late, or has it failed, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shop_pages.limits import LATE_AFTER_HOURS
from shop_pages.pool import Row
from shop_pages.replica import ReplicaLag

#: The states, the worst last.
STATES = ("ok", "late", "failed")

#: The last publication of all marts.
LAST_PUBLICATION = """
    select published_at, as_of_date from ops.publication
    where as_of_date is not null and run_id not in (select erasure.run_id from ops.erasure)
    order by publication_id desc
    limit 1"""

#: The worst incidents that are open; `all_rows` says how many there are.
OPEN_INCIDENTS = """
    select incident, severity, opened_at, count(*) over () as all_rows
    from ops.alert
    where closed_at is null and severity in ('fail', 'deadline')
    order by severity desc, opened_at
    limit 20"""

#: What an open incident makes of the state. One that only warns changes nothing.
_STATE_BY_SEVERITY = {"fail": "failed", "deadline": "late"}


@dataclass(frozen=True)
class Reason:
    """
    Why the warehouse is not ok.

    :param state: `late` or `failed`
    :param part: what is concerned: a service of Airflow, `warehouse`, `publication`, `replica`, `check` or
        `incident`
    """

    state: str
    part: str
    message: str


@dataclass(frozen=True)
class Health:
    """The state of the warehouse: that of its worst reason, and `ok` without one."""

    reasons: Sequence[Reason]
    published_at: datetime | None = None
    as_of_date: Any = None

    @property
    def status(self) -> str:
        """One of `STATES`."""
        return max((reason.state for reason in self.reasons), key=STATES.index, default="ok")

    @property
    def status_code(self) -> int:
        """Of the HTTP answer: many monitors look at nothing else."""
        return 200 if self.status == "ok" else 503

    def as_json(self) -> dict[str, Any]:
        """The body of the answer."""
        return {
            "status": self.status,
            "reasons": [asdict(reason) for reason in self.reasons],
            "published_at": self.published_at.astimezone(UTC).isoformat() if self.published_at else None,
            "as_of_date": str(self.as_of_date) if self.as_of_date else None,
        }


def health_of(
    services: Mapping[str, str | None],
    publications: Sequence[Row],
    incidents: Sequence[Row],
    questions: Sequence[Row],
    now: datetime,
    lag: ReplicaLag | None = None,
) -> Health:
    """
    Evaluate what was read.

    :param services: services of Airflow → `healthy`, `unhealthy`, or None for one that was never started
    :param publications: the row of `LAST_PUBLICATION`, or none
    :param incidents: rows of `OPEN_INCIDENTS`
    :param questions: rows of `OPEN_QUESTIONS`: checks that wait for a person
    :param lag: what the replica that the pages read lacks
    """
    last = publications[0] if publications else None
    reasons = [
        *_of_services(services),
        *_of_publication(last, now),
        *([Reason("late", "replica", f"the replica that the pages read lacks {lag}")] if lag else []),
        *_of_questions(questions),
        *_of_incidents(incidents),
    ]
    return Health(reasons, last["published_at"] if last else None, last["as_of_date"] if last else None)


def unavailable(services: Mapping[str, str | None], problem: str) -> Health:
    """The state while the warehouse does not answer."""
    return Health([*_of_services(services), Reason("failed", "warehouse", problem)])


def _of_services(services: Mapping[str, str | None]) -> Iterator[Reason]:
    for name, state in services.items():
        if state != "healthy":
            yield Reason("failed", name, f"{name} is unhealthy" if state else f"{name} was never started")


def _of_publication(last: Row | None, now: datetime) -> Iterator[Reason]:
    if last is None:
        yield Reason("late", "publication", "nothing is published yet")
        return
    age = now - last["published_at"]
    if age > timedelta(hours=LATE_AFTER_HOURS):
        yield Reason(
            "late",
            "publication",
            f"the last publication, of {last['as_of_date']}, is {age.total_seconds() / 3600:,.0f} hours old; "
            f"it is late after {LATE_AFTER_HOURS:g}",
        )


def _of_questions(questions: Sequence[Row]) -> Iterator[Reason]:
    for row in questions:
        until = row["answer_until"].astimezone(UTC)
        yield Reason(
            "late",
            "check",
            f"{row['run_id']} waits until {until:%Y-%m-%d %H:%M} UTC for a person, since {row['check_name']} failed",
        )


def _of_incidents(incidents: Sequence[Row]) -> Iterator[Reason]:
    for row in incidents:
        opened = row["opened_at"].astimezone(UTC)
        yield Reason(
            _STATE_BY_SEVERITY[row["severity"]],
            "incident",
            f"{row['incident']}, open since {opened:%Y-%m-%d %H:%M} UTC",
        )
    if incidents and (more := incidents[0]["all_rows"] - len(incidents)) > 0:
        yield Reason(_STATE_BY_SEVERITY[incidents[-1]["severity"]], "incident", f"{more:,} more open incidents")
