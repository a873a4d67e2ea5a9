"""
What is known of incidents: `ops.alert`, a row each from the first time that something was seen until it is well again.

An incident is known by a text: ``<dag> <check> <subject>`` of a check, ``<dag>.<task>`` of a task, ``<dag> deadline``.
Its window is no part of that, or each day's run would alert anew.
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

from ecommerce.audit.dbt_tests import DBT_TEST
from ecommerce.build import lease
from ecommerce.build.lease import Exclusions
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Request, Window


@dataclass(frozen=True)
class Alert:
    """
    An incident, as it was seen last.

    :param severity: ``warn``, ``fail`` (a check or a task) or ``deadline``
    :param observed: what the check saw, and what it ``expected``; None where it names none
    :param window_end: the day after the last of the run's window (UTC)
    :param seen_at: when a check judged, or a task failed
    :param alert_id: in `ops.alert`; None of one that could not be recorded
    :param sent_to: the Airflow connections that have taken it
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


def of_check(
    dag_id: str,
    run_id: str,
    check_name: str,
    subject: str,
    severity: str,
    message: str,
    seen_at: datetime,
    **known: Any,
) -> Alert:
    """The incident of a check and its subject."""
    return Alert(
        incident=f"{dag_id} {check_name} {subject}",
        dag_id=dag_id,
        run_id=run_id,
        check_name=check_name,
        subject=subject,
        severity=severity,
        message=message,
        seen_at=seen_at,
        **known,
    )


def of_task(dag_id: str, task_id: str, run_id: str, message: str, window: Window | None) -> Alert:
    """The incident of a task that has failed now."""
    return replace(
        Alert(f"{dag_id}.{task_id}", dag_id, run_id, "fail", message, datetime.now(UTC), task_id=task_id),
        **_days(window),
    )


def of_deadline(dag_id: str, run_id: str, message: str, window: Window | None) -> Alert:
    """The incident of a run that is late now."""
    return replace(
        Alert(f"{dag_id} deadline", dag_id, run_id, "deadline", message, datetime.now(UTC)),
        **_days(window),
    )


def _days(window: Window | None) -> dict[str, Any]:
    return {"window_start": window.start, "window_end": window.end} if window else {}


#: One statement, so that of two runs that see the same at once one opens the incident, and the other sees it again.
#: What is not newer than the last sighting, or than the recovery, is known already: callbacks come late and repeatedly.
#: Severity never goes down while an incident is open; a warning that has become a failure is to be sent once more.
_SEE = """
insert into ops.alert as alert (
    incident, dag_id, task_id, check_name, subject, severity, observed, expected, window_start, window_end, message,
    first_run_id, last_run_id, opened_at, last_seen_at
)
select
    seen.incident, seen.dag_id, seen.task_id, seen.check_name, seen.subject, seen.severity, seen.observed,
    seen.expected, seen.window_start, seen.window_end, seen.message, seen.run_id, seen.run_id, seen.seen_at,
    seen.seen_at
from jsonb_to_recordset(%(seen)s) as seen (
    incident text, dag_id text, task_id text, check_name text, subject text, severity text, observed numeric,
    expected numeric, window_start date, window_end date, message text, run_id text, seen_at timestamptz
)
where not exists (
    select from ops.alert as closed where closed.incident = seen.incident and closed.closed_at >= seen.seen_at
)
-- In one order, or two runs could wait for each other.
order by seen.incident
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
returning alert.incident, xmax = 0 as is_opened
"""

#: A recovery of an older window is none: a backfill of last month does not make today's load any fresher.
_REACHES = "(alert.window_end is null or {window_end} >= alert.window_end)"

_RECOVER = f"""
update ops.alert as alert
set closed_at = good.seen_at, closed_by = %(run_id)s
from jsonb_to_recordset(%(good)s) as good (incident text, seen_at timestamptz, window_end date)
where
    alert.incident = good.incident and alert.closed_at is null and alert.last_seen_at < good.seen_at
    and {_REACHES.format(window_end="good.window_end")}
returning alert.*
"""

_RECOVER_TASKS = f"""
update ops.alert as alert
set closed_at = clock_timestamp(), closed_by = %(run_id)s
where
    alert.dag_id = %(dag_id)s and alert.check_name is null and alert.closed_at is null
    and coalesce(alert.task_id, '') <> all(%(but)s::text[])
    and (%(task_id)s::text is null or alert.task_id = %(task_id)s)
    and {_REACHES.format(window_end="%(window_end)s::date")}
returning alert.*
"""

