"""The trigger of a node: what it reads of the build through the task API, and the event that ends its task."""

import asyncio
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent
from uuid6 import uuid7

from dbt_triggerer import build_watcher
from dbt_triggerer.build_watcher import BuildWatch, NodeTrigger, created_at
from dbt_triggerer.node_results import COMPILED, PROGRESS, RESULT, NodeResult, Progress, batch_key

BUILD = "warehouse.dbt_build"
BEGAN = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Airflow:
    """The task API as far as a trigger uses it: the states of one run's tasks, and the build's XComs."""

    def __init__(self) -> None:
        self.states: dict[str, str | None] = {BUILD: None}
        self.xcoms: dict[str, Any] = {}
        self.is_unavailable = False
        self.requests: list[list[str] | None] = []

    def get_task_states(
        self, *, dag_id: str, task_ids: list[str] | None, run_ids: list[str]
    ) -> dict[str, dict[str, str | None]]:
        self._answer()
        assert (dag_id, run_ids) == ("shop", ["run"])
        self.requests.append(task_ids)
        return {"run": {task: state for task, state in self.states.items() if task_ids is None or task in task_ids}}

    def get_one(self, *, key: str, dag_id: str, task_id: str, run_id: str) -> Any:
        self._answer()
        assert (dag_id, task_id, run_id) == ("shop", BUILD, "run")
        return self.xcoms.get(key)

    def _answer(self) -> None:
        if self.is_unavailable:
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    def write(self, *batches: list[NodeResult], attempt: int = 1, began: datetime = BEGAN) -> None:
        """Make these the XComs that the build has written so far."""
        self.states[BUILD] = "running"
        self.xcoms = {batch_key(n): [asdict(result) for result in batch] for n, batch in enumerate(batches)} | {
            PROGRESS: Progress(attempt, began.isoformat(), len(batches)).as_xcom()
        }


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    fake = Airflow()
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", fake.get_task_states)
    monkeypatch.setattr(XCom, "get_one", fake.get_one)
    monkeypatch.setattr(build_watcher, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(build_watcher, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(build_watcher, "REPEAT_SECONDS", 0.02)
    return fake


def node(unique_id: str, status: str = "success", **more: Any) -> NodeResult:
    return NodeResult(unique_id, status, **more)


def watch() -> BuildWatch:
    return BuildWatch("shop", "run", BUILD)


def poll(watched: BuildWatch) -> bool:
    return asyncio.run(watched.poll())


def statuses(watched: BuildWatch) -> dict[str, str]:
    return {unique_id: result.status for unique_id, result in watched.build.results.items()}


# -- the watch ---------------------------------------------------------------------------------------------------------


def test_each_batch_of_results_is_a_change_once(airflow: Airflow) -> None:
    watched = watch()
    assert not poll(watched), "no build yet"
    airflow.write()
    assert poll(watched)
    airflow.write([node("a")])
    assert poll(watched)
    assert not poll(watched)
    airflow.write([node("a")], [node("b"), node("c", "error")])
    assert poll(watched)
    assert statuses(watched) == {"a": "success", "b": "success", "c": "error"}
    assert watched.build.started_at == BEGAN


def test_new_attempt_replaces_results_of_the_one_before(airflow: Airflow) -> None:
    watched = watch()
    airflow.write([node("a")], [node("b")])
    poll(watched)
    airflow.write([node("b", "error")], attempt=2, began=BEGAN + timedelta(minutes=1))
    assert poll(watched)
    assert statuses(watched) == {"b": "error"}
    assert watched.build.started_at == BEGAN + timedelta(minutes=1)


def test_xcoms_that_are_being_cleared_are_no_results(airflow: Airflow) -> None:
    watched = watch()
    airflow.write([node("a")], [node("b")])
    del airflow.xcoms[batch_key(1)]
    poll(watched)
    assert watched.build.progress is None, "an attempt that is being cleared has no progress"
    airflow.write([node("a", "error")], attempt=2)
    assert poll(watched)
    assert statuses(watched) == {"a": "error"}


def test_build_stays_as_it_was_while_api_is_unavailable(airflow: Airflow) -> None:
    watched = watch()
    airflow.write([node("a")])
    poll(watched)
    airflow.is_unavailable = True
    airflow.write([node("a")], [node("b")])
    assert not poll(watched)
    assert statuses(watched) == {"a": "success"}
    assert watched.build.task_state == "running"
    airflow.is_unavailable = False
    assert poll(watched)
    assert statuses(watched) == {"a": "success", "b": "success"}


def test_no_result_is_lost_if_api_fails_between_state_and_results(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ended build whose last results could not be read must not look like one without results."""
    watched = watch()
    airflow.write([node("a")])
    poll(watched)
    airflow.write([node("a")], [node("b")])
    airflow.states[BUILD] = "success"

    def fail(**_: Any) -> None:
        airflow.is_unavailable = True
        airflow._answer()

    with monkeypatch.context() as unavailable:
        unavailable.setattr(XCom, "get_one", fail)
        assert not poll(watched)
    assert watched.build.task_state == "running"
    airflow.is_unavailable = False
    assert poll(watched)
    assert statuses(watched) == {"a": "success", "b": "success"}
    assert watched.build.task_state == "success"


def test_states_of_other_tasks_are_read_after_the_build(airflow: Airflow) -> None:
    watched = watch()
    airflow.states |= {"before": "running"}
    airflow.write([node("a")])
    poll(watched)
    assert airflow.requests == [[BUILD]]
    airflow.states[BUILD] = "success"
    assert poll(watched)
    assert watched.build.task_states == {BUILD: "success", "before": "running"}
    airflow.states["before"] = "failed"
    assert poll(watched), "a parent that ends is a change"
    assert not poll(watched)


def test_skipped_build_has_no_results(airflow: Airflow) -> None:
    """Those of an earlier try of the task do not count."""
    watched = watch()
    airflow.write([node("a")])
    airflow.states[BUILD] = "skipped"
    poll(watched)
    assert watched.build.results == {}


# -- the trigger -------------------------------------------------------------------------------------------------------


def made_of(trigger: NodeTrigger, *, try_number: int = 1, run_id: str = "run") -> NodeTrigger:
    """The trigger as the triggerer makes it: from its serialized form, with the task instance that it is to end."""
    classpath, kwargs = trigger.serialize()
    module, _, name = classpath.rpartition(".")
    made = getattr(import_module(module), name)(**kwargs)
    made.task_instance = SimpleNamespace(
        id=uuid7(), dag_id="shop", run_id=run_id, task_id="a.run", try_number=try_number
    )
    return made


def trigger_of(*unique_ids: str, **ti: Any) -> NodeTrigger:
    return made_of(NodeTrigger(build_task_id=BUILD, unique_ids=list(unique_ids), parents=["before"]), **ti)


def first_event(trigger: NodeTrigger) -> Any:
    async def first() -> TriggerEvent:
        return await anext(trigger.run())

    return asyncio.run(asyncio.wait_for(first(), 10))


def result_of(event: Any) -> Any:
    """The XCom that comes with an event."""
    return event.xcoms[RESULT]


def test_serialized_trigger_is_the_same_again() -> None:
    trigger = NodeTrigger(build_task_id=BUILD, unique_ids=["a", "b"], parents=["before"])
    _, kwargs = trigger.serialize()
    again = made_of(trigger)
    assert again.serialize() == made_of(again).serialize()
    assert {**kwargs, "dag_id": "shop", "run_id": "run"} == again.serialize()[1]


def test_triggers_of_one_run_share_a_stream() -> None:
    one, two, other = trigger_of("a"), trigger_of("b"), trigger_of("a", run_id="another")
    assert one.shared_stream_key() == two.shared_stream_key()
    assert one.shared_stream_key() != other.shared_stream_key()


def test_event_of_built_node_contains_its_result(airflow: Airflow) -> None:
    airflow.write([node("a", rows=7, started_at="2024-05-01T12:00:01+00:00")])
    event = first_event(trigger_of("a"))
    assert isinstance(event, TaskSuccessEvent)
    result = result_of(event)
    assert result["state"] == "success"
    assert result["nodes"][0]["rows"] == 7
    assert result["nodes"][0]["started_at"] == "2024-05-01T12:00:01+00:00"


def test_event_of_failed_node_contains_its_message_and_no_sql(airflow: Airflow) -> None:
    airflow.write([node("a", "error", message="no such column", sql="select nothing")])
    event = first_event(trigger_of("a"))
    assert isinstance(event, TaskFailedEvent)
    result = result_of(event)
    assert result["state"] == "failed"
    assert "no such column" in result["reason"]
    assert "select nothing" not in str(result)
    assert (event.xcoms or {})[COMPILED] == "select nothing"


def test_event_of_several_tests_has_the_sql_of_each(airflow: Airflow) -> None:
    airflow.write([node("a", sql="select 1"), node("b", sql="select 2"), node("c")])
    event = first_event(trigger_of("a", "b", "c"))
    assert isinstance(event, TaskSuccessEvent)
    assert (event.xcoms or {})[COMPILED] == "-- a\nselect 1\n\n-- b\nselect 2"


@pytest.mark.parametrize(
    ("build", "before", "kind", "state"),
    [
        ("skipped", "skipped", TaskSkippedEvent, "skipped"),
        ("upstream_failed", "failed", TaskFailedEvent, "upstream_failed"),
        ("success", "failed", TaskFailedEvent, "upstream_failed"),
    ],
)
def test_event_of_node_that_was_not_built(
    airflow: Airflow, build: str, before: str, kind: type[TriggerEvent], state: str
) -> None:
    airflow.states = {BUILD: build, "before": before}
    event = first_event(trigger_of("a"))
    assert isinstance(event, kind)
    assert result_of(event)["state"] == state
    assert result_of(event)["nodes"] == []


def test_cleared_task_is_sent_to_a_worker(airflow: Airflow) -> None:
    airflow.write([node("a")])
    airflow.states |= {BUILD: "success", "before": "success"}
    event = first_event(trigger_of("a", try_number=2))
    assert type(event) is TriggerEvent
    assert set(event.payload) == {"reason"}


def test_late_trigger_gets_the_build_although_nothing_has_changed(airflow: Airflow) -> None:
    airflow.write([node("a")])

    async def count() -> int:
        stream = NodeTrigger.open_shared_stream(trigger_of("a").serialize()[1])
        builds = [await anext(stream) for _ in range(3)]
        return len(builds)

    assert asyncio.run(asyncio.wait_for(count(), 10)) == 3


def test_creation_time_is_read_from_the_id() -> None:
    before = time.time()
    made = created_at(uuid7()).timestamp()
    assert before - 0.002 <= made <= time.time()
    with pytest.raises(ValueError, match="not a UUID of version 7"):
        created_at(uuid4())
