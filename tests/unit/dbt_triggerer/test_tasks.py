"""The operators of a build: the results that DbtBuild writes, which failures are its own, and a node on its own."""

import contextlib
import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time import task_runner

from dbt_triggerer import tasks
from dbt_triggerer.errors import BuildError
from dbt_triggerer.node_results import PROGRESS, RESULT, NodeResult, batch_key
from dbt_triggerer.tasks import DbtBuild, DbtNode

GOOD, BAD = NodeResult("model.shop.good", "success"), NodeResult("model.shop.bad", "error", message="no room")
PROFILE: Any = None
SKIPPED = NodeResult("model.shop.after", "skipped")


class TaskInstance:
    """A task instance as its process sees it."""

    dag_id, run_id = "shop", "run"

    def __init__(self, try_number: int = 1, **states: str) -> None:
        self.try_number = try_number
        self.xcoms: dict[str, Any] = {}
        self._states = states

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def get_task_states(self, *, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        assert (dag_id, run_ids) == ("shop", ["run"])
        return {"run": self._states}


def of(ti: TaskInstance) -> Any:
    """The context of its task."""
    return {"ti": ti}


@pytest.fixture
def dbt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Make dbt end with these results; the list collects its command lines."""

    def ends_with(*results: NodeResult) -> list[list[str]]:
        commands: list[list[str]] = []

        def run_dbt(command: list[str], *, on_result: Any = None, **_: Any) -> list[NodeResult]:
            commands.append(command)
            for result in results:
                if on_result:
                    on_result(result)
            return list(results)

        monkeypatch.setattr(tasks, "run_dbt", run_dbt)
        return commands

    return ends_with


def build(**given: Any) -> DbtBuild:
    task_ids = {"model.shop.good": "good.run", "model.shop.bad": "bad.run", "model.shop.after": "after.run"}
    return DbtBuild(task_id="dbt_build", project=Path(), profile=PROFILE, task_ids=task_ids, **given)


def alone(command: str, *unique_ids: str, **given: Any) -> DbtNode:
    return DbtNode(
        task_id="it",
        command=command,
        unique_ids=unique_ids,
        build_task_id="dbt_build",
        project=Path(),
        profile=PROFILE,
        **given,
    )


def test_build_writes_every_result_and_succeeds_with_a_failed_node(dbt: Callable) -> None:
    dbt(GOOD, BAD, SKIPPED)
    ti = TaskInstance()
    task = build()
    assert task.execute(of(ti)) == "1 error, 1 skipped, 1 success"
    # For a `post_execute`.
    assert task.results == [GOOD, BAD, SKIPPED]
    progress = ti.xcoms[PROGRESS]
    written = [entry["unique_id"] for n in range(progress["batches"]) for entry in ti.xcoms[batch_key(n)]]
    assert written == ["model.shop.good", "model.shop.bad", "model.shop.after"]
    assert progress["attempt"] == 1


def test_failed_node_without_a_task_fails_the_build(dbt: Callable) -> None:
    dbt(GOOD, NodeResult("model.shop.new", "error"))
    with pytest.raises(AirflowFailException, match=r"without a task of their own.*new: error"):
        build().execute(of(TaskInstance()))


def test_failed_node_whose_task_has_succeeded_before_fails_the_build(dbt: Callable) -> None:
    dbt(GOOD, BAD, SKIPPED)
    with pytest.raises(AirflowFailException, match=r"bad: error .* no room"):
        build().execute(of(TaskInstance(2, **{"bad.run": "success"})))


def test_failed_node_whose_task_waits_does_not_fail_a_later_try(dbt: Callable) -> None:
    dbt(GOOD, BAD, SKIPPED)
    build().execute(of(TaskInstance(2, **{"good.run": "success", "bad.run": "deferred"})))


def test_results_that_cannot_be_written_fail_the_build(dbt: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the tasks of the nodes would wait for ever."""
    dbt(GOOD)
    ti = TaskInstance()

    def refuse(*, key: str, value: Any) -> None:
        if key == batch_key(0):
            raise OSError("no room for results")

    monkeypatch.setattr(ti, "xcom_push", refuse)
    with pytest.raises((BuildError, OSError), match="no room for results"):
        build().execute(of(ti))


def test_build_runs_everything_but_unit_tests(dbt: Callable) -> None:
    commands = dbt(GOOD)
    build().execute(of(TaskInstance()))
    assert commands == [["build", "--exclude-resource-type", "unit_test"]]


def test_build_excludes_named_models(dbt: Callable) -> None:
    commands = dbt(GOOD)
    build(exclude="bad after").execute(of(TaskInstance()))
    assert commands[0][-3:] == ["--exclude", "bad", "after"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("run", ["run", "--select", "good"]),
        ("seed", ["seed", "--select", "good"]),
        ("snapshot", ["snapshot", "--select", "good"]),
        ("test", ["test", "--select", "good", "--indirect-selection", "empty"]),
    ],
)
def test_node_on_its_own_runs_nothing_else(dbt: Callable, command: str, expected: list[str]) -> None:
    commands = dbt(GOOD)
    ti = TaskInstance(2)
    task = alone(command, "model.shop.good")
    task.execute(of(ti))
    assert (commands, task.results) == ([expected], [GOOD])
    assert ti.xcoms[RESULT]["state"] == "success"
    assert [result["unique_id"] for result in ti.xcoms[RESULT]["nodes"]] == ["model.shop.good"]


