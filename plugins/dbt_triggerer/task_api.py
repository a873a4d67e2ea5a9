"""
Read states and XComs of a run through Airflow's task API, by names that Airflow does not publish.

Mode `triggerer` cannot do without them, so `check_airflow` looks for them when the task group is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbt_triggerer.patch_gate import find, parameters_of

_TASK_STATES = "airflow.sdk.execution_time.task_runner:RuntimeTaskInstance.get_task_states"
_XCOM = "airflow.sdk.execution_time.xcom:XCom.get_one"
#: Function → the parameters that are used here.
_USED = {_TASK_STATES: {"dag_id", "task_ids", "run_ids"}, _XCOM: {"key", "dag_id", "task_id", "run_id"}}


def check_airflow() -> None:
    """
    Check that the installed Airflow has what this module uses.

    :raises ImportError: it has not; the message names what is missing
    """
    missing = [path for path, used in _USED.items() if not used <= _parameters(path)]
    if missing:
        from airflow import __version__

        raise ImportError(
            f"the mode 'triggerer' of dbt_task_group needs {' and '.join(missing)}, which Airflow {__version__} "
            "does not have in this form; use the mode 'watcher' or 'local'"
        )


def _parameters(path: str) -> set[str]:
    try:
        return set(parameters_of(find(path)).split())
    except (LookupError, TypeError, ValueError):
        return set()


def read_task_states(dag_id: str, run_id: str, task_ids: Sequence[str] | None) -> dict[str, str | None]:
    """Task id → state, for some tasks of a run, or for all of them."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=dag_id, task_ids=list(task_ids) if task_ids is not None else None, run_ids=[run_id]
    )
    return states.get(run_id) or {}


def read_xcom(dag_id: str, run_id: str, task_id: str, key: str) -> Any:
    """The value of an XCom, or None."""
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.get_one(key=key, dag_id=dag_id, task_id=task_id, run_id=run_id)
