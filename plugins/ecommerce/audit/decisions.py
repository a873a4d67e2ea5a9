"""What people decide about a publication that a check holds back: the question, the answer, and `ops.decision`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, Self

from psycopg import Connection

Decision = Literal["approved", "rejected", "unanswered", "overtaken"]

#: The options of a question, and the field of its form that asks why.
APPROVE, REJECT = "Approve", "Reject"
REASON_FIELD = "reason"


@dataclass(frozen=True)
class Answer:
    """
    The answer to a question, as Airflow passes it to the task that waits.

    :param by: the user who has answered
    :param error: why there is no answer, e.g. that the time to answer has passed
    """

    is_approved: bool = False
    by: str | None = None
    reason: str | None = None
    error: str | None = None

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Self | None:
        """The answer in an event; None where the event comes from a trigger."""
        if "error_type" in event:
            return cls(error=event["error"])
        if "chosen_options" not in event:
            return None
        return cls(
            is_approved=event["chosen_options"] == [APPROVE],
            by=(event.get("responded_by_user") or {}).get("name"),
            reason=str((event.get("params_input") or {}).get(REASON_FIELD) or "").strip(),
        )

    def __str__(self) -> str:
        return f"{self.by or 'nobody'}: {self.reason or 'no reason given'}"


#: Each day of a check that a person has approved, and who.
APPROVED_DAYS = """
select day, max(decided_by)
from ops.decision
cross join unnest(days) as day
where check_name = %(check_name)s and decision = 'approved'
group by day
"""

#: A check that is evaluated again withdraws its question.
WITHDRAW_QUESTION = """
delete from ops.decision
where run_id = %(run_id)s and check_name = %(check_name)s and decision is null
"""

_INSERT_QUESTION = """
insert into ops.decision (run_id, check_name, subjects, message, days, difference, asked_at)
values (%(run_id)s, %(check_name)s, %(subjects)s, %(message)s, %(days)s, %(difference)s, now())
on conflict (run_id, check_name) where decision is null do update set
    subjects = excluded.subjects,
    message = excluded.message,
    days = excluded.days,
    difference = excluded.difference,
    asked_at = excluded.asked_at
"""

_UPDATE_DECISION = """
update ops.decision
set decision = %(decision)s, decided_at = now(), decided_by = %(decided_by)s, reason = %(reason)s
where run_id = %(run_id)s and check_name = %(check_name)s and decision is null
returning subjects
"""


def record_question(
    connection: Connection,
    run_id: str,
    check_name: str,
    *,
    subjects: Sequence[str],
    message: str,
    days: Sequence[date],
    difference: list[dict[str, Any]],
) -> None:
    """Record that a run waits for a person; from now on other runs do not wait for it."""
    connection.execute(
        _INSERT_QUESTION,
        {
            "run_id": run_id,
            "check_name": check_name,
            "subjects": list(subjects),
            "message": message,
            "days": list(days),
            "difference": json.dumps(difference),
        },
    )


def record_decision(
    connection: Connection, run_id: str, check_name: str, decision: Decision, answer: Answer
) -> list[str]:
    """Record how a question ended; returns the subjects that it was about."""
    row = connection.execute(
        _UPDATE_DECISION,
        {
            "run_id": run_id,
            "check_name": check_name,
            "decision": decision,
            "decided_by": answer.by,
            "reason": answer.reason,
        },
    ).fetchone()
    return row[0] if row else []
