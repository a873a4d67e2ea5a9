"""One alert an incident: when callbacks open, count, send and close incidents, with real receivers."""

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from ecommerce.alerts.task_callbacks import (
    alert_failure,
    alert_recovery,
    missed_deadline,
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
from tests.integration.support import Loader, set_shop

VOLUME = f"{DAG} volume raw.sales_fact"
Record = Callable[..., None]


def fail_check(run_id: str, check: str = "volume", **context: Any) -> None:
    """The failure callback of the task of a check."""
    task = QualityCheck(task_id=f"quality.{check}", check_name=check, window_task_id="window")
    alert_failure(context_of(run_id, task, **context))


def publish(run_id: str, **context: Any) -> None:
    """The success callback of the task that publishes."""
    settle_run(context_of(run_id, **context))


def fail_task(run_id: str, task_id: str, **context: Any) -> None:
    """The failure callback of any other task."""
    alert_failure(context_of(run_id, SimpleNamespace(task_id=task_id), **context))


def test_failed_check_is_posted_with_figures_and_links(loader: Loader, webhook: Receiver, record: Record) -> None:
    record("run/1", "fail")
    fail_check("run/1")
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
    # The subject of the check is the incident; its task is none.
    assert open_incidents(loader) == [(VOLUME, "fail", 1)]
    assert loader.rows("select sent_to, send_error, sent_at is not null from ops.alert") == [
        (["alerts_webhook"], None, True)
    ]


def test_repeated_failure_is_counted_and_sent_once(loader: Loader, webhook: Receiver, record: Record) -> None:
    for run_id, day in (("r1", "2024-03-01"), ("r2", "2024-03-02"), ("r3", "2024-03-03")):
        record(run_id, "fail", day=day)
        fail_check(run_id, day=day)
        # The callbacks of other tasks, and of the run, find the same result again.
        fail_check(run_id, day=day)
        settle_failed_run(context_of(run_id, day=day))
    assert webhook.titles() == [f"[fail] {VOLUME}"]
    assert open_incidents(loader) == [(VOLUME, "fail", 3)]
    assert loader.rows("select first_run_id, last_run_id, window_end::text from ops.alert") == [
        ("r1", "r3", "2024-03-04")
    ]


def test_silenced_incident_is_sent_when_the_silence_is_over_if_it_is_still_open(
    loader: Loader, webhook: Receiver, record: Record
) -> None:
    def silence(incident: str, until: str) -> None:
        loader.connection.execute(
            "insert into ops.incident_note (incident, silent_until, note, noted_by) values (%s, %s, '', 'Ann')",
            [incident, until],
        )

    silence(VOLUME, "infinity")
    silence(f"{DAG}.extract.customer", "2020-01-01")
    record("r1", "fail")
    fail_check("r1")
    fail_task("r1", "extract.customer")
    assert webhook.titles() == [f"[fail] {DAG}.extract.customer"]
    assert (VOLUME, "fail", 1) in open_incidents(loader), "it is open all the same"
    # Another incident of the same name is silent as well, until a person says otherwise.
    silence(VOLUME, "2020-01-01")
    record("r2", "fail")
    fail_check("r2")
    assert webhook.titles() == [f"[fail] {VOLUME}"]


def test_warning_is_sent_again_when_it_becomes_a_failure(loader: Loader, webhook: Receiver, record: Record) -> None:
    for run_id in ("r1", "r2"):
        record(run_id, "warn")
        publish(run_id)
    assert webhook.titles() == [f"[warn] {VOLUME}"]
    for run_id in ("r3", "r4"):
        record(run_id, "fail")
        fail_check(run_id)
    assert webhook.titles() == [f"[fail] {VOLUME}"]
    # It is still the same incident, whose severity does not go down while it is open.
    record("r5", "warn")
    publish("r5")
    assert webhook.titles() == []
    assert open_incidents(loader) == [(VOLUME, "fail", 5)]


def test_recovery_closes_and_next_failure_opens_a_new_incident(
    loader: Loader, webhook: Receiver, record: Record
) -> None:
    record("r1", "fail")
    fail_check("r1")
    record("r2", "pass")
    publish("r2")
    assert open_incidents(loader) == []
    assert loader.value("select closed_by from ops.alert") == "r2"
    assert webhook.titles() == [f"[fail] {VOLUME}"], "a recovery is sent only where the connection wants it"
    # Late callbacks of the run that failed do not open it again.
    fail_check("r1")
    assert open_incidents(loader) == []
    record("r3", "fail")
    fail_check("r3")
    assert webhook.titles() == [f"[fail] {VOLUME}"]
    assert loader.value("select count(*) from ops.alert") == 2


def test_incidents_of_a_source_that_the_shop_gave_up_close(
    loader: Loader, webhook: Receiver, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    record("r1", "fail", check="freshness", subject="weather_data")
    record("r1", "fail", check="uniqueness", subject="core.fact_weather")
    record("r1", "warn")
    fail_check("r1")
    fail_task("r1", "extract.weather_data")
    assert len(open_incidents(loader)) == 5
    monkeypatch.setenv("ECOMMERCE_SHOP", "example")
    record("r2", "warn")
    publish("r2")
    assert [incident for incident, *_ in open_incidents(loader)] == [VOLUME]


def test_reconciliation_incident_closes_when_its_source_moves_to_mysql(
    loader: Loader, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No check compares a source in MySQL with raw, so none would ever pass for it."""
    for check, source in (("reconciliation_source", "sales_fact"), ("reconciliation_refund", "refund")):
        record("r1", "fail", check=check, subject=f"raw.{source}")
    record("r1", "fail")
    publish("r1")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_MYSQL", "mysql://reader@127.0.0.1:9/shop")
    set_shop(monkeypatch, sales_fact={"connection": "shop_mysql", "table": "sales_fact"})
    record("r2", "fail")
    publish("r2")
    assert open_incidents(loader) == [
        (f"{DAG} reconciliation_refund raw.refund", "fail", 1),
        (VOLUME, "fail", 2),
    ]
    assert loader.rows("select incident, closed_by from ops.alert where closed_at is not null") == [
        (f"{DAG} reconciliation_source raw.sales_fact", "r2")
    ]


def test_recovery_is_sent_to_connection_that_wants_it(
    loader: Loader, receiver: Receiver, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_webhook(monkeypatch, receiver.url, recoveries=True, headers={"X-Team": "data"}, endpoint="ecommerce")
    record("r1", "fail")
    fail_check("r1")
    record("r2", "pass")
    publish("r2")
    publish("r2")
    assert [body["alert"]["state"] for body in receiver.posted] == ["open", "closed"]
    assert receiver.titles() == [f"[fail] {VOLUME}", f"[recovered] {VOLUME}"]
    assert receiver.headers[0]["X-Team"] == "data"


def test_run_of_older_window_closes_nothing_of_a_newer_one(loader: Loader, record: Record) -> None:
    record("today", "fail", day="2024-03-09")
    fail_check("today", day="2024-03-09")
    fail_task("today", "warehouse.dbt_build", day="2024-03-09")
    record("backfill", "pass", day="2024-03-01")
    publish("backfill", day="2024-03-01")
    # A failure of an older window does not change the window of the incident.
    record("backfill 2", "fail", day="2024-03-02")
    fail_check("backfill 2", day="2024-03-02")
    assert loader.rows("select window_start::text, window_end::text, times_seen from ops.alert order by incident") == [
        ("2024-03-09", "2024-03-10", 2),
        ("2024-03-09", "2024-03-10", 1),
    ]
    assert [incident for incident, *_ in open_incidents(loader)] == [VOLUME, f"{DAG}.warehouse.dbt_build"]
    record("tomorrow", "pass", day="2024-03-10")
    publish("tomorrow", day="2024-03-10")
    assert open_incidents(loader) == []


def test_unavailable_receiver_gets_the_alert_later(
    loader: Loader, webhook: Receiver, mails: Mails, record: Record
) -> None:
    webhook.status = 503
    record("r1", "fail")
    record("r1", "warn", check="amount", subject="raw.sales_fact order_amount")
    fail_check("r1")
    alerts = "select sent_to, send_error, sent_at, sending_since from ops.alert order by incident"
    # A channel gets no alert twice, and does not wait for the other.
    assert loader.rows(alerts) == [(["alerts_email"], "alerts_webhook: it answered 503", None, None)] * 2
    assert len(mails.received) == 2
    webhook.status = 200
    record("r2", "fail", day="2024-03-02")
    fail_check("r2", day="2024-03-02")
    assert sorted(webhook.titles()) == [f"[fail] {VOLUME}", f"[warn] {DAG} amount raw.sales_fact order_amount"]
    assert len(mails.received) == 2
    assert loader.value("select bool_and(sent_at is not null and send_error is null) from ops.alert")


@pytest.mark.parametrize("end", ["", "/"])
def test_secret_of_the_address_is_the_password(
    receiver: Receiver, record: Record, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    host = receiver.url.removesuffix("/secret")
    connect_webhook(monkeypatch, host + end, password="T0/B0/secret")
    record("r1", "fail")
    fail_check("r1")
    assert receiver.paths == ["/hook/T0/B0/secret"]
    assert "Authorization" not in receiver.headers[0]


def test_user_and_password_are_no_part_of_the_address(
    receiver: Receiver, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_webhook(monkeypatch, receiver.url, login="airflow", password="a password")
    record("r1", "fail")
    fail_check("r1")
    assert receiver.paths == ["/hook/secret"]
    assert receiver.headers[0]["Authorization"].startswith("Basic ")


@pytest.mark.parametrize("status", [302, 307])
def test_receiver_that_leads_elsewhere_is_not_followed(
    loader: Loader, webhook: Receiver, record: Record, status: int
) -> None:
    webhook.status = status
    record("r1", "fail")
    fail_check("r1")
    assert loader.value("select send_error from ops.alert") == f"alerts_webhook: it answered {status}"
    assert loader.value("select sent_at from ops.alert") is None


def test_address_of_unavailable_receiver_is_not_logged(
    loader: Loader, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect_webhook(monkeypatch, "http://127.0.0.1:9/hook/secret")
    record("r1", "fail")
    fail_check("r1")
    assert loader.value("select send_error from ops.alert") == (
        "alerts_webhook: it could not be reached (ConnectionError)"
    )
    assert "did not receive" in caplog.text
    assert "secret" not in caplog.text


def test_incident_that_closed_before_it_was_sent_is_sent_as_recovered(
    loader: Loader, webhook: Receiver, record: Record
) -> None:
    webhook.status = 500
    record("r1", "fail")
    fail_check("r1")
    record("r2", "pass")
    publish("r2")
    webhook.status = 200
    publish("r3")
    assert webhook.titles() == [f"[recovered] {VOLUME}"]


def test_incident_is_recorded_without_a_connection_and_sent_once_there_is_one(
    loader: Loader, receiver: Receiver, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    record("r1", "fail")
    record("r1", "fail", check="freshness", subject="weather_data")
    fail_check("r1")
    assert len(open_incidents(loader)) == 2
    assert loader.value("select count(sent_at) + count(send_error) from ops.alert") == 0
    record("r2", "pass", check="freshness", subject="weather_data")
    connect_webhook(monkeypatch, receiver.url)
    publish("r2")
    # The incident that is closed by now is not sent.
    assert receiver.titles() == [f"[fail] {VOLUME}"]


def test_email_is_sent_to_all_addresses_of_the_connection(loader: Loader, mails: Mails, record: Record) -> None:
    record("r1", "fail")
    fail_check("r1")
    ((to, mail),) = mails.received
    assert to == ["on-call@shop.test", "data@shop.test"]
    assert mail["subject"] == f"[fail] {VOLUME}"
    (html,) = [part.get_content() for part in mail.walk() if part.get_content_type() == "text/html"]
    assert "10 rows of about 90<br>" in html
    assert f'<a href="https://airflow.shop.test/dags/{DAG}/runs/r1">' in html


def test_runs_at_the_same_time_send_one_alert(loader: Loader, webhook: Receiver, record: Record) -> None:
    webhook.gate.clear()
    for n in range(4):
        record(f"r{n}", "fail")
    runs = [threading.Thread(target=fail_check, args=[f"r{n}"]) for n in range(4)]
    for run in runs:
        run.start()
    # One waits for the answer; the others have found the alert reserved, and are done.
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


def test_alert_of_a_sender_that_died_is_sent_by_another(loader: Loader, webhook: Receiver, record: Record) -> None:
    record("r1", "fail")
    # As if a sender had reserved it and was killed: it stays reserved for two minutes.
    publish("r0")
    loader.connection.execute(
        """
        insert into ops.alert (
            incident, dag_id, severity, message, first_run_id, last_run_id, opened_at, last_seen_at, sending_since
        )
        values (%s, %s, 'fail', 'm', 'r0', 'r0', now(), now() - interval '1 day', now())
        """,
        [VOLUME, DAG],
    )
    fail_check("r1")
    assert webhook.titles() == []
    loader.connection.execute("update ops.alert set sending_since = now() - interval '3 minutes'")
    fail_check("r1")
    assert webhook.titles() == [f"[fail] {VOLUME}"]


def test_warning_that_fails_while_it_is_sent_is_sent_again(loader: Loader, webhook: Receiver, record: Record) -> None:
    webhook.gate.clear()
    record("r1", "warn")

    sending = threading.Thread(target=settle_run, args=[context_of("r1")])
    sending.start()
    while loader.value("select count(sending_since) from ops.alert") == 0:
        threading.Event().wait(0.02)
    record("r2", "fail")
    failing = threading.Thread(target=fail_check, args=["r2"])
    failing.start()
    while loader.value("select severity from ops.alert") != "fail":
        threading.Event().wait(0.02)
    webhook.gate.set()
    sending.join()
    failing.join()
    assert sorted(webhook.titles()) == [f"[fail] {VOLUME}", f"[warn] {VOLUME}"]


def test_failed_task_is_an_incident_until_a_run_publishes(loader: Loader, webhook: Receiver) -> None:
    fail_task("r1", "claim", error="no lease & <nothing>")
    fail_task("r2", "claim")
    (body,) = webhook.posted
    assert body["text"].startswith(f"[fail] {DAG}.claim\nno lease &amp; &lt;nothing&gt;\n")
    assert body["alert"]["message"] == "no lease & <nothing>"
    assert open_incidents(loader) == [(f"{DAG}.claim", "fail", 2)]
    # The same run, cleared: it publishes in the end.
    publish("r2")
    assert open_incidents(loader) == []


def test_failed_source_stays_open_until_a_run_loads_it(loader: Loader, record: Record) -> None:
    fail_task("r1", "extract.weather_data")
    loader.connection.execute(
        """
        insert into ops.build (run_id, dag_id, is_full_refresh, project_digest, claimed_at, failed_sources, left_out)
        values ('r1', %s, false, '', now(), '{weather_data}', '{weather_sales_impact}')
        """,
        [DAG],
    )
    # What follows from it is no other incident.
    record("r1", "fail", check="freshness", subject="weather_data")
    record("r1", "fail", check="stale", subject="marts.weather_sales_impact", day="")
    publish("r1")
    assert open_incidents(loader) == [(f"{DAG}.extract.weather_data", "fail", 1)]
    # A run of another source neither opens nor closes an incident of this one.
    record("r2", "warn", check="freshness", subject="weather_data")
    publish("r2", sources=["sales_fact"])
    assert open_incidents(loader) == [(f"{DAG}.extract.weather_data", "fail", 1)]
    publish("r3")
    assert open_incidents(loader) == []


def test_check_that_could_not_be_evaluated_is_an_incident_of_its_task(loader: Loader, record: Record) -> None:
    record("r1", "pass")
    fail_check("r1", error="it could not be evaluated: canceling statement due to statement timeout")
    assert open_incidents(loader) == [(f"{DAG}.quality.volume", "fail", 1)]


def test_failed_dbt_test_is_the_only_incident_of_its_task_and_check(loader: Loader, record: Record) -> None:
    subject = "core.fact_weather accepted_values_fact_weather_category"
    task_of_build = SimpleNamespace(task_id="warehouse.models.core.fact_weather.test", build_task_id="b")
    alert_failure(context_of("r1", task_of_build))
    assert open_incidents(loader) == [], "the build records its results at its end"
    record("r1", "fail", check="dbt_test", subject=subject, day="")
    record("r1", "fail", check="dbt_tests", subject="dbt tests")
    settle_failed_run(context_of_dag("r1"))
    fail_task("r1", "warehouse.models.core.fact_weather.test")
    assert open_incidents(loader) == [(f"{DAG} dbt_test {subject}", "fail", 1)]
    record("r2", "pass", check="dbt_test", subject=subject, day="")
    publish("r2", day="2023-01-01")
    assert open_incidents(loader) == [], "a test reads the whole table, whatever the run's window"


def test_dbt_test_that_did_not_run_is_an_incident_of_its_task(loader: Loader) -> None:
    fail_task("r1", "warehouse.models.core.fact_weather.test", error="dbt could not begin")
    assert open_incidents(loader) == [(f"{DAG}.warehouse.models.core.fact_weather.test", "fail", 1)]


def test_failed_run_settles_its_other_checks(loader: Loader, webhook: Receiver, record: Record) -> None:
    record("r1", "fail", check="freshness", subject="sales_fact")
    fail_check("r1", "freshness")
    record("r2", "pass", check="freshness", subject="sales_fact")
    record("r2", "warn", check="amount")
    record("r2", "fail")
    fail_check("r2")
    assert open_incidents(loader) == [(f"{DAG} amount raw.sales_fact", "warn", 1), (VOLUME, "fail", 1)]
    # The result of a check that ends after the last failure is found when the run has ended.
    record("r2", "warn", check="distribution")
    settle_failed_run(context_of_dag("r2"))
    assert len(open_incidents(loader)) == 3


def test_dry_run_opens_no_incident(loader: Loader, webhook: Receiver) -> None:
    fail_task("r1", "extract.sales_fact", dry_run=True)
    assert open_incidents(loader) == []
    assert webhook.titles() == []


def test_success_of_a_task_closes_its_incident(loader: Loader) -> None:
    fail_task("r1", "extract", day="2024-03-02")
    fail_task("r1", "another", day="2024-03-02")
    alert_recovery(context_of("r0", SimpleNamespace(task_id="extract"), day="2024-03-01"))
    assert len(open_incidents(loader)) == 2, "the success is of an older day"
    alert_recovery(context_of("r2", SimpleNamespace(task_id="extract"), day="2024-03-02"))
    assert open_incidents(loader) == [(f"{DAG}.another", "fail", 1)]


def late(run_id: str, state: str = "running", **run: Any) -> dict[str, Any]:
    """The context of the callback of a deadline."""
    fields = {"dag_id": DAG, "dag_run_id": run_id, "state": state, "queued_at": "2024-03-02T00:00:05.1Z", "conf": {}}
    days = {"data_interval_start": "2024-03-01T00:00:00Z", "data_interval_end": "2024-03-02T00:00:00Z"}
    rest = {"logical_date": "2024-03-02T00:00:00Z", "run_after": "2024-03-02T00:00:00Z"}
    return {"dag_run": fields | days | rest | run, "deadline": {"id": "d", "deadline_time": "2024-03-02T02:00:05Z"}}


def test_missed_deadline_is_an_incident_until_a_run_publishes(
    loader: Loader, webhook: Receiver, record: Record
) -> None:
    asyncio.run(missed_deadline(context=late("r1")))
    asyncio.run(missed_deadline(context=late("r2")))
    (body,) = webhook.posted
    assert body["text"].splitlines()[:3] == [
        f"[deadline] {DAG} deadline",
        "the run r1 is running: it should have ended within 120 minutes after it was queued at 2024-03-02 00:00 UTC",
        "Window: 2024-03-01 (UTC)",
    ]
    assert open_incidents(loader) == [(f"{DAG} deadline", "deadline", 2)]
    publish("r0", day="2024-02-01")
    assert len(open_incidents(loader)) == 1, "a backfill is not the run that was late"
    publish("r2", day="2024-03-01")
    assert open_incidents(loader) == []


def test_failed_run_is_not_late(loader: Loader) -> None:
    asyncio.run(missed_deadline(context=late("r1", state="failed")))
    assert open_incidents(loader) == []


def test_incident_is_sent_unrecorded_without_the_warehouse(
    loader: Loader, webhook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_PUBLISHER", "postgres://warehouse@127.0.0.1:9/warehouse")
    fail_task("r1", "extract.sales_fact", error="cannot connect")
    asyncio.run(missed_deadline(context=late("r2")))
    assert webhook.titles() == [f"[fail] {DAG}.extract.sales_fact", f"[deadline] {DAG} deadline"]


def test_error_in_a_callback_is_only_logged(loader: Loader, record: Record, caplog: pytest.LogCaptureFixture) -> None:
    record("r1", "fail")
    loader.connection.execute("alter table ops.alert rename to renamed")
    try:
        fail_check("r1")
        publish("r1")
        alert_recovery(context_of("r1"))
    finally:
        loader.connection.execute("alter table ops.renamed rename to alert")
    assert caplog.text.count('relation "ops.alert" does not exist') >= 3


def test_database_allows_one_open_row_an_incident(loader: Loader) -> None:
    fail_task("r1", "claim")
    with pytest.raises(psycopg.errors.UniqueViolation):
        loader.connection.execute(
            """
            insert into ops.alert (
                incident, dag_id, severity, message, first_run_id, last_run_id, opened_at, last_seen_at
            )
            select incident, dag_id, severity, message, 'r2', 'r2', now(), now()
            from ops.alert
            """
        )
