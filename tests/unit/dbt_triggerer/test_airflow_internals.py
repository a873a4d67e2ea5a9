"""The patches of Airflow's triggerer and workers: what each one changes, and that the installed Airflow fits them."""

import asyncio
import inspect
import logging
import re
import selectors
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from functools import singledispatch
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.jobs.triggerer_job_runner import TriggerRunner, TriggerRunnerSupervisor
from airflow.models import import_all_models
from airflow.models import trigger as triggers
from airflow.models.base import Base
from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import handle_event_submit
from airflow.models.xcom import XComModel
from airflow.sdk.execution_time.supervisor import ActivitySubprocess, WatchedSubprocess, make_buffered_socket_reader
from airflow.serialization.definitions.baseoperator import SerializedBaseOperator
from airflow.triggers.base import (
    BaseTaskEndEvent,
    TaskFailedEvent,
    TaskSkippedEvent,
    TaskSuccessEvent,
    TriggerEvent,
)
from airflow.utils.state import DagRunState, TaskInstanceState
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session
from uuid6 import uuid7

from dbt_triggerer import BuildWatcher, airflow_internals
from dbt_triggerer.airflow_internals import (
    PATCHES,
    end_node,
    end_node_as_dbt_did,
    finish_logs_of_triggers,
    free_worker_at_once,
    limit_triggerer_rounds,
    patch_triggerer,
    patch_workers,
    send_last_event_at_once,
    start_node_without_dag,
)
from dbt_triggerer.build_watcher import NodeTrigger
from dbt_triggerer.node_results import COMPILED, RESULT
from dbt_triggerer.patch_gate import PATCHES_OFF, find

#: The result of a task that watches a build and is no node, under a key of its own.
OTHER_RESULT = "counted"

ADVICE = (
    "Airflow has changed where plugins/dbt_triggerer/airflow_internals.py relies on it. Compare the functions that the "
    "patch names with the new ones, run `python -m dbt_triggerer.airflow_internals --digests` for the new digests, and "
    "run tests/dags. Until then the patch stays off, and a run works without it."
)


class CountTrigger(BuildWatcher):
    """A trigger of another package that ends its task as a build does, or at once without a build."""

    def own_arguments(self) -> dict[str, Any]:
        return {}

    def shared_stream_key(self) -> Any:
        return super().shared_stream_key() if self.build_task_id else None

    async def event_of(self, build: Any, *, try_number: int, since: datetime) -> TriggerEvent | None:
        return None


