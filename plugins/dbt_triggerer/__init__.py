"""
Run a dbt project as one `dbt build` in an Airflow DAG, with a task for each node that lives in the triggerer.

`__all__` is the whole interface. A name is imported when it is first used, so that a process that needs one of them
does not import Cosmos, dbt and Airflow for all.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt_triggerer.build_watcher import BuildWatcher
    from dbt_triggerer.errors import BuildError
    from dbt_triggerer.invocation import PARSED, run_dbt, without_rows
    from dbt_triggerer.node_results import Build, result_xcom
    from dbt_triggerer.service_listener import ServiceListener
    from dbt_triggerer.task_group import BUILD_TASK, EXECUTION_MODES, dbt_task_group, nodes_of, parents_of
    from dbt_triggerer.task_outcome import TaskEnd, TaskOutcome, outcome_of_audit
    from dbt_triggerer.warm_workers import warm_up

__all__ = [
    "BUILD_TASK",
    "EXECUTION_MODES",
    "PARSED",
    "Build",
    "BuildError",
    "BuildWatcher",
    "ServiceListener",
    "TaskEnd",
    "TaskOutcome",
    "dbt_task_group",
    "nodes_of",
    "outcome_of_audit",
    "parents_of",
    "result_xcom",
    "run_dbt",
    "warm_up",
    "without_rows",
]

_MODULES = {
    "BUILD_TASK": "task_group",
    "EXECUTION_MODES": "task_group",
    "Build": "node_results",
    "BuildError": "errors",
    "BuildWatcher": "build_watcher",
    "PARSED": "invocation",
    "ServiceListener": "service_listener",
    "TaskEnd": "task_outcome",
    "TaskOutcome": "task_outcome",
    "dbt_task_group": "task_group",
    "nodes_of": "task_group",
    "outcome_of_audit": "task_outcome",
    "parents_of": "task_group",
    "result_xcom": "node_results",
    "run_dbt": "invocation",
    "warm_up": "warm_workers",
    "without_rows": "invocation",
}


# dbt 1.12 loads the `.env` of the working directory into its process when it is imported, and again at each command.
# Here that is a process of Airflow, where connections and passwords of such a file would hold from then on.
os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
