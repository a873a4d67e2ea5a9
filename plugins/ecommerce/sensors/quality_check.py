"""The task of a check."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import StartTriggerArgs

from ecommerce.errors import CheckError
from ecommerce.quality.base import failures_of
from ecommerce.quality.check import Asked
from ecommerce.quality.settings import check_of, read_checks
from ecommerce.triggers.quality import QualityTrigger, judge
from ecommerce.warehouse import WAREHOUSE
from ecommerce.windows import request_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class QualityCheck(BaseOperator):
    """
    A check of `include/quality/checks.yml`: judges what a run is about to publish, and writes `ops.check_result`.

    It starts in the triggerer, waits and judges there, and takes no worker unless it fails. Where nothing starts in a
    triggerer (`dag.test()`) it judges in its worker, and defers only if it has to wait.

    :param check: its name in the file
    :param window_task_id: the task that says what the run is about, by `ResolveWindow`
    :param build_task_id: the task of `DbtBuild` whose end its trigger waits for, where that runs
    :param warehouse_conn_id: the Postgres to judge, and to write `ops.check_result` into
    :raises AirflowFailException: at least one subject was judged `fail`; the message says which and why
    :raises CheckError: it could not be judged
    """

    ui_color = "#b7d3a8"

    def __init__(
        self,
        *,
        check: str,
        window_task_id: str,
        build_task_id: str | None = None,
        warehouse_conn_id: str = WAREHOUSE,
        **kwargs: Any,
    ) -> None:
        settings = check_of(check)
        kwargs.setdefault("doc", settings.description)
        if build_task_id:
            # As a node of the build: it is there from the beginning, and its trigger decides by what is before it.
            kwargs |= {"trigger_rule": "always", "execution_timeout": timedelta(days=1)}
        else:
            kwargs.setdefault("trigger_rule", "none_failed")
        super().__init__(**kwargs)
        self.check = check
        self.window_task_id = window_task_id
        self.build_task_id = build_task_id
        self.warehouse_conn_id = warehouse_conn_id
        #: Whether it looks at what a build made.
        self.judges_the_build = settings.judges_the_build
        self.start_from_trigger = True

    @property
    def _trigger(self) -> QualityTrigger:
        return QualityTrigger(
            check=self.check,
            warehouse_conn_id=self.warehouse_conn_id,
            window_task_id=self.window_task_id,
            build_task_id=self.build_task_id,
            parents=sorted(self.upstream_task_ids) if self.build_task_id else (),
        )

    @property
    def start_trigger_args(self) -> StartTriggerArgs:  # type: ignore[override]
        """What the triggerer needs."""
        classpath, kwargs = self._trigger.serialize()
        return StartTriggerArgs(
            trigger_cls=classpath, trigger_kwargs=kwargs, next_method=self.execute_complete.__name__, next_kwargs={}
        )

    def execute(self, context: Context) -> None:
        """Judge in this process; wait, if need be, in the triggerer."""
        asked = Asked(request_of(context), context["dag_run"].run_id, read_checks().incidents)
        judgements = asyncio.run(judge(self.check, self.warehouse_conn_id, asked, wait=False, log=self.log))
        if judgements is None:
            self.defer(trigger=self._trigger, method_name=self.execute_complete.__name__)
        self._fail_by(failures_of(judgements))

    def execute_complete(self, context: Context, event: Any) -> None:
        """Sent to a worker by the trigger, so that the failure has its callbacks."""
        if not isinstance(event, dict):
            # `dag.test()` sends the event on that would have ended the task.
            return
        if error := event.get("error"):
            raise CheckError(error)
        self._fail_by(event.get("failures", ""))

    def _fail_by(self, failures: str) -> None:
        if failures:
            raise AirflowFailException(f"check {self.check} failed, nothing is published; {failures}")
