"""The listener of a plugin: which of Airflow's processes it prepares, and how."""

import sys
from typing import Any

import pytest

from dbt_triggerer import ServiceListener


class Job:
    """What a service passes to listeners before it knows its own type."""


class TaskRunnerMarker:
    """What a task passes to listeners."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    monkeypatch.setattr("dbt_triggerer.airflow_internals.patch_triggerer", lambda *triggers: calls.append(triggers))
    monkeypatch.setattr("gc.freeze", lambda: calls.append("freeze"))
    return calls


@pytest.mark.parametrize(
    ("command", "component", "expected"),
    [
        (["/venv/bin/airflow", "scheduler", "--skip-serve-logs"], Job(), ["before fork"]),
        (["/venv/bin/airflow", "triggerer"], Job(), [("some.Trigger",), "freeze"]),
        (["/venv/bin/airflow", "dag-processor"], Job(), []),
        # A task is a fork of the scheduler, and has its command line.
        (["/venv/bin/airflow", "scheduler"], TaskRunnerMarker(), []),
        (["/venv/bin/pytest", "scheduler"], Job(), []),
    ],
)
def test_listener_prepares_scheduler_and_triggerer_alone(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, command: list[str], component: Any, expected: list[Any]
) -> None:
    monkeypatch.setattr(sys, "argv", command)
    listener = ServiceListener(before_fork=lambda: calls.append("before fork"), triggers_without_dag=["some.Trigger"])
    listener.on_starting(component)
    assert calls == expected


@pytest.mark.parametrize(
    ("executor", "expected"),
    [
        ("LocalExecutor", ["before fork"]),
        ("LocalExecutor,CeleryExecutor", ["before fork"]),
        ("CeleryExecutor", []),
        ("airflow.providers.cncf.kubernetes.executors.kubernetes_executor.KubernetesExecutor", []),
    ],
)
def test_scheduler_whose_workers_are_not_its_forks_stays_cold(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, executor: str, expected: list[Any]
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    monkeypatch.setattr(sys, "argv", ["airflow", "scheduler"])
    ServiceListener(before_fork=lambda: calls.append("before fork")).on_starting(Job())
    assert calls == expected


def test_listener_without_warm_up_leaves_scheduler_alone(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["airflow", "scheduler"])
    ServiceListener().on_starting(Job())
    assert calls == []
