"""
Incidents in `ops.alert`: a row for each, from the first time that a problem is found until it is over.

An incident is identified by a text: ``<dag> <check> <subject>`` of a check, ``<dag>.<task>`` of a task,
``<dag> deadline`` of a run. The days are no part of it, or each day's run would alert anew.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

from ecommerce.audit.checks_file import read_checks
from ecommerce.audit.dbt_tests import DBT_TEST
from ecommerce.audit.reconciliation import SourceReconciliation, is_comparable
from ecommerce.build import lease
from ecommerce.build.lease import Exclusions
from ecommerce.common.shop import shop
from ecommerce.common.shown_text import SENTENCE_LENGTH, one_line, without_values
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Request, Window


@dataclass(frozen=True)
class Alert:
    """
    An incident, with what was found the last time.

    :param severity: ``warn``, ``fail`` (a check or a task) or ``deadline``
    :param observed: the figure that the check has found, and the one that it ``expected``; None where it has none
    :param window_end: the day after the last of the run's window
    :param seen_at: when the check was evaluated, or the task failed
    :param alert_id: in `ops.alert`; None if the incident could not be recorded
    :param sent_to: the Airflow connections that have received it
    """

    incident: str
    dag_id: str
    run_id: str
    severity: str
    message: str
    seen_at: datetime
    task_id: str | None = None
    check_name: str | None = None
    subject: str | None = None
    observed: Decimal | None = None
    expected: Decimal | None = None
    window_start: date | None = None
    window_end: date | None = None
    alert_id: int | None = None
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    times_seen: int = 1
    sent_to: Sequence[str] = ()


def alert_of_check(
    dag_id: str,
    run_id: str,
    check_name: str,
    subject: str,
    severity: str,
    message: str,
    seen_at: datetime,
    **details: Any,
) -> Alert:
    """The incident of one subject of a check."""
    return Alert(
        incident=f"{dag_id} {check_name} {subject}",
        dag_id=dag_id,
        run_id=run_id,
        check_name=check_name,
        subject=subject,
        severity=severity,
        message=message,
        seen_at=seen_at,
        **details,
    )


def alert_of_task(dag_id: str, task_id: str, run_id: str, message: str, window: Window | None) -> Alert:
    """The incident of a task that has just failed; of its error, which may be of any length, the beginning."""
    return replace(
        Alert(f"{dag_id}.{task_id}", dag_id, run_id, "fail", "", datetime.now(UTC), task_id=task_id),
        message=one_line(without_values(message), SENTENCE_LENGTH),
        **_days(window),
    )


def alert_of_deadline(dag_id: str, run_id: str, message: str, window: Window | None) -> Alert:
    """The incident of a run that has just missed its deadline."""
    return replace(
        Alert(f"{dag_id} deadline", dag_id, run_id, "deadline", message, datetime.now(UTC)),
        **_days(window),
    )


def _days(window: Window | None) -> dict[str, Any]:
    return {"window_start": window.start, "window_end": window.end} if window else {}


def alert_of_row(row: dict[str, Any]) -> Alert:
    """A row of `ops.alert`."""
    names = {field.name for field in fields(Alert)}
    return Alert(
        **{name: value for name, value in row.items() if name in names},
        run_id=row["last_run_id"],
        seen_at=row["last_seen_at"],
    )


#: One statement, so that of two runs that find the same problem at once one opens the incident, and the other counts.
#: A problem that was found before the incident was last seen or closed is ignored: callbacks come late and repeatedly.
#: Severity never goes down while an incident is open; a warning that has become a failure is sent once more.
_OPEN_OR_UPDATE = """
insert into ops.alert as alert (
    incident, dag_id, task_id, check_name, subject, severity, observed, expected, window_start, window_end, message,
    first_run_id, last_run_id, opened_at, last_seen_at
)
select
    problem.incident, problem.dag_id, problem.task_id, problem.check_name, problem.subject, problem.severity,
    problem.observed, problem.expected, problem.window_start, problem.window_end, problem.message, problem.run_id,
    problem.run_id, problem.seen_at, problem.seen_at
from jsonb_to_recordset(%(alerts)s) as problem (
    incident text, dag_id text, task_id text, check_name text, subject text, severity text, observed numeric,
    expected numeric, window_start date, window_end date, message text, run_id text, seen_at timestamptz
)
where
    not exists (
        select from ops.alert as closed
        where closed.incident = problem.incident and closed.closed_at >= problem.seen_at
    )
