"""Which of Airflow's processes is prepared for what, by the plugin that all of them load."""

import importlib.util
from types import ModuleType
from typing import Any

import pytest

from include.demo.state import ROOT


class Job:
    """What a service announces itself with, before it knows its own type."""


class TaskRunnerMarker:
    """What a task announces itself with."""


@pytest.fixture
def plugin() -> ModuleType:
    spec = importlib.util.spec_from_file_location("warehouse_plugin", ROOT / "plugins" / "warehouse_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    monkeypatch.setattr("ecommerce.workers.warm_up.warm_up", lambda: done.append("workers"))
    monkeypatch.setattr("dbt_triggerer.airflow_internals.refine_triggerer", lambda *_: done.append("triggerer"))
    monkeypatch.setattr("gc.freeze", lambda: done.append("shared"))
    return done


@pytest.mark.parametrize(
    ("command", "component", "expected"),
    [
        (["/venv/bin/airflow", "scheduler", "--skip-serve-logs"], Job(), ["workers"]),
        (["/venv/bin/airflow", "triggerer"], Job(), ["triggerer", "shared"]),
        (["/venv/bin/airflow", "dag-processor"], Job(), []),
        # A task is a fork of the scheduler, and has its command line.
        (["/venv/bin/airflow", "scheduler"], TaskRunnerMarker(), []),
        (["/venv/bin/pytest", "scheduler"], Job(), []),
    ],
)
def test_each_process_is_prepared_for_its_work(
    plugin: ModuleType,
    prepared: list[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    component: Any,
    expected: list[str],
) -> None:
    monkeypatch.setattr("sys.argv", command)
    (listener,) = plugin.WarehousePlugin.listeners
    listener.on_starting(component)
    assert prepared == expected


def test_workers_start_empty_where_the_setting_says_so(
    plugin: ModuleType, prepared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["airflow", "scheduler"])
    monkeypatch.setenv("ECOMMERCE_WARM_WORKERS", "off")
    plugin.Lifecycle().on_starting(Job())
    assert prepared == []
