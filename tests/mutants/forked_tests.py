"""
Run tests again and again, each time in a fork of a process that has imported Airflow, dbt and the other libraries.

To import them takes longer than most tests. The project's own modules are not imported here: each fork imports them
with the mistake that they then have. A line of standard input asks for a run, in JSON, see :class:`Request`; a line of
standard output says how it ended: pytest's exit code, or null if it took too long.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

#: What the tests import, directly or not, and what takes long.
_LIBRARIES = (
    "airflow.sdk", "airflow.api_fastapi.app", "airflow.dag_processing.dagbag", "airflow.jobs.triggerer_job_runner",
    "airflow.models.serialized_dag", "airflow.providers.http.hooks.http", "airflow.providers.postgres.hooks.postgres",
    "airflow.providers.standard.operators.empty", "airflow.sdk.execution_time.supervisor", "confluent_kafka.admin",
    "cosmos", "cosmos.dbt.graph", "cosmos.operators.local", "cosmos.operators.watcher", "cosmos.profiles",
    "dbt.adapters.postgres", "dbt.cli.main", "duckdb", "fastapi.testclient", "holidays", "hypothesis",
    "openlineage.client", "psycopg", "psycopg_pool", "pymysql",
)  # fmt: skip
#: The environment variable with the folder of what outlives a run; `tests/environment.py` reads it.
KEPT = "ECOMMERCE_TESTS_KEPT"
#: How long tests that take too long may take to stop their services.
_SECONDS_TO_STOP = 30


@dataclass(frozen=True)
class Request:
    """
    A run of tests.

    :param arguments: of pytest
    :param env: environment variables that it has besides those of this process
    :param output: the file for what it prints
    :param timeout: seconds; None: without end
    """

    arguments: list[str]
    env: dict[str, str]
    output: str
    timeout: float | None


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    # Libraries print as well.
    os.dup2(2, 1)
    importlib.import_module("tests.environment")
    for name in _LIBRARIES:
        importlib.import_module(name)
    # A fork has neither the threads of this process nor, therefore, what only they would do.
    if others := [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]:
        raise RuntimeError(f"the libraries have started threads ({', '.join(others)}), so tests cannot run in forks")
    if own := [name for name in sys.modules if name.split(".")[0] in ("ecommerce", "include", "shop_pages", "dags")]:
        raise RuntimeError(f"{', '.join(own)} would be those without a mistake in each run")
    for line in sys.stdin:
        code = _run(Request(**json.loads(line)))
        print(json.dumps(code), file=answers, flush=True)


def _run(request: Request) -> int | None:
    process = os.fork()
    if process == 0:
        _be_pytest(request)
    end = None if request.timeout is None else time.monotonic() + request.timeout
    try:
        while end is None or time.monotonic() < end:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
    except BaseException:
        _end(process)
        raise
    _end(process)
    return None


def _end(process: int) -> None:
    """End a run that still goes on, and what it has started in its session."""
    # As Ctrl-C: pytest stops its services.
    os.kill(process, signal.SIGINT)
    end = time.monotonic() + _SECONDS_TO_STOP
    has_ended = False
    while not has_ended and time.monotonic() < end:
        time.sleep(0.1)
        has_ended = os.waitpid(process, os.WNOHANG) != (0, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    if not has_ended:
        os.waitpid(process, 0)


def _be_pytest(request: Request) -> None:
    """Never returns."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with open(os.devnull) as nothing, open(request.output, "w") as output:
            os.dup2(nothing.fileno(), 0)
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.environ.update(request.env)
        Path(os.environ["AIRFLOW_HOME"]).mkdir(parents=True, exist_ok=True)
        code = pytest.main(request.arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
