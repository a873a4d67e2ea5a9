"""One incident, one alert, at receivers that are really there."""

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from ecommerce.alerts.task_callbacks import (
    alert_failure,
    missed_deadline,
    recovered,
    settle_failed_run,
    settle_run,
)
from ecommerce.audit.quality_check import QualityCheck
from tests.integration.alerts.conftest import (
    DAG,
    Mails,
    Receiver,
    connect_webhook,
    context_of,
    context_of_dag,
    open_incidents,
)
from tests.integration.support import Loader

VOLUME = f"{DAG} volume raw.sales_fact"
Judged = Callable[..., None]


def check_fails(run_id: str, check: str = "volume", **given: Any) -> None:
    """The callback of the task of a check."""
    task = QualityCheck(task_id=f"quality.{check}", check=check, window_task_id="window")
    alert_failure(context_of(run_id, task, **given))


def publishes(loader: Loader, run_id: str, **given: Any) -> None:
    settle_run(context_of(run_id, **given))


def task_fails(run_id: str, task_id: str, **given: Any) -> None:
    alert_failure(context_of(run_id, SimpleNamespace(task_id=task_id), **given))


def test_a_failed_check_is_posted_with_what_a_person_needs(loader: Loader, webhook: Receiver, judged: Judged) -> None:
    judged("run/1", "fail")
    check_fails("run/1")
    (body,) = webhook.posted
    run_url = f"https://airflow.shop.test/dags/{DAG}/runs/run%2F1"
    page_url = "https://airflow.shop.test/plugin/shop/shop/status"
    assert body["text"].splitlines() == [
        f"[fail] {VOLUME}",
        "10 rows of about 90",
        "Observed: 10, expected: 90",
        "Window: 2024-03-01 (UTC)",
        f"Run: {run_url}",
        f"Status: {page_url}",
    ]
    fields = body["alert"]
    assert fields.pop("opened_at")
    assert fields == {
        "incident": VOLUME, "state": "open", "severity": "fail", "dag_id": DAG, "task_id": None, "run_id": "run/1",
        "check": "volume", "subject": "raw.sales_fact", "observed": 10, "expected": 90, "window_start": "2024-03-01",
        "window_end": "2024-03-02", "message": "10 rows of about 90", "closed_at": None, "times_seen": 1,
        "run_url": run_url, "page_url": page_url,
    }  # fmt: skip
    # The check's subject is the incident, and its task is none besides.
    assert open_incidents(loader) == [(VOLUME, "fail", 1)]
    assert loader.rows("select sent_to, send_error, sent_at is not null from ops.alert") == [
        (["alerts_webhook"], None, True)
    ]


def test_repeated_failures_of_an_incident_are_counted_and_not_repeated(
    loader: Loader, webhook: Receiver, judged: Judged
) -> None:
    for run_id, day in (("r1", "2024-03-01"), ("r2", "2024-03-02"), ("r3", "2024-03-03")):
        judged(run_id, "fail", day=day)
        check_fails(run_id, day=day)
        # The callbacks of other tasks, and of the run, find the same judgement again.
        check_fails(run_id, day=day)
        settle_failed_run(context_of(run_id, day=day))
    assert webhook.titles() == [f"[fail] {VOLUME}"]
    assert open_incidents(loader) == [(VOLUME, "fail", 3)]
    assert loader.rows("select first_run_id, last_run_id, window_end::text from ops.alert") == [
        ("r1", "r3", "2024-03-04")
    ]


def test_a_warning_alerts_once_and_once_more_when_it_becomes_a_failure(
    loader: Loader, webhook: Receiver, judged: Judged
) -> None:
    for run_id in ("r1", "r2"):
        judged(run_id, "warn")
        publishes(loader, run_id)
    assert webhook.titles() == [f"[warn] {VOLUME}"]
    for run_id in ("r3", "r4"):
        judged(run_id, "fail")
        check_fails(run_id)
    assert webhook.titles() == [f"[fail] {VOLUME}"]
    # It is still the same incident, whose severity does not go down while it is open.
    judged("r5", "warn")
    publishes(loader, "r5")
    assert webhook.titles() == []
    assert open_incidents(loader) == [(VOLUME, "fail", 5)]


