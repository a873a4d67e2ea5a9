"""Triggers that wait for a build: those of the tasks of dbt's nodes, and of other tasks that end as the build does."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Hashable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.triggers.base import BaseEventTrigger, TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent
from asgiref.sync import sync_to_async

from dbt_triggerer import task_api
from dbt_triggerer.node_results import (
    COMPILED,
    PROGRESS,
    RESULT,
    Build,
    NodeResult,
    Progress,
    batch_key,
    compiled_sql,
    result_xcom,
)
from dbt_triggerer.task_outcome import TaskEnd, TaskOutcome, outcome_of_nodes

#: Seconds between two reads of a build that runs, and of one that does not.
POLL_SECONDS, IDLE_SECONDS = 0.3, 1.0
#: Seconds after which a build is passed on although nothing has changed, for triggers that started late.
REPEAT_SECONDS = 2.0

_ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")


class BuildWatcher(BaseEventTrigger):
    """
    Ends its task as a build ends. All triggers of a run that watch the same build share one poll of it.

    :param build_task_id: the task that runs `dbt build`
    :param parents: ids of the tasks directly upstream
    """

    def __init__(
        self,
        *,
        build_task_id: str | None,
        parents: Sequence[str],
        dag_id: str | None = None,
        run_id: str | None = None,
    ) -> None:
        super().__init__()
        self.build_task_id = build_task_id
        self.parents = list(parents)
        self.dag_id = dag_id
        self.run_id = run_id

    @abstractmethod
    def own_arguments(self) -> dict[str, Any]:
        """Arguments of the constructor besides those of this class."""

    @abstractmethod
    async def event_of(self, build: Build, *, try_number: int, since: datetime) -> TriggerEvent | None:
        """
        The event that ends the task, or sends it to a worker; None while it has to wait.

        :param since: when this try of the task was created
        """

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments; with its run, once it has one."""
        ti = self.task_instance
        arguments = {
            **self.own_arguments(),
            "build_task_id": self.build_task_id,
            "parents": self.parents,
            "dag_id": ti.dag_id if ti else self.dag_id,
            "run_id": ti.run_id if ti else self.run_id,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            name: value for name, value in arguments.items() if value is not None
        }

    def shared_stream_key(self) -> Hashable | None:
        """The key of the build that it watches."""
        _, kwargs = self.serialize()
        return ("dbt build", kwargs["dag_id"], kwargs["run_id"], self.build_task_id)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Build]:
        """Poll the build for all triggers that watch it; yield it when it has changed, and every few seconds."""
        watch = BuildWatch(kwargs["dag_id"], kwargs["run_id"], kwargs["build_task_id"])
        yielded_at = 0.0
        while True:
            has_changed = await watch.poll()
            if has_changed or time.monotonic() - yielded_at > REPEAT_SECONDS:
                yielded_at = time.monotonic()
                yield watch.build
            await asyncio.sleep(POLL_SECONDS if watch.build.task_state == "running" else IDLE_SECONDS)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Build]) -> AsyncIterator[TriggerEvent]:
        """Yield the one event that ends the task."""
        ti = self.task_instance
        if ti is None:
            raise RuntimeError("a trigger that watches a build needs the task instance that it is to end")
        since = created_at(UUID(str(ti.id)))
        async for build in shared_stream:
            if event := await self.event_of(build, try_number=ti.try_number, since=since):
                yield event
                return

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll the build for this trigger alone, where the triggerer has no shared streams."""
        _, kwargs = self.serialize()
        async for event in self.filter_shared_stream(self.open_shared_stream(kwargs)):
            yield event


class NodeTrigger(BuildWatcher):
    """
    Ends the task of a dbt node as its node ended.

    The event that ends the task contains the node's result as an XCom. Where the build has no result, because the task
    was retried or cleared, the task goes to a worker and runs its node there.

    :param unique_ids: the dbt nodes that the task stands for
    """

    def __init__(self, *, unique_ids: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.unique_ids = unique_ids

    def own_arguments(self) -> dict[str, Any]:
        """The unique ids of its nodes."""
        return {"unique_ids": self.unique_ids}

    async def event_of(self, build: Build, *, try_number: int, since: datetime) -> TriggerEvent | None:
        """The event of its nodes' outcome."""
        outcome = outcome_of_nodes(
            build, unique_ids=self.unique_ids, parents=self.parents, try_number=try_number, since=since
        )
        if outcome is None:
            return None
        self._log_outcome(outcome)
        return _event_of(outcome)

    def _log_outcome(self, outcome: TaskOutcome) -> None:
        for result in outcome.results:
            log = self.log.error if result.is_bad else self.log.info
            log("from %s to %s", result.started_at, result.finished_at)
            if result.is_bad and result.sql:
                log("compiled:\n%s", result.sql)
            # Last of these lines: what a reader of the log wants first.
            log("%s", result)
        if not outcome.results:
            self.log.info("%s: %s", outcome.state.value, outcome.reason)


