"""The address for monitors: whom it answers, and what it says."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from fastapi.testclient import TestClient

from shop_pages.access import MONITOR_TOKEN
from tests.integration.shop_pages.conftest import AS_OF, client_of

TOKEN = "a-token-of-thirty-characters-!"
HEALTHY = dict.fromkeys(("metadatabase", "scheduler", "triggerer", "dag_processor"), "healthy")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def monitor(filled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client without a login, that Airflow's services are well, and that the token is set."""
    monkeypatch.setenv(MONITOR_TOKEN, TOKEN)
    monkeypatch.setattr("shop_pages.airflow_access.service_states", lambda: HEALTHY)
    with client_of(None) as client:
        yield client


@pytest.fixture
def warehouse(filled: Callable[[str], str]) -> Iterator[psycopg.Connection]:
    """A session whose rows are gone after the test."""
    with psycopg.connect(filled("warehouse"), autocommit=True) as connection:
        yield connection
        connection.execute("delete from ops.alert; delete from ops.decision; update ops.build set finished_at = now()")
        connection.execute("update ops.publication set published_at = now()")


# -- access ------------------------------------------------------------------------------------------------------------


def test_token_of_the_environment_or_a_users_login_is_allowed(monitor: TestClient, tokens: dict[str, str]) -> None:
    for headers in (bearer(TOKEN), bearer(tokens["viewer"]), bearer(tokens["admin"])):
        assert monitor.get("/health", headers=headers).status_code == 200
        assert monitor.head("/health", headers=headers).status_code == 200


def test_others_are_refused(monitor: TestClient, tokens: dict[str, str]) -> None:
    for method in ("GET", "HEAD", "POST", "DELETE"):
        assert monitor.request(method, "/health").status_code == 401
        assert monitor.request(method, "/health", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
        for other in (tokens["nobody"], "not.a.token", TOKEN[:-1], f"{TOKEN}!"):
            assert monitor.request(method, "/health", headers=bearer(other)).status_code == 403, other


@pytest.mark.parametrize("token", ["", "short", "x" * 19])
def test_token_that_is_unset_or_short_opens_nothing(
    monitor: TestClient, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv(MONITOR_TOKEN, token)
    assert monitor.get("/health", headers=bearer(token)).status_code in (401, 403)


def test_token_opens_no_other_address(monitor: TestClient) -> None:
    for path in ("/", "/today", "/status", "/health/", "/healthy", "/revenue", "/nothing"):
        assert monitor.get(path, headers=bearer(TOKEN)).status_code == 403, path
    assert monitor.post("/health", headers=bearer(TOKEN)).status_code == 403


# -- what it says ------------------------------------------------------------------------------------------------------


def test_fresh_publication_without_incidents_is_ok(monitor: TestClient, warehouse: psycopg.Connection) -> None:
    answer = monitor.get("/health", headers=bearer(TOKEN))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    body = answer.json()
    assert (body["status"], body["reasons"], body["as_of_date"]) == ("ok", [], AS_OF)
    row = warehouse.execute("select max(published_at) from ops.publication").fetchone()
    assert row is not None
    assert body["published_at"] == row[0].astimezone().isoformat()


def reasons(monitor: TestClient, status: str) -> list[tuple[str, str]]:
    answer = monitor.get("/health", headers=bearer(TOKEN))
    assert (answer.status_code, answer.json()["status"]) == (503, status)
    return [(reason["part"], reason["message"]) for reason in answer.json()["reasons"]]


def test_old_publication_is_late(monitor: TestClient, warehouse: psycopg.Connection) -> None:
    warehouse.execute("update ops.publication set published_at = now() - interval '25 hours 58 minutes'")
    assert monitor.get("/health", headers=bearer(TOKEN)).json()["status"] == "ok"
    warehouse.execute("update ops.publication set published_at = now() - interval '27 hours'")
    assert reasons(monitor, "late") == [
        ("publication", f"the last publication, of {AS_OF}, is 27 hours old; it is late after 26")
    ]


def test_check_that_waits_for_a_person_is_late(monitor: TestClient, warehouse: psycopg.Connection) -> None:
    warehouse.execute(
        """
        update ops.build set finished_at = null where run_id = 'a_run';
        insert into ops.decision
            (run_id, check_name, subjects, message, days, difference, asked_at, answer_until)
        values ('a_run', 'volume', '{}', 'few', '{}', '[]', now(), timestamptz '2099-01-01 00:00Z')
        """
    )
    assert reasons(monitor, "late") == [
        ("check", "a_run waits until 2099-01-01 00:00 UTC for a person, since volume failed")
    ]


def test_open_incident_fails_or_is_late_by_its_severity(monitor: TestClient, warehouse: psycopg.Connection) -> None:
    incident = """
        insert into ops.alert
            (incident, dag_id, severity, message, first_run_id, last_run_id, opened_at, last_seen_at, closed_at)
        values (%s, 'ecommerce_warehouse', %s, '', 'r', 'r', timestamptz '2024-03-01 10:00Z', now(), %s)
    """
    warehouse.execute(incident, ["closed", "fail", "2024-03-02"])
    warehouse.execute(incident, ["only warns", "warn", None])
    assert monitor.get("/health", headers=bearer(TOKEN)).json()["status"] == "ok"
    warehouse.execute(incident, ["late run", "deadline", None])
    assert reasons(monitor, "late") == [("incident", "late run, open since 2024-03-01 10:00 UTC")]
    for n in range(24):
        warehouse.execute(incident, [f"failed {n}", "fail", None])
    found = reasons(monitor, "failed")
    assert found[0] == ("incident", "failed 0, open since 2024-03-01 10:00 UTC")
    assert (len(found), found[-1]) == (21, ("incident", "5 more open incidents"))


def test_service_of_airflow_that_is_away_fails(monitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    states = HEALTHY | {"scheduler": "unhealthy", "triggerer": None}
    monkeypatch.setattr("shop_pages.airflow_access.service_states", lambda: states)
    assert reasons(monitor, "failed") == [
        ("scheduler", "scheduler is unhealthy"),
        ("triggerer", "triggerer was never started"),
    ]


def test_warehouse_that_does_not_answer_fails(monitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_INSPECTOR", "postgres://inspector:x@127.0.0.1:9/nowhere")
    with client_of(None) as client:
        ((part, message),) = reasons(client, "failed")
    assert part == "warehouse"
    assert message.startswith("warehouse_inspector: ")


def test_states_come_from_airflows_own_health(tokens: dict[str, str]) -> None:
    from shop_pages.airflow_access import service_states

    # Airflow's database has no table of its services here.
    assert service_states() == {
        "metadatabase": "unhealthy",
        "scheduler": "unhealthy",
        "triggerer": "unhealthy",
        "dag_processor": "unhealthy",
    }
