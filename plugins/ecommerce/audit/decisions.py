"""What people decide about a publication that a check holds back: `ops.decision`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any, Literal

from psycopg import Connection

Decision = Literal["approved", "rejected", "unanswered", "overtaken"]

#: The options of a question.
APPROVE, REJECT = "Approve", "Reject"

#: Each day that a person has approved → who, of a check.
APPROVED_DAYS = """
select day, max(decided_by) from ops.decision cross join unnest(days) as day
where check_name = %(check_name)s and decision = 'approved' group by day
"""

#: Withdraws the question of a check that judges again.
WITHDRAW = "delete from ops.decision where run_id = %(run_id)s and check_name = %(check_name)s and decision is null"


def ask(
    connection: Connection,
    run_id: str,
    check: str,
    *,
    subjects: Sequence[str],
    message: str,
    days: Sequence[date],
    difference: list[dict[str, Any]],
) -> None:
    """Write the question down; from now on other runs need not wait for this one."""
    connection.execute(
        "insert into ops.decision (run_id, check_name, subjects, message, days, difference, asked_at)"
        " values (%s, %s, %s, %s, %s, %s, now())"
        " on conflict (run_id, check_name) where decision is null do update set subjects = excluded.subjects,"
        "  message = excluded.message, days = excluded.days, difference = excluded.difference,"
        "  asked_at = excluded.asked_at",
        [run_id, check, list(subjects), message, list(days), json.dumps(difference)],
    )


def close(
    connection: Connection,
    run_id: str,
    check: str,
    decision: Decision,
    *,
    by: str | None = None,
    reason: str | None = None,
) -> list[str]:
    """Write down how the question ended; the subjects that it was about."""
    row = connection.execute(
        "update ops.decision set decision = %s, decided_at = now(), decided_by = %s, reason = %s"
        " where run_id = %s and check_name = %s and decision is null returning subjects",
        [decision, by, reason, run_id, check],
    ).fetchone()
    return row[0] if row else []
