"""
Run 20 checks that wait for a load, beside the same services idle: on a stack of its own.

The stack has only Postgres and Airflow. A DAG runs `freshness` checks of a day whose load has not ended, so each of
them queries the warehouse every 20 seconds. Prints the share of one core that Airflow's services and Postgres use while
the checks wait and while they are idle, and the worker slots that the checks take. Then the load ends, and the checks
with it. Fails if waiting costs more than 5 % of a core, or a slot.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time

import psutil
import psycopg

from benchmarks.own_stack import FOLDER, own_stack
from benchmarks.usage import airflow_processes, cpu_seconds, postgres_process
from ecommerce.common.connections import PUBLISHER
from ecommerce.common.sources import SOURCES
from include.demo import airflow_services, database, stack
from include.demo.airflow_api import AirflowApi
from include.demo.state import ROOT, State

DAG_ID, DAY = "waiting_checks", "2024-03-01"
#: The share of one core that waiting may cost.
LIMIT = 0.05

_DAG_FILE = """\
# A DAG of Airflow.
import pendulum
from airflow.sdk import DAG

from ecommerce.extract.resolve_window import ResolveWindow
from ecommerce.audit.quality_check import QualityCheck
from ecommerce.common.windows import warehouse_params

with DAG("{dag_id}", schedule=None, start_date=pendulum.datetime(2024, 1, 1, tz="UTC"), params=warehouse_params()):
    window = ResolveWindow(task_id="window")
    for n in range({checks}):
        window >> QualityCheck(task_id=f"waits_{{n}}", check_name="freshness", window_task_id="window")
"""


def main() -> int:
    """Start the stack, measure, print; the exit code is 1 above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=20, help="checks that wait at the same time (default 20)")
    parser.add_argument("--seconds", type=int, default=60, help="length of each of the two measurements (default 60)")
    arguments = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with own_stack() as state:
        api = _start(state, arguments.checks)
        return _measure(state, api, arguments.checks, arguments.seconds)


def _start(state: State, checks: int) -> AirflowApi:
    dags = FOLDER / "dags"
    dags.mkdir()
    (dags / f"{DAG_ID}.py").write_text(_DAG_FILE.format(dag_id=DAG_ID, checks=checks))
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(dags)
    os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")
    airflow_services.migrate(state)
    database.make_tables(state.dsn("warehouse", "postgres"))
    with psycopg.connect(state.dsn()) as connection:
        connection.execute(
            """
            insert into ops.load_batch (source, window_start, window_end, status, started_at)
            select source, %(day)s::date, %(day)s::date + 1, 'running', now()
            from unnest(%(sources)s::text[]) as source
            """,
            {"day": DAY, "sources": list(SOURCES)},
        )
    airflow_services.start(state)
    api = stack.api_of(state)
    api.create_postgres_connection(PUBLISHER, state.dsn(role="publisher"))
    stack.wait_for_dag(api, DAG_ID, seconds=240)
    api.unpause(DAG_ID)
    return api


def _measure(state: State, api: AirflowApi, checks: int, seconds: int) -> int:
    with psycopg.connect(state.dsn(), autocommit=True) as warehouse:
        services = {**airflow_processes(), "postgres": postgres_process(warehouse)}
        time.sleep(30)  # until the work of the start is done
        idle = _shares(services, seconds)
        run_id = api.trigger(DAG_ID, {"start_date": DAY, "end_date": DAY})
        _wait_for(api, run_id, "deferred", checks, 120)
        time.sleep(5)
        waiting = _shares(services, seconds)
        slots = sum(one["state"] in ("queued", "running") for one in api.task_instances(DAG_ID, run_id))
        deferred = sum(one["state"] == "deferred" for one in api.task_instances(DAG_ID, run_id))
        warehouse.execute("update ops.load_batch set status = 'loaded', finished_at = now()")
        ended = time.monotonic()
        _wait_for(api, run_id, "success", checks + 1, 120)
    print(f"percent of a core over {seconds} s      idle  {deferred} checks waiting")
    for name in services:
        print(f"  {name:<30} {idle[name]:8.1%} {waiting[name]:8.1%}")
    more = sum(waiting.values()) - sum(idle.values())
    print(f"{more:.1%} more, {slots} worker slots; all ended {time.monotonic() - ended:.0f} s after the load")
    return 0 if more < LIMIT and not slots and deferred == checks else 1


def _shares(services: dict[str, psutil.Process], seconds: int) -> dict[str, float]:
    before, began = {name: cpu_seconds([process]) for name, process in services.items()}, time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    return {name: (cpu_seconds([process]) - before[name]) / passed for name, process in services.items()}


def _wait_for(api: AirflowApi, run_id: str, state: str, tasks: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while sum(one["state"] == state for one in api.task_instances(DAG_ID, run_id)) < tasks:
        if time.monotonic() > deadline:
            sys.exit(f"not {tasks} tasks of {run_id} are {state} after {seconds:.0f} s")
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
