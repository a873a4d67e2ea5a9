"""The private names of Airflow that the project leans on are there, as they were when it was written."""

import asyncio
import inspect
import logging
import re
import tomllib
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import singledispatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow
import pytest
from airflow.jobs.triggerer_job_runner import TriggerRunner, TriggerRunnerSupervisor
from airflow.models import import_all_models
from airflow.models import trigger as triggers
from airflow.models.base import Base
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import handle_event_submit
from airflow.models.xcom import XComModel
from airflow.sdk.execution_time.supervisor import ActivitySubprocess, WatchedSubprocess
from airflow.serialization.definitions.baseoperator import SerializedBaseOperator
from airflow.triggers.base import (
    BaseTaskEndEvent,
    TaskFailedEvent,
    TaskSkippedEvent,
    TaskSuccessEvent,
    TriggerEvent,
)
from airflow.utils.state import DagRunState, TaskInstanceState
from packaging.requirements import Requirement
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session
from uuid6 import uuid7

from dbt_triggerer import airflow_internals
from dbt_triggerer.airflow_internals import WRITTEN_FOR, end_node, refine_triggerer, refine_workers
from dbt_triggerer.build_watcher import NodeTrigger
from dbt_triggerer.node_results import RESULT
from ecommerce.audit.quality_trigger import CHECKED, QualityTrigger

ADVICE = (
    f"plugins/dbt_triggerer/airflow_internals.py was written for Airflow {WRITTEN_FOR}. Compare what it replaces in "
    "airflow/models/trigger.py (the handler of BaseTaskEndEvent), airflow/jobs/triggerer_job_runner.py "
    "(_create_workload, run_trigger, what arun and run_once do in a round) and "
    "airflow/sdk/execution_time/supervisor.py (_monitor_subprocess) with the version you want, set WRITTEN_FOR, and "
    "run tests/dags. Until then it stays off, and a run works without it."
)


