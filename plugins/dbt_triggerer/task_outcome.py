"""What becomes of a node's task, given what is known of the build: the one place where that is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from dbt_triggerer.node_results import Build, NodeResult


class TaskEnd(Enum):
    """How a node's task ends."""

    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    #: The build has nothing to say of this try: the task runs its node itself, in a worker.
    RUN_ALONE = "run_alone"


@dataclass(frozen=True)
class TaskOutcome:
    """A state, the results it rests on, and why."""

    state: TaskEnd
    reason: str
    results: list[NodeResult] = field(default_factory=list)


_ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}
_FAILED = {"failed", "upstream_failed", "removed"}


def outcome_of_nodes(
    build: Build, *, unique_ids: Sequence[str], parents: Sequence[str], try_number: int, since: datetime
) -> TaskOutcome | None:
    """
    The outcome on one task, or None while it has to wait.

    :param unique_ids: the dbt nodes that the task stands for: a model, or the tests of one
    :param parents: ids of the tasks directly upstream
    :param since: when this try of the task was made ready; what an attempt that began before says of it is stale
    """
    is_fresh = try_number <= 1 or (build.started_at is not None and build.started_at > since)
    told = [build.results[unique_id] for unique_id in unique_ids if unique_id in build.results] if is_fresh else []
    run = [result for result in told if not result.is_not_run]
    if bad := [result for result in run if result.is_bad]:
        if len(told) == len(unique_ids) or build.task_state in _ENDED:
            return TaskOutcome(TaskEnd.FAILED, "; ".join(str(result) for result in bad), run)
        return None
    if len(run) == len(unique_ids):
        return TaskOutcome(TaskEnd.SUCCESS, "built" if run else "nothing to build", run)
    if build.task_state not in _ENDED:
        return None
    if build.task_state == "skipped":
        return TaskOutcome(TaskEnd.SKIPPED, "nothing had to be built")
    if build.task_state in ("upstream_failed", "removed"):
        return TaskOutcome(TaskEnd.UPSTREAM_FAILED, "the build did not take place")
    if build.task_state == "failed" and try_number <= 1:
        return TaskOutcome(TaskEnd.UPSTREAM_FAILED, "the build broke off before it came here")
    return _without_a_result(build, parents)


def _without_a_result(build: Build, parents: Sequence[str]) -> TaskOutcome | None:
    """The build has ended and said nothing of the node, or nothing that counts: as Airflow decides by the parents."""
    states = {parent: build.task_states.get(parent) for parent in parents}
    if failed := [parent for parent, state in states.items() if state in _FAILED]:
        return TaskOutcome(TaskEnd.UPSTREAM_FAILED, f"not built, because of {', '.join(failed)}")
    if not all(state in _ENDED for state in states.values()):
        # A parent is being tried again, and this one follows it.
        return None
    if "skipped" in states.values():
        return TaskOutcome(TaskEnd.SKIPPED, "a task before it was skipped")
    return TaskOutcome(TaskEnd.RUN_ALONE, "the build says nothing of this try: running it on its own")


def outcome_of_audit(build: Build, *, parents: Sequence[str], since: datetime) -> TaskOutcome | None:
    """
    Whether what a build made can be audited: `SUCCESS` once it can, None while it has to wait.

    :param parents: ids of the tasks directly upstream, the last ones of the build
    :param since: as in `outcome_of_nodes`
    """
    if build.task_state not in _ENDED:
        return None
    if build.task_state == "skipped":
        return TaskOutcome(TaskEnd.SUCCESS, "nothing had to be built")
    if build.task_state != "success":
        return TaskOutcome(TaskEnd.UPSTREAM_FAILED, "the build did not come to its end")
    is_fresh = build.started_at is not None and build.started_at > since
    if is_fresh and all(result.is_good for result in build.results.values()):
        # Its tasks may not have heard of it yet.
        return TaskOutcome(TaskEnd.SUCCESS, "built")
    states = {parent: build.task_states.get(parent) for parent in parents}
    if not all(state in _ENDED for state in states.values()):
        return None
    if failed := [parent for parent, state in states.items() if state in _FAILED]:
        return TaskOutcome(TaskEnd.UPSTREAM_FAILED, f"not all was built, because of {', '.join(failed)}")
    return TaskOutcome(TaskEnd.SUCCESS, "built, in part by tasks on their own")
