"""The dbt project as a task group, in one of three ways."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecommerce.dbt_project import DBT_PROJECT, MANIFEST
from ecommerce.warehouse import WAREHOUSE

if TYPE_CHECKING:
    from airflow.sdk import TaskGroup
    from cosmos.dbt.graph import DbtNode as CosmosNode

#: The task group that builds.
BUILD_GROUP = "warehouse"
BUILD_TASK = "dbt_build"

#: How dbt runs: `triggerer` (one `dbt build`, its nodes are tasks in the triggerer), `watcher` (Cosmos' own way of
#: one build, its nodes are tasks in workers), `local` (a dbt command a task, also Cosmos' own).
EXECUTION_MODE = os.environ.get("ECOMMERCE_DBT_EXECUTION_MODE", "triggerer")
EXECUTION_MODES = ("triggerer", "watcher", "local")

_COSMOS_ARGS: dict[str, dict[str, Any]] = {
    "watcher": {
        # LocalExecutor fails a task that resumes before the scheduler has heard of its deferral
        # ("finished with state success, but the task instance's state attribute is running"), and these
        # resume within a second. In a worker they also start sooner.
        "deferrable": False,
        "poke_interval": 1,
        # One `dbt build` for all nodes: a second try of one node would not bring back what dbt skipped after it.
        "retries": 0,
    },
}


def warehouse_group(mode: str = EXECUTION_MODE, *, project: Path = DBT_PROJECT, name: str = "ecommerce") -> TaskGroup:
    """
    A dbt project as a task group: one task a node, grouped by folder, from the manifest built at install.

    :param project: the project's folder
    :param name: of its profile
    :raises ValueError: there is no such mode
    """
    from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
    from cosmos.constants import DbtResourceType, ExecutionMode, InvocationMode, LoadMode, TestBehavior
    from cosmos.profiles import PostgresUserPasswordProfileMapping

    from ecommerce.building.operators import DbtBuild, DbtNode

    if mode not in EXECUTION_MODES:
        raise ValueError(f"ECOMMERCE_DBT_EXECUTION_MODE is {mode!r}; it may be {', '.join(EXECUTION_MODES)}")
    profile = ProfileConfig(
        profile_name=name,
        target_name="airflow",
        profile_mapping=PostgresUserPasswordProfileMapping(
            conn_id=WAREHOUSE, profile_args={"schema": "core", "threads": 4}
        ),
    )
    shared = {"full_refresh": "{{ params.full_refresh }}"}
    manifest = project / MANIFEST.relative_to(DBT_PROJECT)
    tests = tests_by_model(manifest)
    folders: dict[str, TaskGroup | None] = {}
    commands = {
        DbtResourceType.SEED: "seed",
        DbtResourceType.SNAPSHOT: "snapshot",
        DbtResourceType.MODEL: "run",
    }

    def task(command: str, unique_ids: list[str], task_id: str, task_group: TaskGroup | None) -> DbtNode:
        return DbtNode(
            task_id=task_id,
            task_group=task_group,
            command=command,
            unique_ids=unique_ids,
            build_task_id=f"{BUILD_GROUP}.{BUILD_TASK}",
            project=project,
            profile=profile,
            **shared,
        )

    def node_task(*, node: CosmosNode, task_id: str, task_group: TaskGroup, **_: Any) -> DbtNode:
        command = commands[node.resource_type]
        # With tests of its own a node has a group, where its task is called by the command.
        folders[node.unique_id] = task_group.parent_group if task_id == command else task_group
        return task(command, [node.unique_id], task_id, task_group)

    def test_task(
        *,
        node: CosmosNode,
        task_id: str,
        task_group: TaskGroup,
        detached_from_parent: dict[str, list[CosmosNode]],
        **_: Any,
    ) -> DbtNode:
        if task_id == "test":
            return task("test", tests[node.unique_id], task_id, task_group)
        # A test between several models: neither the node nor the group that Cosmos gives here are its own.
        test = next(
            test
            for detached in detached_from_parent.values()
            for test in detached
            if f"{test.resource_name.split('.')[0]}_test" == task_id
        )
        folder = next(folders[parent] for parent in reversed(test.depends_on) if parent in folders)
        return task("test", [test.unique_id], task_id, folder)

    ours = {**dict.fromkeys(commands, node_task), DbtResourceType.TEST: test_task} if mode == "triggerer" else {}
    group = DbtTaskGroup(
        group_id=BUILD_GROUP,
        project_config=ProjectConfig(dbt_project_path=project, manifest_path=manifest, install_dbt_deps=False),
        profile_config=profile,
        execution_config=ExecutionConfig(
            execution_mode=ExecutionMode.WATCHER if mode == "watcher" else ExecutionMode.LOCAL,
            invocation_mode=InvocationMode.DBT_RUNNER,
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            group_nodes_by_folder=True,
            test_behavior=TestBehavior.AFTER_EACH,
            emit_datasets=False,
            # A test between several models has a task of its own, after all of them. Cosmos' watcher counts it to
            # each of its models, since there `dbt build` keeps the order.
            should_detach_multiple_parents_tests=mode != "watcher",
            node_conversion_by_task_group=False,
            # Exposures are documentation: nothing to run.
            node_converters={DbtResourceType("exposure"): _no_task, **ours},
        ),
        operator_args={**shared, **_COSMOS_ARGS.get(mode, {})},
    )
    if mode == "triggerer":
        nodes = [task for task in group.iter_tasks() if isinstance(task, DbtNode)]
        by_node = {unique_id: node for node in nodes for unique_id in node.unique_ids}
        for test, held_back in held_back_by_test(manifest).items():
            by_node[test].set_downstream([by_node[unique_id] for unique_id in held_back])
        DbtBuild(
            task_id=BUILD_TASK,
            task_group=group,
            project=project,
            profile=profile,
            told={unique_id: node.task_id for unique_id, node in by_node.items()},
            **shared,
        )
    return group


def tests_by_model(manifest: Path) -> dict[str, list[str]]:
    """The tests of each model that look at no other model, by unique ids."""
    nodes = json.loads(manifest.read_text())["nodes"]
    tests: dict[str, list[str]] = {}
    for unique_id, node in nodes.items():
        parents = node["depends_on"]["nodes"]
        if node["resource_type"] == "test" and len(parents) == 1:
            tests.setdefault(parents[0], []).append(unique_id)
    return tests


def held_back_by_test(manifest: Path) -> dict[str, list[str]]:
    """
    Each test between several nodes → the first nodes that `dbt build` does not begin before it has passed.

    dbt's rule: a node waits for a test if all that the test looks at is upstream of the node. Cosmos draws no such
    edge, and without it a task would not know why its node was left out.
    """
    nodes = json.loads(manifest.read_text())["nodes"]
    upstream: dict[str, set[str]] = {}

    def ancestors(unique_id: str) -> set[str]:
        if unique_id not in upstream:
            parents = nodes[unique_id]["depends_on"]["nodes"] if unique_id in nodes else []
            upstream[unique_id] = set(parents).union(*map(ancestors, parents))
        return upstream[unique_id]

    held_back: dict[str, list[str]] = {}
    for test, node in nodes.items():
        looks_at = set(node["depends_on"]["nodes"])
        if node["resource_type"] == "test" and len(looks_at) > 1:
            waiting = {other for other in nodes if not other.startswith("test.") and looks_at <= ancestors(other)}
            held_back[test] = sorted(other for other in waiting if not waiting & ancestors(other))
    return held_back


def _no_task(**_: Any) -> None:
    """A node converter that gives a dbt node no task."""