@pytest.fixture
def pristine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow as it is without us, and again after the test."""
    registry = dict(handle_event_submit.registry)
    ours = {TaskSuccessEvent, TaskFailedEvent, TaskSkippedEvent}
    assert not ours & set(registry), ADVICE
    monkeypatch.setattr(TriggerRunnerSupervisor, "_create_workload", TriggerRunnerSupervisor._create_workload)
    monkeypatch.setattr(TriggerRunner, "run_trigger", TriggerRunner.run_trigger)
    monkeypatch.setattr(WatchedSubprocess, "_service_subprocess", WatchedSubprocess._service_subprocess)
    for step in ("load_triggers", "clean_unused"):
        monkeypatch.setattr(TriggerRunnerSupervisor, step, getattr(TriggerRunnerSupervisor, step))
    original = triggers.handle_event_submit
    monkeypatch.setattr(triggers, "handle_event_submit", _copy_of(original))


def _copy_of(dispatcher: Any) -> Any:
    copied = singledispatch(dispatcher.registry[object])
    for event_class, handler in dispatcher.registry.items():
        copied.register(event_class, handler)
    return copied


# -- the version -------------------------------------------------------------------------------------------------------


def test_it_was_written_for_the_airflow_that_is_pinned_and_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    (pinned,) = (
        requirement for requirement in map(Requirement, project["dependencies"]) if requirement.name == "apache-airflow"
    )
    assert str(pinned.specifier) == f"=={WRITTEN_FOR}", ADVICE
    assert airflow.__version__ == WRITTEN_FOR, ADVICE


@pytest.mark.usefixtures("pristine")
def test_with_another_version_it_stays_off_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = TriggerRunnerSupervisor._create_workload
    worker = WatchedSubprocess._service_subprocess
    monkeypatch.setattr(airflow, "__version__", "3.4.0")
    with caplog.at_level(logging.WARNING):
        assert not refine_triggerer()
        assert not refine_workers()
    assert "Airflow is 3.4.0" in caplog.text
    assert f"written for {WRITTEN_FOR}" in caplog.text
    assert "airflow_internals.py" in caplog.text
    assert TriggerRunnerSupervisor._create_workload is before
    assert WatchedSubprocess._service_subprocess is worker
    assert TaskSuccessEvent not in triggers.handle_event_submit.registry


# -- the names ---------------------------------------------------------------------------------------------------------


def test_events_are_dispatched_by_class_with_these_arguments() -> None:
    assert list(inspect.signature(handle_event_submit).parameters) == ["event", "task_instance", "session"], ADVICE
    default = handle_event_submit.dispatch(BaseTaskEndEvent)
    assert default is not handle_event_submit.dispatch(TriggerEvent), ADVICE
    for event_class in (TaskSuccessEvent, TaskFailedEvent, TaskSkippedEvent):
        assert handle_event_submit.dispatch(event_class) is default, ADVICE


def test_a_workload_is_made_with_these_arguments() -> None:
    parameters = inspect.signature(TriggerRunnerSupervisor._create_workload).parameters
    assert list(parameters) == ["self", "trigger", "dag_bag", "render_log_fname", "session"], ADVICE
    source = inspect.getsource(TriggerRunnerSupervisor._create_workload)
    asked = {name for name in vars(airflow_internals._NoDags) if not name.startswith("__")}
    assert {
        name for name in ("get_serialized_dag_model_for_run", "get_serialized_dag_model") if name in source
    } == asked
    assert source.count("dag_bag.") == len(asked), ADVICE
    # Called by keyword, so that ours sees the trigger.
    callers = inspect.getsource(TriggerRunnerSupervisor)
    assert re.search(r"self\._create_workload\(\s*trigger=\w+,\s*dag_bag=", callers), ADVICE


def test_the_trigger_is_known_by_its_class_path() -> None:
    node = NodeTrigger(build_task_id="build", unique_ids=[], parents=[])
    assert (node.serialize()[0],) == airflow_internals._TRIGGERS


@pytest.mark.usefixtures("pristine")
def test_nodes_are_started_without_their_dag_and_all_others_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bags: list[object] = []

    def create_workload(self: object, *, trigger: Any, dag_bag: object, **kwargs: Any) -> None:
        bags.append(dag_bag)

    monkeypatch.setattr(TriggerRunnerSupervisor, "_create_workload", create_workload)
    assert refine_triggerer()
    assert refine_triggerer(), "once more changes nothing"
    create: Any = TriggerRunnerSupervisor._create_workload
    for classpath in (*airflow_internals._TRIGGERS, "some.other.Trigger"):
        create(object(), trigger=SimpleNamespace(classpath=classpath), dag_bag="the bag", session=None)
    *ours, other = bags
    assert all(isinstance(bag, airflow_internals._NoDags) for bag in ours)
    assert other == "the bag"


# -- the last one that waits for a build is told of at once ------------------------------------------------------------


def test_a_round_of_the_triggerer_is_made_of_these() -> None:
    parameters = list(inspect.signature(TriggerRunner.run_trigger).parameters)
    assert parameters == ["self", "trigger_id", "trigger", "timeout_after", "context"], ADVICE
    assert list(inspect.signature(TriggerRunner.sync_state_to_supervisor).parameters) == ["self", "finished_ids"], (
        ADVICE
    )
    steps = re.findall(r"await self\.(\w+)\(", inspect.getsource(TriggerRunner.arun))
    assert steps[1:] == [
        "cleanup_finished_triggers", "sync_state_to_supervisor", "create_triggers", "cancel_triggers"
    ], ADVICE  # fmt: skip
    told = inspect.getsource(TriggerRunner.sync_state_to_supervisor)
    assert "process_trigger_events(finished_ids=finished_ids)" in told, ADVICE
    assert "self.to_cancel.extend(resp.to_cancel)" in told, ADVICE


class Runner:
    """What tells of a round."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.told: list[tuple[list[int], set[int]]] = []
        self.ended: set[int] = set()
        self.to_cancel: deque[int] = deque([3])
        self.stop = False

    async def sync_state_to_supervisor(self, finished_ids: list[int]) -> None:
        self.told.append((finished_ids, set(self.ended)))
        self.to_cancel.extend([3, 4])
        if self.error:
            raise self.error


def waits_for(run_id: str) -> NodeTrigger:
    return NodeTrigger(build_task_id="build", unique_ids=["n"], parents=[], dag_id="shop", run_id=run_id)


@pytest.fixture
def run_triggers(monkeypatch: pytest.MonkeyPatch, pristine: None) -> Callable[..., None]:
    """Run triggers side by side, as a triggerer does; each with its seconds, and whether it breaks off."""

    async def run_trigger(
        self: Any, trigger_id: int, trigger: Any, timeout_after: Any = None, context: Any = None
    ) -> None:
        seconds, is_broken = timeout_after
        await asyncio.sleep(seconds)
        if is_broken:
            raise ValueError("broken off")
        self.ended.add(trigger_id)

    monkeypatch.setattr(TriggerRunner, "run_trigger", run_trigger)
    assert refine_triggerer()
    assert refine_triggerer(), "once more changes nothing"
    run: Any = TriggerRunner.run_trigger

    def run_all(runner: Any, *triggers: tuple[Any, float, bool]) -> None:
        async def all_of_them() -> list[Any]:
            started = (
                run(runner, n, trigger, timeout_after=(seconds, is_broken))
                for n, (trigger, seconds, is_broken) in enumerate(triggers)
            )
            return await asyncio.gather(*started, return_exceptions=True)

        errors = [error for error in asyncio.run(all_of_them()) if isinstance(error, BaseException)]
        if [error for error in errors if str(error) != "broken off"]:
            raise errors[0]

    return run_all