@pytest.fixture
def pristine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow without patches, and again after the test."""
    ours = {TaskSuccessEvent, TaskFailedEvent, TaskSkippedEvent}
    assert not ours & set(handle_event_submit.registry), ADVICE
    monkeypatch.setattr(TriggerRunnerSupervisor, "_create_workload", TriggerRunnerSupervisor._create_workload)
    monkeypatch.setattr(TriggerRunner, "run_trigger", TriggerRunner.run_trigger)
    monkeypatch.setattr(WatchedSubprocess, "_service_subprocess", WatchedSubprocess._service_subprocess)
    for step in ("load_triggers", "clean_unused", "_register_pipe_readers", "_handle_request"):
        monkeypatch.setattr(TriggerRunnerSupervisor, step, getattr(TriggerRunnerSupervisor, step))
    original = triggers.handle_event_submit
    monkeypatch.setattr(triggers, "handle_event_submit", _copy_of(original))
    monkeypatch.setattr(airflow_internals, "triggers_without_dag", set(airflow_internals.triggers_without_dag))
    monkeypatch.delenv(PATCHES_OFF, raising=False)


def _copy_of(dispatcher: Any) -> Any:
    copied = singledispatch(dispatcher.registry[object])
    for event_class, handler in dispatcher.registry.items():
        copied.register(event_class, handler)
    return copied


# -- the gate ----------------------------------------------------------------------------------------------------------

BY_PROCESS = {
    "triggerer": [
        "end_node_as_dbt_did", "start_node_without_dag", "send_last_event_at_once", "limit_triggerer_rounds",
        "finish_logs_of_triggers",
    ],
    "worker": ["free_worker_at_once"],
}  # fmt: skip


@pytest.mark.parametrize("name", [patch.name for patch in PATCHES])
def test_patch_fits_installed_airflow(name: str) -> None:
    assert PATCHES[name].differences() == [], ADVICE


@pytest.mark.usefixtures("pristine")
def test_all_patches_are_applied_in_their_process() -> None:
    assert patch_triggerer() == BY_PROCESS["triggerer"]
    assert patch_workers() == BY_PROCESS["worker"]
    assert [patch.name for patch in PATCHES] == [*BY_PROCESS["triggerer"], *BY_PROCESS["worker"]]
    assert [patch.name for patch in PATCHES if patch.differences()] == [], "a patched function is known by its original"


def _changed(self: Any, *args: Any, **kwargs: Any) -> None:
    """A function of another Airflow."""


FUNCTIONS = [
    pytest.param(patch.name, path, id=f"{patch.name}-{path.rpartition('.')[2]}")
    for patch in PATCHES
    for path in (*patch.sources, *patch.signatures)
]


@pytest.mark.usefixtures("pristine")
@pytest.mark.parametrize(("name", "path"), FUNCTIONS)
def test_changed_function_turns_off_its_patch_alone(
    name: str, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module, _, qualified = path.partition(":")
    owner, _, function = qualified.rpartition(".")
    monkeypatch.setattr(find(f"{module}:{owner}") if owner else import_module(module), function, _changed)
    with caplog.at_level(logging.WARNING):
        applied = [*patch_triggerer(), *patch_workers()]
    assert applied == [patch.name for patch in PATCHES if patch.name != name]
    (warning,) = (record.getMessage() for record in caplog.records)
    assert f"the patch {name} of Airflow's {PATCHES[name].process} stays off: {path} has changed" in warning


@pytest.mark.usefixtures("pristine")
def test_patches_named_in_the_environment_stay_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(PATCHES_OFF, "start_node_without_dag, free_worker_at_once,no_such_patch")
    create, service = TriggerRunnerSupervisor._create_workload, WatchedSubprocess._service_subprocess
    assert patch_triggerer() == [name for name in BY_PROCESS["triggerer"] if name != "start_node_without_dag"]
    assert patch_workers() == []
    assert TriggerRunnerSupervisor._create_workload is create
    assert WatchedSubprocess._service_subprocess is service
    assert "patches that do not exist: no_such_patch" in caplog.text


def test_command_lists_patches_of_installed_airflow(capsys: pytest.CaptureFixture[str]) -> None:
    assert airflow_internals.main(["--digests"]) == 0
    printed = capsys.readouterr().out
    for patch in PATCHES:
        assert re.search(rf"^on +{patch.process} +{patch.name}$", printed, re.MULTILINE)
        for path, value in {**patch.sources, **patch.signatures}.items():
            assert f"{path}: {value}\n" in printed


# -- the names ---------------------------------------------------------------------------------------------------------


def test_airflow_dispatches_events_by_class() -> None:
    assert list(inspect.signature(handle_event_submit).parameters) == ["event", "task_instance", "session"], ADVICE
    default = handle_event_submit.dispatch(BaseTaskEndEvent)
    assert default is not handle_event_submit.dispatch(TriggerEvent), ADVICE
    for event_class in (TaskSuccessEvent, TaskFailedEvent, TaskSkippedEvent):
        assert handle_event_submit.dispatch(event_class) is default, ADVICE


def test_airflow_reads_dag_from_the_bag_that_it_is_given() -> None:
    parameters = inspect.signature(TriggerRunnerSupervisor._create_workload).parameters
    assert {"trigger", "dag_bag"} <= parameters.keys(), ADVICE
    source = inspect.getsource(TriggerRunnerSupervisor._create_workload)
    methods = {name for name in vars(airflow_internals._NoDags) if not name.startswith("__")}
    assert {
        name for name in ("get_serialized_dag_model_for_run", "get_serialized_dag_model") if name in source
    } == methods
    assert source.count("dag_bag.") == len(methods), ADVICE


def test_node_trigger_is_started_without_dag() -> None:
    node = NodeTrigger(build_task_id="build", unique_ids=[], parents=[])
    assert {node.serialize()[0]} == airflow_internals.triggers_without_dag


@pytest.mark.usefixtures("pristine")
@pytest.mark.parametrize("is_by_keyword", [True, False])
def test_only_named_triggers_are_started_without_dag(is_by_keyword: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bags: dict[str, object] = {}

    def create_workload(self: object, trigger: Any, dag_bag: object, session: Any) -> None:
        bags[trigger.classpath] = dag_bag

    patch_triggerer("of.another.Package")
    monkeypatch.setattr(TriggerRunnerSupervisor, "_create_workload", create_workload)
    start_node_without_dag()
    start_node_without_dag()
    create: Any = TriggerRunnerSupervisor._create_workload
    for classpath in (*airflow_internals.triggers_without_dag, "some.other.Trigger"):
        trigger = SimpleNamespace(classpath=classpath)
        if is_by_keyword:
            create(object(), trigger=trigger, dag_bag="the bag", session=None)
        else:
            create(object(), trigger, "the bag", None)
    assert bags.pop("some.other.Trigger") == "the bag"
    assert bags.keys() == {"dbt_triggerer.build_watcher.NodeTrigger", "of.another.Package"}
    assert all(isinstance(bag, airflow_internals._NoDags) for bag in bags.values())


# -- the last event of a build is sent at once ------------------------------------------------------------------------


def test_airflow_round_of_the_runner_has_these_steps() -> None:
    parameters = list(inspect.signature(TriggerRunner.run_trigger).parameters)
    assert parameters == ["self", "trigger_id", "trigger", "timeout_after", "context"], ADVICE
    assert list(inspect.signature(TriggerRunner.sync_state_to_supervisor).parameters) == ["self", "finished_ids"], (
        ADVICE
    )
    steps = re.findall(r"await self\.(\w+)\(", inspect.getsource(TriggerRunner.arun))
    assert steps[1:] == [
        "cleanup_finished_triggers", "sync_state_to_supervisor", "create_triggers", "cancel_triggers"
    ], ADVICE  # fmt: skip
    sync = inspect.getsource(TriggerRunner.sync_state_to_supervisor)
    assert "process_trigger_events(finished_ids=finished_ids)" in sync, ADVICE
    assert "self.to_cancel.extend(resp.to_cancel)" in sync, ADVICE


class Runner:
    """The process that runs triggers, as far as it sends their events."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.sent: list[tuple[list[int], set[int]]] = []
        self.ended: set[int] = set()
        self.to_cancel: deque[int] = deque([3])
        self.stop = False

    async def sync_state_to_supervisor(self, finished_ids: list[int]) -> None:
        self.sent.append((finished_ids, set(self.ended)))
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
    send_last_event_at_once()
    send_last_event_at_once()
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


