"""The task group `warehouse`: the dbt project, one Airflow task for each model and its tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dbt_triggerer import BUILD_TASK, EXECUTION_MODES, dbt_task_group
from ecommerce.build.build_permission import assert_may_build
from ecommerce.build.dbt_project import DBT_PROFILE, DBT_PROJECT, DBT_TARGET, manifest_file
from ecommerce.common.connections import TRANSFORMER

if TYPE_CHECKING:
    from airflow.sdk import Context, TaskGroup
    from cosmos import ProfileConfig

#: Id of the task group that builds.
BUILD_GROUP = "warehouse"

#: How dbt runs, see `dbt_triggerer.EXECUTION_MODES`.
EXECUTION_MODE = os.environ.get("ECOMMERCE_DBT_EXECUTION_MODE", "triggerer")

#: Id of the task that reports on the build while it runs; None in a mode without such a task.
WATCHED_BUILD = f"{BUILD_GROUP}.{BUILD_TASK}" if EXECUTION_MODE == "triggerer" else None


def warehouse_profile(
    conn_id: str = TRANSFORMER, *, name: str = DBT_PROFILE, target: str = DBT_TARGET
) -> ProfileConfig:
    """
    How dbt connects to the warehouse: by an Airflow connection.

    :param name: the profile's name in `dbt_project.yml`
    :param target: the value of `target.name` in the models
    """
    from cosmos import ProfileConfig
    from cosmos.profiles import PostgresUserPasswordProfileMapping

    return ProfileConfig(
        profile_name=name,
        target_name=target,
        profile_mapping=PostgresUserPasswordProfileMapping(
            conn_id=conn_id, profile_args={"schema": "core", "threads": 4, "search_path": "pg_catalog"}
        ),
    )


def warehouse_group(
    mode: str = EXECUTION_MODE, *, exclude: str = "", post_execute: Callable[[Context, Any], None] | None = None
) -> TaskGroup:
    """
    The project in `include/dbt` as the task group `warehouse`.

    :param mode: how dbt runs, one of `EXECUTION_MODES`
    :param exclude: names of models that the run does not build, separated by blanks (templated)
    :param post_execute: as of `dbt_task_group`
    :raises ValueError: `ECOMMERCE_DBT_EXECUTION_MODE` is no such mode
    :raises ManifestMissing: dbt has not parsed the project on this machine
    """
    if mode not in EXECUTION_MODES:
        raise ValueError(f"ECOMMERCE_DBT_EXECUTION_MODE is {mode!r}; it may be {', '.join(EXECUTION_MODES)}")
    return dbt_task_group(
        BUILD_GROUP,
        project=DBT_PROJECT,
        manifest=manifest_file(),
        profile=warehouse_profile(),
        mode=mode,
        exclude=exclude,
        pre_execute=assert_may_build,
        post_execute=post_execute,
    )