def test_the_last_of_a_build_is_told_with_all_that_came_before(run_triggers: Callable[..., None]) -> None:
    runner = Runner()
    one, other = waits_for("one"), waits_for("other")
    run_triggers(runner, (one, 0, False), (one, 0.02, False), (other, 0.04, False), (other, 0.01, True))
    assert runner.told == [([], {0, 1}), ([], {0, 1, 2})]
    assert list(runner.to_cancel) == [3, 4], "each is cancelled once"
    assert not runner.stop


def test_other_triggers_are_told_with_the_next_round(run_triggers: Callable[..., None]) -> None:
    runner = Runner()
    alone = QualityTrigger(check_name="freshness", warehouse_conn_id="warehouse_publisher", window_task_id="window")
    run_triggers(runner, (object(), 0, False), (alone, 0, False), (waits_for("one"), 0, True))
    assert runner.told == []


def test_what_cannot_be_told_ends_the_triggerer(run_triggers: Callable[..., None]) -> None:
    """Another one, or the next, finds the triggers as they were."""
    runner = Runner(error=OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        run_triggers(runner, (waits_for("one"), 0, False))
    assert runner.stop


# -- rounds of the process that writes to the database -----------------------------------------------------------------


def test_a_round_of_the_supervisor_is_made_of_these() -> None:
    steps = re.findall(r"self\.(\w+)\(", inspect.getsource(TriggerRunnerSupervisor.run_once))
    assert steps == [
        "load_triggers", "_service_subprocess", "handle_events", "handle_failed_triggers", "clean_unused", "heartbeat",
        "emit_metrics",
    ], ADVICE  # fmt: skip


@pytest.mark.usefixtures("pristine")
@pytest.mark.parametrize("step", ["load_triggers", "clean_unused"])
def test_a_step_that_came_a_moment_ago_is_left_out(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, taken = [100.0], []
    original = getattr(TriggerRunnerSupervisor, step)

    def counted(self: object) -> None:
        taken.append(clock[0])

    counted.__name__ = original.__name__
    monkeypatch.setattr(TriggerRunnerSupervisor, step, counted)
    monkeypatch.setattr(airflow_internals, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    assert refine_triggerer()
    rested = getattr(TriggerRunnerSupervisor, step)
    for moment in (100.0, 100.1, 100.2, 100.3, 100.5, 100.6):
        clock[0] = moment
        rested(object())
    assert taken == [100.0, 100.3, 100.6]


# -- workers are free when their task is -----------------------------------------------------------------------------


def test_a_worker_looks_after_its_task_by_these() -> None:
    parameters = list(inspect.signature(WatchedSubprocess._service_subprocess).parameters)
    assert parameters == ["self", "max_wait_time", "raise_on_timeout", "expect_signal"], ADVICE
    looks = inspect.getsource(ActivitySubprocess._monitor_subprocess)
    assert "while self._exit_code is None or self._open_sockets:" in looks, ADVICE
    assert "self._service_subprocess(max_wait_time=max_wait_time)" in looks, ADVICE
    assert ActivitySubprocess._service_subprocess is WatchedSubprocess._service_subprocess, ADVICE


@pytest.mark.usefixtures("pristine")
def test_a_process_that_has_closed_all_is_looked_at_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def service(self: object, max_wait_time: float, raise_on_timeout: bool = False) -> int:
        waits.append(max_wait_time)
        return 7

    monkeypatch.setattr(WatchedSubprocess, "_service_subprocess", service)
    assert refine_workers()
    assert refine_workers(), "once more changes nothing"
    serviced: Any = WatchedSubprocess._service_subprocess
    for sockets in ({"a socket": "stdout"}, {}):
        assert serviced(SimpleNamespace(_open_sockets=sockets), max_wait_time=5, raise_on_timeout=False) == 7
    assert serviced(SimpleNamespace(_open_sockets={}), max_wait_time=0.01) == 7
    assert waits == [5, airflow_internals._EXIT_SECONDS, 0.01]


# -- the end of a node's task, in a metadata database ------------------------------------------------------------------

DEFERRED_AT = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    import_all_models()
    engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('metadata') / 'airflow.db'}")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture
def deferred(metadata: Session) -> Iterator[TaskInstance]:
    """A node's task that waits in the triggerer, in its second try."""
    run = DagRun(dag_id="shop", run_id="run", run_type="manual", run_after=DEFERRED_AT, state=DagRunState.RUNNING)
    metadata.add(run)
    metadata.flush()
    task = SerializedBaseOperator(task_id="model.run")
    ti = TaskInstance(task, dag_version_id=uuid7(), run_id="run", state=TaskInstanceState.DEFERRED)
    ti.dag_id, ti.try_number, ti.trigger_id = "shop", 2, 7
    ti.start_date, ti.end_date = DEFERRED_AT, DEFERRED_AT - timedelta(hours=1)
    metadata.add(ti)
    metadata.flush()
    yield ti
    metadata.rollback()


def result(state: str, *times: tuple[str | None, str | None]) -> dict[str, Any]:
    nodes = [
        {"unique_id": f"n{n}", "started_at": begun, "finished_at": ended} for n, (begun, ended) in enumerate(times)
    ]
    return {"state": state, "reason": "because", "nodes": nodes}


def no_default(*_: Any, **__: Any) -> None:
    raise AssertionError("Airflow's own way was taken")


@pytest.mark.parametrize(("event", "state"), [(TaskSuccessEvent, "success"), (TaskFailedEvent, "upstream_failed")])
def test_a_node_ends_in_its_own_state_with_its_own_times(
    metadata: Session, deferred: TaskInstance, event: Any, state: str
) -> None:
    told = result(
        state,
        ("2024-05-01T12:00:05+00:00", "2024-05-01T12:00:07+00:00"),
        ("2024-05-01T12:00:03+00:00", "2024-05-01T12:00:06+00:00"),
    )
    end_node(event(xcoms={RESULT: told}), told, no_default, task_instance=deferred, session=metadata)
    metadata.expire(deferred)
    assert (deferred.state, deferred.trigger_id) == (state, None)
    assert deferred.start_date == datetime(2024, 5, 1, 12, 0, 3, tzinfo=UTC)
    assert deferred.end_date == datetime(2024, 5, 1, 12, 0, 7, tzinfo=UTC)
    assert deferred.duration == 4
    kept = metadata.scalar(select(XComModel).where(XComModel.task_id == deferred.task_id, XComModel.key == RESULT))
    assert kept is not None
    assert XComModel.deserialize_value(kept) == told


@pytest.mark.usefixtures("pristine")
def test_a_check_that_passed_ends_here_with_what_it_said(metadata: Session, deferred: TaskInstance) -> None:
    assert refine_triggerer()
    told = result("success")
    triggers.handle_event_submit(TaskSuccessEvent(xcoms={CHECKED: told}), task_instance=deferred, session=metadata)
    assert (deferred.state, deferred.trigger_id) == ("success", None)
    kept = metadata.scalar(select(XComModel).where(XComModel.task_id == deferred.task_id, XComModel.key == CHECKED))
    assert kept is not None
    assert XComModel.deserialize_value(kept) == told


def test_a_node_that_was_not_built_ends_now_and_not_when_an_earlier_try_did(
    metadata: Session, deferred: TaskInstance
) -> None:
    told = result("upstream_failed")
    end_node(TaskFailedEvent(xcoms={RESULT: told}), told, no_default, task_instance=deferred, session=metadata)
    assert deferred.state == "upstream_failed"
    assert deferred.end_date is not None
    assert deferred.end_date > DEFERRED_AT
    assert deferred.duration is not None
    assert deferred.duration > 0


@pytest.mark.parametrize("time", ["2024-05-01T12:00:05", None], ids=["without a zone", "none"])
def test_times_that_cannot_be_used_are_left_out(metadata: Session, deferred: TaskInstance, time: str | None) -> None:
    told = result("success", (time, time))
    end_node(TaskSuccessEvent(xcoms={RESULT: told}), told, no_default, task_instance=deferred, session=metadata)
    assert deferred.state == "success"
    assert deferred.start_date == DEFERRED_AT


def test_a_failure_goes_airflows_own_way(metadata: Session, deferred: TaskInstance) -> None:
    """It knows of retries and callbacks."""
    told = result("failed", ("2024-05-01T12:00:05+00:00", "2024-05-01T12:00:07+00:00"))
    event = TaskFailedEvent(xcoms={RESULT: told})
    seen: list[Any] = []
    end_node(event, told, lambda event, **given: seen.append((event, given)), task_instance=deferred, session=metadata)
    assert seen == [(event, {"task_instance": deferred, "session": metadata})]
    assert deferred.end_date == datetime(2024, 5, 1, 12, 0, 7, tzinfo=UTC)