def test_last_event_of_a_build_is_sent_with_all_before_it(run_triggers: Callable[..., None]) -> None:
    runner = Runner()
    one, other = waits_for("one"), waits_for("other")
    run_triggers(runner, (one, 0, False), (one, 0.02, False), (other, 0.04, False), (other, 0.01, True))
    assert runner.sent == [([], {0, 1}), ([], {0, 1, 2})]
    assert list(runner.to_cancel) == [3, 4], "each is cancelled once"
    assert not runner.stop


def test_other_triggers_wait_for_the_next_round(run_triggers: Callable[..., None]) -> None:
    runner = Runner()
    alone = CountTrigger(build_task_id=None, parents=[])
    run_triggers(runner, (object(), 0, False), (alone, 0, False), (waits_for("one"), 0, True))
    assert runner.sent == []


def test_failed_send_ends_the_triggerer(run_triggers: Callable[..., None]) -> None:
    """Another one, or the next, finds the triggers as they were."""
    runner = Runner(error=OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        run_triggers(runner, (waits_for("one"), 0, False))
    assert runner.stop


# -- rounds of the process that writes to the database -----------------------------------------------------------------


def test_airflow_round_of_the_supervisor_has_these_steps() -> None:
    steps = re.findall(r"self\.(\w+)\(", inspect.getsource(TriggerRunnerSupervisor.run_once))
    assert steps == [
        "load_triggers", "_service_subprocess", "handle_events", "handle_failed_triggers", "clean_unused", "heartbeat",
        "emit_metrics",
    ], ADVICE  # fmt: skip


@pytest.mark.usefixtures("pristine")
@pytest.mark.parametrize("step", ["load_triggers", "clean_unused"])
def test_step_of_a_moment_ago_is_not_repeated(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, times = [100.0], []
    original = getattr(TriggerRunnerSupervisor, step)

    def counted(self: object) -> None:
        times.append(clock[0])

    counted.__name__ = original.__name__
    monkeypatch.setattr(TriggerRunnerSupervisor, step, counted)
    monkeypatch.setattr(airflow_internals, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    limit_triggerer_rounds()
    limited = getattr(TriggerRunnerSupervisor, step)
    for moment in (100.0, 100.1, 100.2, 100.3, 100.5, 100.6):
        clock[0] = moment
        limited(object())
    assert times == [100.0, 100.3, 100.6]


# -- the log of a trigger has its last lines ---------------------------------------------------------------------------


def test_airflow_closes_the_log_of_a_trigger_that_has_finished() -> None:
    source = inspect.getsource(TriggerRunnerSupervisor._handle_request)
    steps = r"for id in msg\.finished.*?logger_cache\.pop\(id.*?upload_to_remote\(\).*?close\(\)"
    assert re.search(steps, source, re.DOTALL), ADVICE


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch, pristine: None) -> Iterator[SimpleNamespace]:
    """Airflow's supervisor of triggers, as far as the patch needs it; `seen` has lines and notices in their order."""
    seen: list[str] = []

    def lines() -> Generator[None, bytes | bytearray, None]:
        while True:
            seen.append(bytes((yield)).decode().strip())

    def register(self: Any, stdout: Any, stderr: Any, requests: Any, logs: socket.socket, *, data: Any) -> None:
        reader = make_buffered_socket_reader(lines(), on_close=lambda closed: None)
        self.selector.register(logs, selectors.EVENT_READ, reader)

    def handle(self: Any, msg: Any, log: Any, req_id: int) -> None:
        seen.append(f"finished {msg.finished}" if hasattr(msg, "finished") else "another message")

    monkeypatch.setattr(TriggerRunnerSupervisor, "_register_pipe_readers", register)
    monkeypatch.setattr(TriggerRunnerSupervisor, "_handle_request", handle)
    finish_logs_of_triggers()
    runner, logs = socket.socketpair()
    with runner, logs, selectors.DefaultSelector() as selector:
        made = SimpleNamespace(selector=selector, seen=seen, runner=runner, logs=logs)
        patched: Any = TriggerRunnerSupervisor
        patched._register_pipe_readers(made, stdout=None, stderr=None, requests=None, logs=logs, data={})
        yield made


def notice(supervisor: Any, **fields: Any) -> None:
    patched: Any = TriggerRunnerSupervisor
    patched._handle_request(supervisor, SimpleNamespace(**fields), log=None, req_id=1)


def test_lines_of_a_finished_trigger_are_written_before_its_log_is_closed(supervisor: SimpleNamespace) -> None:
    # More than one read of the socket takes.
    said = [f"line {number} {'x' * 500}" for number in range(50)]
    supervisor.runner.sendall("".join(f"{line}\n" for line in said).encode())
    notice(supervisor, finished=[7])
    assert supervisor.seen == [*said, "finished [7]"]


@pytest.mark.parametrize("fields", [{"finished": None}, {"finished": []}, {}])
def test_other_notices_do_not_wait_for_lines(supervisor: SimpleNamespace, fields: dict[str, Any]) -> None:
    supervisor.runner.sendall(b"line\n")
    notice(supervisor, **fields)
    assert len(supervisor.seen) == 1


def test_notice_without_lines_is_handled_at_once(supervisor: SimpleNamespace) -> None:
    notice(supervisor, finished=[7])
    assert supervisor.seen == ["finished [7]"]


def test_line_that_a_notice_has_taken_is_not_waited_for(supervisor: SimpleNamespace) -> None:
    """The selector says that both have come; the notice is handled first, and takes the line along."""
    supervisor.logs.settimeout(5)
    supervisor.runner.sendall(b"line\n")
    ((key, _),) = supervisor.selector.select(0)
    notice(supervisor, finished=[7])
    read, _ = key.data
    assert read(supervisor.logs)
    supervisor.runner.sendall(b"next line\n")
    assert read(supervisor.logs)
    assert supervisor.seen == ["line", "finished [7]", "next line"]
    supervisor.runner.close()
    assert not read(supervisor.logs)


def test_runner_that_has_ended_keeps_no_notice_waiting(supervisor: SimpleNamespace) -> None:
    supervisor.runner.sendall(b"last line\n")
    supervisor.runner.close()
    notice(supervisor, finished=[7])
    assert supervisor.seen == ["last line", "finished [7]"]
    supervisor.selector.unregister(supervisor.logs)
    notice(supervisor, finished=[8])
    assert supervisor.seen[-1] == "finished [8]"


# -- workers are free when their task is -----------------------------------------------------------------------------


def test_airflow_worker_waits_for_its_task_like_this() -> None:
    parameters = list(inspect.signature(WatchedSubprocess._service_subprocess).parameters)
    assert parameters == ["self", "max_wait_time", "raise_on_timeout", "expect_signal"], ADVICE
    loop = inspect.getsource(ActivitySubprocess._monitor_subprocess)
    assert "while self._exit_code is None or self._open_sockets:" in loop, ADVICE
    assert "self._service_subprocess(max_wait_time=max_wait_time)" in loop, ADVICE
    assert ActivitySubprocess._service_subprocess is WatchedSubprocess._service_subprocess, ADVICE


@pytest.mark.usefixtures("pristine")
def test_process_without_sockets_is_checked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def service(self: object, max_wait_time: float, raise_on_timeout: bool = False) -> int:
        waits.append(max_wait_time)
        return 7

    monkeypatch.setattr(WatchedSubprocess, "_service_subprocess", service)
    free_worker_at_once()
    free_worker_at_once()
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
        {"unique_id": f"n{n}", "status": "success", "seconds": 0.25, "started_at": begun, "finished_at": ended}
        for n, (begun, ended) in enumerate(times)
    ]
    return {"state": state, "reason": "because", "nodes": nodes}


def no_default(*_: Any, **__: Any) -> None:
    raise AssertionError("Airflow's own way was taken")


@pytest.mark.parametrize(("event", "state"), [(TaskSuccessEvent, "success"), (TaskFailedEvent, "upstream_failed")])
def test_node_ends_with_its_own_state_and_times(
    metadata: Session, deferred: TaskInstance, event: Any, state: str
) -> None:
    outcome = result(
        state,
        ("2024-05-01T12:00:05+00:00", "2024-05-01T12:00:07+00:00"),
        ("2024-05-01T12:00:03+00:00", "2024-05-01T12:00:06+00:00"),
    )
    end_node(event(xcoms={RESULT: outcome}), outcome, no_default, task_instance=deferred, session=metadata)
    metadata.expire(deferred)
    assert (deferred.state, deferred.trigger_id) == (state, None)
    assert deferred.start_date == datetime(2024, 5, 1, 12, 0, 3, tzinfo=UTC)
    assert deferred.end_date == datetime(2024, 5, 1, 12, 0, 7, tzinfo=UTC)
    assert deferred.duration == 4
    stored = metadata.scalar(select(XComModel).where(XComModel.task_id == deferred.task_id, XComModel.key == RESULT))
    assert stored is not None
    assert XComModel.deserialize_value(stored) == outcome


@pytest.mark.usefixtures("pristine")
def test_result_under_another_key_ends_the_task_and_is_stored(metadata: Session, deferred: TaskInstance) -> None:
    end_node_as_dbt_did()
    outcome = result("success")
    triggers.handle_event_submit(
        TaskSuccessEvent(xcoms={OTHER_RESULT: outcome}), task_instance=deferred, session=metadata
    )
    assert (deferred.state, deferred.trigger_id) == ("success", None)
    stored = metadata.scalar(
        select(XComModel).where(XComModel.task_id == deferred.task_id, XComModel.key == OTHER_RESULT)
    )
    assert stored is not None
    assert XComModel.deserialize_value(stored) == outcome


def test_ended_node_says_seconds_and_rows_and_shows_its_sql(metadata: Session, deferred: TaskInstance) -> None:
    outcome = result("success", (None, None))
    outcome["nodes"][0]["rows"] = 1234
    event = TaskSuccessEvent(xcoms={RESULT: outcome, COMPILED: "select 1"})
    end_node(event, outcome, no_default, task_instance=deferred, session=metadata)
    metadata.expire(deferred)
    assert deferred.note == "0.25 s, 1,234 rows"
    assert RenderedTaskInstanceFields.get_templated_fields(deferred, session=metadata) == {COMPILED: "select 1"}
    stored = metadata.scalars(select(XComModel.key).where(XComModel.task_id == deferred.task_id)).all()
    assert list(stored) == [RESULT], "the SQL is stored once"


def test_note_says_why_a_node_was_not_built_and_does_not_replace_that_of_a_person(
    metadata: Session, deferred: TaskInstance
) -> None:
    outcome = result("upstream_failed")
    event = TaskFailedEvent(xcoms={RESULT: outcome})
    end_node(event, outcome, no_default, task_instance=deferred, session=metadata)
    assert deferred.note == "because"
    for user, left in (None, "because"), ("anna", "waits for the supplier"):
        deferred.task_instance_note.content, deferred.task_instance_note.user_id = "waits for the supplier", user
        end_node(event, outcome, no_default, task_instance=deferred, session=metadata)
        assert deferred.note == left


def test_sql_of_a_failed_node_is_shown_and_not_passed_on(metadata: Session, deferred: TaskInstance) -> None:
    outcome = result("failed", (None, None))
    passed: list[Any] = []
    event = TaskFailedEvent(xcoms={RESULT: outcome, COMPILED: "select 1 / 0"})
    end_node(event, outcome, lambda event, **_: passed.append(event.xcoms), task_instance=deferred, session=metadata)
    assert passed == [{RESULT: outcome}]
    assert RenderedTaskInstanceFields.get_templated_fields(deferred, session=metadata) == {COMPILED: "select 1 / 0"}
    assert deferred.note == "because"


def test_node_without_times_ends_now(metadata: Session, deferred: TaskInstance) -> None:
    outcome = result("upstream_failed")
    end_node(TaskFailedEvent(xcoms={RESULT: outcome}), outcome, no_default, task_instance=deferred, session=metadata)
    assert deferred.state == "upstream_failed"
    assert deferred.end_date is not None
    assert deferred.end_date > DEFERRED_AT
    assert deferred.duration is not None
    assert deferred.duration > 0


@pytest.mark.parametrize("time", ["2024-05-01T12:00:05", None], ids=["without a zone", "none"])
def test_unusable_times_are_ignored(metadata: Session, deferred: TaskInstance, time: str | None) -> None:
    outcome = result("success", (time, time))
    end_node(TaskSuccessEvent(xcoms={RESULT: outcome}), outcome, no_default, task_instance=deferred, session=metadata)
    assert deferred.state == "success"
    assert deferred.start_date == DEFERRED_AT


def test_failure_goes_airflows_own_way(metadata: Session, deferred: TaskInstance) -> None:
    """Which handles retries and callbacks."""
    outcome = result("failed", ("2024-05-01T12:00:05+00:00", "2024-05-01T12:00:07+00:00"))
    event = TaskFailedEvent(xcoms={RESULT: outcome})
    calls: list[Any] = []

    def default(event: Any, **arguments: Any) -> None:
        calls.append((event, arguments))

    end_node(event, outcome, default, task_instance=deferred, session=metadata)
    assert calls == [(event, {"task_instance": deferred, "session": metadata})]
    assert deferred.end_date == datetime(2024, 5, 1, 12, 0, 7, tzinfo=UTC)
