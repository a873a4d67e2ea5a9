"""The results of checks: what a check found of one subject, and how results are recorded in `ops.check_result`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from psycopg import Connection

from ecommerce.common.shown_text import SENTENCE_LENGTH, one_line

if TYPE_CHECKING:
    from ecommerce.common.windows import Window

Status = Literal["pass", "warn", "fail"]

#: Rows at fault that are kept of one result, characters of a text in them, and of the name of a result's subject.
KEPT_ROWS, KEPT_CHARACTERS, SUBJECT_LENGTH = 100, 1_000, 300
#: Characters of what failed, over all subjects: it is the error of a task. Each result keeps its own sentence.
FAILURE_LENGTH = 5_000

#: The last result of each check of a run, those that did not pass first.
RESULTS_OF_RUN = """
select check_name, subject, status, message, checked_at
from (
    select distinct on (check_name, subject) check_name, subject, status, message, checked_at
    from ops.check_result
    where run_id = %(run_id)s
    order by check_name, subject, check_result_id desc
) as result
order by array_position(array['fail', 'warn', 'pass'], status), check_name, subject
"""


@dataclass(frozen=True)
class CheckResult:
    """
    What a check found of one subject: the observed and the expected figure, and a sentence for a person.

    Subject and sentence are each one line of limited length: a value of the shop may be in them.

    :param rows: rows at fault, up to `KEPT_ROWS`, as JSON
    :param may_improve: something is under way that could change the status; a check that may wait evaluates again
    :param blocks: whether its failure holds back the publication
    :param days: the days that it fails by, where a person may approve them → the figure of each
    """

    subject: str
    status: Status
    observed: Decimal | int | None
    expected: Decimal | int | None
    message: str
    rows: Sequence[Mapping[str, Any]] = field(default=())
    may_improve: bool = False
    blocks: bool = True
    days: Mapping[date, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", one_line(self.subject, SUBJECT_LENGTH))
        object.__setattr__(self, "message", one_line(self.message, SENTENCE_LENGTH))


class DayFigure(NamedTuple):
    """What a check has found of a day: a person approves this figure, and no other."""

    subject: str
    day: date
    value: float


@dataclass(frozen=True)
class BlockingFailure:
    """
    Why a check holds back the publication; the trigger sends it to the worker that fails the task.

    :param message: what failed and why, in one line
    :param figures: those that a person may approve
    """

    message: str
    subjects: Sequence[str] = ()
    figures: Sequence[DayFigure] = ()

    @property
    def days(self) -> list[date]:
        """The days that a person may approve."""
        return sorted({figure.day for figure in self.figures})

    @classmethod
    def of(cls, results: Sequence[CheckResult]) -> Self | None:
        """The failures that hold back the publication; None where nothing does."""
        failed = [result for result in results if result.status == "fail" and result.blocks]
        if not failed:
            return None
        return cls(
            message=one_line("; ".join(f"{result.subject}: {result.message}" for result in failed), FAILURE_LENGTH),
            subjects=[result.subject for result in failed],
            figures=[DayFigure(result.subject, *entry) for result in failed for entry in sorted(result.days.items())],
        )

    @property
    def payload(self) -> dict[str, Any]:
        """As the payload of a trigger's event, which is JSON."""
        figures = [[figure.subject, str(figure.day), figure.value] for figure in self.figures]
        return {"failures": self.message, "subjects": list(self.subjects), "figures": figures}

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Self | None:
        """The failure in the payload of a trigger's event, if there is one."""
        if not payload.get("failures"):
            return None
        figures = [
            DayFigure(subject, date.fromisoformat(day), value) for subject, day, value in payload.get("figures", ())
        ]
        return cls(payload["failures"], payload.get("subjects", ()), figures)


#: One statement, so that results and their rows are written together or not at all.
_INSERT_RESULTS = """
with result as materialized (
    select
        nextval(pg_get_serial_sequence('ops.check_result', 'check_result_id')) as check_result_id,
        result.*
    from jsonb_to_recordset(%(results)s) as result (
        subject text,
        status text,
        observed numeric,
        expected numeric,
        message text,
        rows jsonb
    )
),

inserted as (
    insert into ops.check_result (
        check_result_id, checked_at, run_id, check_name, subject, window_start, window_end, status, observed,
        expected, message
    )
    overriding system value
    select
        check_result_id, now(), %(run_id)s, %(check_name)s, subject, %(start)s::date, %(end)s::date, status, observed,
        expected, message
    from result
)

insert into ops.check_failure (check_result_id, bad_row)
select result.check_result_id, bad.bad_row
from result
cross join lateral jsonb_array_elements(result.rows) as bad (bad_row)
"""


def results_statement(
    check_name: str, run_id: str, results: Sequence[CheckResult], window: Window | None
) -> tuple[str, dict[str, Any]]:
    """
    The statement that inserts results into `ops.check_result` and their rows into `ops.check_failure`, and its values.

    :param window: the days that the check is about, if it is about days
    """
    records = [
        {
            "subject": result.subject,
            "status": result.status,
            "observed": result.observed,
            "expected": result.expected,
            "message": result.message,
            "rows": [_kept(row) for row in result.rows[:KEPT_ROWS]],
        }
        for result in results
    ]
    return _INSERT_RESULTS, {
        "results": json.dumps(records, default=str),
        "run_id": run_id,
        "check_name": check_name,
        "start": window.start if window else None,
        "end": window.end if window else None,
    }


def _kept(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row at fault with its texts cut: a shop's text, which the loader has rejected for its length, may be huge."""
    return {
        name: f"{value[:KEPT_CHARACTERS]}…" if isinstance(value, str) and len(value) > KEPT_CHARACTERS else value
        for name, value in row.items()
    }


def record_results(
    connection: Connection, check_name: str, run_id: str, results: Sequence[CheckResult], window: Window | None
) -> None:
    """Insert the results of a check, see `results_statement`."""
    connection.execute(*results_statement(check_name, run_id, results, window))
