"""`QualityTrigger`: ends the task of a check in the triggerer, waits where a load is under way, sends failures on."""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError, ErrorType, TaskDeferred
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import TaskFailedEvent, TaskSuccessEvent, TriggerEvent

from dbt_triggerer.node_results import Build, Progress
from ecommerce.audit.anomaly import Anomaly
from ecommerce.audit.check_results import CheckResult
from ecommerce.audit.quality_check import QualityCheck
from ecommerce.audit.quality_trigger import CHECKED, QualityTrigger
from ecommerce.build import lease
from ecommerce.common.errors import CheckError
from ecommerce.common.windows import Request, Window
from tests.integration.support import Loader

FRESHNESS = "kind: freshness, sources: [product], wait_minutes: 0.5, every_seconds: 0.2"


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The XCom of the task `window`: one day, one source."""
    xcom = {
        "start_date": "2024-03-01",
        "end_date": "2024-03-01",
        "sources": ["product"],
        "full_refresh": False,
        "dry_run": False,
    }
    key = {"key": "return_value", "dag_id": "a_dag", "task_id": "window", "run_id": "a_run"}
    monkeypatch.setattr(XCom, "get_one", lambda **arguments: xcom if arguments == key else None)
    return xcom


async def run(check: str, window_task_id: str = "window") -> list[TriggerEvent]:
    """The events of the trigger that the task starts in."""
    arguments = QualityCheck(task_id="check", check_name=check, window_task_id=window_task_id).start_trigger_args
    assert arguments.trigger_cls == f"{QualityTrigger.__module__}.{QualityTrigger.__qualname__}"
    trigger = QualityTrigger(**(arguments.trigger_kwargs or {}))
    trigger.task_instance = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="quality.check")  # type: ignore[assignment]
    return [event async for event in trigger.run()]


def load(loader: Loader, status: str) -> None:
    loader.connection.execute("delete from ops.load_batch")
    loader.connection.execute(
        """
        insert into ops.load_batch (source, window_start, window_end, status, started_at)
        values ('product', '2024-03-01', '2024-03-02', %s, now())
        """,
        [status],
    )


def statuses(loader: Loader) -> list[tuple]:
    return loader.rows("select run_id, check_name, subject, status from ops.check_result")


@pytest.mark.usefixtures("window")
def test_trigger_ends_task_at_once_where_the_check_passes(only: Callable[..., str], loader: Loader) -> None:
    load(loader, "loaded")
    (event,) = asyncio.run(run(only(FRESHNESS)))
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms == {CHECKED: {"state": "success", "reason": "pass product: 2024-03-01 is loaded", "nodes": []}}
    assert statuses(loader) == [("a_run", "it", "product", "pass")]


def test_window_and_sources_are_those_of_the_claim_and_not_of_an_xcom(
    only: Callable[..., str], loader: Loader, window: dict[str, Any]
) -> None:
    """A person can write the XCom: the run has claimed for a day and a source that were not loaded."""
    load(loader, "loaded")
    request = Request(Window.of_days(date(2024, 3, 2), date(2024, 3, 2)), frozenset({"customer"}))
    lease.take(loader.connection, "a_dag", "a_run", project="p", full_refresh=False, request=request)
    (event,) = asyncio.run(run(only("kind: freshness, wait_minutes: 0")))
    assert event.payload["failures"] == "customer: 2024-03-02 is not loaded"
    failed = loader.rows("select subject, window_start from ops.check_result where status = 'fail'")
    assert failed == [("customer", date(2024, 3, 2))]


@pytest.mark.usefixtures("window")
def test_trigger_waits_for_a_load_that_is_under_way(only: Callable[..., str], loader: Loader) -> None:
    load(loader, "running")
    check = only(FRESHNESS)

    async def meanwhile() -> list[TriggerEvent]:
        task = asyncio.create_task(run(check))
        await asyncio.sleep(0.7)
        assert not task.done()
        assert statuses(loader) == [], "recorded once, at the end"
        load(loader, "loaded")
        return await task

    (event,) = asyncio.run(meanwhile())
    assert isinstance(event, TaskSuccessEvent)
    assert statuses(loader) == [("a_run", "it", "product", "pass")]


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize(
    ("status", "settings"), [("failed", FRESHNESS), ("running", FRESHNESS.replace("minutes: 0.5", "minutes: 0.01"))]
)
def test_failure_is_raised_in_a_worker(only: Callable[..., str], loader: Loader, status: str, settings: str) -> None:
    load(loader, status)
    (event,) = asyncio.run(run(only(settings)))
    assert not isinstance(event, TaskSuccessEvent)
    assert statuses(loader) == [("a_run", "it", "product", "fail")]
    task = QualityCheck(task_id="check", check_name="it", window_task_id="window")
    with pytest.raises(AirflowFailException) as failed:
        task.execute_complete({}, event.payload)
    assert str(failed.value) == ("check it failed, nothing is published; product: 2024-03-01 is not loaded")


@pytest.mark.usefixtures("window")
def test_statement_timeout_is_an_error_that_can_be_retried(
    only: Callable[..., str], loader: Loader, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecommerce.audit import table_checks

    monkeypatch.setattr(table_checks, "FOLDER", tmp_path)
    (tmp_path / "slow.sql").write_text("select pg_sleep(60) as slept")
    (event,) = asyncio.run(run(only("kind: sql, file: slow.sql, timeout_seconds: 1")))
    assert statuses(loader) == []
    task = QualityCheck(task_id="check", check_name="it", window_task_id="window")
    # No AirflowFailException, so that Airflow retries.
    with pytest.raises(CheckError, match=r"^it could not be evaluated: canceling statement due to statement timeout"):
        task.execute_complete({}, event.payload)


@pytest.mark.usefixtures("window")
def test_missing_table_is_an_error_without_results(only: Callable[..., str], loader: Loader) -> None:
    check = only("kind: uniqueness, tables: [{table: core.nowhere, key: [id]}]")
    (event,) = asyncio.run(run(check))
    assert 'relation "core.nowhere" does not exist' in event.payload["error"]
    assert statuses(loader) == []


@pytest.mark.usefixtures("window")
def test_missing_window_is_an_error_that_names_its_task(only: Callable[..., str], loader: Loader) -> None:
    (event,) = asyncio.run(run(only(FRESHNESS), window_task_id="elsewhere"))
    assert "the task 'elsewhere' has no result with the run's window; clear it" in event.payload["error"]


def test_worker_defers_only_if_it_has_to_wait(only: Callable[..., str], loader: Loader) -> None:
    task = QualityCheck(task_id="check", check_name=only(FRESHNESS), window_task_id="window")
    window = {"start_date": "2024-03-01", "end_date": "2024-03-01"}
    context: Any = {"params": window, "dag_run": SimpleNamespace(run_id="a_run", dag_id="a_dag")}
    load(loader, "running")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    assert isinstance(deferred.value.trigger, QualityTrigger)
    assert statuses(loader) == []
    load(loader, "loaded")
    task.execute(context)
    assert statuses(loader) == [("a_run", "it", "product", "pass")]


def test_results_are_recorded_together_or_not_at_all(loader: Loader) -> None:
    from ecommerce.audit.check_results import CheckResult, record_results

    good = CheckResult("a", "pass", 1, 1, "as it should be", [{"n": 1}])
    bad = CheckResult("b", "purple", 1, 1, "no such status")  # type: ignore[arg-type]
    with pytest.raises(psycopg.errors.CheckViolation):
        record_results(loader.connection, "it", "a_run", [good, bad], None)
    assert statuses(loader) == []
    assert loader.value("select count(*) from ops.check_failure") == 0


# -- during a build ----------------------------------------------------------------------------------------------------

ANOMALY = "kind: volume, table: raw.sales_fact, day: order_date, weeks: 8, minimum_weeks: 4, warn_beyond: 4"


class WatchingCheck:
    """A check in the triggerer that watches a build, whose states a test sets."""

    def __init__(self, check: str) -> None:
        task = QualityCheck(task_id="check", check_name=check, window_task_id="window", build_task_id="dbt_build")
        self.trigger = QualityTrigger(**(task.start_trigger_args.trigger_kwargs or {}))
        self.trigger.task_instance = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="quality.check")  # type: ignore[assignment]

    def event_at(self, task_state: str | None) -> Any:
        began = datetime(2024, 3, 2, 1, tzinfo=UTC)
        build = Build(Progress(1, began.isoformat()), task_state=task_state)
        return asyncio.run(self.trigger.event_of(build, try_number=1, since=began - timedelta(minutes=1)))


@pytest.mark.usefixtures("window")
def test_check_of_loaded_rows_is_evaluated_during_the_build(only: Callable[..., str], loader: Loader) -> None:
    check = WatchingCheck(only(ANOMALY))
    assert check.event_at(None) is None
    assert statuses(loader) == [], "the run may not have claimed yet"
    assert isinstance(check.event_at("running"), TaskSuccessEvent)
    assert statuses(loader) == [("a_run", "it", "raw.sales_fact", "pass")]


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize("end", ["success", "failed"])
def test_failure_that_a_person_may_approve_waits_for_the_build(
    only: Callable[..., str], loader: Loader, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = CheckResult("raw.sales_fact", "fail", 1, 40, "1 of about 40", days={date(2024, 3, 1): 1.0})

    async def fail(self: object, connection: object, context: object) -> list[CheckResult]:
        return [failure]

    check = WatchingCheck(only(ANOMALY))
    monkeypatch.setattr(Anomaly, "evaluate", fail)
    assert check.event_at("running") is None
    assert statuses(loader) == [("a_run", "it", "raw.sales_fact", "fail")]
    assert check.event_at("running") is None
    event = check.event_at(end)
    if end == "success":
        assert event.payload["failures"] == "raw.sales_fact: 1 of about 40"
        assert event.payload["figures"] == [["raw.sales_fact", "2024-03-01", 1.0]]
    else:
        assert isinstance(event, TaskFailedEvent)
        xcoms: Any = event.xcoms
        assert xcoms[CHECKED]["state"] == "upstream_failed"
    assert len(statuses(loader)) == 1, "evaluated once"


@pytest.mark.usefixtures("window")
def test_check_of_the_build_reads_the_window_once_during_the_build(
    only: Callable[..., str], loader: Loader, window: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = WatchingCheck(only("kind: uniqueness, tables: [{table: raw.product, key: [product_id]}]"))
    assert check.event_at("running") is None
    assert statuses(loader) == []
    monkeypatch.setattr(XCom, "get_one", lambda **_: pytest.fail("the window is read a second time"))
    assert isinstance(check.event_at("success"), TaskSuccessEvent)
    assert [status for *_, status in statuses(loader)] == ["pass"]


def test_missing_connection_is_an_error_after_the_build(only: Callable[..., str], loader: Loader) -> None:
    check = WatchingCheck(only("kind: uniqueness, tables: [{table: raw.product, key: [product_id]}]"))
    check.trigger.warehouse_conn_id = "nowhere"
    assert check.event_at("running") is None
    event = check.event_at("success")
    assert "there is no connection 'nowhere'" in event.payload["error"]


@pytest.mark.usefixtures("window")
def test_check_that_met_an_error_during_the_build_is_evaluated_after_it(
    only: Callable[..., str], loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of a moment is no reason to fail minutes later."""
    check = WatchingCheck(only(ANOMALY))
    loader.connection.execute("alter table raw.sales_fact rename to gone")
    assert check.event_at("running") is None
    loader.connection.execute("alter table raw.gone rename to sales_fact")
    assert statuses(loader) == []
    assert isinstance(check.event_at("success"), TaskSuccessEvent)
    assert statuses(loader) == [("a_run", "it", "raw.sales_fact", "pass")]


def test_unavailable_api_is_called_again_after_the_build(
    only: Callable[..., str], loader: Loader, window: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = WatchingCheck(only("kind: uniqueness, tables: [{table: raw.product, key: [product_id]}]"))
    get_one = XCom.get_one

    def unavailable(**_: Any) -> None:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    monkeypatch.setattr(XCom, "get_one", unavailable)
    assert check.event_at("running") is None
    assert "could not be evaluated" in check.event_at("success").payload["error"], "which a worker may retry"
    monkeypatch.setattr(XCom, "get_one", get_one)
    assert isinstance(check.event_at("success"), TaskSuccessEvent)
