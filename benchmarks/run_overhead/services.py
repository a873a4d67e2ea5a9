"""A stack of Postgres and Airflow for the benchmark, whose Airflow is started anew for each measurement."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import psycopg

from benchmarks.run_overhead.projects import Project
from benchmarks.usage import airflow_processes, postgres_process
from ecommerce.common.connections import TRANSFORMER
from include.demo import airflow_services, database, dbt, stack
from include.demo.airflow_api import AirflowApi
from include.demo.errors import StackError
from include.demo.state import ROOT, STACK, State

_DAGS = STACK / "dags"
_NO_PLUGINS = STACK / "plugins"
_SCRATCH = STACK / "tmp"
_JOBS = {"SchedulerJob", "TriggererJob", "DagProcessorJob"}
_START_SECONDS = 240

_DAG_FILE = """\
# A DAG of Airflow.
from benchmarks.run_overhead.dags import overhead_dag

overhead_dag({dag_id!r}, {mode!r}, {folder!r}, {profile!r})
"""


class Services:
    """Postgres runs from the beginning to the end, Airflow from one `start` to the next."""

    def __init__(self) -> None:
        self.state = State.create_beside()
        for folder in (_DAGS, _NO_PLUGINS):
            folder.mkdir(parents=True)
        database.start(self.state)
        airflow_services.migrate(self.state)
        database.make_tables(self.state.dsn("warehouse", "postgres"))
        with psycopg.connect(self.state.dsn(), autocommit=True) as connection:
            self._postgres = postgres_process(connection)
        self.api: AirflowApi

    def start(self, project: Project, mode: str) -> str:
        """
        Start Airflow with one DAG, the project in this mode, and wait until all four services work; its id.

        The modes of Cosmos run without this project's plugins, and with Airflow's default number of workers.

        :raises StackError: a service does not start, or the DAG cannot be imported
        """
        self.stop_airflow()
        # Without the parsed project and the caches of earlier runs.
        shutil.rmtree(_SCRATCH, ignore_errors=True)
        _SCRATCH.mkdir()
        dag_id = f"{project.label}_{mode}"
        for file in _DAGS.glob("*.py"):
            file.unlink()
        (_DAGS / f"{dag_id}.py").write_text(
            _DAG_FILE.format(dag_id=dag_id, mode=mode, folder=str(project.folder), profile=project.profile)
        )
        is_ours = mode == "triggerer"
        os.environ.update(
            {
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]),
                "TMPDIR": str(_SCRATCH),
                "AIRFLOW__COSMOS__CACHE_DIR": str(_SCRATCH / "cosmos"),
                "AIRFLOW__CORE__DAGS_FOLDER": str(_DAGS),
                "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins" if is_ours else _NO_PLUGINS),
                # All modes run the same nodes as the product's runs.
                "DBT_EXCLUDE_RESOURCE_TYPES": "unit_test",
            }
        )
        stock = {"AIRFLOW__CORE__PARALLELISM": "32", "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "16"}
        for name, value in stock.items():
            if is_ours:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        with psycopg.connect(self.state.dsn("airflow")) as connection:
            (began,) = connection.execute("select clock_timestamp()").fetchone() or ()
        airflow_services.start(self.state)
        self.api = stack.api_of(self.state)
        self.api.create_postgres_connection(TRANSFORMER, self.state.dsn(role="transformer"))
        stack.wait_for_dag(self.api, dag_id, seconds=_START_SECONDS)
        self._wait_for_jobs(began)
        self.api.unpause(dag_id)
        return dag_id

    def stop_airflow(self) -> None:
        """Stop Airflow's services, if they are up."""
        airflow_services.stop()

    def processes(self) -> list[psutil.Process]:
        """The processes of Airflow's four services and of Postgres."""
        return [*airflow_processes().values(), self._postgres]

    def by_hand(self) -> list[psutil.Process]:
        """The commands that this process has started, and Postgres."""
        return [*set(psutil.Process().children()).difference(airflow_processes().values()), self._postgres]

    def environment(self) -> dict[str, str]:
        """The environment of dbt by hand, with the address of the warehouse."""
        return {**dbt.environment(self.state.dsn(role="transformer")), "DBT_SEND_ANONYMOUS_USAGE_STATS": "False"}

    def dbt(self, project: Project, *arguments: str | Path) -> None:
        """
        Run a dbt command on a project, in a process of its own.

        :raises StackError: it failed, with its last lines
        """
        folder = str(project.folder)
        done = subprocess.run(
            [airflow_services.command("dbt"), *arguments, "--project-dir", folder, "--profiles-dir", folder],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(
                f"dbt {arguments[0]} of {project.label} failed:\n" + "\n".join(done.stdout.splitlines()[-20:])
            )

    def _wait_for_jobs(self, began: object) -> None:
        """Wait until each service has sent its second heartbeat, which it does when its loop runs."""
        deadline = time.monotonic() + _START_SECONDS
        with psycopg.connect(self.state.dsn("airflow"), autocommit=True) as connection:
            while True:
                rows = connection.execute(
                    """
                    select job_type
                    from job
                    where
                        state = 'running'
                        and start_date > %s
                        and latest_heartbeat > start_date + interval '1 second'
                    """,
                    [began],
                ).fetchall()
                missing = _JOBS - {job_type for (job_type,) in rows}
                if not missing:
                    return
                if time.monotonic() > deadline:
                    raise StackError(f"not running after {_START_SECONDS} s: {', '.join(sorted(missing))}")
                time.sleep(0.2)
