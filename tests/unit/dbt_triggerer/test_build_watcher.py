"""A node's task in the triggerer: what it sees of the build through the task API, and the event that it ends with."""

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
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent
from uuid6 import uuid7

from dbt_triggerer import build_watcher
from dbt_triggerer.build_watcher import BuildWatch, NodeTrigger, made_at
from dbt_triggerer.node_results import PROGRESS, RESULT, NodeResult, Progress, batch_key

BUILD = "warehouse.dbt_build"
BEGAN = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Airflow:
    """The task API as far as a trigger asks it: the states of one run's tasks, and the build's XComs."""

    def __init__(self) -> None:
        self.states: dict[str, str | None] = {BUILD: None}
        self.xcoms: dict[str, Any] = {}
        self.is_away = False
        self.asked_for: list[list[str] | None] = []

    def get_task_states(
        self, *, dag_id: str, task_ids: list[str] | None, run_ids: list[str]
    ) -> dict[str, dict[str, str | None]]:
        self._answer()
        assert (dag_id, run_ids) == ("shop", ["run"])
        self.asked_for.append(task_ids)
        return {"run": {task: state for task, state in self.states.items() if task_ids is None or task in task_ids}}

    def get_one(self, *, key: str, dag_id: str, task_id: str, run_id: str) -> Any:
        self._answer()
        assert (dag_id, task_id, run_id) == ("shop", BUILD, "run")
        return self.xcoms.get(key)

    def _answer(self) -> None:
        if self.is_away:
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    def tell(self, *batches: list[NodeResult], attempt: int = 1, began: datetime = BEGAN) -> None:
        """What the build has written so far."""
        self.states[BUILD] = "running"
        self.xcoms = {batch_key(n): [asdict(result) for result in batch] for n, batch in enumerate(batches)} | {
            PROGRESS: Progress(attempt, began.isoformat(), len(batches)).as_xcom()
        }


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    fake = Airflow()
    monkeypatch.setattr(build_watcher.RuntimeTaskInstance, "get_task_states", fake.get_task_states)
    monkeypatch.setattr(build_watcher.XCom, "get_one", fake.get_one)
    monkeypatch.setattr(build_watcher, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(build_watcher, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(build_watcher, "REPEAT_SECONDS", 0.02)
    return fake


def node(unique_id: str, status: str = "success", **more: Any) -> NodeResult:
    return NodeResult(unique_id, status, **more)


def watch() -> BuildWatch:
    return BuildWatch("shop", "run", BUILD)


def look(watched: BuildWatch) -> bool:
    return asyncio.run(watched.look())


def statuses(watched: BuildWatch) -> dict[str, str]:
    return {unique_id: result.status for unique_id, result in watched.build.results.items()}


# -- the watch ---------------------------------------------------------------------------------------------------------


def test_results_arrive_batch_by_batch_and_each_is_news_once(airflow: Airflow) -> None:
    watched = watch()
    assert not look(watched), "no build yet"
    airflow.tell()
    assert look(watched)
    airflow.tell([node("a")])
    assert look(watched)
    assert not look(watched)
    airflow.tell([node("a")], [node("b"), node("c", "error")])
    assert look(watched)
    assert statuses(watched) == {"a": "success", "b": "success", "c": "error"}
    assert watched.build.started_at == BEGAN


def test_another_attempt_makes_the_results_of_the_one_before_void(airflow: Airflow) -> None:
    watched = watch()
    airflow.tell([node("a")], [node("b")])
    look(watched)
    airflow.tell([node("b", "error")], attempt=2, began=BEGAN + timedelta(minutes=1))
    assert look(watched)
    assert statuses(watched) == {"b": "error"}
    assert watched.build.started_at == BEGAN + timedelta(minutes=1)


def test_xcoms_cleared_half_way_are_no_results(airflow: Airflow) -> None:
    watched = watch()
    airflow.tell([node("a")], [node("b")])
    del airflow.xcoms[batch_key(1)]
    look(watched)
    assert watched.build.progress is None, "of an attempt that is being cleared nothing is known to the end"
    airflow.tell([node("a", "error")], attempt=2)
    assert look(watched)
    assert statuses(watched) == {"a": "error"}


def test_while_the_api_is_away_what_is_known_stands(airflow: Airflow) -> None:
    watched = watch()
    airflow.tell([node("a")])
    look(watched)
    airflow.is_away = True
    airflow.tell([node("a")], [node("b")])
    assert not look(watched)
    assert statuses(watched) == {"a": "success"}
    assert watched.build.task_state == "running"
    airflow.is_away = False
    assert look(watched)
    assert statuses(watched) == {"a": "success", "b": "success"}


def test_the_api_away_between_state_and_results_loses_no_result(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ended build whose last results could not be read must not look like one that said nothing."""
    watched = watch()
    airflow.tell([node("a")])
    look(watched)
    airflow.tell([node("a")], [node("b")])
    airflow.states[BUILD] = "success"

    def go_away(**_: Any) -> None:
        airflow.is_away = True
        airflow._answer()

    with monkeypatch.context() as away:
        away.setattr(build_watcher.XCom, "get_one", go_away)
        assert not look(watched)
    assert watched.build.task_state == "running"
    airflow.is_away = False
    assert look(watched)
    assert statuses(watched) == {"a": "success", "b": "success"}
    assert watched.build.task_state == "success"


def test_other_tasks_are_asked_for_once_the_build_has_ended(airflow: Airflow) -> None:
    watched = watch()
    airflow.states |= {"before": "running"}
    airflow.tell([node("a")])
    look(watched)
    assert airflow.asked_for == [[BUILD]]
    airflow.states[BUILD] = "success"
    assert look(watched)
    assert watched.build.task_states == {BUILD: "success", "before": "running"}
    airflow.states["before"] = "failed"
    assert look(watched), "a parent that ends is news"
    assert not look(watched)


def test_a_build_that_was_skipped_is_not_asked_for_results(airflow: Airflow) -> None:
    """What an earlier life of the task had written counts for nothing."""
    watched = watch()
    airflow.tell([node("a")])
    airflow.states[BUILD] = "skipped"
    look(watched)
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


def told_by(event: Any) -> Any:
    """The XCom that comes with an event."""
    return event.xcoms[RESULT]


def test_serialized_and_made_again_it_is_the_same() -> None:
    trigger = NodeTrigger(build_task_id=BUILD, unique_ids=["a", "b"], parents=["before"])
    _, kwargs = trigger.serialize()
    again = made_of(trigger)
    assert again.serialize() == made_of(again).serialize()
    assert {**kwargs, "dag_id": "shop", "run_id": "run"} == again.serialize()[1]


def test_tasks_of_one_run_share_a_stream_and_those_of_another_do_not() -> None:
    one, two, other = trigger_of("a"), trigger_of("b"), trigger_of("a", run_id="another")
    assert one.shared_stream_key() == two.shared_stream_key()
    assert one.shared_stream_key() != other.shared_stream_key()


def test_the_event_of_a_good_node_carries_its_result(airflow: Airflow) -> None:
    airflow.tell([node("a", rows=7, started_at="2024-05-01T12:00:01+00:00")])
    event = first_event(trigger_of("a"))
    assert isinstance(event, TaskSuccessEvent)
    told = told_by(event)
    assert told["state"] == "success"
    assert told["nodes"][0]["rows"] == 7
    assert told["nodes"][0]["started_at"] == "2024-05-01T12:00:01+00:00"


def test_the_event_of_a_failed_node_says_why_and_leaves_the_statement_to_the_log(airflow: Airflow) -> None:
    airflow.tell([node("a", "error", message="no such column", sql="select nothing")])
    event = first_event(trigger_of("a"))
    assert isinstance(event, TaskFailedEvent)
    told = told_by(event)
    assert told["state"] == "failed"
    assert "no such column" in told["reason"]
    assert "select nothing" not in str(told)


@pytest.mark.parametrize(
    ("build", "before", "kind", "state"),
    [
        ("skipped", "skipped", TaskSkippedEvent, "skipped"),
        ("upstream_failed", "failed", TaskFailedEvent, "upstream_failed"),
        ("success", "failed", TaskFailedEvent, "upstream_failed"),
    ],
)
def test_the_event_of_a_node_that_was_not_built(
    airflow: Airflow, build: str, before: str, kind: type[TriggerEvent], state: str
) -> None:
    airflow.states = {BUILD: build, "before": before}
    event = first_event(trigger_of("a"))
    assert isinstance(event, kind)
    assert told_by(event)["state"] == state
    assert told_by(event)["nodes"] == []


def test_a_cleared_task_is_sent_to_a_worker(airflow: Airflow) -> None:
    airflow.tell([node("a")])
    airflow.states |= {BUILD: "success", "before": "success"}
    event = first_event(trigger_of("a", try_number=2))
    assert type(event) is TriggerEvent
    assert set(event.payload) == {"reason"}


def test_a_task_that_joins_late_is_told_although_nothing_is_new(airflow: Airflow) -> None:
    airflow.tell([node("a")])

    async def tells() -> int:
        stream = NodeTrigger.open_shared_stream(trigger_of("a").serialize()[1])
        builds = [await anext(stream) for _ in range(3)]
        return len(builds)

    assert asyncio.run(asyncio.wait_for(tells(), 10)) == 3


def test_an_id_tells_when_it_was_made() -> None:
    before = time.time()
    made = made_at(uuid7()).timestamp()
    assert before - 0.002 <= made <= time.time()
    with pytest.raises(ValueError, match="no UUID of version 7"):
        made_at(uuid4())
