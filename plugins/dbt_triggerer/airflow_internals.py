"""
Patches of Airflow's triggerer and workers, that make the tasks of dbt's nodes cheaper and their states exact.

Nothing rests on them: a run without them has the same results. Each stays off by itself when a function of Airflow that
it is written for has changed (`patch_gate.py`), and can be removed by deleting its function here and its row in
README.md, which says what each one is for. What applies to the installed Airflow is printed by
``python -m dbt_triggerer.airflow_internals``; with ``--digests`` in the form in which it stands here.
"""

from __future__ import annotations

import inspect
import select
import selectors
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dbt_triggerer.build_watcher import BuildWatcher
from dbt_triggerer.node_results import COMPILED, RESULT, is_result_xcom, note_of
from dbt_triggerer.patch_gate import PatchSet, find, parameters_of, replace, source_digest

if TYPE_CHECKING:
    from airflow.jobs.triggerer_job_runner import TriggerRunner, TriggerRunnerSupervisor
    from airflow.models.taskinstance import TaskInstance
    from airflow.triggers.base import BaseTaskEndEvent, BaseTrigger
    from sqlalchemy.orm import Session

_RUNNER = "airflow.jobs.triggerer_job_runner:TriggerRunner"
_SUPERVISOR = "airflow.jobs.triggerer_job_runner:TriggerRunnerSupervisor"
_TASK_INSTANCE = "airflow.models.taskinstance:TaskInstance"
_WORKER = "airflow.sdk.execution_time.supervisor"

#: Between two rounds of the triggerer.
_ROUND_SECONDS = 0.25
#: Between two checks of a process that has closed its sockets.
_EXIT_SECONDS = 0.05

#: Characters of a task's note, Airflow's own limit.
_LONGEST_NOTE = 1000

#: All patches, by their names.
PATCHES = PatchSet()
#: Class paths of triggers that need nothing of their DAG.
triggers_without_dag = {"dbt_triggerer.build_watcher.NodeTrigger"}


def patch_triggerer(*more_triggers: str) -> list[str]:
    """
    To be called in the triggerer as it starts; the names of the patches that were applied.

    :param more_triggers: class paths of further triggers that need nothing of their DAG
    """
    triggers_without_dag.update(more_triggers)
    return PATCHES.apply("triggerer")


def patch_workers() -> list[str]:
    """To be called where workers are started, before they are; the names of the patches that were applied."""
    return PATCHES.apply("worker")


@PATCHES.register(
    "triggerer",
    sources={
        # The handler of BaseTaskEndEvent, which has no name of its own.
        "airflow.models.trigger:_": "db2f9bf531230d29",
    },
    signatures={
        "airflow.models.trigger:handle_event_submit": "event task_instance session",
        f"{_TASK_INSTANCE}.set_state": "self state session",
        f"{_TASK_INSTANCE}.set_duration": "self",
        f"{_TASK_INSTANCE}.xcom_push": "self key value session",
        f"{_TASK_INSTANCE}.update_rtif": "self rendered_fields session",
        "airflow.models.taskinstance:_creator_note": "val",
    },
)
def end_node_as_dbt_did() -> None:
    """
    End a node's task with its node's times, and in `upstream_failed` if it was not built; no trigger event can do so.

    Its note says the node's seconds and rows, and *Rendered Templates* its SQL.

    `handle_event_submit` dispatches on the class of the event; these are more specific than Airflow's own handler.
    """
    from airflow.models.trigger import handle_event_submit
    from airflow.triggers.base import BaseTaskEndEvent, TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent

    default = handle_event_submit.dispatch(BaseTaskEndEvent)

    def handle(event: BaseTaskEndEvent, *, task_instance: TaskInstance, session: Session) -> None:
        key = next((key for key, value in (event.xcoms or {}).items() if is_result_xcom(value)), None)
        if key is None:
            default(event, task_instance=task_instance, session=session)
        else:
            result = (event.xcoms or {})[key]
            end_node(event, result, default, task_instance=task_instance, session=session, key=key)

    for event_class in (TaskSuccessEvent, TaskFailedEvent, TaskSkippedEvent):
        handle_event_submit.register(event_class, handle)


def end_node(
    event: BaseTaskEndEvent,
    result: Any,
    default: Any,
    *,
    task_instance: TaskInstance,
    session: Session,
    key: str = RESULT,
) -> None:
    """
    End the task of a node or a check; a failure goes Airflow's own way, which handles retries and callbacks.

    :param key: the XCom in which `result` came, and is stored
    """
    xcoms = dict(event.xcoms or {})
    if sql := xcoms.pop(COMPILED, None):
        event.xcoms = xcoms
        task_instance.update_rtif({COMPILED: sql}, session=session)
    written = task_instance.task_instance_note
    # What a person has written stays.
    if written is None or written.user_id is None:
        task_instance.note = note_of(result)[:_LONGEST_NOTE]
    if result["state"] == "failed":
        default(event, task_instance=task_instance, session=session)
    else:
        # Airflow's own way would ask the DAG processor for a success callback for each node.
        task_instance.trigger_id = None
        # It may be that of an earlier try, and Airflow does not overwrite it.
        task_instance.end_date = None
        task_instance.set_state(result["state"], session=session)
        task_instance.xcom_push(key=key, value=result, session=session)
    # The run may have been started by an older version of this code: its times must not make the triggerer fail.
    times = [_moment(node.get(name)) for node in result["nodes"] for name in ("started_at", "finished_at")]
    if known := [time for time in times if time is not None]:
        task_instance.start_date, task_instance.end_date = min(known), max(known)
        task_instance.set_duration()
    session.flush()


