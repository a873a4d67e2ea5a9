"""
Airflow on several hosts: two Celery workers, which share no files, and what happens when one of the hosts is lost.

Each run starts with an empty warehouse, and must leave the same rows as a run of the LocalExecutor over the same days.
The next test begins while what was killed is still gone; only then is it started again.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import psycopg
import pytest

from include.demo import airflow_services, processes, workers
from include.demo.state import State
from tests.dags.followed_run import DAG, Api, Run
from tests.running_stack import Demo

BUILD, NODE = "warehouse.dbt_build", "warehouse.models.core.dim_date.run"
EXTRACT = "extract.sales_fact"
DAYS = 5
#: So that a lost host is noticed in seconds; the defaults are 300, 10, 300, 30 and 30 seconds (docs/operations.md).
QUICKLY_NOTICED = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
}

pytestmark = pytest.mark.slow


def rows(demo: Demo) -> dict[str, tuple[int, str]]:
    """Each table of the star and each mart: how many rows, and their hash."""
    return {f"{schema}.{table}": found for schema in ("core", "marts") for table, found in demo.tables(schema).items()}


@dataclass
class Hosts:
    """The stack with two Celery workers, and the rows that the LocalExecutor has made of some days."""

    demo: Demo
    state: State
    first: date
    last: date
    expected: dict[str, tuple[int, str]]

    @property
    def api(self) -> Api:
        return Api(self.state.airflow_url, "admin", self.state.passwords["admin"])

    def run(self) -> Run:
        """Start a run over the days, with an empty warehouse."""
        self.demo.empty_warehouse()
        api = self.api
        return Run(api, api.trigger(DAG, {"start_date": str(self.first), "end_date": str(self.last)}))

    def start(self, *names: str) -> None:
        """Start what is not running, and further services of these names, e.g. `scheduler-2`."""
        airflow_services.start(self.state)
        for name in names:
            service = name.removesuffix("-2")
            command = [airflow_services.command("airflow"), service, *airflow_services.SERVICES[service]]
            env = airflow_services.environment(self.state)
            processes.start(f"airflow-{name}", command, env=env)

    def assert_rows_are_right(self) -> None:
        found = rows(self.demo)
        differing = {name for name in self.expected | found if self.expected.get(name) != found.get(name)}
        assert differing == set()


@pytest.fixture(scope="module")
def hosts(demo: Demo) -> Iterator[Hosts]:
    first = demo.first + timedelta(days=30)
    last = first + timedelta(days=DAYS - 1)
    demo.empty_warehouse()
    outcome = demo.command("run", "--from", str(first), "--to", str(last))
    assert outcome.returncode == 0, outcome.stderr
    expected = rows(demo)
    assert expected["core.fact_sales"][0] > 0
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICKLY_NOTICED.items():
            patch.setenv(name, value)
        outcome = demo.command("up", "--executor", "celery", "--workers", "2")
        assert outcome.returncode == 0, outcome.stderr
        state = State.load()
        assert state is not None
        yield Hosts(demo, state, first, last, expected)
        # The stack is that of other tests as well.
        outcome = demo.command("up", "--executor", "local")
    assert outcome.returncode == 0, outcome.stderr


def lose(name: str) -> float:
    """Kill a service with all its processes at once, as when its host is lost; when that was."""
    process = processes.find(f"airflow-{name}")
    assert process is not None
    process.kill()
    process.wait(10)
    # What it has forked: it goes on without its parent, and on a lost host it would not.
    processes.stop(f"airflow-{name}")
    return time.monotonic()


def report(what: str, killed_at: float) -> None:
    print(f"\n{what}: {time.monotonic() - killed_at:.0f} s after the kill")


def test_each_worker_has_folders_of_its_own(hosts: Hosts) -> None:
    places = set()
    for worker in workers.names(hosts.state):
        process = processes.find(f"airflow-{worker}")
        assert process is not None
        env = process.environ()
        places |= {env["AIRFLOW_HOME"], env["TMPDIR"], env["PYTHONPATH"], process.cwd()}
        assert env["AIRFLOW__CORE__DAGS_FOLDER"].startswith(process.cwd())
    assert len(places) == 8


def test_backfill_equals_a_run_of_the_local_executor(hosts: Hosts) -> None:
    hosts.demo.empty_warehouse()
    outcome = hosts.demo.command("backfill", "--from", str(hosts.first), "--to", str(hosts.last))
    assert outcome.returncode == 0, outcome.stderr
    hosts.assert_rows_are_right()
    ran_on = hosts.demo.query(
        "select distinct hostname from task_instance where hostname like 'worker-%%' order by 1", database="airflow"
    )
    assert ran_on == [("worker-1",), ("worker-2",)]


def test_run_whose_worker_is_lost_in_an_extract_is_repeated_by_the_other(hosts: Hosts) -> None:
    with psycopg.connect(hosts.state.dsn("shop")) as connection:
        connection.execute("lock table sales_fact in access exclusive mode")
        run = hosts.run()
        lost = run.await_task(EXTRACT, "running")["hostname"]
        waiting = "select 1 from pg_locks where relation = 'sales_fact'::regclass and not granted"
        run.await_that(lambda: hosts.demo.query(waiting, database="shop"))
        killed_at = lose(lost)
    run.await_task(EXTRACT, "up_for_retry", "queued", "success")
    report("extract: noticed", killed_at)
    assert run.end() == "success"
    report("extract: run ended", killed_at)
    extract = run.tasks()[EXTRACT]
    assert extract["try_number"] == 2
    assert extract["hostname"] != lost
    hosts.assert_rows_are_right()


def test_run_whose_worker_is_lost_in_the_build_is_repeated_by_the_other(hosts: Hosts) -> None:
    hosts.start()
    run = hosts.run()
    run.await_task(NODE, "success")
    lost = run.tasks()[BUILD]["hostname"]
    killed_at = lose(lost)
    run.await_task(BUILD, "up_for_retry", "queued", "success")
    report("build: noticed", killed_at)
    assert run.end() == "success"
    report("build: run ended", killed_at)
    build = run.tasks()[BUILD]
    assert build["try_number"] == 2
    assert build["hostname"] != lost
    hosts.assert_rows_are_right()


def test_run_goes_on_when_one_of_two_triggerers_is_lost(hosts: Hosts) -> None:
    hosts.start("triggerer-2")
    run = hosts.run()
    run.await_task(NODE, "success")
    killed_at = lose("triggerer")
    assert run.end() == "success"
    report("triggerer: run ended", killed_at)
    hosts.assert_rows_are_right()


def test_run_goes_on_when_one_of_two_schedulers_is_lost(hosts: Hosts) -> None:
    hosts.start("scheduler-2")
    run = hosts.run()
    run.await_task(NODE, "success")
    killed_at = lose("scheduler")
    assert run.end() == "success"
    report("scheduler: run ended", killed_at)
    hosts.assert_rows_are_right()


def test_local_executor_takes_over_again(hosts: Hosts) -> None:
    outcome = hosts.demo.command("up", "--executor", "local")
    assert outcome.returncode == 0, outcome.stderr
    scheduler = processes.find("airflow-scheduler")
    assert scheduler is not None
    assert scheduler.environ()["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert processes.started("airflow-") == sorted(f"airflow-{service}" for service in airflow_services.SERVICES)
    assert processes.find("valkey") is None
    last = str(hosts.last)
    outcome = hosts.demo.command("run", "--from", last, "--to", last)
    assert outcome.returncode == 0, outcome.stderr
    hosts.assert_rows_are_right()
