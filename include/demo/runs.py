"""Trigger runs of the warehouse and follow them to their end."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from include.demo.airflow_api import AirflowApi
from include.demo.stack import WAREHOUSE_DAG, wait_for_dag

log = logging.getLogger(__name__)

_ENDED = ("success", "failed")
_DONE = {"success", "failed", "skipped", "upstream_failed", "removed"}
#: Seconds between two questions to Airflow, and between two progress lines where nobody watches a terminal.
POLL_SECONDS = 1.0
PROGRESS_SECONDS = 5.0


def run_dag(api: AirflowApi, dag_id: str, conf: dict[str, Any]) -> bool:
    """Trigger a run with these params and follow it; whether it ended well."""
    return follow(api, dag_id, trigger(api, dag_id, conf))


def trigger(api: AirflowApi, dag_id: str, conf: dict[str, Any]) -> str:
    """Trigger a run with these params, once Airflow knows the DAG; its run_id."""
    wait_for_dag(api, dag_id)
    api.unpause(dag_id)
    run_id = api.trigger(dag_id, conf)
    log.info("%s %s", dag_id, run_id)
    return run_id


def follow(api: AirflowApi, dag_id: str, run_id: str) -> bool:
    """Show progress until a run has ended, and the reasons if it failed; whether it ended well."""
    started = time.monotonic()
    progress = _Progress()
    while True:
        state = api.run(dag_id, run_id)["state"]
        tasks = api.task_instances(dag_id, run_id)
        done = sum(task["state"] in _DONE for task in tasks)
        active = [task["task_id"] for task in tasks if task["state"] == "running"]
        failed = sum(task["state"] == "failed" for task in tasks)
        progress.show(
            f"{done} of {len(tasks)} tasks done"
            + (f", {failed} failed" if failed else "")
            + f", {time.monotonic() - started:.0f} s"
            + (f"; now {', '.join(active[:3])}{' …' if len(active) > 3 else ''}" if active else ""),
            last=state in _ENDED,
        )
        if state in _ENDED:
            break
        time.sleep(POLL_SECONDS)
    if state == "failed":
        _explain(api, dag_id, run_id)
    return bool(state == "success")


def backfill(api: AirflowApi, first: str, last: str, *, max_active_runs: int = 4) -> bool:
    """Airflow's own backfill over days, both included, followed to its end; whether every run ended well."""
    wait_for_dag(api, WAREHOUSE_DAG)
    api.unpause(WAREHOUSE_DAG)
    started = time.monotonic()
    backfill_id = api.backfill(WAREHOUSE_DAG, first, last, max_active_runs)
    log.info("backfill %s of %s, %s to %s", backfill_id, WAREHOUSE_DAG, first, last)
    progress = _Progress()
    while True:
        # Asked before the runs: a backfill is complete only after its last run has ended.
        is_complete = api.backfill_is_complete(backfill_id)
        runs = api.backfill_runs(WAREHOUSE_DAG, first, last)
        states = [run["state"] for run in runs]
        progress.show(
            f"{sum(state in _ENDED for state in states)} of {len(runs)} runs done"
            + (f", {states.count('failed')} failed" if "failed" in states else "")
            + f", {time.monotonic() - started:.0f} s",
            last=is_complete,
        )
        if is_complete:
            break
        time.sleep(POLL_SECONDS)
    for run in runs:
        if run["state"] == "failed":
            log.error("failed: %s", run["dag_run_id"])
            _explain(api, WAREHOUSE_DAG, run["dag_run_id"])
    return bool(runs) and all(run["state"] == "success" for run in runs)


class _Progress:
    """One line that rewrites itself on a terminal; elsewhere a line every few seconds."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._shown = 0.0

    def show(self, line: str, *, last: bool) -> None:
        if self._is_terminal:
            sys.stderr.write(f"\r\033[K  {line}" + ("\n" if last else ""))
            sys.stderr.flush()
        elif last or time.monotonic() - self._shown > PROGRESS_SECONDS:
            self._shown = time.monotonic()
            log.info("  %s", line)


def _explain(api: AirflowApi, dag_id: str, run_id: str) -> None:
    """Each failed task with its reason: from the run's note, otherwise from the task's log."""
    note = api.run(dag_id, run_id).get("note") or ""
    for task in api.task_instances(dag_id, run_id):
        if task["state"] != "failed":
            continue
        if f"{task['task_id']}: " in note:
            continue
        errors = api.task_errors(dag_id, run_id, task["task_id"], task["try_number"])
        log.error("  %s: %s", task["task_id"], errors[-1] if errors else "see its log in the UI")
    for line in note.splitlines():
        log.error("  %s", line)
