"""What a check says, and how that is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from psycopg import Connection

from ecommerce.common.windows import Window

Status = Literal["pass", "warn", "fail"]

#: Rows at fault that are kept of one judgement.
KEPT_ROWS = 100


@dataclass(frozen=True)
class CheckResult:
    """
    One check of one subject: what was seen, what was expected, and the sentence for a person.

    :param rows: rows at fault, up to `KEPT_ROWS`, as JSON
    :param blocks: whether its failure holds back the publication
    :param days: those that it fails by, where a person may say that they are as they should be
    :param may_improve: something is under way that could change the verdict; a check that may wait looks again
    """

    subject: str
    status: Status
    observed: Decimal | int | None
    expected: Decimal | int | None
    message: str
    rows: Sequence[Mapping[str, Any]] = field(default=())
    may_improve: bool = False
    blocks: bool = True
    days: Sequence[date] = field(default=())


def failures_of(judgements: Sequence[CheckResult]) -> str:
    """What failed and why, in one line; empty when nothing did that holds back the publication."""
    return "; ".join(
        f"{judged.subject}: {judged.message}" for judged in judgements if judged.status == "fail" and judged.blocks
    )


#: One statement, so that the judgements and their rows are written together or not at all.
_WRITE = """
with judged as materialized (
    select nextval(pg_get_serial_sequence('ops.check_result', 'check_result_id')) as check_result_id, judged.*
    from jsonb_to_recordset(%(judged)s) as judged (
        subject text, status text, observed numeric, expected numeric, message text, rows jsonb)
), written as (
    insert into ops.check_result (check_result_id, checked_at, run_id, check_name, subject, window_start, window_end,
        status, observed, expected, message) overriding system value
    select check_result_id, now(), %(run_id)s, %(check_name)s, subject, %(start)s::date, %(end)s::date,
        status, observed, expected, message
    from judged
)
insert into ops.check_failure (check_result_id, bad_row)
select judged.check_result_id, bad.bad_row
from judged cross join lateral jsonb_array_elements(judged.rows) as bad (bad_row)
"""


def results_statement(
    check_name: str, run_id: str, judgements: Sequence[CheckResult], window: Window | None
) -> tuple[str, dict[str, Any]]:
    """
    The statement, and its values, that adds a row of `ops.check_result` a judgement and keeps the rows at fault.

    :param window: where the check is about one
    """
    judged = [
        {
            "subject": judged.subject,
            "status": judged.status,
            "observed": judged.observed,
            "expected": judged.expected,
            "message": judged.message,
            "rows": judged.rows[:KEPT_ROWS],
        }
        for judged in judgements
    ]
    return _WRITE, {
        "judged": json.dumps(judged, default=str),
        "run_id": run_id,
        "check_name": check_name,
        "start": window.start if window else None,
        "end": window.end if window else None,
    }


def record_results(
    connection: Connection, check_name: str, run_id: str, judgements: Sequence[CheckResult], window: Window | None
) -> None:
    """Write the judgements of a check; see `results_statement`."""
    connection.execute(*results_statement(check_name, run_id, judgements, window))
