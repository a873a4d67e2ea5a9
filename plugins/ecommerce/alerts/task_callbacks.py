"""Airflow's callbacks that open, close and send incidents. An error in one of them is logged and fails no task."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import psycopg
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert
from asgiref.sync import sync_to_async

from ecommerce.alerts import incidents
from ecommerce.alerts.channels import Delivery, deliver, send_unrecorded
from ecommerce.alerts.deadline import RunCreated
from ecommerce.alerts.send_digest import send_digest, send_unsent_digest
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


@runtime_checkable
class RecordsCheck(Protocol):
    """A task that records its results in `ops.check_result` under its check's name, as `QualityCheck` does."""

    check_name: str


@runtime_checkable
class WatchesBuild(Protocol):
    """A task of a dbt node that ends by the results of one `dbt build`, as those of `dbt_triggerer` do."""

    build_task_id: str


def alert_failure(context: Context) -> None:
    """
    Open the incident of a failed task, or those of its check's subjects, and send what is not sent yet.

    For `on_failure_callback` of a task. A dry run opens none: whoever has started it looks at it.
    """
    with _log_errors("the failure could not be recorded"):
        if context["params"].get("dry_run"):
            return
        ti, request = context["ti"], _request(context)
        window = request.window if request else None
        failure = incidents.alert_of_task(ti.dag_id, ti.task_id, ti.run_id, str(context.get("exception")), window)
        try:
            with warehouse(PUBLISHER) as connection:
                closed = incidents.settle_checks(connection, ti.dag_id, ti.run_id, request)
                if not _is_recorded_by_a_check(connection, context["task"], ti.run_id):
                    incidents.open_or_update(connection, [failure])
                deliver(connection, closed)
        except (SourceError, psycopg.OperationalError):
            # Without the warehouse no one knows whether it was sent already; twice is better than never.
            log.exception("the failure could not be recorded in ops.alert")
            send_unrecorded(failure)


def settle_run(context: Context) -> None:
    """
    Settle the incidents of a run that has published: open those of its checks, and close what is over. Then the digest.

    For `on_success_callback` and `on_skipped_callback` of the task that publishes. Airflow calls it in the task's
    process after it has recorded the task's end, so the run may be over a moment before its incidents are.
    """
    with _log_errors("the alerts of the run could not be settled"), warehouse(PUBLISHER) as connection:
        run = context["dag_run"]
        request = _request(context)
        closed = incidents.settle_checks(connection, run.dag_id, run.run_id, request)
        if request is not None:
            idle = incidents.extracts_without_load(request, lease.exclusions_of(connection, run.run_id))
            closed += incidents.close_tasks(connection, run.dag_id, run.run_id, request.window, except_task_ids=idle)
        delivery = Delivery()
        deliver(connection, closed, delivery)
        with _log_errors("the digest could not be sent"):
            send_digest(connection, delivery)


def settle_checks(connection: psycopg.Connection, context: Context) -> None:
    """Settle the incidents of the checks of a run that waits for a person."""
    with _log_errors("the alerts of the run could not be settled"):
        run = context["dag_run"]
        deliver(connection, incidents.settle_checks(connection, run.dag_id, run.run_id, _request(context)))


def settle_failed_run(context: Context) -> None:
    """
    Settle the incidents of the checks and dbt tests that ended after the first task of the run had failed.

    For `on_failure_callback` of a DAG; the context may have no more than the DAG and the run.
    """
    with _log_errors("the alerts of the run could not be settled"):
        request = _request(context)
        if request and request.dry_run:
            return
        with warehouse(PUBLISHER) as connection:
            closed = incidents.settle_checks(connection, context["dag"].dag_id, context["run_id"], request)
            deliver(connection, closed)


