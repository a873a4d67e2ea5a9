"""The dbt project as a task group, in one of three ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import TaskGroup
    from cosmos import ProfileConfig
    from cosmos.dbt.graph import DbtNode as CosmosNode

    from dbt_triggerer.tasks import DbtNode

#: The task of a group that runs `dbt build`.
BUILD_TASK = "dbt_build"

#: How dbt runs: `triggerer` (one `dbt build`, its nodes are tasks in the triggerer), `watcher` (Cosmos' own way of
#: one build, its nodes are tasks in workers), `local` (a dbt command a task, also Cosmos' own).
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


def dbt_task_group(
    group_id: str,
    *,
    project: Path,
    manifest: Path,
    profile: ProfileConfig,
    mode: str = "triggerer",
    exclude: str = "",
) -> TaskGroup:
    """
    A dbt project as a task group: one task a node, grouped by folder, from a manifest that dbt has written before.

    :param group_id: id of the task group; in mode `triggerer` its task `dbt_build` runs dbt
    :param project: the project's folder
    :param manifest: its `manifest.json`
    :param profile: how dbt reaches the warehouse
    :param mode: one of `EXECUTION_MODES`
    :param exclude: names of models that the one `dbt build` leaves out, separated by blanks (templated); who fills it
        in skips their tasks (`nodes_of`), which is all that is to be done in mode `local`
    :raises ValueError: there is no such mode
    """
    from cosmos import DbtTaskGroup, ExecutionConfig, ProjectConfig, RenderConfig
    from cosmos.constants import DbtResourceType, ExecutionMode, InvocationMode, LoadMode, TestBehavior

    if mode not in EXECUTION_MODES:
        raise ValueError(f"the execution mode of dbt is {mode!r}; it may be {', '.join(EXECUTION_MODES)}")
    tasks = None
    if mode == "triggerer":
        tasks = NodeTasks(group_id, project, profile, json.loads(manifest.read_text())["nodes"])
    group = DbtTaskGroup(
        group_id=group_id,
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
            node_converters={DbtResourceType("exposure"): _no_task, **(tasks.converters if tasks else {})},
        ),
        operator_args=_COSMOS_ARGS.get(mode, {}),
    )
    if tasks:
        tasks.finish(group, exclude)
    elif mode == "watcher":
        from cosmos.constants import PRODUCER_WATCHER_TASK_ID

        # Cosmos gives its producer what the graph is rendered with, and the graph has all nodes. A test that looks at a
        # model besides one that is left out is run: its sensor would wait for its word for ever.
        producer = group.dag.get_task(f"{group_id}.{PRODUCER_WATCHER_TASK_ID}")
        producer.exclude = exclude
        producer.dbt_cmd_flags = ["--indirect-selection", "cautious"]
    return group


def nodes_of(task: object) -> set[str]:
    """Unique ids of the dbt nodes that a task stands for, in each mode; Cosmos' test of a model names the model."""
    if found := getattr(task, "unique_ids", None):
        return set(found)
    config = getattr(task, "extra_context", {}).get("dbt_node_config", {})
    return {config["unique_id"]} if config else set()


class NodeTasks:
    """
    Makes the tasks of a project's nodes, as Cosmos asks for one after the other, and then the one that builds them.

    :param nodes: of dbt's manifest, by unique id
    """

    def __init__(
        self, group_id: str, project: Path, profile: ProfileConfig, nodes: Mapping[str, Mapping[str, Any]]
    ) -> None:
        from cosmos.constants import DbtResourceType

        self._group_id = group_id
        self._project = project
        self._profile = profile
        self._nodes = nodes
        self._tests = tests_by_node(nodes)
        self._commands = {
            DbtResourceType.SEED: "seed",
            DbtResourceType.SNAPSHOT: "snapshot",
            DbtResourceType.MODEL: "run",
        }
        self._folders: dict[str, TaskGroup | None] = {}
        self._tasks: dict[str, DbtNode] = {}
        # Functions, since Cosmos makes a deep copy of its settings: of a method it would copy the object as well.
        self.converters = {
            **dict.fromkeys(self._commands, lambda **asked: self._node(**asked)),
            DbtResourceType.TEST: lambda **asked: self._test(**asked),
        }

    def finish(self, group: TaskGroup, exclude: str) -> None:
        """Once Cosmos has drawn its arrows: those that it leaves out, and the task that runs dbt."""
        from dbt_triggerer.tasks import DbtBuild

        for test, held_back in held_back_by_test(self._nodes).items():
            self._tasks[test].set_downstream([self._tasks[unique_id] for unique_id in held_back])
        DbtBuild(
            task_id=BUILD_TASK,
            task_group=group,
            project=self._project,
            profile=self._profile,
            told={unique_id: task.task_id for unique_id, task in self._tasks.items()},
            exclude=exclude,
        )

    def _node(self, *, node: CosmosNode, task_id: str, task_group: TaskGroup, **_: Any) -> DbtNode:
        command = self._commands[node.resource_type]
        # With tests of its own a node has a group, where its task is called by the command.
        self._folders[node.unique_id] = task_group.parent_group if task_id == command else task_group
        return self._task(command, [node.unique_id], task_id, task_group)

    def _test(
        self,
        *,
        node: CosmosNode,
        task_id: str,
        task_group: TaskGroup,
        detached_from_parent: dict[str, list[CosmosNode]],
        **_: Any,
    ) -> DbtNode:
        if task_id == "test":
            return self._task("test", self._tests[node.unique_id], task_id, task_group)
        # A test between several models: neither the node nor the group that Cosmos gives here are its own.
        test = next(
            test
            for detached in detached_from_parent.values()
            for test in detached
            if f"{test.resource_name.split('.')[0]}_test" == task_id
        )
        folder = next(self._folders[parent] for parent in reversed(test.depends_on) if parent in self._folders)
        return self._task("test", [test.unique_id], task_id, folder)

    def _task(self, command: str, unique_ids: list[str], task_id: str, task_group: TaskGroup | None) -> DbtNode:
        from dbt_triggerer.tasks import DbtNode

        task = DbtNode(
            task_id=task_id,
            task_group=task_group,
            command=command,
            unique_ids=unique_ids,
            build_task_id=f"{self._group_id}.{BUILD_TASK}",
            project=self._project,
            profile=self._profile,
        )
        self._tasks |= dict.fromkeys(unique_ids, task)
        return task


def tests_by_node(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The tests of each node that look at no other one, by unique ids."""
    tests: dict[str, list[str]] = {}
    for unique_id, node in nodes.items():
        parents = node["depends_on"]["nodes"]
        if node["resource_type"] == "test" and len(parents) == 1:
            tests.setdefault(parents[0], []).append(unique_id)
    return tests


def held_back_by_test(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """
    Each test between several nodes → the first nodes that `dbt build` does not begin before it has passed.

    dbt's rule: a node waits for a test if all that the test looks at is upstream of the node. Cosmos draws no such
    edge, and without it a task would not know why its node was left out.
    """
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
