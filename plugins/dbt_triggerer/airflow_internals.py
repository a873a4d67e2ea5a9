"""
The one place that leans on names of Airflow that are not its public interface.

What stands here makes node tasks cheaper and truer to see, and nothing rests on it: with another version of Airflow
than the one it was written for it stays off, and says so. Without it a node that was not built because of one before it
is *failed* instead of *upstream failed*, its times are those of its wait, large graphs start and build more slowly, a
run hears up to a second later that a build has ended, and a worker may be held five seconds longer than its task.
`tests/unit/dbt_triggerer/test_airflow_internals.py` fails when Airflow changes underneath.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Hashable
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any

import airflow

from dbt_triggerer.build_watcher import BuildWatcher
from dbt_triggerer.node_results import RESULT, is_result_xcom

if TYPE_CHECKING:
    from airflow.jobs.triggerer_job_runner import TriggerRunner, TriggerRunnerSupervisor
    from airflow.models.taskinstance import TaskInstance
    from airflow.triggers.base import BaseTaskEndEvent, BaseTrigger
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

#: The version whose insides these are.
WRITTEN_FOR = "3.3.2"
#: Triggers that need nothing of their DAG.
_TRIGGERS = ("dbt_triggerer.build_watcher.NodeTrigger",)
#: From one round of the triggerer to the next.
_REST_SECONDS = 0.25
#: Between two looks at a process that has nothing more to say.
_EXIT_SECONDS = 0.05


def refine_triggerer(*more_triggers: str) -> bool:
    """
    Called in the triggerer as it starts; whether this Airflow is the one that is known.

    :param more_triggers: class paths of further triggers that need nothing of their DAG
    """
    if not _is_known():
        return False
    _end_nodes_as_they_ended()
    _start_nodes_without_their_dag({*_TRIGGERS, *more_triggers})
    _tell_the_last_at_once()
    _rest_between_rounds()
    return True


def refine_workers() -> bool:
    """Called where workers start, before they do; whether this Airflow is the one that is known."""
    if not _is_known():
        return False
    _free_workers_at_once()
    return True


def _is_known() -> bool:
    if airflow.__version__ == WRITTEN_FOR:
        return True
    log.warning(
        "Airflow is %s, and the refinements of its triggerer and workers were written for %s: they stay off. "
        "See plugins/dbt_triggerer/airflow_internals.py",
        airflow.__version__,
        WRITTEN_FOR,
    )
    return False


def _end_nodes_as_they_ended() -> None:
    """
    A task of a node gets its node's times, and the state `upstream_failed`, which no event of a trigger can ask for.

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
    End the task of a node or a check; a failure goes Airflow's own way, which knows of retries and callbacks.

    :param key: the XCom that `result` came as, and is kept as
    """
    if result["state"] == "failed":
        default(event, task_instance=task_instance, session=session)
    else:
        # Airflow's own way would ask the DAG processor for a success callback for each node.
        task_instance.trigger_id = None
        # Of an earlier try; Airflow keeps one that is there.
        task_instance.end_date = None
        task_instance.set_state(result["state"], session=session)
        task_instance.xcom_push(key=key, value=result, session=session)
    # A run may be older than this code: its times are worth no failure of the triggerer.
    times = [_moment(node.get(name)) for node in result["nodes"] for name in ("started_at", "finished_at")]
    if known := [time for time in times if time is not None]:
        task_instance.start_date, task_instance.end_date = min(known), max(known)
        task_instance.set_duration()
    session.flush()


def _moment(text: str | None) -> datetime | None:
    """An instant; None where there is none, or one that does not say its time zone, which Airflow refuses."""
    moment = datetime.fromisoformat(text) if text else None
    return moment if moment is not None and moment.tzinfo is not None else None


def _start_nodes_without_their_dag(triggers: Collection[str]) -> None:
    """
    For a task that starts in the triggerer, Airflow sends its whole DAG along and reads it in again, a task at a time.

    That is for templates in a trigger's arguments. A node's trigger has none, and of a graph of a few hundred nodes the
    triggerer would read a megabyte a few hundred times.
    """
    from airflow.jobs.triggerer_job_runner import TriggerRunnerSupervisor

    def without_dag(create_workload: Callable[..., Any]) -> Callable[..., Any]:
        def create(self: TriggerRunnerSupervisor, *, trigger: Any, dag_bag: Any, **kwargs: Any) -> Any:
            dags: Any = _NoDags() if trigger.classpath in triggers else dag_bag
            return create_workload(self, trigger=trigger, dag_bag=dags, **kwargs)

        return create

    _replace(TriggerRunnerSupervisor, "_create_workload", without_dag)


def _tell_the_last_at_once() -> None:
    """
    What the last one says that waited for a build reaches the database at once, and all that was said before it.

    The process that runs triggers tells the one that writes to the database once a second, and a run waits for that at
    its end. Telling each node's end at once would take more from dbt than it gives.
    """
    from airflow.jobs.triggerer_job_runner import TriggerRunner

    waiting: Counter[Hashable] = Counter()

    def telling(run_trigger: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def run(self: TriggerRunner, trigger_id: int, trigger: BaseTrigger, *args: Any, **kwargs: Any) -> None:
            build = trigger.shared_stream_key() if isinstance(trigger, BuildWatcher) else None
            if build is None:
                await run_trigger(self, trigger_id, trigger, *args, **kwargs)
                return
            waiting[build] += 1
            try:
                await run_trigger(self, trigger_id, trigger, *args, **kwargs)
            finally:
                waiting[build] -= 1
                if is_last := not waiting[build]:
                    del waiting[build]
            if is_last:
                await _tell(self)

        return run

    _replace(TriggerRunner, "run_trigger", telling)


async def _tell(runner: TriggerRunner) -> None:
    """Do the middle of a triggerer's round; its beginning and its end stay with the round itself."""
    try:
        await runner.sync_state_to_supervisor([])
    except BaseException:
        # As in the round itself: what was to be told is lost, and another triggerer has to take over.
        runner.stop = True
        raise
    # Those that are to be cancelled are named again in each answer, and who is cancelled twice cannot clean up.
    runner.to_cancel = deque(dict.fromkeys(runner.to_cancel))


