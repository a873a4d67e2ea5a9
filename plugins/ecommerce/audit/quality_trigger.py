"""A quality check while it runs in the triggerer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import psycopg
from airflow.sdk import Connection as AirflowConnection
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import TaskFailedEvent, TaskSuccessEvent, TriggerEvent
from asgiref.sync import sync_to_async

from dbt_triggerer import Build, BuildWatcher, TaskEnd, outcome_of_audit, result_xcom
from ecommerce.audit.check import CheckContext
from ecommerce.audit.check_results import BlockingFailure, CheckResult
from ecommerce.audit.checks_file import check_of, read_checks
from ecommerce.audit.evaluation import evaluate_check
from ecommerce.common.connections import fetch_airflow_connection
from ecommerce.common.errors import WarehouseError
from ecommerce.common.windows import Request, Window

#: XCom of a check's task: how it ended, and the results in one line.
CHECKED = "checked"


class QualityTrigger(BuildWatcher):
    """
    Evaluates a check of `checks.yml` and ends its task; a failure is sent to a worker, which raises the reasons.

    Without a build to watch the check is evaluated at once. A check of what a build made is evaluated when dbt ends,
    which this trigger sees by the same requests as the tasks of dbt's nodes, before Airflow schedules what follows.
    A check of the loaded rows follows the build only to show a person what would be published: it is evaluated while
    dbt runs, and waits for its end only if it fails.

    :param check_name: the check's name in the file
    :param window_task_id: the task whose XCom has the window and the sources of the run
    """

    def __init__(
        self,
        *,
        check_name: str,
        warehouse_conn_id: str,
        window_task_id: str,
        build_task_id: str | None = None,
        parents: Sequence[str] = (),
        **run: Any,
    ) -> None:
        super().__init__(build_task_id=build_task_id, parents=parents, **run)
        self.check_name = check_name
        self.warehouse_conn_id = warehouse_conn_id
        self.window_task_id = window_task_id
        self._prepared: tuple[AirflowConnection, CheckContext] | None = None
        self._failure: TriggerEvent | None = None

    def own_arguments(self) -> dict[str, Any]:
        """The check, the warehouse, and the task that has the window."""
        return {
            "check_name": self.check_name,
            "warehouse_conn_id": self.warehouse_conn_id,
            "window_task_id": self.window_task_id,
        }

    def shared_stream_key(self) -> Hashable | None:
        """The build that it watches, if it watches one."""
        return super().shared_stream_key() if self.build_task_id else None

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Without a build to watch: one evaluation."""
        if self.build_task_id is None:
            yield await self._evaluate()
            return
        async for event in super().run():
            yield event

    async def event_of(self, build: Build, *, try_number: int, since: datetime) -> TriggerEvent | None:
        """The event that ends the task, once the build has ended or is not needed; None until then."""
        if build.task_state == "running" and (event := await self._evaluate_during_build()):
            return event
        outcome = outcome_of_audit(build, parents=self.parents, since=since)
        if outcome is None:
            return None
        self.log.info("%s", outcome.reason)
        if outcome.state is not TaskEnd.SUCCESS:
            return TaskFailedEvent(xcoms=_xcom(outcome.state.value, outcome.reason))
        return self._failure or await self._evaluate()

    async def _evaluate_during_build(self) -> TriggerEvent | None:
        """
        Read from Airflow what the check needs, and evaluate it now if it does not need the build.

        Returns an event only if the check does not fail. A failure is kept until the build has ended. An error is
        ignored: it may be gone by then, and the evaluation after the build reports it if it is not.
        """
        if self._prepared is not None:
            return None
        with contextlib.suppress(WarehouseError, AirflowRuntimeError):
            await self._prepare()
            if check_of(self.check_name).checks_the_build:
                return None
            event = await self._evaluate()
            if isinstance(event, TaskSuccessEvent):
                return event
            if BlockingFailure.from_payload(event.payload):
                self._failure = event
        return None

    async def _evaluate(self) -> TriggerEvent:
        try:
            warehouse, context = await self._prepare()
            results = await evaluate_check(self.check_name, warehouse, context, wait=True, log=self.log) or []
        except (WarehouseError, AirflowRuntimeError, psycopg.Error) as error:
            self.log.exception("the check could not be evaluated")
            return TriggerEvent({"error": f"{self.check_name} could not be evaluated: {str(error).strip()}"})
        if failure := BlockingFailure.of(results):
            return TriggerEvent(failure.payload)
        return TaskSuccessEvent(xcoms=_xcom("success", _summary(results)))

    async def _prepare(self) -> tuple[AirflowConnection, CheckContext]:
        """The warehouse's connection and the run's window, which are read from Airflow once."""
        if self._prepared is None:
            self._prepared = await fetch_airflow_connection(self.warehouse_conn_id), await self._read_context()
        return self._prepared

    async def _read_context(self) -> CheckContext:
        ti = self.task_instance
        if ti is None:
            raise RuntimeError("the trigger of a check needs the task instance that it is to end")
        xcom = await sync_to_async(XCom.get_one)(
            key="return_value", dag_id=ti.dag_id, task_id=self.window_task_id, run_id=ti.run_id
        )
        if xcom is None:
            raise WarehouseError(f"the task {self.window_task_id!r} has no result with the run's window; clear it")
        return CheckContext(_request_of(xcom), ti.run_id, read_checks().incidents)


def _request_of(xcom: Mapping[str, Any]) -> Request:
    """The request that `ResolveWindow` has returned."""
    window = Window.of_days(date.fromisoformat(xcom["start_date"]), date.fromisoformat(xcom["end_date"]))
    return Request(window, frozenset(xcom["sources"]), xcom["full_refresh"], xcom["dry_run"])


def _summary(results: Sequence[CheckResult]) -> str:
    return "; ".join(f"{result.status} {result.subject}: {result.message}" for result in results)


def _xcom(state: str, reason: str) -> dict[str, Any]:
    return {CHECKED: result_xcom(state, reason, [])}