def alert_recovery(context: Context) -> None:
    """
    Close the incident of a task that has succeeded.

    For `on_success_callback` of tasks that end in a worker. (For a task that ends in the triggerer, Airflow would run
    it in the DAG processor.)
    """
    with _log_errors("the recovery could not be recorded"):
        ti, request, task = context["ti"], _request(context), context["task"]
        window = request.window if request else None
        with warehouse(PUBLISHER) as connection:
            closed = []
            if isinstance(task, RecordsCheck):
                closed += incidents.settle_checks(connection, ti.dag_id, ti.run_id, request)
            closed += incidents.close_task(connection, ti.dag_id, ti.task_id, ti.run_id, window)
            delivery = Delivery()
            deliver(connection, closed, delivery)
            with _log_errors("the digest could not be sent"):
                send_unsent_digest(connection, delivery)


def deadline_alert() -> DeadlineAlert:
    """The deadline of a run, `ECOMMERCE_DEADLINE_MINUTES` after it was created."""
    return DeadlineAlert(
        name="late",
        reference=RunCreated(),
        interval=timedelta(minutes=DEADLINE_MINUTES),
        # In the triggerer: a run may be late because no worker is free.
        callback=AsyncCallback(missed_deadline),
    )


async def missed_deadline(context: dict[str, Any]) -> None:
    """
    Open the incident of a run that is late.

    :param context: the `dag_run` as Airflow's API has it, and the `deadline`
    """
    await sync_to_async(_record_missed_deadline)(context)


def _record_missed_deadline(context: dict[str, Any]) -> None:
    run = context["dag_run"]
    if run["state"] not in ("queued", "running"):
        # It has failed, which is an incident already.
        return
    with _log_errors("the missed deadline could not be recorded"):
        late = incidents.alert_of_deadline(
            run["dag_id"],
            run["dag_run_id"],
            f"the run {run['dag_run_id']} is {run['state']}: it should have ended within {DEADLINE_MINUTES:g} minutes"
            f" after it was queued at {_moment(run['queued_at']):%Y-%m-%d %H:%M} UTC",
            _window_of(run),
        )
        try:
            with warehouse(PUBLISHER) as connection:
                incidents.open_or_update(connection, [late])
                deliver(connection)
        except (SourceError, psycopg.OperationalError):
            log.exception("the missed deadline could not be recorded in ops.alert")
            send_unrecorded(late)


_MOMENTS = ("data_interval_start", "data_interval_end", "logical_date", "run_after")


def _window_of(run: dict[str, Any]) -> Window | None:
    """The window of a run as Airflow's API has it."""
    moments = {name: _moment(run.get(name)) for name in _MOMENTS}
    context: Any = {"params": run.get("conf") or {}, "dag_run": SimpleNamespace(**moments)}
    try:
        return request_of(context).window
    except WindowError:
        return None


def _moment(text: str | None) -> Any:
    return datetime.fromisoformat(text) if text else None


def _request(context: Context) -> Request | None:
    """What the run was to do; None in a DAG without a window, and in a run whose window is not valid."""
    if "dag_run" not in context or "start_date" not in context["params"]:
        return None
    try:
        return request_of(context)
    except WindowError:
        return None


def _is_recorded_by_a_check(connection: psycopg.Connection, task: Any, run_id: str) -> bool:
    """Whether the subjects of a check are the incidents of a failed task, so that the task itself is none."""
    if isinstance(task, RecordsCheck):
        return incidents.has_failed_subject(connection, run_id, task.check_name)
    if not _is_dbt_test(task.task_id):
        return False
    # A `dbt build` records the results of its tests at its end, and the end of the run opens their incidents. In the
    # other modes each test is a command of its own, which has recorded its result by now.
    return isinstance(task, WatchesBuild) or incidents.has_failed_subject(connection, run_id, DBT_TEST)


def _is_dbt_test(task_id: str) -> bool:
    name = task_id.rpartition(".")[2]
    return task_id.startswith("warehouse.") and (name == "test" or name.endswith("_test"))


@contextmanager
def _log_errors(message: str) -> Iterator[None]:
    """Log any error, and let the task end as it would."""
    try:
        yield
    except Exception:
        log.exception("%s", message)
