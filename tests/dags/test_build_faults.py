"""
Faults during a build, on the running stack: each task ends in the right state, nothing hangs, nothing wrong is
published, and the next run repairs the rest.

Before each run an order becomes worth one more: the published revenue shows whether the run has built it.
ECOMMERCE_TEST_LONG=1 chooses the long form: a build is also killed after some of its nodes have succeeded, and dbt also
runs one command for each node.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

import psutil
import psycopg
import pytest

from ecommerce.audit.checks_file import read_checks
from include.demo import airflow_services, processes
from tests.dags.followed_run import DAG, PATIENCE, Api, Run
from tests.running_stack import Demo

BUILD = "warehouse.dbt_build"
CORE, MARTS = "warehouse.models.core", "warehouse.models.marts"
AMOUNT = "quality.amount"
WEATHER, EVENTS = f"{CORE}.fact_weather", f"{CORE}.fact_customer_events"
WEATHER_MARTS = {f"{MARTS}.analytics.weather_sales_impact_run", f"{MARTS}.analytics.weather_correlation_run"}
WEATHER_TEST = "core.fact_weather accepted_values_fact_weather_temperature_category__Freezing__Cold__Cool__Warm__Hot"
#: Tasks that cannot run without the weather, and without the events.
AFTER_WEATHER = {
    f"{WEATHER}.test",
    f"{CORE}.relationships_fact_weather_date_key__date_key__ref_dim_date__test",
    *WEATHER_MARTS,
}
AFTER_EVENTS = {
    f"{EVENTS}.test",
    f"{CORE}.relationships_fact_customer_events_customer_key__customer_key__ref_dim_customer__test",
    f"{CORE}.relationships_fact_customer_events_product_key__product_key__ref_dim_products__test",
    f"{CORE}.relationships_fact_customer_events_date_key__date_key__ref_dim_date__test",
    f"{MARTS}.customer.conversion_funnel_daily_run",
}
AFTER_BUILD = {
    *(f"quality.{name}" for name, check in read_checks().checks.items() if check.checks_the_build),
    "refresh_marts",
}


@dataclass
class Warehouse:
    """The running stack, and orders that its runs have to build."""

    demo: Demo
    api: Api
    #: Orders that can be changed, in turn; the last is only for `wholesale_order`.
    orders: list[str]
    changed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began_with = self.revenue()

    def run(self) -> Run:
        """Make an order worth one more, and start a run over its day."""
        order = self.orders[len(self.changed) % (len(self.orders) - 1)]
        self.changed.append(order)
        self.demo.query(
            "update sales_fact set order_amount = order_amount + 1 where order_id = %s", order, database="shop"
        )
        return self.again()

    def again(self) -> Run:
        """Start a run over the day of the orders, without a change."""
        day = str(self.demo.last - timedelta(days=1))
        conf = {"start_date": day, "end_date": day, "sources": ["sales_fact"]}
        return Run(self.api, self.api.trigger(DAG, conf))

    def revenue(self) -> Decimal:
        """The revenue that is published."""
        return self.demo.query("select sum(daily_revenue) from marts.daily_revenue")[0][0]

    def is_up_to_date(self) -> bool:
        """Whether every change is published exactly once."""
        return self.revenue() == self.began_with + len(self.changed)

    @contextmanager
    def obstacle(self, table: str) -> Iterator[Callable[[], None]]:
        """Let a table refuse every row, until the returned function is called."""
        self.demo.query(
            "create or replace function core.refuse() returns trigger language plpgsql as"
            " 'begin raise exception ''NO ROOM FOR %%'', tg_relname; end'"
        )
        self.demo.query(
            f"create trigger refuse before insert on {table} for each statement execute function core.refuse()"
        )

        def remove() -> None:
            self.demo.query("drop function if exists core.refuse cascade")

        try:
            yield remove
        finally:
            remove()

    @contextmanager
    def purple_day(self) -> Iterator[None]:
        """Weather of a kind that fails a dbt test, on a dirty date, in a row that no rebuild can delete."""
        self.demo.query(
            "insert into core.fact_weather (city, temperature_category, precipitation_category, date_key)"
            " values ('Nowhere', 'Purple', 'No Rain', '2010-01-01')"
        )
        self.demo.query("create function core.keep() returns trigger language plpgsql as 'begin return null; end'")
        self.demo.query(
            "create trigger keep before delete on core.fact_weather for each row"
            " when (old.city = 'Nowhere') execute function core.keep()"
        )
        self.demo.query(
            "insert into ops.dirty_date (source, dirty_date, batch_id, marked_at)"
            " select source, '2010-01-01', max(batch_id), now() from ops.load_batch"
            " where source = 'weather_data' and status = 'loaded' group by source"
        )
        try:
            yield
        finally:
            self.demo.query("drop function core.keep cascade")
            self.demo.query("delete from core.fact_weather where city = 'Nowhere'")

    @contextmanager
    def locked(self, table: str) -> Iterator[Callable[[], bool]]:
        """Lock a table that the build needs; returns whether the build waits for it."""
        with closing(psycopg.connect(self.demo.warehouse)) as connection:
            connection.execute(f"lock table {table} in access exclusive mode".encode())
            waiting = "select 1 from pg_locks where relation = %s::regclass and not granted"
            yield lambda: bool(self.demo.query(waiting, table))


@pytest.fixture(scope="module")
def warehouse(whole_range: Demo) -> Iterator[Warehouse]:
    """The marts are the same at the end as at the beginning."""
    before = whole_range.marts()
    state = whole_range.state
    day = whole_range.last - timedelta(days=1)
    disturbed = Warehouse(
        whole_range,
        Api(state.airflow_url, "admin", state.passwords["admin"]),
        whole_range.orders_of_one_line(day),
    )
    yield disturbed
    for order in disturbed.changed:
        whole_range.query(
            "update sales_fact set order_amount = order_amount - 1 where order_id = %s", order, database="shop"
        )
    assert disturbed.again().end() == "success"
    assert whole_range.marts() == before


@pytest.mark.long_form
def test_failed_model_and_failed_test_stop_only_their_descendants(warehouse: Warehouse) -> None:
    published = warehouse.demo.marts()
    with warehouse.purple_day(), warehouse.obstacle("core.fact_customer_events"):
        run = warehouse.run()
        assert run.end() == "failed"
    assert run.in_state("failed") == {f"{EVENTS}.run", f"{WEATHER}.test"}
    assert run.in_state("upstream_failed") == WEATHER_MARTS | AFTER_EVENTS | AFTER_BUILD
    assert warehouse.demo.marts() == published

    result = warehouse.api.xcom(run.run_id, f"{EVENTS}.run", "dbt_result")
    assert result["state"] == "failed"
    assert "NO ROOM FOR fact_customer_events" in result["reason"]
    for try_number in (1, 2):
        log = warehouse.api.log(run.run_id, f"{EVENTS}.run", try_number, containing="NO ROOM")
        assert "NO ROOM FOR fact_customer_events" in log
        assert "select * from final" in log, "the compiled statement"
    assert "1 failing rows" in warehouse.api.xcom(run.run_id, f"{WEATHER}.test", "dbt_result")["reason"]
    # Two incidents: the model that could not be built, and the test, whose result is recorded at the end of the build.
    seen = "select incident, closed_by from ops.alert where last_run_id = %s order by incident"
    model, test = f"{DAG}.{EVENTS}.run", f"{DAG} dbt_test {WEATHER_TEST}"
    run.await_that(lambda: warehouse.demo.query(seen, run.run_id) == [(test, None), (model, None)])

    # Without the obstacles the same run continues where it stopped.
    before = run.ends()
    warehouse.api.clear(run.run_id, only_failed=True)
    assert run.end() == "success"
    again = {f"{EVENTS}.run", f"{WEATHER}.test"} | WEATHER_MARTS | AFTER_EVENTS | AFTER_BUILD
    assert {task_id for task_id, end in run.ends().items() if end != before[task_id]} == again
    assert warehouse.is_up_to_date()
    # Airflow runs the callback that closes them after it has recorded the end of the task, and so of the run.
    closed = [(test, run.run_id), (model, run.run_id)]
    run.await_that(lambda: warehouse.demo.query(seen, run.run_id) == closed)


@pytest.mark.long_form
def test_retried_node_is_built_before_its_descendants(warehouse: Warehouse) -> None:
    with warehouse.obstacle("core.fact_weather") as remove:
        run = warehouse.run()
        run.await_task(f"{WEATHER}.run", "up_for_retry")
        remove()
        assert run.end() == "success"
    tries = {task_id: task["try_number"] for task_id, task in run.tasks().items() if task["try_number"] > 1}
    assert tries == {f"{WEATHER}.run": 2}
    (weather,) = run.results(f"{WEATHER}.run")
    for task_id in AFTER_WEATHER:
        assert min(result["started_at"] for result in run.results(task_id)) > weather["finished_at"]
    assert warehouse.is_up_to_date()

    # If one node is cleared, only this one runs again; and the run has given its lease back, so it may not build.
    before = run.ends()
    warehouse.api.clear(run.run_id, task_ids=[f"{CORE}.dim_date.run"])
    assert run.end() == "failed"
    assert {task_id for task_id, end in run.ends().items() if end != before[task_id]} == {f"{CORE}.dim_date.run"}
    log = warehouse.api.log(run.run_id, f"{CORE}.dim_date.run", 2, containing="does not hold")
    assert "does not hold the right to build and publish" in log


@pytest.mark.slow
def test_killed_build_is_retried(warehouse: Warehouse) -> None:
    with warehouse.locked("core.fact_sales") as is_waited_for:
        run = warehouse.run()
        run.await_that(is_waited_for)
        psutil.Process(run.await_task(BUILD, "running")["pid"]).kill()
        run.await_task(BUILD, "up_for_retry")
    assert run.end() == "success"
    tasks = run.tasks()
    assert tasks[BUILD]["try_number"] == 2
    assert {task["try_number"] for task_id, task in tasks.items() if task_id != BUILD} == {1}
    assert warehouse.is_up_to_date()


@pytest.mark.long_form
def test_retried_build_fails_on_a_node_built_before(warehouse: Warehouse) -> None:
    """The killed build has built the weather; the retry cannot."""
    published = warehouse.demo.marts()
    with warehouse.locked("core.fact_sales") as is_waited_for:
        run = warehouse.run()
        run.await_that(is_waited_for)
        run.await_task(f"{WEATHER}.run", "success")
        psutil.Process(run.await_task(BUILD, "running")["pid"]).kill()
        run.await_task(BUILD, "up_for_retry")
    with warehouse.obstacle("core.fact_weather"):
        assert run.end() == "failed"
    assert run.states()[f"{WEATHER}.run"] == "success"
    assert BUILD in run.in_state("failed")
    assert "fact_weather: error" in "".join(warehouse.api.task_errors(DAG, run.run_id, BUILD, 2))
    assert warehouse.demo.marts() == published
    assert warehouse.again().end() == "success"
    assert warehouse.is_up_to_date()


def kill(name: str) -> None:
    """Kill a service at once, without a chance to clean up."""
    process = processes.find(name)
    assert process is not None
    process.kill()
    process.wait(10)


@contextmanager
def disturbed(warehouse: Warehouse) -> Iterator[Run]:
    """A run in the middle of its build. It must end in the right state afterwards; if it fails, the next repairs."""
    published = warehouse.demo.marts()
    with warehouse.locked("core.fact_sales") as is_waited_for:
        run = warehouse.run()
        run.await_that(is_waited_for)
        run.await_task(f"{WEATHER}.run", "success")
        yield run
    if run.end() == "failed":
        assert warehouse.demo.marts() == published
        assert warehouse.again().end() == "success"
    else:
        assert set(run.states().values()) == {"success", "skipped"}
        assert {task for task in run.in_state("skipped") if not task.startswith("extract.")} == set()
    assert warehouse.is_up_to_date()


@pytest.mark.long_form
def test_next_triggerer_takes_over_after_a_kill(warehouse: Warehouse) -> None:
    with disturbed(warehouse) as run:
        kill("airflow-triggerer")
        airflow_services.start(warehouse.demo.state)
    assert run.api.run(DAG, run.run_id)["state"] == "success"


@pytest.mark.long_form
@pytest.mark.parametrize("end", [kill, processes.stop], ids=["killed", "stopped"])
def test_next_scheduler_takes_over_after_an_end(
    warehouse: Warehouse, end: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its tasks end with it. The next scheduler looks for them at this interval, which is 300 seconds by default.
    monkeypatch.setenv("AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL", "10")
    with disturbed(warehouse):
        end("airflow-scheduler")
        airflow_services.start(warehouse.demo.state)


@pytest.mark.long_form
def test_run_ends_after_warehouse_is_unavailable_for_ten_seconds(warehouse: Warehouse) -> None:
    def admit(is_open: bool) -> None:
        warehouse.demo.query(f"alter database warehouse with allow_connections {is_open}", database="postgres")

    # The test's own lock is lost as well, with its connection.
    with disturbed(warehouse):
        admit(False)
        try:
            warehouse.demo.query(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'warehouse'",
                database="postgres",
            )
            time.sleep(10)
        finally:
            admit(True)


@contextmanager
def wholesale_order(warehouse: Warehouse) -> Iterator[Decimal]:
    """An order worth more than the shop has ever sold, and the amount that it adds; undone at the end."""
    order, extra = warehouse.orders[-1], Decimal(1_000_000)
    change = "update sales_fact set order_amount = order_amount + %s where order_id = %s"
    warehouse.demo.query(change, extra, order, database="shop")
    try:
        yield extra
    finally:
        warehouse.demo.query(change, -extra, order, database="shop")
        assert warehouse.again().end() == "success"
        warehouse.demo.query("delete from ops.decision")


@pytest.mark.long_form
def test_anomaly_waits_for_a_person_without_blocking_other_runs(warehouse: Warehouse) -> None:
    published, revenue = warehouse.demo.marts(), warehouse.revenue()
    # The shop has unusual days of its own: the warning about them, of a later window, would stay open.
    warehouse.demo.query("delete from ops.alert where incident like %s", "%amount%")
    with wholesale_order(warehouse) as extra:
        older = warehouse.again()
        older.await_task(AMOUNT, "awaiting_input")
        newer = warehouse.again()
        newer.await_task(AMOUNT, "awaiting_input")
        assert warehouse.demo.marts() == published
        question = warehouse.api.question(newer.run_id, AMOUNT)
        assert question["subject"] == "amount: publish anyway?"
        assert question["options"] == ["Approve", "Reject"]
        assert re.search(
            r"Without an answer until \d{4}-\d\d-\d\d \d\d:\d\d UTC nothing is published", question["body"]
        )
        day = str(warehouse.demo.last - timedelta(days=1))
        assert re.search(rf"\| daily_revenue \| 0 \| \d \| 0 \| .*{day}: [\d.]+ → 1,000,", question["body"])
        opened = "select incident, closed_by from ops.alert where incident like %s and closed_at is null"
        assert len(warehouse.demo.query(opened, "%amount%")) == 1

        warehouse.api.answer(older.run_id, AMOUNT, "Approve", "meant for another")
        assert older.end() == "failed"
        assert warehouse.demo.marts() == published
        warehouse.api.answer(newer.run_id, AMOUNT, "Approve", "a wholesale order")
        assert newer.end() == "success"
        assert warehouse.revenue() == revenue + extra
        decided = "select run_id, decision, decided_by, reason from ops.decision where check_name = 'amount'"
        assert set(warehouse.demo.query(decided)) == {
            (older.run_id, "overtaken", "admin", "meant for another"),
            (newer.run_id, "approved", "admin", "a wholesale order"),
        }
    assert warehouse.revenue() == revenue
    # An approved failure is a warning; the run after it, which knows the day, found nothing. The incident is closed by
    # a callback, which Airflow runs after it has recorded the end of the run.
    newer.await_that(lambda: warehouse.demo.query(opened, "%amount%") == [])


MODES = {"watcher": "Watcher", "local": "Local", "triggerer": "DbtNode"}


@pytest.mark.parametrize(
    "mode",
    [
        *(pytest.param(mode, marks=pytest.mark.long_form) for mode in ("watcher", "local")),
        pytest.param("triggerer", marks=pytest.mark.slow),
    ],
)
def test_each_execution_mode_completes_a_run(warehouse: Warehouse, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last test, and the default mode last: the services are restarted with each mode."""
    monkeypatch.setenv("ECOMMERCE_DBT_EXECUTION_MODE", mode)
    for service in ("airflow-scheduler", "airflow-dag-processor"):
        processes.stop(service)
    airflow_services.start(warehouse.demo.state)
    deadline = time.monotonic() + PATIENCE
    while MODES[mode] not in warehouse.api.kind_of_task(f"{WEATHER}.run"):
        assert time.monotonic() < deadline, f"the DAG is not read in mode {mode}"
        time.sleep(1)
    run = warehouse.run()
    assert run.end() == "success"
    assert warehouse.is_up_to_date()
