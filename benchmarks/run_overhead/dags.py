"""The DAG of the benchmark: a dbt project and nothing else."""

from __future__ import annotations

from pathlib import Path

import pendulum
from airflow.sdk import DAG

#: Mode → its name in the tables.
MODES = {
    "local": "Cosmos LOCAL as it comes",
    "watcher": "Cosmos WATCHER as it comes",
    "triggerer": "ours",
}


def overhead_dag(dag_id: str, mode: str, project: str, profile: str) -> DAG:
    """Make the DAG of a project (its folder and its profile's name) in one of `MODES`."""
    with DAG(
        dag_id,
        schedule=None,
        start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    ) as dag:
        if mode == "triggerer":
            from dbt_triggerer import dbt_task_group
            from ecommerce.build.warehouse_group import BUILD_GROUP, warehouse_profile

            dbt_task_group(
                BUILD_GROUP,
                project=Path(project),
                manifest=Path(project) / "target" / "manifest.json",
                profile=warehouse_profile(name=profile),
                mode=mode,
            )
        else:
            _stock_group(mode, Path(project), profile)
    return dag


def _stock_group(mode: str, project: Path, profile: str) -> None:
    """Cosmos as on the first page of its documentation, with its own defaults."""
    from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig
    from cosmos.constants import ExecutionMode
    from cosmos.profiles import PostgresUserPasswordProfileMapping

    DbtTaskGroup(
        group_id="dbt",
        project_config=ProjectConfig(dbt_project_path=project, manifest_path=project / "target" / "manifest.json"),
        profile_config=ProfileConfig(
            profile_name=profile,
            target_name="airflow",
            profile_mapping=PostgresUserPasswordProfileMapping(
                conn_id="warehouse_transformer", profile_args={"schema": "core", "threads": 4}
            ),
        ),
        execution_config=ExecutionConfig(execution_mode=ExecutionMode(mode)),
    )