-- In one order, or two runs could wait for each other.
order by problem.incident
on conflict (incident) where closed_at is null do update set
    severity = case when alert.severity = 'warn' then excluded.severity else alert.severity end,
    sent_at = case when alert.severity = 'warn' and excluded.severity <> 'warn' then null else alert.sent_at end,
    sent_to = case when alert.severity = 'warn' and excluded.severity <> 'warn' then '{}' else alert.sent_to end,
    sending_since = case
        when alert.severity = 'warn' and excluded.severity <> 'warn' then null else alert.sending_since
    end,
    observed = excluded.observed,
    expected = excluded.expected,
    window_start = case
        when excluded.window_end >= alert.window_end or alert.window_end is null then excluded.window_start
        else alert.window_start
    end,
    window_end = greatest(alert.window_end, excluded.window_end),
    message = excluded.message,
    last_run_id = excluded.last_run_id,
    last_seen_at = excluded.last_seen_at,
    times_seen = alert.times_seen + 1
where excluded.last_seen_at > alert.last_seen_at
"""

#: A run of an older window closes nothing: a backfill of last month does not make today's load any fresher.
_CLOSE_CHECKS = """
update ops.alert as alert
set closed_at = passed.seen_at, closed_by = %(run_id)s
from jsonb_to_recordset(%(passed)s) as passed (incident text, seen_at timestamptz, window_end date)
where
    alert.incident = passed.incident
    and alert.closed_at is null
    and alert.last_seen_at < passed.seen_at
    and (alert.window_end is null or passed.window_end >= alert.window_end)
returning alert.*
"""

_OPEN_CHECKS = """
select incident, check_name, subject
from ops.alert
where
    dag_id = %(dag_id)s
    and check_name is not null
    and closed_at is null
"""

_CLOSE_INCIDENTS = """
update ops.alert
set closed_at = clock_timestamp(), closed_by = %(run_id)s
where
    incident = any(%(incidents)s::text[])
    and closed_at is null
returning *
"""

_CLOSE_TASKS = """
update ops.alert as alert
set closed_at = clock_timestamp(), closed_by = %(run_id)s
where
    alert.dag_id = %(dag_id)s
    and alert.check_name is null
    and alert.closed_at is null
    and coalesce(alert.task_id, '') <> all(%(except_task_ids)s::text[])
    and (%(task_id)s::text is null or alert.task_id = %(task_id)s)
    and (alert.window_end is null or %(window_end)s::date >= alert.window_end)
returning alert.*
"""

#: The last result of each check and subject of a run that is not a pass, or that an open incident is about.
_RESULTS_OF_INCIDENTS = """
with latest as (
    select distinct on (check_name, subject)
        check_name, subject, status, observed, expected, message, window_start, window_end, checked_at
    from ops.check_result
    where run_id = %(run_id)s
    order by check_name, subject, check_result_id desc
)

select latest.*
from latest
where
    latest.status <> 'pass'
    or exists (
        select from ops.alert
        where
            alert.closed_at is null
            and alert.incident = %(dag_id)s || ' ' || latest.check_name || ' ' || latest.subject
    )
"""

_HAS_FAILED_SUBJECT = """
with latest as (
    select distinct on (subject) status
    from ops.check_result
    where run_id = %(run_id)s and check_name = %(check_name)s
    order by subject, check_result_id desc
)

