"""What a command says of the runs that it starts: that a DAG is paused, that a task waits for a person, and where."""

import json
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import httpx
import pytest

from ecommerce.audit.quality_check import question_in_words
from ecommerce.common.shown_text import markdown_text
from include.demo import runs
from include.demo.airflow_api import AirflowApi
from include.demo.errors import StackError

QUESTION = {
    "task_instance": {"task_id": "quality.amount"},
    "body": question_in_words(
        "28 Jun: 92 orders of [x], about 150 expected\n(39 % fewer)",
        datetime(2024, 7, 1, 8, tzinfo=UTC),
        "| mart | rows |",
    ),
}


def api_of_runs(states: Iterator[tuple[str, str]]) -> AirflowApi:
    """Airflow's answers about one run: the states of the run and of its task, one pair each time that it is asked."""
    now = ["running", "running"]

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/taskInstances"):
            tasks = [{"task_id": "quality.amount", "state": now[1], "try_number": 1}]
            return httpx.Response(200, json={"task_instances": tasks, "total_entries": 1})
        if request.url.path.endswith("/hitlDetails"):
            assert request.url.params["response_received"] == "false"
            return httpx.Response(200, json={"hitl_details": [QUESTION], "total_entries": 1})
        if request.url.path == "/api/v2/dags/a_dag":
            return httpx.Response(200, json={"is_paused": False})
        now[:] = next(states)
        return httpx.Response(200, json={"state": now[0]})

    api = AirflowApi.__new__(AirflowApi)
    api._client = httpx.Client(base_url="http://airflow:8080", transport=httpx.MockTransport(respond))
    return api


def test_followed_run_says_once_that_a_check_waits_for_a_person(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "POLL_SECONDS", 0)
    waiting = ("running", "awaiting_input")
    api = api_of_runs(iter([("running", "running"), waiting, waiting, ("success", "success")]))
    with caplog.at_level(logging.INFO):
        assert runs.follow(api, "a_dag", "manual__2024-07-01T00:00:00+00:00")
    assert [record.getMessage().strip() for record in caplog.records if record.levelno == logging.WARNING] == [
        "quality.amount waits for a person: 28 Jun: 92 orders of [x], about 150 expected (39 % fewer)",
        "Whoever may edit the tasks of this DAG can approve or reject. "
        "Without an answer until 2024-07-01 08:00 UTC nothing is published.",
        "To answer: http://airflow:8080/dags/a_dag/runs/manual__2024-07-01T00%3A00%3A00%2B00%3A00"
        "/tasks/quality.amount/required_actions",
        "Ctrl-C ends only this display. The run goes on waiting.",
    ]


def test_followed_run_without_a_question_shows_no_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "POLL_SECONDS", 0)
    api = api_of_runs(iter([("running", "running"), ("success", "success")]))
    with caplog.at_level(logging.INFO):
        assert runs.follow(api, "a_dag", "a_run")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_failed_run_shows_its_note_without_markdown(caplog: pytest.LogCaptureFixture) -> None:
    error = "load of sales_fact by manual__2024: # 3 of [x] at ipv4#127.0.0.1"
    note = f"extract.sales_fact: {markdown_text(error)}"

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/taskInstances"):
            tasks = [{"task_id": "extract.sales_fact", "state": "failed", "try_number": 1}]
            return httpx.Response(200, json={"task_instances": tasks, "total_entries": 1})
        return httpx.Response(200, json={"state": "failed", "note": note})

    api = AirflowApi.__new__(AirflowApi)
    api._client = httpx.Client(base_url="http://airflow:8080", transport=httpx.MockTransport(respond))
    assert "\\" in note
    with caplog.at_level(logging.ERROR):
        assert not runs.follow(api, "a_dag", "a_run")
    assert f"extract.sales_fact: {error}" in lines(caplog)