def _rest_between_rounds() -> None:
    """
    The triggerer looks for new triggers, and deletes those that nobody needs, four times a second at most.

    Airflow does both whenever a trigger has logged a line, some twenty times a second while dbt's nodes end, which is a
    tenth of a core that dbt could use. What it finds is asked for once a second.
    """
    from airflow.jobs.triggerer_job_runner import TriggerRunnerSupervisor

    def rested(step: Callable[..., None]) -> Callable[..., None]:
        last = -_REST_SECONDS

        def take(self: TriggerRunnerSupervisor) -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= _REST_SECONDS:
                last = now
                step(self)

        return take

    for step in ("load_triggers", "clean_unused"):
        _replace(TriggerRunnerSupervisor, step, rested)


def _free_workers_at_once() -> None:
    """
    A worker is free as soon as the process of its task has ended.

    The process closes all that the worker hears it by a moment before it is gone. A worker that looks in between finds
    a living process and nothing to wait for, and looks again after `workers.min_heartbeat_interval`: five seconds, in
    which the slot is taken. On two cores that was one task of three.
    """
    from airflow.sdk.execution_time.supervisor import WatchedSubprocess

    def impatient(service: Callable[..., int | None]) -> Callable[..., int | None]:
        def serve(self: WatchedSubprocess, max_wait_time: float, *args: Any, **kwargs: Any) -> int | None:
            wait = max_wait_time if self._open_sockets else min(max_wait_time, _EXIT_SECONDS)
            return service(self, wait, *args, **kwargs)

        return serve

    _replace(WatchedSubprocess, "_service_subprocess", impatient)


def _replace(owner: type, name: str, made_of: Callable[[Any], Any]) -> None:
    """Put what is made of a function of Airflow in its place, once."""
    original = getattr(owner, name)
    if not hasattr(original, "__wrapped__"):
        setattr(owner, name, wraps(original)(made_of(original)))


class _NoDags:
    """A DAG bag that knows no DAG."""

    def get_serialized_dag_model_for_run(self, *_: Any, **__: Any) -> None:
        """None."""

    def get_serialized_dag_model(self, *_: Any, **__: Any) -> None:
        """None."""