select exists (select from latest where status = 'fail')
"""


def open_or_update(connection: Connection, alerts: Iterable[Alert]) -> None:
    """Open incidents; count those that are open already, and keep what was found the last time."""
    by_incident = {alert.incident: asdict(alert) for alert in alerts}
    if by_incident:
        connection.execute(_OPEN_OR_UPDATE, {"alerts": json.dumps(list(by_incident.values()), default=str)})


def settle_checks(connection: Connection, dag_id: str, run_id: str, request: Request | None) -> list[Alert]:
    """
    Open incidents for the checks of a run that failed or warned so far, and close those of the checks that passed.

    Those about what is not checked any more close, too. What a run leaves out, because a source failed or was not
    requested, neither opens nor closes an incident.

    :param request: what the run was to do, if that is known
    :returns: the incidents that were closed
    """
    alerts = _alerts_of_checks(connection, dag_id, run_id, request)
    open_or_update(connection, [alert for alert in alerts if alert.severity != "pass"])
    over = _not_checked_any_more(connection, dag_id)
    closed = _close(connection, _CLOSE_INCIDENTS, run_id=run_id, incidents=over) if over else []
    passed = [asdict(alert) for alert in alerts if alert.severity == "pass"]
    if not passed:
        return closed
    return [*closed, *_close(connection, _CLOSE_CHECKS, run_id=run_id, passed=json.dumps(passed, default=str))]


def _alerts_of_checks(connection: Connection, dag_id: str, run_id: str, request: Request | None) -> list[Alert]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_RESULTS_OF_INCIDENTS, {"dag_id": dag_id, "run_id": run_id}).fetchall()
    if not rows:
        return []
    exclusions = lease.exclusions_of(connection, run_id)
    if request is not None:
        exclusions = replace(exclusions, sources=exclusions.sources | (SOURCES.keys() - request.sources))
    rows = [row for row in rows if not exclusions.covers(row["subject"])]
    if any(row["check_name"] == DBT_TEST and row["status"] == "fail" for row in rows):
        # Each failed test is an incident; the check of all tests, which fails with them, is none besides.
        rows = [row for row in rows if row["check_name"] != "dbt_tests"]
    return [
        alert_of_check(
            dag_id,
            run_id,
            row["check_name"],
            row["subject"],
            row["status"],
            row["message"],
            row["checked_at"],
            observed=row["observed"],
            expected=row["expected"],
            window_start=row["window_start"],
            window_end=row["window_end"],
        )
        for row in rows
    ]


def _not_checked_any_more(connection: Connection, dag_id: str) -> list[str]:
    """The open incidents about a source that the shop has lost, or has moved to where no check compares it with raw."""
    rows = connection.execute(_OPEN_CHECKS, {"dag_id": dag_id}).fetchall()
    if not rows:
        return []
    profile, checks = shop(), read_checks().checks
    return [
        incident
        for incident, check_name, subject in rows
        if not profile.fills(subject.partition(" ")[0])
        or (isinstance(check := checks.get(check_name), SourceReconciliation) and not is_comparable(check.source))
    ]


def has_failed_subject(connection: Connection, run_id: str, check_name: str) -> bool:
    """Whether the last result of any subject of a check in a run is a failure."""
    row = connection.execute(_HAS_FAILED_SUBJECT, {"run_id": run_id, "check_name": check_name}).fetchone()
    return row is not None and bool(row[0])


def close_tasks(
    connection: Connection, dag_id: str, run_id: str, window: Window | None, *, except_task_ids: Collection[str] = ()
) -> list[Alert]:
    """
    Close the incidents of a DAG's tasks and of its deadline, since a run of it has ended successfully.

    :param window: of that run; incidents of a later window stay open
    :param except_task_ids: tasks that had nothing to do in this run
    :returns: the incidents that were closed
    """
    return _close_tasks(connection, dag_id, run_id, window, None, except_task_ids)


def close_task(connection: Connection, dag_id: str, task_id: str, run_id: str, window: Window | None) -> list[Alert]:
    """Close the incident of one task that has succeeded; returns the incident, if there was one."""
    return _close_tasks(connection, dag_id, run_id, window, task_id, ())


def _close_tasks(
    connection: Connection,
    dag_id: str,
    run_id: str,
    window: Window | None,
    task_id: str | None,
    except_task_ids: Collection[str],
) -> list[Alert]:
    return _close(
        connection,
        _CLOSE_TASKS,
        dag_id=dag_id,
        run_id=run_id,
        task_id=task_id,
        except_task_ids=list(except_task_ids),
        window_end=window.end if window else None,
    )


def extracts_without_load(request: Request, exclusions: Exclusions) -> list[str]:
    """
    Ids of the extract tasks that loaded nothing in a run: their source was not requested, or failed.

    A source that the shop does not have (any more) is not among them, so its incidents close.
    """
    return [f"extract.{source}" for source in shop().sources if source not in request.sources - exclusions.sources]


def _close(connection: Connection, statement: str, **values: Any) -> list[Alert]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return [alert_of_row(row) for row in cursor.execute(statement.encode(), values)]