def test_a_recovery_closes_it_and_the_next_failure_is_a_new_incident(
    loader: Loader, webhook: Receiver, judged: Judged
) -> None:
    judged("r1", "fail")
    check_fails("r1")
    judged("r2", "pass")
    publishes(loader, "r2")
    assert open_incidents(loader) == []
    assert loader.value("select closed_by from ops.alert") == "r2"
    assert webhook.titles() == [f"[fail] {VOLUME}"], "a recovery is told to those who ask for it"
    # Late callbacks of the run that failed do not open it again.
    check_fails("r1")
    assert open_incidents(loader) == []
    judged("r3", "fail")
    check_fails("r3")
    assert webhook.titles() == [f"[fail] {VOLUME}"]
    assert loader.value("select count(*) from ops.alert") == 2


def test_a_recovery_is_told_to_a_connection_that_asks_for_it(
    loader: Loader, receiver: Receiver, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_webhook(monkeypatch, receiver.url, recoveries=True, headers={"X-Team": "data"}, endpoint="ecommerce")
    judged("r1", "fail")
    check_fails("r1")
    judged("r2", "pass")
    publishes(loader, "r2")
    publishes(loader, "r2")
    assert [body["alert"]["state"] for body in receiver.posted] == ["open", "closed"]
    assert receiver.titles() == [f"[fail] {VOLUME}", f"[recovered] {VOLUME}"]
    assert receiver.headers[0]["X-Team"] == "data"


def test_a_run_of_an_older_window_closes_nothing_of_a_newer_one(loader: Loader, judged: Judged) -> None:
    judged("today", "fail", day="2024-03-09")
    check_fails("today", day="2024-03-09")
    task_fails("today", "warehouse.dbt_build", day="2024-03-09")
    judged("backfill", "pass", day="2024-03-01")
    publishes(loader, "backfill", day="2024-03-01")
    # One that sees it again does not make it older either.
    judged("backfill 2", "fail", day="2024-03-02")
    check_fails("backfill 2", day="2024-03-02")
    assert loader.rows("select window_start::text, window_end::text, times_seen from ops.alert order by incident") == [
        ("2024-03-09", "2024-03-10", 2),
        ("2024-03-09", "2024-03-10", 1),
    ]
    assert [incident for incident, *_ in open_incidents(loader)] == [VOLUME, f"{DAG}.warehouse.dbt_build"]
    judged("tomorrow", "pass", day="2024-03-10")
    publishes(loader, "tomorrow", day="2024-03-10")
    assert open_incidents(loader) == []


def test_a_receiver_that_is_away_fails_no_task_and_is_told_later(
    loader: Loader, webhook: Receiver, mails: Mails, judged: Judged
) -> None:
    webhook.status = 503
    judged("r1", "fail")
    judged("r1", "warn", check="amount", subject="raw.sales_fact order_amount")
    check_fails("r1")
    held = "select sent_to, send_error, sent_at, sending_since from ops.alert order by incident"
    # What the one has taken is not sent to it again; and what one is for the other does not matter.
    assert loader.rows(held) == [(["alerts_email"], "alerts_webhook: it answered 503", None, None)] * 2
    assert len(mails.received) == 2
    webhook.status = 200
    judged("r2", "fail", day="2024-03-02")
    check_fails("r2", day="2024-03-02")
    assert sorted(webhook.titles()) == [f"[fail] {VOLUME}", f"[warn] {DAG} amount raw.sales_fact order_amount"]
    assert len(mails.received) == 2
    assert loader.value("select bool_and(sent_at is not null and send_error is null) from ops.alert")


def test_nobody_at_the_address_is_no_failure_and_the_address_stays_secret(
    loader: Loader, judged: Judged, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect_webhook(monkeypatch, "http://127.0.0.1:9/hook/secret")
    judged("r1", "fail")
    check_fails("r1")
    assert loader.value("select send_error from ops.alert") == (
        "alerts_webhook: it could not be reached (ConnectionError)"
    )
    assert "did not take" in caplog.text
    assert "secret" not in caplog.text


def test_what_recovered_before_anyone_could_be_told_is_told_as_recovered(
    loader: Loader, webhook: Receiver, judged: Judged
) -> None:
    webhook.status = 500
    judged("r1", "fail")
    check_fails("r1")
    judged("r2", "pass")
    publishes(loader, "r2")
    webhook.status = 200
    publishes(loader, "r3")
    assert webhook.titles() == [f"[recovered] {VOLUME}"]


def test_without_a_connection_it_is_recorded_and_told_once_there_is_one(
    loader: Loader, receiver: Receiver, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged("r1", "fail")
    judged("r1", "fail", check="freshness", subject="weather_data")
    check_fails("r1")
    assert len(open_incidents(loader)) == 2
    assert loader.value("select count(sent_at) + count(send_error) from ops.alert") == 0
    judged("r2", "pass", check="freshness", subject="weather_data")
    connect_webhook(monkeypatch, receiver.url)
    publishes(loader, "r2")
    # What was over before is nobody's business any more.
    assert receiver.titles() == [f"[fail] {VOLUME}"]


def test_an_e_mail_goes_to_everyone_whom_the_connection_names(loader: Loader, mails: Mails, judged: Judged) -> None:
    judged("r1", "fail")
    check_fails("r1")
    ((to, mail),) = mails.received
    assert to == ["on-call@shop.test", "data@shop.test"]
    assert mail["subject"] == f"[fail] {VOLUME}"
    (html,) = [part.get_content() for part in mail.walk() if part.get_content_type() == "text/html"]
    assert "10 rows of about 90<br>" in html
    assert f'<a href="https://airflow.shop.test/dags/{DAG}/runs/r1">' in html


def test_two_runs_at_once_send_one(loader: Loader, webhook: Receiver, judged: Judged) -> None:
    webhook.gate.clear()
    for n in range(4):
        judged(f"r{n}", "fail")
    runs = [threading.Thread(target=check_fails, args=[f"r{n}"]) for n in range(4)]
    for run in runs:
        run.start()
    # All but the one that waits for the answer have seen that it is being told, and are done.
    for _ in range(100):
        if sum(run.is_alive() for run in runs) == 1:
            break
        threading.Event().wait(0.05)
    assert sum(run.is_alive() for run in runs) == 1
    webhook.gate.set()
    for run in runs:
        run.join()
    assert webhook.titles() == [f"[fail] {VOLUME}"]
    assert open_incidents(loader)[0][:2] == (VOLUME, "fail")


def test_who_died_while_telling_is_followed_by_another(loader: Loader, webhook: Receiver, judged: Judged) -> None:
    judged("r1", "fail")
    # As if someone had taken it and was killed: for a while it is his, and then anyone's.
    publishes(loader, "r0")
    loader.connection.execute(
        "insert into ops.alert (incident, dag_id, severity, message, first_run_id, last_run_id, opened_at,"
        " last_seen_at, sending_since)"
        " values (%s, %s, 'fail', 'm', 'r0', 'r0', now(), now() - interval '1 day', now())",
        [VOLUME, DAG],
    )
    check_fails("r1")
    assert webhook.titles() == []
    loader.connection.execute("update ops.alert set sending_since = now() - interval '3 minutes'")
    check_fails("r1")
    assert webhook.titles() == [f"[fail] {VOLUME}"]


def test_a_warning_that_fails_while_it_is_told_is_told_again(loader: Loader, webhook: Receiver, judged: Judged) -> None:
    webhook.gate.clear()
    judged("r1", "warn")

    telling = threading.Thread(target=settle_run, args=[context_of("r1")])
    telling.start()
    while loader.value("select count(sending_since) from ops.alert") == 0:
        threading.Event().wait(0.02)
    judged("r2", "fail")
    failing = threading.Thread(target=check_fails, args=["r2"])
    failing.start()
    while loader.value("select severity from ops.alert") != "fail":
        threading.Event().wait(0.02)
    webhook.gate.set()
    telling.join()
    failing.join()
    assert sorted(webhook.titles()) == [f"[fail] {VOLUME}", f"[warn] {VOLUME}"]


def test_a_task_that_failed_is_an_incident_until_a_run_publishes(loader: Loader, webhook: Receiver) -> None:
    task_fails("r1", "claim", error="no lease & <nothing>")
    task_fails("r2", "claim")
    (body,) = webhook.posted
    assert body["text"].startswith(f"[fail] {DAG}.claim\nno lease &amp; &lt;nothing&gt;\n")
    assert body["alert"]["message"] == "no lease & <nothing>"
    assert open_incidents(loader) == [(f"{DAG}.claim", "fail", 2)]
    # The same run, cleared: it publishes in the end.
    publishes(loader, "r2")
    assert open_incidents(loader) == []


def test_a_source_that_failed_stays_open_where_a_run_did_not_load_it(loader: Loader, judged: Judged) -> None:
    task_fails("r1", "extract.weather_data")
    loader.connection.execute(
        "insert into ops.build (run_id, dag_id, is_full_refresh, project_digest, claimed_at, failed_sources, left_out)"
        " values ('r1', %s, false, '', now(), '{weather_data}', '{weather_sales_impact}')",
        [DAG],
    )
    # What follows from it is no incident besides.
    judged("r1", "fail", check="freshness", subject="weather_data")
    judged("r1", "fail", check="stale", subject="marts.weather_sales_impact", day="")
    publishes(loader, "r1")
    assert open_incidents(loader) == [(f"{DAG}.extract.weather_data", "fail", 1)]
    # A run of another source: what it was not asked for is no news, good or bad.
    judged("r2", "warn", check="freshness", subject="weather_data")
    publishes(loader, "r2", sources=["sales_fact"])
    assert open_incidents(loader) == [(f"{DAG}.extract.weather_data", "fail", 1)]
    publishes(loader, "r3")
    assert open_incidents(loader) == []


def test_a_check_that_could_not_judge_is_an_incident_of_its_task(loader: Loader, judged: Judged) -> None:
    judged("r1", "pass")
    check_fails("r1", error="it could not be judged: canceling statement due to statement timeout")
    assert open_incidents(loader) == [(f"{DAG}.quality.volume", "fail", 1)]


def test_the_test_of_a_model_is_the_incident_and_neither_its_task_nor_the_sum_of_all(
    loader: Loader, judged: Judged
) -> None:
    subject = "core.fact_weather accepted_values_fact_weather_category"
    told_by_the_build = SimpleNamespace(task_id="warehouse.models.core.fact_weather.test", build_task_id="b")
    alert_failure(context_of("r1", told_by_the_build))
    assert open_incidents(loader) == [], "the build writes its results at its end"
    judged("r1", "fail", check="dbt_test", subject=subject, day="")
    judged("r1", "fail", check="dbt_tests", subject="dbt tests")
    settle_failed_run(context_of_dag("r1"))
    task_fails("r1", "warehouse.models.core.fact_weather.test")
    assert open_incidents(loader) == [(f"{DAG} dbt_test {subject}", "fail", 1)]
    judged("r2", "pass", check="dbt_test", subject=subject, day="")
    publishes(loader, "r2", day="2023-01-01")
    assert open_incidents(loader) == [], "a test is of the whole table, whatever the run's window"


def test_a_test_that_dbt_could_not_run_is_an_incident_of_its_task(loader: Loader) -> None:
    task_fails("r1", "warehouse.models.core.fact_weather.test", error="dbt could not begin")
    assert open_incidents(loader) == [(f"{DAG}.warehouse.models.core.fact_weather.test", "fail", 1)]


def test_a_failed_run_settles_the_warnings_and_passes_that_it_judged(
    loader: Loader, webhook: Receiver, judged: Judged
) -> None:
    judged("r1", "fail", check="freshness", subject="sales_fact")
    check_fails("r1", "freshness")
    judged("r2", "pass", check="freshness", subject="sales_fact")
    judged("r2", "warn", check="amount")
    judged("r2", "fail")
    check_fails("r2")
    assert open_incidents(loader) == [(f"{DAG} amount raw.sales_fact", "warn", 1), (VOLUME, "fail", 1)]
    # One that is judged after the last task had failed is found when the run has ended.
    judged("r2", "warn", check="distribution")
    settle_failed_run(context_of_dag("r2"))
    assert len(open_incidents(loader)) == 3


def test_a_dry_run_alerts_nobody(loader: Loader, webhook: Receiver) -> None:
    task_fails("r1", "extract.sales_fact", dry_run=True)
    assert open_incidents(loader) == []
    assert webhook.titles() == []


def test_a_task_alone_in_its_dag_closes_its_incident_when_it_succeeds(loader: Loader) -> None:
    task_fails("r1", "extract", day="2024-03-02")
    task_fails("r1", "another", day="2024-03-02")
    recovered(context_of("r0", SimpleNamespace(task_id="extract"), day="2024-03-01"))
    assert len(open_incidents(loader)) == 2, "of an older day"
    recovered(context_of("r2", SimpleNamespace(task_id="extract"), day="2024-03-02"))
    assert open_incidents(loader) == [(f"{DAG}.another", "fail", 1)]


def late(run_id: str, state: str = "running", **run: Any) -> dict[str, Any]:
    """What Airflow gives to the callback of a deadline."""
    known = {"dag_id": DAG, "dag_run_id": run_id, "state": state, "queued_at": "2024-03-02T00:00:05.1Z", "conf": {}}
    days = {"data_interval_start": "2024-03-01T00:00:00Z", "data_interval_end": "2024-03-02T00:00:00Z"}
    rest = {"logical_date": "2024-03-02T00:00:00Z", "run_after": "2024-03-02T00:00:00Z"}
    return {"dag_run": known | days | rest | run, "deadline": {"id": "d", "deadline_time": "2024-03-02T02:00:05Z"}}


def test_a_missed_deadline_alerts_until_a_run_publishes(loader: Loader, webhook: Receiver, judged: Judged) -> None:
    asyncio.run(missed_deadline(context=late("r1")))
    asyncio.run(missed_deadline(context=late("r2")))
    (body,) = webhook.posted
    assert body["text"].splitlines()[:3] == [
        f"[deadline] {DAG} deadline",
        "the run r1 is running: it was to end within 120 minutes of 2024-03-02 00:00 UTC, when it was queued",
        "Window: 2024-03-01 (UTC)",
    ]
    assert open_incidents(loader) == [(f"{DAG} deadline", "deadline", 2)]
    publishes(loader, "r0", day="2024-02-01")
    assert len(open_incidents(loader)) == 1, "a backfill is not what was late"
    publishes(loader, "r2", day="2024-03-01")
    assert open_incidents(loader) == []


def test_a_run_that_has_failed_is_not_late_as_well(loader: Loader) -> None:
    asyncio.run(missed_deadline(context=late("r1", state="failed")))
    assert open_incidents(loader) == []


def test_a_warehouse_that_is_away_is_told_without_being_recorded(
    loader: Loader, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_PUBLISHER", "postgres://warehouse@127.0.0.1:9/warehouse")
    task_fails("r1", "extract.sales_fact", error="cannot connect")
    asyncio.run(missed_deadline(context=late("r2")))
    assert webhook.titles() == [f"[fail] {DAG}.extract.sales_fact", f"[deadline] {DAG} deadline"]


def test_whatever_goes_wrong_with_alerts_the_task_ends_as_it_would(
    loader: Loader, judged: Judged, caplog: pytest.LogCaptureFixture
) -> None:
    judged("r1", "fail")
    loader.connection.execute("alter table ops.alert rename to away")
    try:
        check_fails("r1")
        publishes(loader, "r1")
        recovered(context_of("r1"))
    finally:
        loader.connection.execute("alter table ops.away rename to alert")
    assert caplog.text.count('relation "ops.alert" does not exist') >= 3


def test_there_is_one_open_row_an_incident(loader: Loader) -> None:
    task_fails("r1", "claim")
    with pytest.raises(psycopg.errors.UniqueViolation):
        loader.connection.execute(
            "insert into ops.alert (incident, dag_id, severity, message, first_run_id, last_run_id, opened_at,"
            " last_seen_at) select incident, dag_id, severity, message, 'r2', 'r2', now(), now() from ops.alert"
        )