#: The last judgement of each check and subject, if it is about an incident.
_JUDGED = """
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


def see(connection: Connection, alerts: Iterable[Alert]) -> set[str]:
    """Open incidents, or see them again; those that were opened."""
    seen = {alert.incident: asdict(alert) for alert in alerts}
    if not seen:
        return set()
    rows = connection.execute(_SEE, {"seen": json.dumps(list(seen.values()), default=str)}).fetchall()
    return {incident for incident, is_opened in rows if is_opened}


def settle_checks(connection: Connection, dag_id: str, run_id: str, request: Request | None) -> list[Alert]:
    """
    Take in what the checks of a run have said so far: what does not pass is seen, what passes is closed.

    What a run leaves out, because a source failed or was not asked for, is no incident of its own and no recovery.

    :param request: what the run was to do, if that is known
    :returns: the incidents that were closed
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        judged = cursor.execute(_JUDGED, {"dag_id": dag_id, "run_id": run_id}).fetchall()
    left_out = lease.exclusions_of(connection, run_id) if judged else lease.NO_EXCLUSIONS
    if request is not None:
        left_out = replace(left_out, sources=left_out.sources | (SOURCES.keys() - request.sources))
    judged = [row for row in judged if not left_out.covers(row["subject"])]
    if any(row["check_name"] == DBT_TEST and row["status"] == "fail" for row in judged):
        # They are the incidents; that there are any is none besides.
        judged = [row for row in judged if row["check_name"] != "dbt_tests"]
    alerts = [
        of_check(
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
        for row in judged
    ]
    see(connection, [alert for alert in alerts if alert.severity != "pass"])
    good = [asdict(alert) for alert in alerts if alert.severity == "pass"]
    if not good:
        return []
    return _closed(connection, _RECOVER, run_id=run_id, good=json.dumps(good, default=str))


def failed_checks(connection: Connection, run_id: str, check_name: str) -> bool:
    """Whether a check of a run has failed by its last judgement of any subject."""
    row = connection.execute(
        "select exists (select from (select distinct on (subject) status from ops.check_result"
        " where run_id = %s and check_name = %s order by subject, check_result_id desc) as latest"
        " where status = 'fail')",
        [run_id, check_name],
    ).fetchone()
    return row is not None and bool(row[0])


def settle_tasks(
    connection: Connection, dag_id: str, run_id: str, window: Window | None, *, but: Collection[str] = ()
) -> list[Alert]:
    """
    Close the incidents of a DAG's tasks and its deadline, since a run of it came to its end.

    :param window: of that run; what was seen in a later one stays open
    :param but: ids of tasks that did not do their work in this run
    :returns: the incidents that were closed
    """
    return _recover_tasks(connection, dag_id, run_id, window, None, but)


def recover_task(connection: Connection, dag_id: str, task_id: str, run_id: str, window: Window | None) -> list[Alert]:
    """Close the incident of one task that has succeeded; the incident, if there was one."""
    return _recover_tasks(connection, dag_id, run_id, window, task_id, ())


def _recover_tasks(
    connection: Connection,
    dag_id: str,
    run_id: str,
    window: Window | None,
    task_id: str | None,
    but: Collection[str],
) -> list[Alert]:
    return _closed(
        connection,
        _RECOVER_TASKS,
        dag_id=dag_id,
        run_id=run_id,
        task_id=task_id,
        but=list(but),
        window_end=window.end if window else None,
    )


def extracts_without_work(request: Request, left_out: Exclusions) -> list[str]:
    """Ids of the extracts that loaded nothing in a run: not asked for, or failed."""
    return [f"extract.{source}" for source in SOURCES if source not in request.sources - left_out.sources]


def _closed(connection: Connection, statement: str, **values: Any) -> list[Alert]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return [alert_of(row) for row in cursor.execute(statement.encode(), values)]


def alert_of(row: dict[str, Any]) -> Alert:
    """A row of `ops.alert`."""
    known = {field.name for field in fields(Alert)}
    return Alert(
        **{name: value for name, value in row.items() if name in known},
        run_id=row["last_run_id"],
        seen_at=row["last_seen_at"],
    )
