"""Decides how the task of a dbt node, or of a check, ends, from the state of the build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from dbt_triggerer.node_results import Build, NodeResult


class TaskEnd(Enum):
    """The states in which a task can end."""

    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    #: The build has no result for this try: the task runs its node itself, in a worker.
    RUN_ALONE = "run_alone"


@dataclass(frozen=True)
class TaskOutcome:
    """How a task ends and why, with the results of its nodes."""

    state: TaskEnd
    reason: str
    results: list[NodeResult] = field(default_factory=list)


_ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}
_FAILED = {"failed", "upstream_failed", "removed"}


def outcome_of_nodes(
    build: Build, *, unique_ids: Sequence[str], parents: Sequence[str], try_number: int, since: datetime
) -> TaskOutcome | None:
    """
    How the task of some nodes ends, or None while it has to wait.

    :param unique_ids: the dbt nodes that the task stands for: a model, or the tests of one
    :param parents: ids of the tasks directly upstream
    :param since: when this try of the task was created; for a second try, results of an attempt that began before it
        are stale
    """
    is_fresh = try_number <= 1 or (build.started_at is not None and build.started_at > since)
    results = [build.results[unique_id] for unique_id in unique_ids if unique_id in build.results] if is_fresh else []
    executions = [result for result in results if not result.is_skipped]
    if failures := [result for result in executions if result.is_bad]:
        if len(results) == len(unique_ids) or build.task_state in _ENDED:
            return TaskOutcome(TaskEnd.FAILED, "; ".join(str(result) for result in failures), executions)
        return None
    if len(executions) == len(unique_ids):
        return TaskOutcome(TaskEnd.SUCCESS, "built" if executions else "nothing to build", executions)
    return _without_result(build, parents, try_number) if build.task_state in _ENDED else None


def _without_result(build: Build, parents: Sequence[str], try_number: int) -> TaskOutcome | None:
    """The build has ended without a result for the nodes."""
    if build.task_state == "skipped":
        return TaskOutcome(TaskEnd.SKIPPED, "nothing had to be built")
    if build.task_state in ("upstream_failed", "removed"):
        return TaskOutcome(TaskEnd.UPSTREAM_FAILED, "the build did not start")
    if build.task_state == "failed" and try_number <= 1:
        return TaskOutcome(TaskEnd.UPSTREAM_FAILED, "the build failed before it reached this node")
    return _outcome_by_parents(build, parents)


def _outcome_by_parents(build: Build, parents: Sequence[str]) -> TaskOutcome | None:
    """Decide as Airflow does: by the states of the tasks directly upstream."""
    states = {parent: build.task_states.get(parent) for parent in parents}
    if failed := [parent for parent, state in states.items() if state in _FAILED]:
        return TaskOutcome(TaskEnd.UPSTREAM_FAILED, f"not built, because of {', '.join(failed)}")
    if not all(state in _ENDED for state in states.values()):
        # A parent is retried, and this task runs after it.
        return None
    if "skipped" in states.values():
        return TaskOutcome(TaskEnd.SKIPPED, "an upstream task was skipped")
    return TaskOutcome(TaskEnd.RUN_ALONE, "the build has no result for this try: running the node on its own")


def outcome_of_audit(build: Build, *, parents: Sequence[str], since: datetime) -> TaskOutcome | None:
    """
    Whether the result of a build can be checked: `SUCCESS` once it can, None while the check has to wait.

    :param parents: ids of the tasks directly upstream: the last ones of the build
    :param since: as in `outcome_of_nodes`
    """
    if build.task_state not in _ENDED:
        return None
    if build.task_state == "skipped":
        return TaskOutcome(TaskEnd.SUCCESS, "nothing had to be built")
    if build.task_state != "success":
        return TaskOutcome(TaskEnd.UPSTREAM_FAILED, "the build failed")
    is_fresh = build.started_at is not None and build.started_at > since
    if is_fresh and all(result.is_good for result in build.results.values()):
        # Its tasks may not have ended yet.
        return TaskOutcome(TaskEnd.SUCCESS, "built")
    states = {parent: build.task_states.get(parent) for parent in parents}
    if not all(state in _ENDED for state in states.values()):
        return None
    if failed := [parent for parent, state in states.items() if state in _FAILED]:
        return TaskOutcome(TaskEnd.UPSTREAM_FAILED, f"not all was built, because of {', '.join(failed)}")
    return TaskOutcome(TaskEnd.SUCCESS, "built, some nodes by their own tasks")
