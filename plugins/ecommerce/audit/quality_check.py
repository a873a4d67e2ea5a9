"""The task of a check."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Param
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput
from airflow.sdk.execution_time.hitl import upsert_hitl_detail
from airflow.triggers.base import StartTriggerArgs

from ecommerce.audit import decisions
from ecommerce.audit.check import Approvable, CheckContext
from ecommerce.audit.check_results import CheckResult, failures_of, record_results
from ecommerce.audit.checks_file import check_of, read_checks
from ecommerce.audit.quality_trigger import QualityTrigger, judge
from ecommerce.build import lease
from ecommerce.common.connections import PUBLISHER, account_of, warehouse
from ecommerce.common.errors import CheckError
from ecommerce.common.run_notes import add_note
from ecommerce.common.windows import request_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from psycopg import Connection


#: The field of the question's form that asks why.
_REASON = "reason"


class QualityCheck(BaseOperator):
    """
    A check of `include/quality/checks.yml`: judges what a run is about to publish, and writes `ops.check_result`.

    It starts in the triggerer, waits and judges there, and takes no worker unless it fails. Where nothing starts in a
    triggerer (`dag.test()`) it judges in its worker, and defers only if it has to wait.

    One that a person may let pass asks before it fails, by Airflow's human in the loop, and waits without a worker or a
    trigger. The run keeps what it has built until the next one builds.

    :param check: its name in the file
    :param window_task_id: the task that says what the run is about, by `ResolveWindow`
    :param build_task_id: the task of `DbtBuild` whose end its trigger waits for, where that runs
    :param preview: what publishing a run's build would change, as JSON and as Markdown; a person is asked with it
    :param on_question: called with the warehouse and the context when a person is asked
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
        preview: Callable[[Connection, str], tuple[list[dict[str, Any]], str]] | None = None,
        on_question: Callable[[Connection, Context], None] | None = None,
        build_task_id: str | None = None,
        warehouse_conn_id: str = PUBLISHER,
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
        self.preview = preview
        self.on_question = on_question
        self.warehouse_conn_id = warehouse_conn_id
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
        asked = CheckContext(request_of(context), context["dag_run"].run_id, read_checks().incidents)
        judgements = asyncio.run(self._judge(asked))
        if judgements is None:
            self.defer(trigger=self._trigger, method_name=self.execute_complete.__name__)
        self._fail_by(failures_of(judgements))

    async def _judge(self, asked: CheckContext) -> list[CheckResult] | None:
        return await judge(self.check, await account_of(self.warehouse_conn_id), asked, wait=False, log=self.log)

    def execute_complete(self, context: Context, event: Any) -> None:
        """Sent to a worker by the trigger, so that the failure has its callbacks; or by a person's answer."""
        if not isinstance(event, dict):
            # `dag.test()` sends the event on that would have ended the task.
            return
        if "chosen_options" in event or "error_type" in event:
            self._decided(context, event)
            return
        if error := event.get("error"):
            raise CheckError(error)
        failures = event.get("failures", "")
        check = check_of(self.check)
        if failures and isinstance(check, Approvable):
            self._ask(context, check, event)
        self._fail_by(failures)

    def _ask(self, context: Context, check: Approvable, event: dict[str, Any]) -> None:
        """Let the task wait for a person, if the run has something to publish; it takes nothing meanwhile."""
        run_id, failures = context["dag_run"].run_id, event["failures"]
        with warehouse(self.warehouse_conn_id) as connection:
            held_by = lease.holder(connection)
            if held_by is None or held_by[1] != run_id:
                return
            difference, difference_in_words = self.preview(connection, run_id) if self.preview else ([], "")
            decisions.ask(
                connection,
                run_id,
                self.check,
                subjects=event["subjects"],
                message=failures,
                days=[date.fromisoformat(day) for day in event["days"]],
                difference=difference,
            )
            if self.on_question:
                self.on_question(connection, context)
        self.log.warning("%s; asking whether it may be published all the same", failures)
        upsert_hitl_detail(
            ti_id=context["ti"].id,
            options=[decisions.APPROVE, decisions.REJECT],
            subject=f"{self.check}: publish all the same?",
            body=f"{failures}\n\n**What would change in `marts`**\n\n{difference_in_words}",
            params={_REASON: Param("", type="string", title="Why", description="Kept with the decision.").serialize()},
        )
        raise TaskAwaitingInput(
            method_name=self.execute_complete.__name__, timeout=timedelta(hours=check.decide_within_hours)
        )

    def _decided(self, context: Context, event: dict[str, Any]) -> None:
        run_id = context["dag_run"].run_id
        who = (event.get("responded_by_user") or {}).get("name")
        reason = str((event.get("params_input") or {}).get(_REASON) or "").strip()
        said = f"{who or 'nobody'}: {reason or 'no reason given'}"
        with warehouse(self.warehouse_conn_id) as connection:
            if "error_type" in event:
                decisions.close(connection, run_id, self.check, "unanswered")
                raise AirflowFailException(f"check {self.check}: {event['error']} Nothing is published")
            if event["chosen_options"] != [decisions.APPROVE]:
                decisions.close(connection, run_id, self.check, "rejected", by=who, reason=reason)
                raise AirflowFailException(f"check {self.check}: rejected by {said}; nothing is published")
            held_by = lease.holder(connection)
            if held_by is None or held_by[1] != run_id:
                decisions.close(connection, run_id, self.check, "overtaken", by=who, reason=reason)
                raise AirflowFailException(
                    f"check {self.check}: another run has built since; what is to be published is decided there"
                )
            subjects = decisions.close(connection, run_id, self.check, "approved", by=who, reason=reason)
            approved = [CheckResult(subject, "warn", None, None, f"approved by {said}") for subject in subjects]
            record_results(connection, self.check, run_id, approved, request_of(context).window)
        self.log.warning("approved by %s", said)
        add_note(context, f"approved by {said}")

    def _fail_by(self, failures: str) -> None:
        if failures:
            raise AirflowFailException(f"check {self.check} failed, nothing is published; {failures}")
