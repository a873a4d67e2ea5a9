"""The two kinds of task of a build: the one that runs dbt, and those that stand for its nodes."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import StartTriggerArgs

from dbt_triggerer.build_watcher import NodeTrigger
from dbt_triggerer.errors import BuildError
from dbt_triggerer.invocation import run_dbt
from dbt_triggerer.node_results import PROGRESS, RESULT, NodeResult, Progress, batch_key, result_xcom

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol
    from cosmos import ProfileConfig

#: Unit tests compare models with fixtures: they judge the code, not the day's data, and belong to `make test`.
_NOT_IN_A_RUN = ("--exclude-resource-type", "unit_test")


class DbtBuild(BaseOperator):
    """
    Run one `dbt build` of the whole project, and tell the tasks of its nodes how each of them ended.

    Succeeds when dbt came to its end, whatever became of single nodes: each node's own task says that. A second try,
    after a broken one, builds everything again.

    :param project: the folder of the dbt project
    :param profile: how dbt reaches the warehouse
    :param told: the task of each node that has one; the failure of any other is this task's
    :param exclude: names of models that are left as they are with their tests, separated by blanks (templated)
    :raises BuildError: dbt could not begin, or broke off
    :raises AirflowFailException: a node failed that has no task, or whose task an earlier try has ended well
    """

    template_fields: Sequence[str] = ("exclude",)
    ui_color = "#ff694a"

    def __init__(
        self,
        *,
        project: Path,
        profile: ProfileConfig,
        told: Mapping[str, str],
        exclude: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.profile = profile
        self.told = dict(told)
        self.exclude = exclude

    def execute(self, context: Context) -> str:
        """Build; how many nodes ended how."""
        excluded = self.exclude.split()
        with _Teller(context["ti"]) as teller:
            ended = run_dbt(
                ["build", *_NOT_IN_A_RUN, *(["--exclude", *excluded] if excluded else [])],
                project=self.project,
                profile=self.profile,
                on_result=teller.add,
            )
        bad = [result for result in ended if result.is_bad]
        if orphans := [str(result) for result in bad if result.unique_id not in self.told]:
            raise AirflowFailException(
                f"failed, and without a task of their own in this DAG: {'; '.join(orphans)}. If they are new, the "
                "manifest that the DAG is made from is older than the project: `make up` renews it"
            )
        ti = context["ti"]
        if bad and ti.try_number > 1:
            states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
            if hidden := [str(result) for result in bad if states.get(self.told[result.unique_id]) == "success"]:
                raise AirflowFailException(
                    f"failed in this try, while their tasks hold the success of an earlier one: {'; '.join(hidden)}. "
                    "Clear the run from its task `claim` on"
                )
        counts: dict[str, int] = {}
        for result in ended:
            counts[result.status] = counts.get(result.status, 0) + 1
        return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


class DbtNode(BaseOperator):
    """
    A node of the dbt project as a task: it starts and ends in the triggerer, with the build's word on its node.

    Where the build has no word on this try, because the task was retried or cleared, it runs its node in a worker.

    :param command: dbt's command for the node alone: ``run``, ``seed``, ``snapshot`` or ``test``
    :param unique_ids: the nodes that the task stands for: a model, or the tests of one
    :param build_task_id: the task of `DbtBuild`
    :param project: the folder of the dbt project
    :param profile: how dbt reaches the warehouse
    :raises BuildError: the node failed, with dbt's message
    """

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
        # It waits from the start of the run on, also while others build; the build has a time limit of its own.
        kwargs["execution_timeout"] = timedelta(days=1)
        # dbt decides the order: the task is there to be told from the beginning. Of a node that dbt left out, the
        # trigger decides by the tasks before it, as Airflow would.
        kwargs["trigger_rule"] = "always"
        super().__init__(**kwargs)
        self.command = command
        self.unique_ids = list(unique_ids)
        self.build_task_id = build_task_id
        self.project = project
        self.profile = profile
        self.start_from_trigger = True

    @property
    def start_trigger_args(self) -> StartTriggerArgs:  # type: ignore[override]
        """What the triggerer needs; asked for when the DAG is whole, so that the parents are known."""
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
        """Sent to a worker by the trigger."""
        self.log.info("%s", event["reason"])
        self.execute(context)

    def execute(self, context: Context) -> None:
        """Run the node alone."""
        names = [unique_id.split(".")[2] for unique_id in self.unique_ids]
        # Its tests are tasks of their own.
        alone = ["--indirect-selection", "empty"] if self.command == "test" else []
        ended = run_dbt(
            [self.command, "--select", *names, *alone],
            project=self.project,
            profile=self.profile,
        )
        missing = set(self.unique_ids) - {result.unique_id for result in ended}
        for result in ended:
            if result.sql:
                self.log.error("compiled:\n%s", result.sql)
        bad = [str(result) for result in ended if result.is_bad]
        context["ti"].xcom_push(
            key=RESULT, value=result_xcom("failed" if bad else "success", "; ".join(bad) or "run on its own", ended)
        )
        if bad:
            raise BuildError("; ".join(bad))
        if missing:
            raise BuildError(f"dbt {self.command} left out {', '.join(sorted(missing))}; was it renamed or disabled?")


class _Teller:
    """Writes results to XCom as they come, a few times a second and not for each node."""

    def __init__(self, ti: RuntimeTaskInstanceProtocol) -> None:
        self._ti = ti
        self._progress = Progress(attempt=ti.try_number, started_at=datetime.now(UTC).isoformat())
        self._news: list[NodeResult] = []
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._tell_regularly, name="dbt results", daemon=True)
        self._error: Exception | None = None

    def __enter__(self) -> _Teller:
        self._tell()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        if self._error is not None:
            raise BuildError(f"results could not be told to the tasks of the nodes: {self._error}") from self._error
        if self._news:
            self._tell()

    def add(self, result: NodeResult) -> None:
        """Called by dbt's threads."""
        with self._lock:
            self._news.append(result)

    def _tell_regularly(self) -> None:
        while not self._is_over.wait(0.3):
            try:
                if self._news:
                    self._tell()
            except Exception as error:
                self._error = error
                return

    def _tell(self) -> None:
        with self._lock:
            batch, self._news = self._news, []
        number = self._progress.batches
        if batch:
            self._ti.xcom_push(key=batch_key(number), value=[asdict(result) for result in batch])
            number += 1
        # Last: whoever sees the number finds the batch.
        self._progress = Progress(self._progress.attempt, self._progress.started_at, number)
        self._ti.xcom_push(key=PROGRESS, value=self._progress.as_xcom())