class BuildWatch:
    """Reads the state and the results of one run's build through Airflow's task API."""

    def __init__(self, dag_id: str, run_id: str, build_task_id: str) -> None:
        self.build = Build()
        self._dag_id = dag_id
        self._run_id = run_id
        self._build_task_id = build_task_id
        self._batches = 0

    async def poll(self) -> bool:
        """
        Bring `build` up to date; whether anything has changed.

        While the API is unavailable `build` stays as it is, and the next poll tries again.
        """
        try:
            # The state first: when it says that the task has ended, its last results have been written.
            states = await self._states([self._build_task_id])
            task_state = states.get(self._build_task_id)
            has_changed = task_state != self.build.task_state
            if task_state not in (None, "skipped", "upstream_failed"):
                has_changed |= await self._read_results()
            if task_state in _ENDED:
                task_states = await self._states(None)
                has_changed |= task_states != self.build.task_states
                self.build.task_states = task_states
            self.build.task_state = task_state
        except AirflowRuntimeError:
            return False
        return has_changed

    async def _read_results(self) -> bool:
        value = await self._xcom(PROGRESS)
        if value is None:
            return False
        progress = Progress(**value)
        if progress == self.build.progress:
            return False
        if self.build.progress is None or progress.attempt != self.build.progress.attempt:
            self.build.results, self._batches = {}, 0
        while self._batches < progress.batches:
            batch = await self._xcom(batch_key(self._batches))
            if batch is None:
                # Another attempt has begun, and cleared the results of this one.
                return False
            self.build.results.update({entry["unique_id"]: NodeResult(**entry) for entry in batch})
            self._batches += 1
        self.build.progress = progress
        return True

    async def _states(self, task_ids: list[str] | None) -> dict[str, str | None]:
        return await sync_to_async(task_api.read_task_states)(self._dag_id, self._run_id, task_ids)

    async def _xcom(self, key: str) -> Any:
        return await sync_to_async(task_api.read_xcom)(self._dag_id, self._run_id, self._build_task_id, key)


def created_at(ti_id: UUID) -> datetime:
    """When a try of a task was created: Airflow gives each try a UUID of version 7, which contains its time."""
    if ti_id.version != 7:
        raise ValueError(f"{ti_id} is not a UUID of version 7, so the age of this try is unknown")
    return datetime.fromtimestamp((ti_id.int >> 80) / 1000, tz=UTC)


def _event_of(outcome: TaskOutcome) -> TriggerEvent:
    if outcome.state is TaskEnd.RUN_ALONE:
        return TriggerEvent({"reason": outcome.reason})
    xcoms: dict[str, Any] = {RESULT: result_xcom(outcome.state.value, outcome.reason, outcome.results)}
    if sql := compiled_sql(outcome.results):
        xcoms[COMPILED] = sql
    if outcome.state is TaskEnd.SUCCESS:
        return TaskSuccessEvent(xcoms=xcoms)
    if outcome.state is TaskEnd.SKIPPED:
        return TaskSkippedEvent(xcoms=xcoms)
    return TaskFailedEvent(xcoms=xcoms)
