"""Trigger runs of the warehouse, show their progress and report how they ended."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

from ecommerce.common.shown_text import plain_text
from include.demo.airflow_api import AirflowApi
from include.demo.errors import NotAllowed, StackError
from include.demo.stack import WAREHOUSE_DAG, wait_for_dag

log = logging.getLogger(__name__)

#: States in which a run, and a task, has ended.
_ENDED_RUN = ("success", "failed")
_ENDED_TASK = {"success", "failed", "skipped", "upstream_failed", "removed"}
#: The state of a task whose question nobody has answered yet.
_WAITS_FOR_A_PERSON = "awaiting_input"
#: Seconds between two requests to Airflow, and between two progress lines where the output is no terminal.
POLL_SECONDS = 1.0
PROGRESS_SECONDS = 5.0


def run_dag(api: AirflowApi, dag_id: str, conf: dict[str, Any]) -> bool:
    """Trigger a run with params and follow it; whether it succeeded."""
    return follow(api, dag_id, trigger(api, dag_id, conf))


def trigger(api: AirflowApi, dag_id: str, conf: dict[str, Any]) -> str:
    """
    Trigger a run with params as soon as Airflow has read the DAG; its run id.

    :raises StackError: the DAG is paused, and the user may not unpause it; nothing was triggered
    """
    wait_for_dag(api, dag_id)
    let_runs_start(api, dag_id)
    run_id = api.trigger(dag_id, conf)
    log.info("%s %s", dag_id, run_id)
    return run_id


def let_runs_start(api: AirflowApi, dag_id: str) -> None:
    """
    Unpause a DAG that is paused, and say so: a run of it would wait without an end.

    :raises StackError: the user may not; with who may, and where
    """
    if not api.is_paused(dag_id):
        return
    try:
        api.unpause(dag_id)
    except NotAllowed as error:
        raise StackError(
            f"{dag_id} is paused, and you may not unpause it: no run was started. {_who_unpauses(api, dag_id)}"
        ) from error
    log.info("%s was paused, and is unpaused now; its schedule, if it has one, goes on", dag_id)


def _who_unpauses(api: AirflowApi, dag_id: str) -> str:
    return (
        f"Whoever may edit the DAG can unpause it: with the switch on {api.dag_url(dag_id)}, "
        f'or by make airflow ARGS="dags unpause {dag_id}"'
    )


def follow(api: AirflowApi, dag_id: str, run_id: str) -> bool:
    """Show the progress of a run until it has ended, and the errors if it failed; whether it succeeded."""
    started = time.monotonic()
    progress = _Progress()
    announced: set[str] = set()
    is_paused = False
    while True:
        state = api.run(dag_id, run_id)["state"]
        tasks = api.task_instances(dag_id, run_id)
        progress.show(_tasks_line(state, tasks, time.monotonic() - started), last=state in _ENDED_RUN)
        if state in _ENDED_RUN:
            break
        waiting = {task["task_id"] for task in tasks if task["state"] == _WAITS_FOR_A_PERSON}
        if new := waiting - announced:
            announced |= _announce_questions(api, dag_id, run_id, new)
        is_paused = _announce_pause(api, dag_id, was_paused=is_paused)
        time.sleep(POLL_SECONDS)
    if state == "failed":
        _log_errors(api, dag_id, run_id)
    return bool(state == "success")


def _announce_questions(api: AirflowApi, dag_id: str, run_id: str, task_ids: Set[str]) -> set[str]:
    """Log what waiting tasks ask, and where a person can answer; the tasks whose question was found."""
    questions = [one for one in api.open_questions(dag_id, run_id) if one["task_instance"]["task_id"] in task_ids]
    for question in questions:
        task_id = question["task_instance"]["task_id"]
        # What was found, and until when it waits. The table after that, of what would change, is for the UI.
        found, until, *_ = question["body"].split("\n\n")
        log.warning("\n  %s waits for a person: %s", task_id, plain_text(found))
        log.warning("  %s", until)
        log.warning("  To answer: %s", api.question_url(dag_id, run_id, task_id))
        log.warning("  Ctrl-C ends only this display. The run goes on waiting.\n")
    return {question["task_instance"]["task_id"] for question in questions}


def _announce_pause(api: AirflowApi, dag_id: str, *, was_paused: bool) -> bool:
    """Log once that somebody has paused a DAG whose run is followed; whether it is paused."""
    is_paused = api.is_paused(dag_id)
    if is_paused and not was_paused:
        log.warning("\n  %s is paused: until it is unpaused, no run and no further task starts.", dag_id)
        log.warning("  %s", _who_unpauses(api, dag_id))
        log.warning("  Ctrl-C ends only this display. The run goes on waiting.\n")
    return is_paused


def _tasks_line(run_state: str, tasks: Sequence[Mapping[str, Any]], seconds: float) -> str:
    states = Counter(task["state"] for task in tasks)
    line = f"{sum(states[state] for state in _ENDED_TASK)} of {len(tasks)} tasks done"
    if states["failed"]:
        line += f", {states['failed']} failed"
    line += f", {seconds:.0f} s"
    if run_state == "queued":
        line += "; the run is queued, and has not started yet"
    if waiting := [task["task_id"] for task in tasks if task["state"] == _WAITS_FOR_A_PERSON]:
        line += f"; waits for a person: {', '.join(waiting)}"
    if active := [task["task_id"] for task in tasks if task["state"] == "running"]:
        line += f"; now {', '.join(active[:3])}{' …' if len(active) > 3 else ''}"
    return line


def backfill(api: AirflowApi, first: str, last: str, *, max_active_runs: int = 4) -> bool:
    """
    Run Airflow's backfill over the days from first to last, and follow it; whether all runs succeeded.

    :raises StackError: the DAG is paused, and the user may not unpause it; nothing was started
    """
    wait_for_dag(api, WAREHOUSE_DAG)
    let_runs_start(api, WAREHOUSE_DAG)
    started = time.monotonic()
    backfill_id = api.backfill(WAREHOUSE_DAG, first, last, max_active_runs)
    log.info("backfill %s of %s, %s to %s", backfill_id, WAREHOUSE_DAG, first, last)
    progress = _Progress()
    is_paused = False
    while True:
        # Before the request for the runs: if the backfill is complete by now, their states are final.
        is_complete = api.backfill_is_complete(backfill_id)
        runs = api.backfill_runs(WAREHOUSE_DAG, first, last)
        progress.show(_runs_line(runs, time.monotonic() - started), last=is_complete)
        if is_complete:
            break
        is_paused = _announce_pause(api, WAREHOUSE_DAG, was_paused=is_paused)
        time.sleep(POLL_SECONDS)
    for run in runs:
        if run["state"] == "failed":
            log.error("failed: %s", run["dag_run_id"])
            _log_errors(api, WAREHOUSE_DAG, run["dag_run_id"])
    return bool(runs) and all(run["state"] == "success" for run in runs)


def _runs_line(runs: Sequence[Mapping[str, Any]], seconds: float) -> str:
    states = Counter(run["state"] for run in runs)
    failed = f", {states['failed']} failed" if states["failed"] else ""
    return f"{sum(states[state] for state in _ENDED_RUN)} of {len(runs)} runs done{failed}, {seconds:.0f} s"


class _Progress:
    """Shows progress in one line of a terminal; in other outputs, one line every few seconds."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._last_shown = 0.0

    def show(self, line: str, *, last: bool) -> None:
        if self._is_terminal:
            sys.stderr.write(f"\r\033[K  {line}" + ("\n" if last else ""))
            sys.stderr.flush()
        elif last or time.monotonic() - self._last_shown > PROGRESS_SECONDS:
            self._last_shown = time.monotonic()
            log.info("  %s", line)


def _log_errors(api: AirflowApi, dag_id: str, run_id: str) -> None:
    """Log each failed task with its error: from the run's note, otherwise from the task's log."""
    note = api.run(dag_id, run_id).get("note") or ""
    for task in api.task_instances(dag_id, run_id):
        if task["state"] != "failed":
            continue
        if f"{task['task_id']}: " in note:
            continue
        errors = api.task_errors(dag_id, run_id, task["task_id"], task["try_number"])
        log.error("  %s: %s", task["task_id"], errors[-1] if errors else "see its log in the UI")
    for line in note.splitlines():
        log.error("  %s", plain_text(line))