def _moment(text: str | None) -> datetime | None:
    """An instant; None without a text, or without a time zone, which Airflow needs."""
    moment = datetime.fromisoformat(text) if text else None
    return moment if moment is not None and moment.tzinfo is not None else None


@PATCHES.register("triggerer", sources={f"{_SUPERVISOR}._create_workload": "f76b5eea826c02d9"})
def start_node_without_dag() -> None:
    """
    Start a node's trigger without its DAG.

    For a task that starts in the triggerer, Airflow sends its whole DAG along and parses it again, for each task. That
    is for templates in a trigger's arguments. A node's trigger has none. The DAG of the shop is 380 kB: sent for
    some dozens of triggers at once it fills the pipe to the runner, and both sides wait for each other for ever.
    """
    from airflow.jobs.triggerer_job_runner import TriggerRunnerSupervisor

    def without_dag(create_workload: Callable[..., Any]) -> Callable[..., Any]:
        parameters = inspect.signature(create_workload)

        def create(self: TriggerRunnerSupervisor, *args: Any, **kwargs: Any) -> Any:
            call = parameters.bind(self, *args, **kwargs)
            if call.arguments["trigger"].classpath in triggers_without_dag:
                call.arguments["dag_bag"] = _NoDags()
            return create_workload(*call.args, **call.kwargs)

        return create

    replace(TriggerRunnerSupervisor, "_create_workload", without_dag)


class _NoDags:
    """A DAG bag without DAGs."""

    def get_serialized_dag_model_for_run(self, *_: Any, **__: Any) -> None: ...

    def get_serialized_dag_model(self, *_: Any, **__: Any) -> None: ...


