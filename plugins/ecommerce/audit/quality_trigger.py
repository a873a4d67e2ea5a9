"""A quality check, as it lives in the triggerer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Hashable, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import psycopg
from airflow.sdk import Connection as Account
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import TaskFailedEvent, TaskSuccessEvent, TriggerEvent
from asgiref.sync import sync_to_async

from dbt_triggerer import Build, BuildWatcher, TaskEnd, outcome_of_audit
from ecommerce.audit.check import CheckContext, account_of, async_postgres, rows_of
from ecommerce.audit.check_results import CheckResult, failures_of, results_statement
from ecommerce.audit.checks_file import check_of, read_checks
from ecommerce.audit.decisions import APPROVED_DAYS, WITHDRAW
from ecommerce.build.lease import EXCLUSIONS_QUERY, NO_EXCLUSIONS, Exclusions
from ecommerce.common.errors import WarehouseError
from ecommerce.common.windows import Request, Window

#: XCom of a check's task that ended well: what it said.
CHECKED = "checked"

#: Checks that look at once: Postgres has other work, too.
_LOOKS = asyncio.Semaphore(4)


async def judge(
    check_name: str, account: Account, asked: CheckContext, *, wait: bool, log: Any
) -> list[CheckResult] | None:
    """
    Judge a check, and write down what it says; None, and nothing is written, where it ought to wait and may not.

    What the run's build left out is not judged, and a failure of a source that could not be loaded holds back nothing:
    all that depends on it is left out already.

    While a subject fails and something is under way that may mend it, it is looked at again, as long as the check's
    `wait_minutes` allow.

    :param account: the warehouse's connection, by `account_of`
    """
    check = check_of(check_name)
    until = time.monotonic() + check.wait_minutes * 60
    while True:
        # A connection a look: one that waits holds none.
        async with _LOOKS, async_postgres(account, timeout_seconds=check.timeout_seconds) as connection:
            found = await rows_of(connection, EXCLUSIONS_QUERY, run_id=asked.run_id)
            left_out = Exclusions(*map(frozenset, found[0])) if found else NO_EXCLUSIONS
            if check.may_be_approved:
                approved = await rows_of(connection, APPROVED_DAYS, check_name=check_name)
                incidents = {day: f"approved by {who}" for day, who in approved}
                asked = replace(asked, incidents={**incidents, **asked.incidents})
                await connection.execute(WITHDRAW, {"run_id": asked.run_id, "check_name": check_name})
            judgements = [
                replace(one, blocks=not left_out.covers(one.subject))
                for one in await check.look(connection, replace(asked, left_out=left_out))
            ]
            hopeful = [one for one in judgements if one.status == "fail" and one.may_improve]
            if not hopeful or time.monotonic() + check.every_seconds > until:
                await connection.execute(*results_statement(check_name, asked.run_id, judgements, asked.window))
                break
        if not wait:
            return None
        log.info("%s; looking again in %s s", failures_of(hopeful), check.every_seconds)
        await asyncio.sleep(check.every_seconds)
    for one in judgements:
        say = log.info if one.status == "pass" else log.warning if one.status == "warn" else log.error
        say("%s %s: %s", one.status, one.subject, one.message)
    return judgements


class QualityTrigger(BuildWatcher):
    """
    Judges a check of `checks.yml` and ends its task; one that fails is sent to a worker, which fails with the reasons.

    A check that follows the build can wait for it here, as the tasks of dbt's nodes do and in the same look: it begins
    when dbt ends, not when Airflow has heard of it. Without a build to watch it judges at once. One that looks at what
    came, and follows the build only to show a person what would be published, judges beside it, and waits for its end
    where it has to ask.

    :param check: its name in the file
    :param window_task_id: the task of the run whose XCom says what the run is about
    """

    def __init__(
        self,
        *,
        check: str,
        warehouse_conn_id: str,
        window_task_id: str,
        build_task_id: str | None = None,
        parents: Sequence[str] = (),
        **run: Any,
    ) -> None:
        super().__init__(build_task_id=build_task_id, parents=parents, **run)
        self.check = check
        self.warehouse_conn_id = warehouse_conn_id
        self.window_task_id = window_task_id
        self._known: tuple[Account, CheckContext] | None = None
        self._failure: TriggerEvent | None = None

    def own_arguments(self) -> dict[str, Any]:
        """The check, and where it finds what it judges."""
        return {
            "check": self.check,
            "warehouse_conn_id": self.warehouse_conn_id,
            "window_task_id": self.window_task_id,
        }

    def shared_stream_key(self) -> Hashable | None:
        """The build that it waits for, if it waits for one."""
        return super().shared_stream_key() if self.build_task_id else None

    async def event_of(self, build: Build, *, try_number: int, since: datetime) -> TriggerEvent | None:
        """What it judges, once all is built."""
        if build.task_state == "running" and self._known is None:
            # What goes wrong here may be well by then, and is said then if it is not.
            with contextlib.suppress(WarehouseError, AirflowRuntimeError):
                await self._prepare()
                if not check_of(self.check).judges_the_build:
                    said = await self._event()
                    if isinstance(said, TaskSuccessEvent):
                        return said
                    self._failure = said if "failures" in said.payload else None
        outcome = outcome_of_audit(build, parents=self.parents, since=since)
        if outcome is None:
            return None
        self.log.info("%s", outcome.reason)
        if outcome.state is TaskEnd.SUCCESS:
            return self._failure or await self._event()
        return TaskFailedEvent(xcoms={CHECKED: {"state": outcome.state.value, "reason": outcome.reason, "nodes": []}})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Alone: at once, or where a triggerer shares nothing."""
        if self.build_task_id is None:
            yield await self._event()
            return
        async for event in super().run():
            yield event

    async def _event(self) -> TriggerEvent:
        try:
            account, asked = await self._prepare()
            judgements = await judge(self.check, account, asked, wait=True, log=self.log)
        except (WarehouseError, AirflowRuntimeError, psycopg.Error) as error:
            self.log.exception("no judgement")
            return TriggerEvent({"error": f"{self.check} could not be judged: {str(error).strip()}"})
        if failures := failures_of(judgements or []):
            failed = [one for one in judgements or [] if one.status == "fail" and one.blocks]
            days = sorted({str(day) for one in failed for day in one.days})
            return TriggerEvent({"failures": failures, "subjects": [one.subject for one in failed], "days": days})
        reason = "; ".join(f"{one.status} {one.subject}: {one.message}" for one in judgements or [])
        return TaskSuccessEvent(xcoms={CHECKED: {"state": "success", "reason": reason, "nodes": []}})

    async def _prepare(self) -> tuple[Account, CheckContext]:
        """Ask Airflow for what it judges by, once: where there is a build to wait for, meanwhile."""
        if self._known is None:
            self._known = await account_of(self.warehouse_conn_id), await self._asked()
        return self._known

    async def _asked(self) -> CheckContext:
        ti = self.task_instance
        if ti is None:
            raise RuntimeError("the trigger of a check needs the task instance that it is to end")
        said = await sync_to_async(XCom.get_one)(
            key="return_value", dag_id=ti.dag_id, task_id=self.window_task_id, run_id=ti.run_id
        )
        if said is None:
            raise WarehouseError(f"the task {self.window_task_id!r} has not said what this run is about; clear it")
        window = Window.of_days(date.fromisoformat(said["start_date"]), date.fromisoformat(said["end_date"]))
        request = Request(window, frozenset(said["sources"]), said["full_refresh"], said["dry_run"])
        return CheckContext(request, ti.run_id, read_checks().incidents)
