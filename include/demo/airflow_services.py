"""Run the stack's Airflow: its settings, its metadata database, its four services, and its workers if it has some."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import httpx

from ecommerce.build.dbt_project import DBT_PROFILE, DBT_PROJECT, DBT_TARGET, MANIFEST, project_files
from ecommerce.common.shop import LAST_DAY, VARIABLE
from include.demo import dbt, processes, workers
from include.demo.errors import StackError
from include.demo.ports import start_on_free_port
from include.demo.state import PYTHON_PATH, ROOT, STACK, State

#: Service → options, in the order in which they start: tasks need the API server, so it is the first. It reads the logs
#: from the same disk, so no service has to serve logs: two processes of 80 MB less.
SERVICES = {
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}


#: The folder of the profile that the demo wrote for its shop, if the profile `default` does not fit.
PROFILE = STACK / "shop"


def environment(state: State) -> dict[str, str]:
    """
    Airflow's settings for this stack, as environment variables.

    Those of the caller's environment win, except for the shop's profile: all processes must have the same.
    """
    home = STACK / "airflow"
    fernet = base64.urlsafe_b64encode(hashlib.sha256(state.keys["session"].encode()).digest()).decode()
    ours = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # Tasks that run at the same time. dbt's nodes wait in the triggerer and do not count. On two cores a fourth
        # worker makes a daily run 0.4 s shorter, and each worker takes about 35 MB.
        "AIRFLOW__CORE__PARALLELISM": "3",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "64",
        "AIRFLOW__CORE__FERNET_KEY": fernet,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{state.ports['AIRFLOW_PORT']}/execution/",
        "AIRFLOW__API__BASE_URL": state.airflow_url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(state.ports["AIRFLOW_PORT"]),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": state.keys["session"],
        "AIRFLOW__API_AUTH__JWT_SECRET": state.keys["jwt"],
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": state.dsn("airflow").replace("postgresql:", "postgresql+psycopg2:", 1),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        # An erasure also looks at what the services have written.
        "ECOMMERCE_LOG_FOLDERS": str(processes.LOGS),
        # A shop of a profile that the user has chosen goes on.
        LAST_DAY: state.shop.get("last_day", "") if state.airflow_shop in ("", str(PROFILE)) else "",
        # The demo shop's last day is in the past: after a scheduled run for yesterday, "today" would be years later.
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True" if os.environ.get("SCHEDULE") == "on" else "False",
        # Seconds that the scheduler sleeps when it has nothing to do; each step of a run waits half of it on average.
        # Half of Airflow's default; the idle scheduler then takes 3 % of a core.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        # All nodes of a large project start in one round of the triggerer instead of in rounds of 50.
        "AIRFLOW__TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": "1000",
        # A changed DAG file is read within 30 s, an unchanged one every ten minutes: a read costs 3 s of imports.
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        # Of two changes within Airflow's default of 30 s it would read the second and not write it.
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
        # One heap per process instead of one per thread: 30 MB less.
        "MALLOC_ARENA_MAX": "1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__COSMOS__CACHE_DIR": str(home / "cosmos"),
        # The scheduler parses the project for the same warehouse as `build_manifest`, and so has little to parse.
        **dbt.warehouse_address(state.dsn(role="transformer")),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": PYTHON_PATH,
        **workers.executor_settings(state),
    }
    fixed = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        VARIABLE: state.airflow_shop or "default",
    }
    return {**ours, **os.environ, **fixed}


def command(name: str) -> str:
    """The path of a program of this Python environment."""
    return str(Path(sys.executable).parent / name)


def _is_manifest_current() -> bool:
    """Whether no file of the project was written after it, and it is of the installed version of dbt."""
    if not MANIFEST.exists() or MANIFEST.stat().st_mtime <= max(path.stat().st_mtime for path in project_files()):
        return False
    return json.loads(MANIFEST.read_text())["metadata"]["dbt_version"] == version("dbt-core")


def build_manifest(dsn: str | None = None) -> None:
    """
    Write the dbt manifest, from which the DAG is rendered, if a file of the project or dbt itself is newer.

    What dbt parsed serves the first build, too, if both have the same profile, target and warehouse.

    :param dsn: the warehouse, by the role that builds
    :raises StackError: dbt cannot parse the project
    """
    if _is_manifest_current():
        return
    parsed = subprocess.run(
        [
            *(command("dbt"), "--quiet", "parse"),
            *("--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)),
            *("--profile", DBT_PROFILE, "--target", DBT_TARGET),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            **(dbt.warehouse_address(dsn) if dsn else {}),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if parsed.returncode != 0:
        raise StackError(f"dbt cannot parse include/dbt:\n{parsed.stdout}{parsed.stderr}")
    # The DAG is rendered from the manifest, and Airflow reads a DAG file again only if the file itself has changed.
    (ROOT / "dags" / "ecommerce_warehouse.py").touch()


def migrate(state: State) -> None:
    """
    Migrate the metadata database to the installed version of Airflow, and write the passwords file.

    :raises StackError: the migration failed; with the last lines of its output
    """
    home = STACK / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    write_passwords(home / "passwords.json", state)
    if state.airflow_version == version("apache-airflow"):
        return
    migrated = subprocess.run(
        [command("airflow"), "db", "migrate"],
        cwd=ROOT, env=environment(state), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if migrated.returncode != 0:
        raise StackError("`airflow db migrate` failed:\n" + "\n".join(migrated.stderr.splitlines()[-15:]))
    state.airflow_version = version("apache-airflow")
    state.save()


def write_passwords(path: Path, state: State) -> None:
    """
    Write the admin's password into the file of Airflow's simple auth manager; those of other users stay.

    :raises StackError: the file is not the object of JSON that Airflow wants
    """
    path.touch(mode=0o600)
    path.chmod(0o600)
    try:
        passwords = json.loads(path.read_text() or "{}")
        path.write_text(json.dumps({**passwords, "admin": state.passwords["admin"]}))
    except (ValueError, TypeError) as error:
        raise StackError(f"{path} should have user names and passwords as JSON: {error}") from error


def start(state: State) -> None:
    """
    Start those of the services that are not running, and wait for the UI.

    :raises StackError: the API server ended, or did not answer in time
    """
    # After a failed start all are stopped: each of them knows the API server by its port.
    start_on_free_port("AIRFLOW_PORT", state, lambda: _start_services(state), stop)


def _start_services(state: State) -> None:
    env = environment(state)
    for service, options in SERVICES.items():
        name = f"airflow-{service}"
        if processes.find(name) is None:
            processes.start(name, [command("airflow"), service, *options], env=env)
    processes.wait_for_port("airflow-api-server", state.ports["AIRFLOW_PORT"], seconds=120)
    processes.wait_until(lambda: is_healthy(state), "airflow-api-server", seconds=120)
    # Only now: as they start, they import for some seconds, and nobody waits for them before the UI answers.
    for worker in workers.names(state):
        if processes.find(f"airflow-{worker}") is None:
            start_worker(worker, env)


def start_worker(worker: str, env: Mapping[str, str]) -> None:
    """Start a worker with the project as it is now, in the environment of the other services."""
    workers.deploy([worker], profile=PROFILE)
    processes.start(
        f"airflow-{worker}",
        [command("airflow"), *workers.command_line(worker)],
        env=workers.host_environment(worker, env, profile=PROFILE),
        folder=workers.HOSTS / worker / "project",
    )


def names(state: State) -> list[str]:
    """The services of a stack, as a user names them."""
    return [*SERVICES, *workers.names(state)]


def is_healthy(state: State) -> bool:
    """Whether the API server answers."""
    try:
        # A server that is down refuses at once; a busy one, as after its start, may take long to answer.
        return httpx.get(f"{state.airflow_url}/api/v2/version", timeout=30).status_code == 200
    except httpx.HTTPError:
        return False


def stop() -> bool:
    """Stop all services, also workers that the stack no longer has; False if none was running."""
    with ThreadPoolExecutor() as pool:
        return any(list(pool.map(processes.stop, processes.started("airflow-"))))