class PausedDags:
    """
    Airflow's answers about a DAG that a person can pause, and about its runs, which end only if it is not paused.

    :param pauses: whether it is paused, each time that somebody asks; the last one stays
    """

    def __init__(self, *pauses: bool, may_unpause: bool = True) -> None:
        self.pauses: Sequence[bool] = pauses
        self.may_unpause = may_unpause
        self.changes: list[str] = []
        self.requests = 0
        self.api = AirflowApi.__new__(AirflowApi)
        self.api._client = httpx.Client(base_url="http://airflow:8080", transport=httpx.MockTransport(self.respond))

    def respond(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        assert self.requests < 50, "the command waits for a run of a paused DAG"
        if request.method == "PATCH":
            return self.unpause(json.loads(request.content))
        if request.method == "POST":
            self.changes.append(f"POST {request.url.path}")
            return httpx.Response(200, json={"dag_run_id": "a_run", "id": 7})
        if request.url.path.endswith("/taskInstances"):
            return httpx.Response(200, json={"task_instances": [], "total_entries": 0})
        state = "queued" if self.pauses[0] else "success"
        if request.url.path.startswith("/api/v2/backfills/"):
            return httpx.Response(200, json={"completed_at": None if self.pauses[0] else "2024-07-01T00:00:00Z"})
        if request.url.path.endswith("/dagRuns"):
            return httpx.Response(200, json={"dag_runs": [{"state": state}], "total_entries": 1})
        if "/dagRuns/" in request.url.path:
            return httpx.Response(200, json={"state": state})
        if request.url.path.endswith("/details"):
            return httpx.Response(200, json={"timezone": "UTC"})
        is_paused, self.pauses = self.pauses[0], self.pauses[1:] or self.pauses
        return httpx.Response(200, json={"is_paused": is_paused})

    def unpause(self, body: object) -> httpx.Response:
        assert body == {"is_paused": False}
        if not self.may_unpause:
            return httpx.Response(403, json={"detail": "Forbidden"})
        self.changes.append("unpause")
        self.pauses = [False]
        return httpx.Response(200, json={})


#: Who can unpause a DAG, and where, as the commands say it.
BY_WHOM = (
    "Whoever may edit the DAG can unpause it: with the switch on http://airflow:8080/dags/{dag}, "
    'or by make airflow ARGS="dags unpause {dag}"'
)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line.strip() for record in caplog.records for line in record.getMessage().splitlines() if line.strip()]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """No test waits between two requests, nor for the DAG processor."""
    monkeypatch.setattr(runs, "POLL_SECONDS", 0)
    monkeypatch.setattr(runs, "wait_for_dag", lambda api, dag_id: None)
    caplog.set_level(logging.INFO)


@pytest.mark.usefixtures("quick")
def test_paused_dag_is_unpaused_before_its_run_and_the_command_says_so(caplog: pytest.LogCaptureFixture) -> None:
    airflow = PausedDags(True)
    assert runs.run_dag(airflow.api, "a_dag", {})
    assert airflow.changes == ["unpause", "POST /api/v2/dags/a_dag/dagRuns"]
    assert lines(caplog)[0] == "a_dag was paused, and is unpaused now; its schedule, if it has one, goes on"


@pytest.mark.usefixtures("quick")
def test_dag_that_is_not_paused_is_left_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    airflow = PausedDags(False, may_unpause=False)
    assert runs.run_dag(airflow.api, "a_dag", {})
    assert airflow.changes == ["POST /api/v2/dags/a_dag/dagRuns"]
    assert "paused" not in caplog.text


@pytest.mark.usefixtures("quick")
def test_paused_dag_that_the_user_may_not_unpause_is_an_error_with_who_may_and_where() -> None:
    airflow = PausedDags(True, may_unpause=False)
    with pytest.raises(StackError) as error:
        runs.run_dag(airflow.api, "a_dag", {})
    assert str(error.value) == (
        "a_dag is paused, and you may not unpause it: no run was started. " + BY_WHOM.format(dag="a_dag")
    )
    with pytest.raises(StackError, match="ecommerce_warehouse is paused, and you may not unpause it"):
        runs.backfill(airflow.api, "2024-06-01", "2024-06-02")
    assert airflow.changes == []


@pytest.mark.usefixtures("quick")
def test_backfill_unpauses_its_dag_first(caplog: pytest.LogCaptureFixture) -> None:
    airflow = PausedDags(True)
    assert runs.backfill(airflow.api, "2024-06-01", "2024-06-02")
    assert airflow.changes == ["unpause", "POST /api/v2/backfills"]
    assert lines(caplog)[0].startswith("ecommerce_warehouse was paused, and is unpaused now")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("command", ["run", "backfill"])
def test_command_says_once_that_somebody_has_paused_the_dag_of_its_run(
    caplog: pytest.LogCaptureFixture, command: str
) -> None:
    airflow = PausedDags(False, True, True, True, False)
    if command == "run":
        assert runs.run_dag(airflow.api, "ecommerce_warehouse", {})
    else:
        assert runs.backfill(airflow.api, "2024-06-01", "2024-06-02")
    assert [line for line in lines(caplog) if "pause" in line] == [
        "ecommerce_warehouse is paused: until it is unpaused, no run and no further task starts.",
        BY_WHOM.format(dag="ecommerce_warehouse"),
    ]
    assert "unpause" not in airflow.changes


def test_progress_says_that_a_run_is_queued() -> None:
    assert runs._tasks_line("queued", [], 3) == "0 of 0 tasks done, 3 s; the run is queued, and has not started yet"
    assert runs._tasks_line("running", [], 3) == "0 of 0 tasks done, 3 s"
