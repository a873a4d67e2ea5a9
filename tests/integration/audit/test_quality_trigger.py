"""A check in the triggerer: it ends its task there, waits for what may mend it, and sends a failure to a worker."""

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
from ecommerce.common.errors import CheckError
from tests.integration.support import Loader

FRESHNESS = "kind: freshness, sources: [product], wait_minutes: 0.5, every_seconds: 0.2"


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the task `window` has said of the run."""
    said = {
        "start_date": "2024-03-01",
        "end_date": "2024-03-01",
        "sources": ["product"],
        "full_refresh": False,
        "dry_run": False,
    }
    asked_for = {"key": "return_value", "dag_id": "a_dag", "task_id": "window", "run_id": "a_run"}
    monkeypatch.setattr(XCom, "get_one", lambda **given: said if given == asked_for else None)
    return said


async def run(check: str, window_task_id: str = "window") -> list[TriggerEvent]:
    """The events of the trigger that Airflow makes of what the task gives it."""
    given = QualityCheck(task_id="check", check=check, window_task_id=window_task_id).start_trigger_args
    assert given.trigger_cls == f"{QualityTrigger.__module__}.{QualityTrigger.__qualname__}"
    trigger = QualityTrigger(**(given.trigger_kwargs or {}))
    trigger.task_instance = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="quality.check")  # type: ignore[assignment]
    return [event async for event in trigger.run()]


def load(loader: Loader, status: str) -> None:
    loader.connection.execute("delete from ops.load_batch")
    loader.connection.execute(
        "insert into ops.load_batch (source, window_start, window_end, status, started_at)"
        " values ('product', '2024-03-01', '2024-03-02', %s, now())",
        [status],
    )


def statuses(loader: Loader) -> list[tuple]:
    return loader.rows("select run_id, check_name, subject, status from ops.check_result")


@pytest.mark.usefixtures("window")
def test_what_holds_already_ends_the_task_at_once(only: Callable[..., str], loader: Loader) -> None:
    load(loader, "loaded")
    (event,) = asyncio.run(run(only(FRESHNESS)))
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms == {
        CHECKED: {"state": "success", "reason": "pass product: all 1 days of 2024-03-01 are loaded", "nodes": []}
    }
    assert statuses(loader) == [("a_run", "it", "product", "pass")]


@pytest.mark.usefixtures("window")
def test_a_load_that_is_under_way_is_waited_for(only: Callable[..., str], loader: Loader) -> None:
    load(loader, "running")
    check = only(FRESHNESS)

    async def meanwhile() -> list[TriggerEvent]:
        task = asyncio.create_task(run(check))
        await asyncio.sleep(0.7)
        assert not task.done()
        assert statuses(loader) == [], "judged once, at the end"
        load(loader, "loaded")
        return await task

    (event,) = asyncio.run(meanwhile())
    assert isinstance(event, TaskSuccessEvent)
    assert statuses(loader) == [("a_run", "it", "product", "pass")]


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize(
    ("status", "settings"), [("failed", FRESHNESS), ("running", FRESHNESS.replace("minutes: 0.5", "minutes: 0.01"))]
)
def test_what_cannot_improve_any_more_fails_in_a_worker(
    only: Callable[..., str], loader: Loader, status: str, settings: str
) -> None:
    load(loader, status)
    (event,) = asyncio.run(run(only(settings)))
    assert not isinstance(event, TaskSuccessEvent)
    assert statuses(loader) == [("a_run", "it", "product", "fail")]
    task = QualityCheck(task_id="check", check="it", window_task_id="window")
    with pytest.raises(AirflowFailException) as failed:
        task.execute_complete({}, event.payload)
    assert str(failed.value) == (
        "check it failed, nothing is published;"
        " product: 1 of the 1 days of 2024-03-01 are not loaded, the first 2024-03-01"
    )


@pytest.mark.usefixtures("window")
def test_a_statement_that_takes_too_long_is_no_judgement(
    only: Callable[..., str], loader: Loader, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecommerce.audit import table_checks

    monkeypatch.setattr(table_checks, "FOLDER", tmp_path)
    (tmp_path / "slow.sql").write_text("select pg_sleep(60) as slept")
    (event,) = asyncio.run(run(only("kind: sql, file: slow.sql, timeout_seconds: 1")))
    assert statuses(loader) == []
    task = QualityCheck(task_id="check", check="it", window_task_id="window")
    # No AirflowFailException: it may be tried again.
    with pytest.raises(CheckError, match=r"^it could not be judged: canceling statement due to statement timeout"):
        task.execute_complete({}, event.payload)


@pytest.mark.usefixtures("window")
def test_a_table_that_is_not_there_is_no_judgement(only: Callable[..., str], loader: Loader) -> None:
    check = only("kind: uniqueness, tables: [{table: core.nowhere, key: [id]}]")
    (event,) = asyncio.run(run(check))
    assert 'relation "core.nowhere" does not exist' in event.payload["error"]
    assert statuses(loader) == []


@pytest.mark.usefixtures("window")
def test_a_run_whose_window_nobody_said_is_an_error_that_says_so(only: Callable[..., str], loader: Loader) -> None:
    (event,) = asyncio.run(run(only(FRESHNESS), window_task_id="elsewhere"))
    assert "the task 'elsewhere' has not said what this run is about" in event.payload["error"]


def test_in_a_worker_it_defers_only_if_it_has_to_wait(only: Callable[..., str], loader: Loader) -> None:
    task = QualityCheck(task_id="check", check=only(FRESHNESS), window_task_id="window")
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


def test_judgements_are_written_together_or_not_at_all(loader: Loader) -> None:
    from ecommerce.audit.check_results import CheckResult, record_results

    good = CheckResult("a", "pass", 1, 1, "as it should be", [{"n": 1}])
    bad = CheckResult("b", "purple", 1, 1, "no such status")  # type: ignore[arg-type]
    with pytest.raises(psycopg.errors.CheckViolation):
        record_results(loader.connection, "it", "a_run", [good, bad], None)
    assert statuses(loader) == []
    assert loader.value("select count(*) from ops.check_failure") == 0


# -- beside a build ----------------------------------------------------------------------------------------------------

ANOMALY = "kind: volume, table: raw.sales_fact, day: order_date, weeks: 8, minimum_weeks: 4, warn_beyond: 4"


class Watching:
    """A check in the triggerer, told again and again what becomes of the build."""

    def __init__(self, check: str) -> None:
        task = QualityCheck(task_id="check", check=check, window_task_id="window", build_task_id="dbt_build")
        self.trigger = QualityTrigger(**(task.start_trigger_args.trigger_kwargs or {}))
        self.trigger.task_instance = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="quality.check")  # type: ignore[assignment]

    def hears(self, task_state: str | None) -> Any:
        began = datetime(2024, 3, 2, 1, tzinfo=UTC)
        build = Build(Progress(1, began.isoformat()), task_state=task_state)
        return asyncio.run(self.trigger.event_of(build, try_number=1, since=began - timedelta(minutes=1)))


@pytest.mark.usefixtures("window")
def test_what_came_is_judged_beside_the_build(only: Callable[..., str], loader: Loader) -> None:
    check = Watching(only(ANOMALY))
    assert check.hears(None) is None
    assert statuses(loader) == [], "claim may still have to say what the run is about"
    assert isinstance(check.hears("running"), TaskSuccessEvent)
    assert statuses(loader) == [("a_run", "it", "raw.sales_fact", "pass")]


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize("end", ["success", "failed"])
def test_a_failure_that_a_person_is_shown_waits_for_what_would_be_published(
    only: Callable[..., str], loader: Loader, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = CheckResult("raw.sales_fact", "fail", 1, 40, "1 of about 40", days=[date(2024, 3, 1)])

    async def judge(self: object, connection: object, asked: object) -> list[CheckResult]:
        return [failure]

    check = Watching(only(ANOMALY))
    monkeypatch.setattr(Anomaly, "judge", judge)
    assert check.hears("running") is None
    assert statuses(loader) == [("a_run", "it", "raw.sales_fact", "fail")]
    assert check.hears("running") is None
    event = check.hears(end)
    if end == "success":
        assert event.payload["failures"] == "raw.sales_fact: 1 of about 40"
        assert event.payload["days"] == ["2024-03-01"]
    else:
        assert isinstance(event, TaskFailedEvent)
        told: Any = event.xcoms
        assert told[CHECKED]["state"] == "upstream_failed"
    assert len(statuses(loader)) == 1, "judged once"


@pytest.mark.usefixtures("window")
def test_what_is_built_is_judged_after_it_by_what_was_asked_meanwhile(
    only: Callable[..., str], loader: Loader, window: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Watching(only("kind: uniqueness, tables: [{table: raw.product, key: [product_id]}]"))
    assert check.hears("running") is None
    assert statuses(loader) == []
    monkeypatch.setattr(XCom, "get_one", lambda **_: pytest.fail("asked for a second time"))
    assert isinstance(check.hears("success"), TaskSuccessEvent)
    assert [status for *_, status in statuses(loader)] == ["pass"]


def test_what_cannot_be_asked_beside_the_build_is_said_after_it(only: Callable[..., str], loader: Loader) -> None:
    check = Watching(only("kind: uniqueness, tables: [{table: raw.product, key: [product_id]}]"))
    check.trigger.warehouse_conn_id = "nowhere"
    assert check.hears("running") is None
    event = check.hears("success")
    assert "there is no connection 'nowhere'" in event.payload["error"]


@pytest.mark.usefixtures("window")
def test_what_could_not_be_judged_beside_the_build_is_judged_after_it(
    only: Callable[..., str], loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warehouse that was gone for a moment is no reason to fail minutes later."""
    check = Watching(only(ANOMALY))
    loader.connection.execute("alter table raw.sales_fact rename to gone")
    assert check.hears("running") is None
    loader.connection.execute("alter table raw.gone rename to sales_fact")
    assert statuses(loader) == []
    assert isinstance(check.hears("success"), TaskSuccessEvent)
    assert statuses(loader) == [("a_run", "it", "raw.sales_fact", "pass")]


def test_an_api_that_is_away_beside_the_build_is_asked_again(
    only: Callable[..., str], loader: Loader, window: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Watching(only("kind: uniqueness, tables: [{table: raw.product, key: [product_id]}]"))
    answer = XCom.get_one

    def go_away(**_: Any) -> None:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    monkeypatch.setattr(XCom, "get_one", go_away)
    assert check.hears("running") is None
    assert "could not be judged" in check.hears("success").payload["error"], "and so a worker may try again"
    monkeypatch.setattr(XCom, "get_one", answer)
    assert isinstance(check.hears("success"), TaskSuccessEvent)
