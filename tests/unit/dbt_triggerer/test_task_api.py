"""What mode `triggerer` needs of Airflow's task API: it is there, and its absence is an error that names it."""

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.execution_time.xcom import XCom

from dbt_triggerer.task_api import check_airflow


def test_installed_airflow_has_the_task_api() -> None:
    check_airflow()


def test_missing_function_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(RuntimeTaskInstance, "get_task_states")
    with pytest.raises(ImportError, match=r"needs \S+:RuntimeTaskInstance\.get_task_states, which Airflow"):
        check_airflow()


def test_function_without_a_used_parameter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(XCom, "get_one", lambda *, key, task_id: None)
    with pytest.raises(ImportError, match=r"needs \S+:XCom\.get_one, which Airflow"):
        check_airflow()
