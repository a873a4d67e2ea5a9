"""The operators of a build: the one that runs dbt, and the one of each node."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import StartTriggerArgs

from dbt_triggerer.build_watcher import NodeTrigger
from dbt_triggerer.errors import BuildError
from dbt_triggerer.invocation import run_dbt
from dbt_triggerer.node_results import (
    COMPILED,
    PROGRESS,
    RESULT,
    NodeResult,
    Progress,
    batch_key,
    compiled_sql,
    result_xcom,
)

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol
    from cosmos import ProfileConfig

log = logging.getLogger(__name__)

#: Seconds without processor time after which a build says so, and the seconds of processor time that count as none.
_IDLE_SECONDS, _IDLE_PROCESSOR_SECONDS = 120.0, 0.5

#: Unit tests compare models with fixtures: they test the code, not the data of a run, and belong to the test suite.
_NOT_IN_A_RUN = ("--exclude-resource-type", "unit_test")


class DbtBuild(BaseOperator):
    """
    Run one `dbt build` of the whole project, and pass the results of its nodes on to their tasks.

    Succeeds when dbt has finished, also if nodes failed: their own tasks fail. A second try builds everything again.
    `results` has what dbt said of each node, for a `post_execute` of the task.

    :param project: the folder of the dbt project
    :param profile: how dbt reaches the warehouse
    :param task_ids: unique id of a node → its task. If a node without a task fails, this task fails
    :param exclude: names of models that are not built, nor tested, separated by blanks (templated)
    :raises BuildError: dbt could not start or did not finish
    :raises AirflowFailException: a node failed that has no task, or whose task has succeeded in an earlier try; or
        `exclude` has a word that is no name of a node
    """

    template_fields: Sequence[str] = ("exclude",)
    ui_color = "#ff694a"

    def __init__(
        self,
        *,
        project: Path,
        profile: ProfileConfig,
        task_ids: Mapping[str, str],
        exclude: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.profile = profile
        self.task_ids = dict(task_ids)
        self.exclude = exclude
        self.results: Sequence[NodeResult] = ()

    def execute(self, context: Context) -> str:
        """Build; the number of nodes by status."""
        excluded = self._excluded()
        with _ResultWriter(context["ti"]) as writer:
            ended = run_dbt(
                ["build", *_NOT_IN_A_RUN, *(["--exclude", *excluded] if excluded else [])],
                project=self.project,
                profile=self.profile,
                on_result=writer.add,
            )
        self.results = ended
        bad = [result for result in ended if result.is_bad]
        if orphans := [str(result) for result in bad if result.unique_id not in self.task_ids]:
            raise AirflowFailException(
                f"failed, and without a task of their own in this DAG: {'; '.join(orphans)}. If they are new, the "
                "manifest that the DAG is made from is older than the project: `dbt parse` renews it"
            )
        ti = context["ti"]
        if bad and ti.try_number > 1:
            states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
            if hidden := [str(result) for result in bad if states.get(self.task_ids[result.unique_id]) == "success"]:
                raise AirflowFailException(
                    f"failed in this try, while their tasks succeeded in an earlier one: {'; '.join(hidden)}. "
                    "Clear the run from the task before the build on"
                )
        counts: dict[str, int] = {}
        for result in ended:
            counts[result.status] = counts.get(result.status, 0) + 1
        return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))

    def _excluded(self) -> list[str]:
        """The names in `exclude`. They may come from an XCom, and dbt would take other words for options of its own."""
        excluded, known = self.exclude.split(), {unique_id.split(".")[2] for unique_id in self.task_ids}
        if unknown := [name for name in excluded if name not in known]:
            raise AirflowFailException(f"not excluded, since the project has no such node: {', '.join(unknown)}")
        return excluded


class DbtNode(BaseOperator):
    """
    A node of the dbt project as a task: it starts and ends in the triggerer, with its node's result of the build.

    Where the build has no result for this try, because the task was retried or cleared, it runs its node in a worker,
    and then has `results` as `DbtBuild` has.

    :param command: dbt's command for the node alone: ``run``, ``seed``, ``snapshot`` or ``test``
    :param unique_ids: the nodes that the task stands for: a model, or the tests of one
    :param build_task_id: the task of `DbtBuild`
    :param project: the folder of the dbt project
    :param profile: how dbt reaches the warehouse
    :raises BuildError: the node failed, with dbt's message
    """

    #: Not for templates: what *Rendered Templates* shows of a task that runs its node itself. For one that ends in the
    #: triggerer `end_node` stores the same.
    template_fields: Sequence[str] = (COMPILED,)
    template_fields_renderers: ClassVar[dict[str, str]] = {COMPILED: "sql"}

    def __init__(
        self,
        *,
        command: str,
        unique_ids: Sequence[str],
        build_task_id: str,
        project: Path,
        profile: ProfileConfig,
        **kwargs: Any,
    ) -> None:
        # It waits from the start of the run on, also while other runs build; the build has a time limit of its own.
        kwargs["execution_timeout"] = timedelta(days=1)
        # dbt decides the order, so the task waits from the beginning. If dbt skips the node, the trigger decides by the
        # upstream tasks, as Airflow would.
        kwargs["trigger_rule"] = "always"
        super().__init__(**kwargs)
        self.command = command
        self.unique_ids = list(unique_ids)
        self.build_task_id = build_task_id
        self.project = project
        self.profile = profile
        self.results: Sequence[NodeResult] = ()
        self.start_from_trigger = True
        self.compiled_sql = ""
        # Airflow's name: it stores the template fields again when the task has ended.
        self.overwrite_rtif_after_execution = True

    @property
    def start_trigger_args(self) -> StartTriggerArgs:  # type: ignore[override]
        """The trigger of the task; read when the DAG is complete, so that its upstream tasks are known."""
        trigger = NodeTrigger(
            build_task_id=self.build_task_id,
            unique_ids=self.unique_ids,
            parents=sorted(self.upstream_task_ids),
        )
        classpath, kwargs = trigger.serialize()
        return StartTriggerArgs(
            trigger_cls=classpath,
            trigger_kwargs={name: value for name, value in kwargs.items() if value is not None},
            next_method=self.execute_complete.__name__,
            next_kwargs={},
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Run the node in a worker, where the trigger has sent the task."""
        self.log.info("%s", event["reason"])
        self.execute(context)

    def execute(self, context: Context) -> None:
        """Run the node on its own."""
        names = [unique_id.split(".")[2] for unique_id in self.unique_ids]
        # Its tests are tasks of their own.
        alone = ["--indirect-selection", "empty"] if self.command == "test" else []
        ended = run_dbt(
            [self.command, "--select", *names, *alone],
            project=self.project,
            profile=self.profile,
        )
        self.results = ended
        missing = set(self.unique_ids) - {result.unique_id for result in ended}
        self.compiled_sql = compiled_sql(ended) or ""
        for result in ended:
            if result.is_bad and result.sql:
                self.log.error("compiled:\n%s", result.sql)
            self.log.info("%s", result)
        bad = [str(result) for result in ended if result.is_bad]
        context["ti"].xcom_push(
            key=RESULT, value=result_xcom("failed" if bad else "success", "; ".join(bad) or "run on its own", ended)
        )
        if bad:
            raise BuildError("; ".join(bad))
        if missing:
            raise BuildError(
                f"dbt {self.command} did not run {', '.join(sorted(missing))}; was it renamed or disabled?"
            )


