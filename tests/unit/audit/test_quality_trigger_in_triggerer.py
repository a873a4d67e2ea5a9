"""How the triggerer treats the trigger of a check: no DAG is sent along, and its result is stored as that of a node."""

from types import SimpleNamespace

from airflow.triggers.base import TaskSuccessEvent

from dbt_triggerer.node_results import is_result_xcom
from ecommerce.audit.quality_trigger import CHECKED, QualityTrigger


def trigger(build_task_id: str | None = None) -> QualityTrigger:
    made = QualityTrigger(
        check_name="freshness", warehouse_conn_id="warehouse", window_task_id="window", build_task_id=build_task_id
    )
    made.task_instance = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="check")  # type: ignore[assignment]
    return made


def test_class_path_of_the_trigger_is_the_one_in_the_plugin() -> None:
    """`tests/unit/workers/test_warehouse_plugin.py` holds the plugin's side."""
    assert trigger().serialize()[0] == "ecommerce.audit.quality_trigger.QualityTrigger"


def test_check_beside_a_build_shares_its_stream_and_one_without_shares_none() -> None:
    assert trigger().shared_stream_key() is None
    assert trigger("build").shared_stream_key() == ("dbt build", "a_dag", "a_run", "build")


def test_result_of_a_check_is_one_that_the_triggerer_stores() -> None:
    event = TaskSuccessEvent(xcoms={CHECKED: {"state": "success", "reason": "pass", "nodes": []}})
    assert is_result_xcom((event.xcoms or {})[CHECKED])