@pytest.mark.parametrize("status", ["success", "error"])
def test_node_on_its_own_shows_its_sql(dbt: Callable, status: str) -> None:
    dbt(NodeResult("model.shop.good", status, sql="select 1"))
    task = alone("run", "model.shop.good")
    with contextlib.suppress(BuildError):
        task.execute(of(TaskInstance(2)))
    assert [getattr(task, field) for field in task.template_fields] == ["select 1"]
    # Airflow stores the fields before the task begins, and again after it for an operator with this attribute.
    assert task.overwrite_rtif_after_execution
    assert '"overwrite_rtif_after_execution"' in inspect.getsource(task_runner.finalize)


def test_failed_node_on_its_own_raises_its_message(dbt: Callable) -> None:
    dbt(BAD)
    ti = TaskInstance(2)
    with pytest.raises(BuildError, match="no room"):
        alone("run", "model.shop.bad").execute(of(ti))
    assert ti.xcoms[RESULT]["state"] == "failed"
    assert "no room" in ti.xcoms[RESULT]["reason"]


def test_node_that_dbt_does_not_run_is_no_success(dbt: Callable) -> None:
    dbt()
    with pytest.raises(BuildError, match=r"did not run model\.shop\.good"):
        alone("run", "model.shop.good").execute(of(TaskInstance(2)))


@pytest.mark.parametrize("word", ["--full-refresh", "--vars", "{high_value_threshold:", "tag:all", "../x", "other"])
def test_build_refuses_an_exclusion_that_is_no_node(dbt: Callable, word: str) -> None:
    """The names come from an XCom, which a person can write."""
    commands = dbt(GOOD)
    with pytest.raises(AirflowFailException, match="the project has no such node"):
        build(exclude=f"good {word}").execute(of(TaskInstance()))
    assert commands == []


def test_build_without_processor_time_says_so_every_two_minutes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A forked build that waits for threads that do not exist looks like a long statement otherwise."""
    clock = {"monotonic": 0.0, "process_time": 10.0}
    monkeypatch.setattr(tasks, "time", SimpleNamespace(**{name: lambda name=name: clock[name] for name in clock}))
    warning = tasks._IdleWarning()

    def warnings_after(seconds: float, *, used: float) -> int:
        clock["monotonic"] += seconds
        clock["process_time"] += used
        caplog.clear()
        warning.look()
        return len(caplog.records)

    assert warnings_after(119, used=0.4) == 0
    assert warnings_after(1, used=0) == 1
    assert "no processor time for 120 seconds" in caplog.text
    assert warnings_after(119, used=0) == 0, "not again at once"
    assert warnings_after(1, used=0.6) == 0, "it works again"
    assert warnings_after(120, used=0.4) == 1


def test_running_build_is_watched_for_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Event()
    monkeypatch.setattr(tasks._IdleWarning, "look", lambda self: looked.set())
    with tasks._ResultWriter(cast("Any", TaskInstance())):
        assert looked.wait(5)
