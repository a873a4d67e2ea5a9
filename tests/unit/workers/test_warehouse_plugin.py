"""The plugin that all of Airflow's processes load: what it prepares in the scheduler and in the triggerer."""

import importlib.util
from types import ModuleType
from typing import Any

import pytest
from airflow._shared.listeners.spec import lifecycle
from airflow.listeners.listener import ListenerManager

from include.demo.state import ROOT


class Job:
    """What a service passes to listeners before it knows its own type."""


@pytest.fixture
def plugin() -> ModuleType:
    spec = importlib.util.spec_from_file_location("warehouse_plugin", ROOT / "plugins" / "warehouse_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    monkeypatch.setattr("ecommerce.workers.warm_up.warm_up", lambda: calls.append("warm up"))
    monkeypatch.setattr("dbt_triggerer.airflow_internals.patch_triggerer", lambda *triggers: calls.append(triggers))
    monkeypatch.setattr("gc.freeze", lambda: calls.append("freeze"))
    return calls


def start(plugin: ModuleType) -> None:
    """Call the plugin's listeners as a service of Airflow does when it starts."""
    manager = ListenerManager()
    manager.add_hookspecs(lifecycle)
    for listener in plugin.WarehousePlugin.listeners:
        manager.add_listener(listener)
    manager.hook.on_starting(component=Job())


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("scheduler", ["warm up"]),
        ("triggerer", [("ecommerce.audit.quality_trigger.QualityTrigger",), "freeze"]),
        ("dag-processor", []),
    ],
)
def test_plugin_prepares_each_service_for_its_work(
    plugin: ModuleType, calls: list[Any], monkeypatch: pytest.MonkeyPatch, service: str, expected: list[Any]
) -> None:
    monkeypatch.setattr("sys.argv", ["/venv/bin/airflow", service])
    start(plugin)
    assert calls == expected


def test_workers_start_cold_if_the_setting_is_off(
    plugin: ModuleType, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["airflow", "scheduler"])
    monkeypatch.setenv("ECOMMERCE_WARM_WORKERS", "off")
    start(plugin)
    assert calls == []
