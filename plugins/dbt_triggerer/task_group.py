"""Make the task group of a dbt project, in one of three execution modes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt_triggerer import task_api

if TYPE_CHECKING:
    from airflow.sdk import Context, TaskGroup
    from cosmos import ProfileConfig
    from cosmos.dbt.graph import DbtNode as CosmosNode

    from dbt_triggerer.tasks import DbtNode

#: The task of a group that runs `dbt build`.
BUILD_TASK = "dbt_build"

#: How dbt runs: `triggerer` (one `dbt build`, its nodes are tasks in the triggerer), `watcher` (Cosmos's mode with one
#: build, its nodes are tasks in workers), `local` (Cosmos's mode with one dbt command a task).
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
    pre_execute: Callable[[Context], None] | None = None,
    post_execute: Callable[[Context, Any], None] | None = None,
) -> TaskGroup:
    """
    Make the task group of a dbt project: one task a node, grouped by folder, from the manifest of `dbt parse`.

    :param group_id: id of the task group; in mode `triggerer` its task `dbt_build` runs dbt
    :param project: the project's folder
    :param manifest: its `manifest.json`
    :param profile: how dbt reaches the warehouse
    :param mode: one of `EXECUTION_MODES`
    :param exclude: names of models that the one `dbt build` excludes, separated by blanks (templated). Their tasks are
        to be skipped by the caller (`nodes_of`); in mode `local` that is all that is needed
    :param pre_execute: called in the worker before a task runs dbt; if it raises, dbt does not run
    :param post_execute: in mode `triggerer`, called in the worker after a task has run dbt; the task's `results` are
        those of its nodes
    :raises ValueError: there is no such mode
    :raises ImportError: mode `triggerer` needs names that the installed Airflow does not have
    """
    from cosmos import DbtTaskGroup, ExecutionConfig, ProjectConfig, RenderConfig
    from cosmos.constants import DbtResourceType, ExecutionMode, InvocationMode, LoadMode, TestBehavior

    if mode not in EXECUTION_MODES:
        raise ValueError(f"the execution mode of dbt is {mode!r}; it may be {', '.join(EXECUTION_MODES)}")
    tasks = None
    if mode == "triggerer":
        task_api.check_airflow()
        tasks = NodeTasks(
            group_id, project, profile, json.loads(manifest.read_text())["nodes"], pre_execute, post_execute
        )
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
            # A test between several models has a task of its own, after all of them. Cosmos's watcher shows it with
            # each of its models, since there `dbt build` keeps the order.
            should_detach_multiple_parents_tests=mode != "watcher",
            node_conversion_by_task_group=False,
            # Exposures are documentation: there is nothing to run.
            node_converters={DbtResourceType("exposure"): _no_task, **(tasks.converters if tasks else {})},
        ),
        operator_args={**_COSMOS_ARGS.get(mode, {}), "pre_execute": pre_execute},
    )
    if tasks:
        tasks.finish(group, exclude)
    elif mode == "watcher":
        from cosmos.constants import PRODUCER_WATCHER_TASK_ID

        # Cosmos gives its producer the arguments of the graph, which has all nodes. A test of several models of which
        # one is excluded has to run: its sensor would wait for its result for ever.
        producer = group.dag.get_task(f"{group_id}.{PRODUCER_WATCHER_TASK_ID}")
        producer.exclude = exclude
        producer.dbt_cmd_flags = ["--indirect-selection", "cautious"]
    return group


def nodes_of(task: object) -> set[str]:
    """Unique ids of the dbt nodes that a task stands for, in each mode; Cosmos's test task has that of its model."""
    if unique_ids := getattr(task, "unique_ids", None):
        return set(unique_ids)
    config = getattr(task, "extra_context", {}).get("dbt_node_config", {})
    return {config["unique_id"]} if config else set()


class NodeTasks:
    """
    Makes the tasks of a project's nodes, called by Cosmos for one after the other, and then the task that builds them.

    :param nodes: of dbt's manifest, by unique id
    """

    def __init__(
        self,
        group_id: str,
        project: Path,
        profile: ProfileConfig,
        nodes: Mapping[str, Mapping[str, Any]],
        pre_execute: Callable[[Context], None] | None = None,
        post_execute: Callable[[Context, Any], None] | None = None,
    ) -> None:
        from cosmos.constants import DbtResourceType

        self._group_id = group_id
        self._project = project
        self._profile = profile
        self._nodes = nodes
        self._hooks: dict[str, Any] = {"pre_execute": pre_execute, "post_execute": post_execute}
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
            **dict.fromkeys(self._commands, lambda **arguments: self._node(**arguments)),
            DbtResourceType.TEST: lambda **arguments: self._test(**arguments),
        }

    def finish(self, group: TaskGroup, exclude: str) -> None:
        """Add the edges that Cosmos does not draw, and the task that runs dbt; called when Cosmos is done."""
        from dbt_triggerer.tasks import DbtBuild

        for test, blocked in nodes_blocked_by_test(self._nodes).items():
            self._tasks[test].set_downstream([self._tasks[unique_id] for unique_id in blocked])
        DbtBuild(
            task_id=BUILD_TASK,
            task_group=group,
            project=self._project,
            profile=self._profile,
            task_ids={unique_id: task.task_id for unique_id, task in self._tasks.items()},
            exclude=exclude,
            **self._hooks,
        )

    def _node(self, *, node: CosmosNode, task_id: str, task_group: TaskGroup, **_: Any) -> DbtNode:
        command = self._commands[node.resource_type]
        # A node with tests has a group of its own, in which its task has the name of the command.
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
        # A test between several models: Cosmos passes the node and the group of one of the models.
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
            **self._hooks,
        )
        self._tasks |= dict.fromkeys(unique_ids, task)
        return task


def parents_of(node: Mapping[str, Any]) -> list[str]:
    """The unique ids of the nodes that a node depends on; a seed has no such entry in dbt's manifest."""
    return list(node["depends_on"].get("nodes", ()))


def tests_by_node(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Node → its tests that test no other node, by unique ids."""
    tests: dict[str, list[str]] = {}
    for unique_id, node in nodes.items():
        parents = parents_of(node)
        if node["resource_type"] == "test" and len(parents) == 1:
            tests.setdefault(parents[0], []).append(unique_id)
    return tests


def nodes_blocked_by_test(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """
    Each test between several nodes → the first nodes that `dbt build` does not start before it has passed.

    dbt's rule: a node waits for a test if all nodes that it tests are upstream of the node. Cosmos draws no such edge,
    and without it a task could not tell why its node was skipped.
    """
    upstream: dict[str, set[str]] = {}

    def ancestors(unique_id: str) -> set[str]:
        if unique_id not in upstream:
            parents = parents_of(nodes[unique_id]) if unique_id in nodes else []
            upstream[unique_id] = set(parents).union(*map(ancestors, parents))
        return upstream[unique_id]

    blocked: dict[str, list[str]] = {}
    for test, node in nodes.items():
        parents = set(parents_of(node))
        if node["resource_type"] == "test" and len(parents) > 1:
            waiting = {other for other in nodes if not other.startswith("test.") and parents <= ancestors(other)}
            blocked[test] = sorted(other for other in waiting if not waiting & ancestors(other))
    return blocked


def _no_task(**_: Any) -> None:
    """A node converter that gives a dbt node no task."""
