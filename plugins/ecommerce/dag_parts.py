"""What the DAG files share: defaults of every task, and dbt's task groups."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from ecommerce.callbacks import note_failure
from ecommerce.warehouse import WAREHOUSE

OWNER = "data-platform"

DEFAULT_ARGS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 1,
    "retry_delay": timedelta(seconds=10),
    "execution_timeout": timedelta(hours=2),
    "on_failure_callback": note_failure,
}

#: One slot: whoever is between claim and publish. The lease in `ops.build` stands behind it.
BUILD_POOL = "warehouse_build"

DBT_PROJECT = Path(__file__).parents[2] / "include" / "dbt"

#: How Cosmos runs dbt: `watcher` (one `dbt build`, each node its own task) or `local` (a dbt command a task).
EXECUTION_MODE = os.environ.get("ECOMMERCE_DBT_EXECUTION_MODE", "watcher")


def warehouse_group() -> Any:
    """The dbt project as a task group: one task a node, grouped by folder, from the manifest built at install."""
    from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
    from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior
    from cosmos.profiles import PostgresUserPasswordProfileMapping

    return DbtTaskGroup(
        group_id="warehouse",
        project_config=ProjectConfig(
            dbt_project_path=DBT_PROJECT, manifest_path=DBT_PROJECT / "target" / "manifest.json"
        ),
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
        ),
        operator_args={
            "install_deps": False,
            # A retry of one node would hide from the rest of the build that it failed; the next run repairs.
            "retries": 0,
            "full_refresh": "{{ params.full_refresh }}",
        },
    )