class _IdleWarning:
    """
    Warns when a build gets no processor time for minutes.

    It may wait for a long statement, but also for a lock, or for a thread that a fork did not copy: then for ever.
    """

    def __init__(self) -> None:
        self._since, self._used = time.monotonic(), time.process_time()

    def look(self) -> None:
        """Compare the processor time of this process with that of the last look, if that is long enough ago."""
        now, used = time.monotonic(), time.process_time()
        if used - self._used > _IDLE_PROCESSOR_SECONDS:
            self._since, self._used = now, used
        elif now - self._since >= _IDLE_SECONDS:
            log.warning(
                "dbt has used no processor time for %.0f seconds. It waits for the warehouse (pg_stat_activity shows "
                "for which statement), or for something that never comes: then clear this task",
                now - self._since,
            )
            self._since, self._used = now, used


class _ResultWriter:
    """Writes results to XCom as they come, a few times a second and not for each node."""

    def __init__(self, ti: RuntimeTaskInstanceProtocol) -> None:
        self._ti = ti
        self._progress = Progress(attempt=ti.try_number, started_at=datetime.now(UTC).isoformat())
        self._pending: list[NodeResult] = []
        self._lock = threading.Lock()
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._write_regularly, name="dbt results", daemon=True)
        self._error: Exception | None = None
        self._idle_warning = _IdleWarning()

    def __enter__(self) -> _ResultWriter:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._thread.join()
        if self._error is not None:
            raise BuildError(f"the results of the nodes could not be written to XCom: {self._error}") from self._error
        if self._pending:
            self._write()

    def add(self, result: NodeResult) -> None:
        """Take a result; called by dbt's threads."""
        with self._lock:
            self._pending.append(result)

    def _write_regularly(self) -> None:
        while not self._has_ended.wait(0.3):
            self._idle_warning.look()
            try:
                if self._pending:
                    self._write()
            except Exception as error:
                self._error = error
                return

    def _write(self) -> None:
        with self._lock:
            batch, self._pending = self._pending, []
        number = self._progress.batches
        if batch:
            self._ti.xcom_push(key=batch_key(number), value=[asdict(result) for result in batch])
            number += 1
        # Last: a reader that sees the number must find the batch.
        self._progress = Progress(self._progress.attempt, self._progress.started_at, number)
        self._ti.xcom_push(key=PROGRESS, value=self._progress.as_xcom())
