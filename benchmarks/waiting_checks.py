"""
Measure what waiting checks cost: `PYTHONPATH=plugins python -m benchmarks.waiting_checks [--checks 20] [--seconds 60]`.

Starts a stack of Postgres and Airflow alone, with a DAG of `freshness` checks of a day whose load is under way, so that
each check is evaluated again every 20 seconds. Prints the share of one core that Airflow's services and Postgres take
while the checks wait, beside the same services idle, and the worker slots that are taken. Then the load ends, and with
it the checks. Fails if waiting costs 5 % of a core more than idling, or a slot.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

# Set before the modules of the demo are imported, which read it.
FOLDER = Path(tempfile.mkdtemp(prefix="ecommerce-waiting-"))
os.environ["STACK_DIR"] = str(FOLDER)

import psutil  # noqa: E402
import psycopg  # noqa: E402

from benchmarks.usage import cpu_seconds  # noqa: E402
from ecommerce.common.connections import PUBLISHER  # noqa: E402
from ecommerce.common.sources import SOURCES  # noqa: E402
from include.demo import airflow_services, database, processes, stack  # noqa: E402
from include.demo.airflow_api import AirflowApi  # noqa: E402
from include.demo.state import ROOT, State  # noqa: E402

DAG_ID, DAY = "waiting_checks", "2024-03-01"
#: The share of one core that waiting may cost more than idling.
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
    parser.add_argument("--seconds", type=int, default=60, help="how long each state is measured (default 60)")
    arguments = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Postgres may run as another user, who must be able to enter the folder.
    FOLDER.chmod(0o755)
    state = State.create_beside()
    try:
        api = _start(state, arguments.checks)
        return _measure(state, api, arguments.checks, arguments.seconds)
    finally:
        airflow_services.stop()
        database.stop()
        database.remove()
        shutil.rmtree(FOLDER, ignore_errors=True)


def _start(state: State, checks: int) -> AirflowApi:
    dags = FOLDER / "dags"
    dags.mkdir()
    (dags / f"{DAG_ID}.py").write_text(_DAG_FILE.format(dag_id=DAG_ID, checks=checks))
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(dags)
    os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")
    database.start(state)
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
    parts = urlsplit(state.dsn(role="publisher"))
    account = {"host": parts.hostname, "port": parts.port, "login": parts.username, "password": parts.password}
    api.overwrite(
        "connections", [{"connection_id": PUBLISHER, "conn_type": "postgres", "schema": "warehouse", **account}]
    )
    stack.wait_for_dag(api, DAG_ID, seconds=240)
    api.unpause(DAG_ID)
    return api


def _measure(state: State, api: AirflowApi, checks: int, seconds: int) -> int:
    with psycopg.connect(state.dsn(), autocommit=True) as warehouse:
        found = {name: processes.find(f"airflow-{name}") for name in airflow_services.SERVICES}
        services = {name: process for name, process in found.items() if process is not None}
        # Whoever serves a connection is a child of the server.
        services["postgres"] = psutil.Process(psutil.Process(warehouse.info.backend_pid).ppid())
        time.sleep(30)  # until the services have started up
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
    print(f"per cent of a core over {seconds} s      idle  {deferred} checks waiting")
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
