"""
Airflow on several hosts: two Celery workers and a triggerer that share no disk with the API server, logs in an object
store, and what happens when one of the hosts is lost.

Each run starts with an empty warehouse, and must leave the same rows as a run of the LocalExecutor over the same days.
The next test begins while what was killed is still gone; only then is it started again.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import boto3
import psycopg
import pytest
from moto.server import ThreadedMotoServer

from include.demo import airflow_services, processes, workers
from include.demo.state import STACK, State
from tests.dags.followed_run import DAG, Api, Run
from tests.running_stack import Demo

BUILD, NODE = "warehouse.dbt_build", "warehouse.models.core.dim_date.run"
EXTRACT, CHECK = "extract.sales_fact", "quality.volume"
DAYS = 5
#: So that a lost host is noticed in seconds; the defaults are 300, 10, 300, 30 and 30 seconds (docs/operations.md).
QUICKLY_NOTICED = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
}

BUCKET = "airflow-logs"

pytestmark = pytest.mark.long_form


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
        """Start services of these names, e.g. `scheduler-2`, with log folders of their own; then what is missing."""
        for name in names:
            service = name.removesuffix("-2")
            command = [airflow_services.command("airflow"), service, *airflow_services.SERVICES[service]]
            logs = {"AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(STACK / "hosts" / name / "logs")}
            processes.start(f"airflow-{name}", command, env=airflow_services.environment(self.state) | logs)
        airflow_services.start(self.state)

    def assert_rows_are_right(self) -> None:
        found = rows(self.demo)
        differing = {name for name in self.expected | found if self.expected.get(name) != found.get(name)}
        assert differing == set()


@pytest.fixture(scope="module")
def object_store() -> Iterator[dict[str, str]]:
    """A server with S3's protocol, and the settings by which Airflow keeps its logs there (docs/production.md)."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    access = {"region_name": "eu-central-1", "endpoint_url": f"http://127.0.0.1:{port}"}
    client = boto3.client("s3", **access, aws_access_key_id="logs", aws_secret_access_key="of the tests")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": access["region_name"]})
    connection = {"conn_type": "aws", "login": "logs", "password": "of the tests", "extra": access}
    yield {
        "AIRFLOW__LOGGING__REMOTE_LOGGING": "True",
        "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER": f"s3://{BUCKET}/tasks",
        "AIRFLOW__LOGGING__REMOTE_LOG_CONN_ID": "logs",
        "AIRFLOW_CONN_LOGS": json.dumps(connection),
    }
    server.stop()


@pytest.fixture(scope="module")
def hosts(demo: Demo, object_store: dict[str, str]) -> Iterator[Hosts]:
    first = demo.first + timedelta(days=30)
    last = first + timedelta(days=DAYS - 1)
    demo.empty_warehouse()
    outcome = demo.command("run", "--from", str(first), "--to", str(last))
    assert outcome.returncode == 0, outcome.stderr
    expected = rows(demo)
    assert expected["core.fact_sales"][0] > 0
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (QUICKLY_NOTICED | object_store).items():
            patch.setenv(name, value)
        outcome = demo.command("up", "--executor", "celery", "--workers", "2")
        assert outcome.returncode == 0, outcome.stderr
        state = State.load()
        assert state is not None
        hosts = Hosts(demo, state, first, last, expected)
        processes.stop("airflow-triggerer")
        hosts.start("triggerer")
        yield hosts
        # The stack is that of other tests as well. A run that a failed test has left would keep it from changing.
        if airflow_services.is_healthy(state) and hosts.api.active_runs():
            airflow_services.stop()
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
    """For the table in docs/operations.md; `pytest -s` shows it."""
    print(f"\n{what}: {time.monotonic() - killed_at:.0f} s after the kill")


def test_each_worker_has_folders_of_its_own(hosts: Hosts) -> None:
    places = set()
    for worker in workers.names(hosts.state):
        process = processes.find(f"airflow-{worker}")
        assert process is not None
        env = process.environ()
        logs = env["AIRFLOW__LOGGING__BASE_LOG_FOLDER"]
        places |= {env["AIRFLOW_HOME"], env["TMPDIR"], env["PYTHONPATH"], process.cwd(), logs}
        assert env["AIRFLOW__CORE__DAGS_FOLDER"].startswith(process.cwd())
    assert len(places) == 10


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


@pytest.mark.parametrize(
    ("task", "text"),
    [(EXTRACT, "rows read"), (NODE, "dim_date: success"), (CHECK, "raw.sales_fact")],
    ids=["worker", "node in the triggerer", "check in the triggerer"],
)
def test_log_of_a_task_is_read_from_the_object_store(hosts: Hosts, task: str, text: str) -> None:
    newest = "select run_id from dag_run where dag_id = %s and state = 'success' order by end_date desc limit 1"
    ((run_id,),) = hosts.demo.query(newest, DAG, database="airflow")
    run = Run(hosts.api, run_id)
    log = run.api.log(run_id, task, run.tasks()[task]["try_number"], containing=text)
    assert text in log
    assert f"s3://{BUCKET}/tasks/dag_id={DAG}/" in log
    # The folder that the API server could read has nothing of it.
    of_this_run = STACK / "airflow" / "logs" / f"dag_id={DAG}" / f"run_id={run_id}"
    assert not list(of_this_run.rglob("*.log*"))


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
    # Each writes the logs of its tasks to a folder of its own: the one to lose has the tasks of this run.
    logs = {name: STACK / "hosts" / name / "logs" for name in ("triggerer", "triggerer-2")}
    tasks = {name: len(list(folder.glob(f"*/run_id={run.run_id}/*/*.log"))) for name, folder in logs.items()}
    busier = max(tasks, key=lambda name: tasks[name])
    assert tasks[busier] > 0
    killed_at = lose(busier)
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
    state = State.load()
    assert state is not None
    assert state.workers == 0