@PATCHES.register(
    "triggerer",
    sources={f"{_RUNNER}.sync_state_to_supervisor": "1048f5ffcadb6594", f"{_RUNNER}.arun": "3c8db947406f69df"},
    signatures={f"{_RUNNER}.run_trigger": "self trigger_id trigger timeout_after context"},
)
def send_last_event_at_once() -> None:
    """
    When the last trigger of a build ends, write its event to the database at once, with all events before it.

    The process that runs triggers sends its events to the one that writes to the database once a second, and a run
    waits for that at its end. To do so after each node would take more time from dbt than it saves.
    """
    from airflow.jobs.triggerer_job_runner import TriggerRunner

    active: Counter[Hashable] = Counter()

    def with_sync(run_trigger: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def run(self: TriggerRunner, trigger_id: int, trigger: BaseTrigger, *args: Any, **kwargs: Any) -> None:
            build = trigger.shared_stream_key() if isinstance(trigger, BuildWatcher) else None
            if build is None:
                await run_trigger(self, trigger_id, trigger, *args, **kwargs)
                return
            active[build] += 1
            try:
                await run_trigger(self, trigger_id, trigger, *args, **kwargs)
            finally:
                active[build] -= 1
                if is_last := not active[build]:
                    del active[build]
            if is_last:
                await _send_events(self)

        return run

    replace(TriggerRunner, "run_trigger", with_sync)


async def _send_events(runner: TriggerRunner) -> None:
    """Do the middle of a triggerer's round; its beginning and its end stay with the round itself."""
    try:
        await runner.sync_state_to_supervisor([])
    except BaseException:
        # As in the round itself: these events are lost, and another triggerer has to take over.
        runner.stop = True
        raise
    # Triggers to cancel are named again in each answer, and a trigger that is cancelled twice cannot clean up.
    runner.to_cancel = deque(dict.fromkeys(runner.to_cancel))


@PATCHES.register(
    "triggerer",
    sources={
        f"{_SUPERVISOR}.load_triggers": "fd101323be899518",
        f"{_SUPERVISOR}.clean_unused": "6b42ff9048024e73",
        f"{_SUPERVISOR}.run_once": "67cae85439761906",
    },
)
def limit_triggerer_rounds() -> None:
    """
    Look for new triggers, and delete unused ones, at most four times a second.

    Airflow does both whenever a trigger has logged a line, some twenty times a second while dbt's nodes end, which is a
    tenth of a core that dbt could use. The process that runs triggers asks for new ones only once a second.
    """
    from airflow.jobs.triggerer_job_runner import TriggerRunnerSupervisor

    def limited(step: Callable[..., None]) -> Callable[..., None]:
        last = -_ROUND_SECONDS

        def take(self: TriggerRunnerSupervisor) -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= _ROUND_SECONDS:
                last = now
                step(self)

        return take

    for step in ("load_triggers", "clean_unused"):
        replace(TriggerRunnerSupervisor, step, limited)


@PATCHES.register(
    "triggerer",
    sources={
        f"{_SUPERVISOR}._handle_request": "1a51c65ff1b7f12d",
        f"{_SUPERVISOR}._register_pipe_readers": "d6cb75fb1d026967",
    },
    signatures={f"{_WORKER}:make_buffered_socket_reader": "gen data on_close buffer_size"},
)
def finish_logs_of_triggers() -> None:
    """
    Write all lines that a trigger has logged before its log is closed, and uploaded by remote logging.

    The lines come by one socket, and the notice that the trigger has ended by another. Where both are there, Airflow
    may take the notice first. The last lines, which say how the node or the check ended, are then in no task's log.
    """
    from airflow.jobs.triggerer_job_runner import TriggerRunnerSupervisor

    #: The socket of the lines; the triggerer has one supervisor.
    lines: list[socket.socket] = []

    def remembered(register: Callable[..., None]) -> Callable[..., None]:
        def registered(
            self: TriggerRunnerSupervisor, stdout: Any, stderr: Any, requests: Any, logs: socket.socket, **data: Any
        ) -> None:
            register(self, stdout, stderr, requests, logs, **data)
            lines[:] = [logs]
            # The selector may have said that lines are there, and the notice before them has taken them: Airflow's
            # reader would then wait for the next ones, and everything with it.
            read, on_close = self.selector.get_key(logs).data
            self.selector.modify(
                logs,
                selectors.EVENT_READ,
                (lambda connection: not _has_arrived(connection) or read(connection), on_close),
            )

        return registered

    def after_the_lines(handle: Callable[..., None]) -> Callable[..., None]:
        def handled(self: TriggerRunnerSupervisor, msg: Any, *args: Any, **kwargs: Any) -> None:
            if getattr(msg, "finished", None):
                for logs in lines:
                    _read_what_is_there(self.selector, logs)
            handle(self, msg, *args, **kwargs)

        return handled

    replace(TriggerRunnerSupervisor, "_register_pipe_readers", remembered)
    replace(TriggerRunnerSupervisor, "_handle_request", after_the_lines)


def _read_what_is_there(selector: selectors.BaseSelector, connection: socket.socket) -> None:
    """Let the reader of a socket take all that has arrived, without waiting for more."""
    try:
        read, _ = selector.get_key(connection).data
    except KeyError:
        # It is closed, and was read to its end.
        return
    while _has_arrived(connection) and read(connection):
        continue


def _has_arrived(connection: socket.socket) -> bool:
    """Whether a read of a socket would not wait."""
    # Not select(), which knows no file numbers above 1023: each trigger has a log file open.
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))


@PATCHES.register(
    "worker",
    sources={f"{_WORKER}:ActivitySubprocess._monitor_subprocess": "89eedd0c43350d1a"},
    signatures={
        f"{_WORKER}:WatchedSubprocess._service_subprocess": "self max_wait_time raise_on_timeout expect_signal"
    },
)
def free_worker_at_once() -> None:
    """
    Free a worker as soon as the process of its task has ended.

    The process closes its sockets to the worker a moment before it exits. A worker that checks in between finds a
    living process and no socket to wait for, and checks again after `workers.min_heartbeat_interval`: five seconds, in
    which the slot is taken. On two cores this was one task of three.
    """
    from airflow.sdk.execution_time.supervisor import WatchedSubprocess

    def with_short_wait(service: Callable[..., int | None]) -> Callable[..., int | None]:
        def serve(self: WatchedSubprocess, max_wait_time: float, *args: Any, **kwargs: Any) -> int | None:
            wait = max_wait_time if self._open_sockets else min(max_wait_time, _EXIT_SECONDS)
            return service(self, wait, *args, **kwargs)

        return serve

    replace(WatchedSubprocess, "_service_subprocess", with_short_wait)


def main(arguments: list[str]) -> int:
    """Print which patches apply on the installed Airflow, or with ``--digests`` what they are compared with."""
    from airflow import __version__

    print(f"Airflow {__version__}")
    for patch in PATCHES:
        reasons = PATCHES.reasons_off(patch)
        print(f"{'off' if reasons else 'on ':<4} {patch.process:<10} {patch.name}{''.join(f' | {r}' for r in reasons)}")
        if "--digests" in arguments:
            looks = [
                *((path, source_digest) for path in patch.sources),
                *((path, parameters_of) for path in patch.signatures),
            ]
            for path, look_at in looks:
                print(f"     {path}: {_describe(path, look_at)}")
    return 0


def _describe(path: str, look_at: Callable[[Any], str]) -> str:
    try:
        return look_at(find(path))
    except LookupError:
        return "does not exist"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
