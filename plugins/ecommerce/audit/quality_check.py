"""The task of a check: starts in the triggerer, fails in a worker, and asks a person where one may decide."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Param
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput
from airflow.sdk.execution_time.hitl import upsert_hitl_detail
from airflow.triggers.base import StartTriggerArgs

from ecommerce.audit.check import Approvable, CheckContext
from ecommerce.audit.check_results import FAILURE_LENGTH, BlockingFailure, CheckResult, record_results
from ecommerce.audit.checks_file import check_of, read_checks
from ecommerce.audit.decisions import (
    APPROVE,
    REASON_FIELD,
    REJECT,
    Answer,
    is_as_shown,
    record_decision,
    record_question,
)
from ecommerce.audit.evaluation import evaluate_check
from ecommerce.audit.quality_trigger import QualityTrigger
from ecommerce.build import lease
from ecommerce.common.connections import PUBLISHER, fetch_airflow_connection, warehouse
from ecommerce.common.errors import CheckError
from ecommerce.common.open_questions import answer_in_words
from ecommerce.common.run_notes import add_note
from ecommerce.common.shown_text import markdown_text
from ecommerce.common.windows import request_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from psycopg import Connection


class QualityCheck(BaseOperator):
    """
    Evaluate a check of `include/quality/checks.yml` before a run publishes, and record it in `ops.check_result`.

    The task starts in the triggerer, waits and is evaluated there, and takes a worker only to fail. Where no task can
    start in a triggerer (`dag.test()`), a worker evaluates it, and defers only if it has to wait.

    A check that a person may approve asks before it fails, by Airflow's human in the loop, and takes neither a worker
    nor a trigger while it waits. What the run has built stays until the next run builds.

    :param check_name: the check's name in the file
    :param window_task_id: the `ResolveWindow` task, which returns the window and the sources of the run
    :param build_task_id: the task of `DbtBuild` whose end the trigger waits for, where there is one
    :param preview: what publishing a run's build would change, as JSON and as Markdown, shown to the person who decides
    :param on_question: called with the warehouse and the context when a person is asked
    :param warehouse_conn_id: the Postgres that is checked, and that holds `ops`
    :raises AirflowFailException: at least one subject failed; the message says which and why
    :raises CheckError: the check could not be evaluated
    """

    ui_color = "#b7d3a8"

    def __init__(
        self,
        *,
        check_name: str,
        window_task_id: str,
        preview: Callable[[Connection, str], tuple[list[dict[str, Any]], str]] | None = None,
        on_question: Callable[[Connection, Context], None] | None = None,
        build_task_id: str | None = None,
        warehouse_conn_id: str = PUBLISHER,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("doc", check_of(check_name).description)
        if build_task_id:
            # Like a node of the build: it starts with the run, and its trigger decides by the tasks before it.
            kwargs |= {"trigger_rule": "always", "execution_timeout": timedelta(days=1)}
        else:
            kwargs.setdefault("trigger_rule", "none_failed")
        super().__init__(**kwargs)
        self.check_name = check_name
        self.window_task_id = window_task_id
        self.build_task_id = build_task_id
        self.preview = preview
        self.on_question = on_question
        self.warehouse_conn_id = warehouse_conn_id
        self.start_from_trigger = True

    @property
    def start_trigger_args(self) -> StartTriggerArgs:  # type: ignore[override]
        """The trigger that the task starts in."""
        classpath, kwargs = self._trigger.serialize()
        return StartTriggerArgs(
            trigger_cls=classpath, trigger_kwargs=kwargs, next_method=self.execute_complete.__name__, next_kwargs={}
        )

    @property
    def _trigger(self) -> QualityTrigger:
        return QualityTrigger(
            check_name=self.check_name,
            warehouse_conn_id=self.warehouse_conn_id,
            window_task_id=self.window_task_id,
            build_task_id=self.build_task_id,
            parents=sorted(self.upstream_task_ids) if self.build_task_id else (),
        )

    def execute(self, context: Context) -> None:
        """Evaluate in this process; wait, if need be, in the triggerer."""
        check_context = CheckContext(request_of(context), context["dag_run"].run_id, read_checks().incidents)
        results = asyncio.run(self._evaluate(check_context))
        if results is None:
            self.defer(trigger=self._trigger, method_name=self.execute_complete.__name__)
        self._raise(BlockingFailure.of(results))

    async def _evaluate(self, context: CheckContext) -> list[CheckResult] | None:
        account = await fetch_airflow_connection(self.warehouse_conn_id)
        return await evaluate_check(self.check_name, account, context, wait=False, log=self.log)

    def execute_complete(self, context: Context, event: Any) -> None:
        """Fail with what the trigger has found, so that callbacks see it, or ask; then act on the person's answer."""
        if not isinstance(event, dict):
            # `dag.test()` passes on the event that would have ended the task.
            return
        if answer := Answer.from_event(event):
            self._decide(context, answer)
            return
        if error := event.get("error"):
            raise CheckError(error)
        failure, check = BlockingFailure.from_payload(event), check_of(self.check_name)
        if failure and isinstance(check, Approvable):
            self._ask(context, check, failure)
        self._raise(failure)

    def _raise(self, failure: BlockingFailure | None) -> None:
        if failure:
            raise AirflowFailException(f"check {self.check_name} failed, nothing is published; {failure.message}")

    def _ask(self, context: Context, check: Approvable, failure: BlockingFailure) -> None:
        """Let the task wait for a person, if the run has a build to publish."""
        run_id = context["dag_run"].run_id
        with warehouse(self.warehouse_conn_id) as connection:
            if not _holds_lease(connection, run_id):
                return
            difference, as_markdown = self._preview(connection, run_id)
            time_to_decide = timedelta(hours=check.decide_within_hours)
            until = datetime.now(UTC) + time_to_decide
            record_question(connection, run_id, self.check_name, failure, difference, until=until)
            if self.on_question:
                self.on_question(connection, context)
        self.log.warning("%s; waiting for a person to decide", failure.message)
        upsert_hitl_detail(
            ti_id=context["ti"].id,
            options=[APPROVE, REJECT],
            subject=f"{self.check_name}: publish anyway?",
            body=question_in_words(failure.message, until, as_markdown),
            params={REASON_FIELD: reason_field(is_required=check.reason_required).serialize()},
        )
        raise TaskAwaitingInput(method_name=self.execute_complete.__name__, timeout=time_to_decide)

    def _preview(self, connection: Connection, run_id: str) -> tuple[list[dict[str, Any]], str]:
        return self.preview(connection, run_id) if self.preview else ([], "")

    def _ask_again(self, context: Context, why: str) -> None:
        """Evaluate the check now; ask if it still fails."""
        self.log.warning("%s", why)
        check_context = CheckContext(request_of(context), context["dag_run"].run_id, read_checks().incidents)
        results = asyncio.run(self._evaluate(check_context))
        failure, check = BlockingFailure.of(results or []), check_of(self.check_name)
        if failure and isinstance(check, Approvable):
            self._ask(context, check, failure)
        self._raise(failure)

    def _decide(self, context: Context, answer: Answer) -> None:
        """
        Record the decision; only an approval of the build that would be published lets the task succeed.

        If something else would be published than the person has seen, or a reason is required and none is given, the
        task asks again. (Airflow's form wants the reason; its API does not.)
        """
        run_id, check = context["dag_run"].run_id, self.check_name
        with warehouse(self.warehouse_conn_id) as connection:
            if answer.error is not None:
                record_decision(connection, run_id, check, "unanswered", answer)
                raise AirflowFailException(f"check {check}: {answer.error} Nothing is published")
            if not answer.is_approved:
                record_decision(connection, run_id, check, "rejected", answer)
                raise AirflowFailException(f"check {check}: rejected by {answer}; nothing is published")
            if not _holds_lease(connection, run_id):
                record_decision(connection, run_id, check, "overtaken", answer)
                raise AirflowFailException(
                    f"check {check}: another run has built in the meantime; that run decides what is published"
                )
            problem = None
            if not is_as_shown(connection, run_id, check, self._preview(connection, run_id)[0]):
                problem = "what would be published has changed since it was shown: the answer is of no use any more"
                record_decision(connection, run_id, check, "overtaken", answer)
            elif not answer.reason and self._requires_reason():
                problem = f"{answer.by} has approved without a reason, and this check requires one"
            else:
                self._record_approval(connection, context, answer)
        if problem:
            self._ask_again(context, problem)
            return
        self.log.warning("approved by %s", answer)
        add_note(context, f"approved by {answer}")

    def _requires_reason(self) -> bool:
        check = check_of(self.check_name)
        return isinstance(check, Approvable) and check.reason_required

    def _record_approval(self, connection: Connection, context: Context, answer: Answer) -> None:
        run_id = context["dag_run"].run_id
        # One transaction, and so one time: the publication finds by it which results are of an approval.
        with connection.transaction():
            subjects = record_decision(connection, run_id, self.check_name, "approved", answer)
            approved = [CheckResult(subject, "warn", None, None, f"approved by {answer}") for subject in subjects]
            record_results(connection, self.check_name, run_id, approved, request_of(context).window)


def question_in_words(found: str, until: datetime, difference: str) -> str:
    """
    The text of a question in Markdown: what was found, until when it waits, and what a publication would change.

    :param found: shown as it is, whatever the shop's values in it look like
    :param difference: a table in Markdown, if the run has something to publish
    """
    found = markdown_text(found, FAILURE_LENGTH)
    return f"{found}\n\n{answer_in_words(until)}\n\n**What would change in `marts`**\n\n{difference}"


def reason_field(*, is_required: bool) -> Param:
    """The field of a question's form that asks why; Airflow's form wants a value unless the field may be null."""
    if is_required:
        return Param("", type="string", minLength=1, title="Why", description="Kept with the decision.")
    return Param(None, type=["null", "string"], title="Why (optional)", description="Kept with the decision.")


def _holds_lease(connection: Connection, run_id: str) -> bool:
    """Whether the run may publish: no other run has built since."""
    holder = lease.holder(connection)
    return holder is not None and holder[1] == run_id
