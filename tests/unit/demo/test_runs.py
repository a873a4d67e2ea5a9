"""What a followed run shows of itself: a task that waits for a person says so, and where to answer."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from ecommerce.audit.quality_check import question_in_words
from include.demo import runs
from include.demo.airflow_api import AirflowApi

QUESTION = {
    "task_instance": {"task_id": "quality.amount"},
    "body": question_in_words(
        "28 Jun: 92 orders, about 150 expected\n(39 % fewer)", datetime(2024, 7, 1, 8, tzinfo=UTC), "| mart | rows |"
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
        "quality.amount waits for a person: 28 Jun: 92 orders, about 150 expected (39 % fewer)",
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
