"""Measure one run of a DAG, and one `dbt build` by hand."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from benchmarks.run_overhead.projects import Project
from benchmarks.run_overhead.services import Services
from benchmarks.usage import Usage, cpu_seconds
from dbt_triggerer import BUILD_TASK
from ecommerce.build.warehouse_group import BUILD_GROUP

_POLL_SECONDS = 0.2
_IDLE_SECONDS = 60
_BUILD = f"{BUILD_GROUP}.{BUILD_TASK}"


@dataclass(frozen=True)
class Cost:
    """
    The cost of one run.

    :param seconds: from queued to ended; of a command, from its start to its end
    :param cpu: seconds, of all processes that took part
    :param peak: bytes, likewise
    :param state: Airflow's state of the run
    :param latency: median seconds that a level of the graph waits for Airflow; None for a command
    :param timeline: moment → seconds since the run was queued, where one task builds
    """

    seconds: float
    cpu: float
    peak: int
    state: str = "success"
    latency: float | None = None
    timeline: dict[str, float] = field(default_factory=dict)


def bare_build(services: Services, project: Project, target: Path) -> Cost:
    """Measure `dbt build` by hand, of the nodes that a run builds, with its last parse in ``target``."""
    with Usage(services.by_hand) as usage:
        began = time.monotonic()
        services.dbt(project, "build", "--exclude-resource-type", "unit_test", "--target-path", target)
        seconds = time.monotonic() - began
    return Cost(seconds, usage.cpu, usage.peak)


def dag_run(services: Services, dag_id: str, *, limit: float) -> Cost:
    """
    Trigger a run and measure it to its end.

    :param limit: seconds after which it counts as a ``timeout``
    """
    roots = services.processes()
    with psycopg.connect(services.state.dsn("airflow"), autocommit=True, row_factory=dict_row) as connection:
        with Usage(lambda: roots) as usage:
            run_id = services.api.trigger(dag_id, {})
            deadline = time.monotonic() + limit
            while True:
                run = connection.execute(
                    "select * from dag_run where dag_id = %s and run_id = %s", [dag_id, run_id]
                ).fetchone()
                if run is None:
                    raise LookupError(f"{dag_id} {run_id}")
                if run["state"] in ("success", "failed") or time.monotonic() > deadline:
                    break
                time.sleep(_POLL_SECONDS)
        tasks = connection.execute(
            """
            select task_id, state, start_date, end_date, updated_at
            from task_instance
            where dag_id = %s and run_id = %s
            """,
            [dag_id, run_id],
        ).fetchall()
    if run["end_date"] is None:
        return Cost(limit, usage.cpu, usage.peak, "timeout")
    by_id = {task["task_id"]: task for task in tasks}
    is_one_build = _BUILD in by_id
    return Cost(
        _between(run["queued_at"], run["end_date"]),
        usage.cpu,
        usage.peak,
        run["state"],
        _seconds_to_task_end(by_id) if is_one_build else _seconds_to_task_start(by_id, services.api.downstream(dag_id)),
        _timeline(run, by_id) if is_one_build else {},
    )


def idle_percent(services: Services) -> float:
    """Share of one core that the services take while nothing runs, over a minute: DAG files are read once in it."""
    roots = services.processes()
    before = cpu_seconds(roots)
    time.sleep(_IDLE_SECONDS)
    return 100 * (cpu_seconds(roots) - before) / _IDLE_SECONDS


def _seconds_to_task_end(tasks: dict[str, dict[str, Any]]) -> float | None:
    """Median seconds from the end of a node, which is its task's `end_date`, to the moment when the task ended."""
    return _median(
        _between(task["end_date"], task["updated_at"])
        for task_id, task in tasks.items()
        if task_id != _BUILD and task["end_date"]
    )


def _seconds_to_task_start(tasks: dict[str, dict[str, Any]], downstream: dict[str, list[str]]) -> float | None:
    """Median seconds from the end of the last task before a task to its start."""
    ready: dict[str, datetime] = {}
    for task_id, after in downstream.items():
        ended = tasks[task_id]["end_date"]
        for follower in after if ended else ():
            ready[follower] = max(ready.get(follower, ended), ended)
    return _median(
        _between(moment, tasks[task_id]["start_date"])
        for task_id, moment in ready.items()
        if tasks[task_id]["start_date"]
    )


def _timeline(run: dict[str, Any], tasks: dict[str, dict[str, Any]]) -> dict[str, float]:
    nodes = [task for task_id, task in tasks.items() if task_id != _BUILD]
    build = tasks[_BUILD]
    moments = {
        "run started": run["start_date"],
        "build task started": build["start_date"],
        "dbt's first node began": min((task["start_date"] for task in nodes if task["start_date"]), default=None),
        "dbt's last node ended": max((task["end_date"] for task in nodes if task["end_date"]), default=None),
        "build task ended": build["end_date"],
        "last node's task ended": max((task["updated_at"] for task in nodes), default=None),
        "run ended": run["end_date"],
    }
    return {name: _between(run["queued_at"], moment) for name, moment in moments.items() if moment}


def _between(first: datetime, second: datetime) -> float:
    return (second - first).total_seconds()


def _median(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return statistics.median(numbers) if numbers else None
