"""What the DAG files share: defaults of every task, and dbt's task groups."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from ecommerce.callbacks import note_failure
from ecommerce.dbt_project import DBT_PROJECT, MANIFEST
from ecommerce.warehouse import WAREHOUSE

OWNER = "data-platform"

DEFAULT_ARGS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 1,
    "retry_delay": timedelta(seconds=10),
    "execution_timeout": timedelta(hours=2),
    "on_failure_callback": note_failure,
}

#: One slot: of the runs that want to build, one waits at a time, and the others take no worker while they queue.
CLAIM_POOL = "warehouse_claim"

#: The task group that builds.
BUILD_GROUP = "warehouse"

#: How Cosmos runs dbt: `watcher` (one `dbt build`, each node its own task) or `local` (a dbt command a task).
EXECUTION_MODE = os.environ.get("ECOMMERCE_DBT_EXECUTION_MODE", "watcher")

_MODE_ARGS: dict[str, dict[str, Any]] = {
    "watcher": {
        # LocalExecutor fails a task that resumes before the scheduler has heard of its deferral
        # ("finished with state success, but the task instance's state attribute is running"), and these
        # resume within a second. In a worker they also start sooner.
        "deferrable": False,
        "poke_interval": 1,
        # One `dbt build` for all nodes: a second try of one node would not bring back what dbt skipped after it.
        "retries": 0,
    },
    "local": {},
}


def _no_task(**_: Any) -> None:
    """A node converter that gives a dbt node no task."""


def warehouse_group() -> Any:
    """The dbt project as a task group: one task a node, grouped by folder, from the manifest built at install."""
    from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
    from cosmos.constants import DbtResourceType, ExecutionMode, InvocationMode, LoadMode, TestBehavior
    from cosmos.profiles import PostgresUserPasswordProfileMapping

    return DbtTaskGroup(
        group_id=BUILD_GROUP,
        project_config=ProjectConfig(dbt_project_path=DBT_PROJECT, manifest_path=MANIFEST, install_dbt_deps=False),
        profile_config=ProfileConfig(
            profile_name="ecommerce",
            target_name="airflow",
            profile_mapping=PostgresUserPasswordProfileMapping(
                conn_id=WAREHOUSE, profile_args={"schema": "core", "threads": 4}
            ),
        ),
        execution_config=ExecutionConfig(
            execution_mode=ExecutionMode(EXECUTION_MODE), invocation_mode=InvocationMode.DBT_RUNNER
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            group_nodes_by_folder=True,
            test_behavior=TestBehavior.AFTER_EACH,
            emit_datasets=False,
            # On its own, a model's test must not reach for the other models of a test between several: those run
            # once all of them are there. `dbt build` knows that order by itself.
            should_detach_multiple_parents_tests=EXECUTION_MODE == "local",
            # Exposures are documentation: nothing to run.
            node_converters={DbtResourceType("exposure"): _no_task},
        ),
        operator_args={
            "full_refresh": "{{ params.full_refresh }}",
            **_MODE_ARGS[EXECUTION_MODE],
        },
    )
