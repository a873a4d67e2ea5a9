"""When Airflow is to record an incident, and when it is over. None of this fails a task."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert
from asgiref.sync import sync_to_async

from ecommerce.alerts import incidents
from ecommerce.alerts.channels import deliver, tell_unrecorded
from ecommerce.alerts.deadline import RunCreated
from ecommerce.audit.dbt_tests import DBT_TEST
from ecommerce.build import lease
from ecommerce.common.connections import PUBLISHER, warehouse
from ecommerce.common.errors import SourceError, WindowError
from ecommerce.common.windows import Request, Window, request_of

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

#: Minutes after which a run that has not ended is late.
DEADLINE_MINUTES = float(os.environ.get("ECOMMERCE_DEADLINE_MINUTES", "120"))


def alert_failure(context: Context) -> None:
    """
    A task has failed: record it, or what its check says.

    For `on_failure_callback` of a task. A dry run is watched by who has asked for it, and alerts nobody.
    """
    with _no_harm("the failure could not be recorded"):
        if context["params"].get("dry_run"):
            return
        ti, request = context["ti"], _request(context)
        window = request.window if request else None
        failure = incidents.of_task(ti.dag_id, ti.task_id, ti.run_id, str(context.get("exception")), window)
        try:
            with warehouse(PUBLISHER) as connection:
                closed = incidents.settle_checks(connection, ti.dag_id, ti.run_id, request)
                if not _is_said_by_a_check(connection, context["task"], ti.run_id):
                    incidents.see(connection, [failure])
                deliver(connection, closed)
        except (SourceError, psycopg.OperationalError):
            # Without the warehouse nobody knows whether it was told already; better twice than never.
            log.exception("the failure could not be recorded in ops.alert")
            tell_unrecorded(failure)


def settle_run(context: Context) -> None:
    """
    A run has published, or had nothing to publish: record what its checks said, and close what is over.

    For `on_success_callback` and `on_skipped_callback` of the task that publishes.
    """
    with _no_harm("the alerts of the run could not be settled"), warehouse(PUBLISHER) as connection:
        run = context["dag_run"]
        request = _request(context)
        closed = incidents.settle_checks(connection, run.dag_id, run.run_id, request)
        if request is not None:
            idle = incidents.extracts_without_work(request, lease.exclusions_of(connection, run.run_id))
            closed += incidents.settle_tasks(connection, run.dag_id, run.run_id, request.window, but=idle)
        deliver(connection, closed)


def settle_checks(connection: psycopg.Connection, context: Context) -> None:
    """A run waits for a person: record what its checks have said so far."""
    with _no_harm("the alerts of the run could not be settled"):
        run = context["dag_run"]
        deliver(connection, incidents.settle_checks(connection, run.dag_id, run.run_id, _request(context)))


def settle_failed_run(context: Context) -> None:
    """
    A run has failed: record what its checks and dbt's tests have said after the first task had failed.

    For `on_failure_callback` of a DAG; the context may know no more than the DAG and the run.
    """
    with _no_harm("the alerts of the run could not be settled"):
        request = _request(context)
        if request and request.dry_run:
            return
        with warehouse(PUBLISHER) as connection:
            closed = incidents.settle_checks(connection, context["dag"].dag_id, context["run_id"], request)
            deliver(connection, closed)


def recovered(context: Context) -> None:
    """
    A task has succeeded: its incident is over.

    For `on_success_callback` of tasks that end in a worker; of others Airflow would ask the DAG processor.
    """
    with _no_harm("the recovery could not be recorded"):
        ti, request = context["ti"], _request(context)
        with warehouse(PUBLISHER) as connection:
            closed = (
                incidents.settle_checks(connection, ti.dag_id, ti.run_id, request) if _check(context["task"]) else []
            )
            window = request.window if request else None
            closed += incidents.recover_task(connection, ti.dag_id, ti.task_id, ti.run_id, window)
            deliver(connection, closed)


def deadline() -> DeadlineAlert:
    """The alert of a run that has not ended `ECOMMERCE_DEADLINE_MINUTES` after it was made."""
    return DeadlineAlert(
        name="late",
        reference=RunCreated(),
        interval=timedelta(minutes=DEADLINE_MINUTES),
        # In the triggerer: when runs are late, workers may be what there is too few of.
        callback=AsyncCallback(missed_deadline),
    )


async def missed_deadline(context: dict[str, Any]) -> None:
    """
    A run is late: record it.

    :param context: what Airflow gives: `dag_run` as its API has it, and the `deadline`
    """
    await sync_to_async(_record_missed)(context)


def _record_missed(context: dict[str, Any]) -> None:
    run = context["dag_run"]
    if run["state"] not in ("queued", "running"):
        # It has failed, and that is an incident already.
        return
    with _no_harm("the missed deadline could not be recorded"):
        window = _window_of(run)
        late = incidents.of_deadline(
            run["dag_id"],
            run["dag_run_id"],
            f"the run {run['dag_run_id']} is {run['state']}: it was to end within {DEADLINE_MINUTES:g} minutes of"
            f" {_moment(run['queued_at']):%Y-%m-%d %H:%M} UTC, when it was queued",
            window,
        )
        try:
            with warehouse(PUBLISHER) as connection:
                incidents.see(connection, [late])
                deliver(connection)
        except (SourceError, psycopg.OperationalError):
            log.exception("the missed deadline could not be recorded in ops.alert")
            tell_unrecorded(late)


def _window_of(run: dict[str, Any]) -> Window | None:
    interval = {name: _moment(run.get(name)) for name in _MOMENTS}
    context: Any = {"params": run.get("conf") or {}, "dag_run": SimpleNamespace(**interval)}
    try:
        return request_of(context).window
    except WindowError:
        return None


_MOMENTS = ("data_interval_start", "data_interval_end", "logical_date", "run_after")


def _moment(text: str | None) -> Any:
    return datetime.fromisoformat(text) if text else None


def _request(context: Context) -> Request | None:
    """What the run was to do; None of a DAG that has no window, and of a run that asked for none there is."""
    if "dag_run" not in context or "start_date" not in context["params"]:
        return None
    try:
        return request_of(context)
    except WindowError:
        return None


def _check(task: Any) -> str | None:
    """The check that a task judges."""
    return getattr(task, "check", None) or getattr(task, "check_name", None)


def _is_said_by_a_check(connection: psycopg.Connection, task: Any, run_id: str) -> bool:
    """Whether the failure of a task is what a check has said, so that the check's subjects are the incidents."""
    if check := _check(task):
        return incidents.failed_checks(connection, run_id, check)
    if not _is_dbt_test(task.task_id):
        return False
    # The results of a build are written at its end, and recorded when the run ends; in the other ways of running dbt
    # each test is a command of its own.
    return hasattr(task, "build_task_id") or incidents.failed_checks(connection, run_id, DBT_TEST)


def _is_dbt_test(task_id: str) -> bool:
    name = task_id.rpartition(".")[2]
    return task_id.startswith("warehouse.") and (name == "test" or name.endswith("_test"))


@contextmanager
def _no_harm(what: str) -> Iterator[None]:
    """Whatever goes wrong here, the task ends as it would, and the log says so."""
    try:
        yield
    except Exception:
        log.exception("%s", what)
