"""What people decide about a publication that a check holds back: the question, the answer, and `ops.decision`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

from psycopg import Connection

from ecommerce.audit.check_results import BlockingFailure, DayFigure

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


#: By how much a figure may differ from the approved one, as a share of it. Beyond that a person is asked again.
TOLERANCE = 0.01


@dataclass(frozen=True)
class Approval:
    """
    A figure that a person has approved.

    :param by: the user
    """

    figure: DayFigure
    by: str

    def covers(self, value: float) -> bool:
        """Whether a figure of now is the approved one."""
        return math.isclose(value, self.figure.value, rel_tol=TOLERANCE)


#: Each figure of a check that a person has approved, and who; the fields of `DayFigure` and `Approval`. An approval of
#: before figures were kept is of none, and a rollback revokes those of what it undoes.
APPROVED_FIGURES = """
select
    figure.subject,
    figure.day,
    figure.value,
    coalesce(decision.decided_by, 'nobody')
from ops.decision
cross join lateral jsonb_to_recordset(decision.figures) as figure (subject text, day date, value double precision)
where decision.check_name = %(check_name)s and decision.decision = 'approved' and decision.revoked_at is null
order by decision.decided_at
"""

#: Condition: what was approved after a publication, and counts. A rollback to that publication revokes it.
_APPROVED_SINCE = """
decision = 'approved'
and revoked_at is null
and decided_at > (
    select min(publication.published_at)
    from ops.publication
    where publication.publication_id = %(publication_id)s
)
"""

#: What a rollback to a publication would revoke.
APPROVALS_SINCE = f"""
select check_name, run_id, decided_by, decided_at
from ops.decision
where {_APPROVED_SINCE}
order by decided_at
"""

#: A check that is evaluated again withdraws its question.
WITHDRAW_QUESTION = """
delete from ops.decision
where run_id = %(run_id)s and check_name = %(check_name)s and decision is null
"""

_INSERT_QUESTION = """
insert into ops.decision (
    run_id, check_name, subjects, message, days, figures, difference, digest, asked_at, answer_until
)
values (
    %(run_id)s, %(check_name)s, %(subjects)s, %(message)s, %(days)s, %(figures)s, %(difference)s, %(digest)s, now(),
    %(answer_until)s
)
on conflict (run_id, check_name) where decision is null do update set
    subjects = excluded.subjects,
    message = excluded.message,
    days = excluded.days,
    figures = excluded.figures,
    difference = excluded.difference,
    digest = excluded.digest,
    asked_at = excluded.asked_at,
    answer_until = excluded.answer_until
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
    failure: BlockingFailure,
    difference: list[dict[str, Any]],
    *,
    until: datetime,
) -> None:
    """
    Record that a run waits for a person; from now on other runs do not wait for it.

    :param difference: what a publication would change, as the person sees it
    :param until: when the check has failed if nobody has answered
    """
    connection.execute(
        _INSERT_QUESTION,
        {
            "run_id": run_id,
            "check_name": check_name,
            "subjects": list(failure.subjects),
            "message": failure.message,
            "days": failure.days,
            "figures": json.dumps(
                [{"subject": figure.subject, "day": figure.day, "value": figure.value} for figure in failure.figures],
                default=str,
            ),
            "difference": json.dumps(difference),
            "digest": digest_of(difference),
            "answer_until": until,
        },
    )


def digest_of(difference: Sequence[Mapping[str, Any]]) -> str:
    """A digest of what a publication would change, which is another one after any change of it."""
    return hashlib.sha256(json.dumps(difference, sort_keys=True).encode()).hexdigest()


def is_as_shown(connection: Connection, run_id: str, check_name: str, difference: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a publication would still change what the open question of a check has shown."""
    row = connection.execute(
        """
        select digest
        from ops.decision
        where run_id = %s and check_name = %s and decision is null
        """,
        [run_id, check_name],
    ).fetchone()
    return row is not None and row[0] == digest_of(difference)


def revoke_approvals(connection: Connection, run_id: str, publication_id: int) -> None:
    """
    Revoke what was approved after a publication, because a rollback restores it.

    :param run_id: of the rollback
    """
    connection.execute(
        f"update ops.decision set revoked_at = now(), revoked_by = %(run_id)s where {_APPROVED_SINCE}".encode(),
        {"run_id": run_id, "publication_id": publication_id},
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
