"""The DAG run's note: each task adds a line, also if several fail at once, and no task fails because of its note."""

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from ecommerce.common import run_notes
from ecommerce.common.connections import LOADER
from ecommerce.common.run_notes import AIRFLOW_API, add_note, note_failure, note_repair

RUN = "/api/v2/dags/a_dag/dagRuns/manual__2024-03-01T00%3A00%3A00%2B00%3A00"


@dataclass
class Api:
    """
    Airflow's API: the note of each run, by its path, and its failed tasks.

    :param readers: how many tasks have to read a note before any may go on
    """

    notes: dict[str, str | None] = field(default_factory=dict)
    readers: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))
    overlapped: bool = False
    failed: list[str] = field(default_factory=list)

    def read(self, path: str) -> str | None:
        note = self.notes.get(path)
        # Broken, or left after a second: the other task waits for its turn, and reads what this one writes.
        with suppress(threading.BrokenBarrierError):
            self.readers.wait(1)
            self.overlapped = True
        return note


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A local HTTP server as the connection `airflow_api`."""
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._answer({"access_token": "a token"})

        def do_GET(self) -> None:
            path, _, chosen = self.path.partition("?")
            if path.endswith("/taskInstances"):
                assert "state=failed" in chosen
                self._answer({"task_instances": [{"task_id": task} for task in api.failed]})
            else:
                self._answer({"note": api.read(path)})

        def do_PATCH(self) -> None:
            path, mask = self.path.split("?")
            assert mask == "update_mask=note"
            api.notes[path] = self._body()["note"]
            self._answer({})

        def _body(self) -> Any:
            return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, answer: Any) -> None:
            if self.command == "POST":
                self._body()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Keep requests out of the output of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    account = {"conn_type": "http", "host": f"http://127.0.0.1:{server.server_port}", "login": "a", "password": "b"}
    monkeypatch.setenv(f"AIRFLOW_CONN_{AIRFLOW_API.upper()}", json.dumps(account))
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    yield api
    server.shutdown()
    thread.join()
    server.server_close()


def context_of(task: str, run_id: str = "manual__2024-03-01T00:00:00+00:00", **more: Any) -> Any:
    return {"dag_run": SimpleNamespace(dag_id="a_dag", run_id=run_id), "ti": SimpleNamespace(task_id=task), **more}


def note(task: str, run_id: str = "manual__2024-03-01T00:00:00+00:00", text: str = "it failed") -> None:
    add_note(context_of(task, run_id), text)


def note_at_once(api: Api, *runs: str) -> None:
    """Add a line to the notes of these runs, and let all tasks read before any writes, if nothing keeps them apart."""
    api.readers = threading.Barrier(len(runs))
    with ThreadPoolExecutor() as executor:
        for future in [executor.submit(note, f"task_{n}", run) for n, run in enumerate(runs)]:
            future.result()


@pytest.mark.usefixtures("warehouse_dsn")
def test_tasks_that_fail_at_once_each_add_their_line(api: Api) -> None:
    note_at_once(api, *["manual__2024-03-01T00:00:00+00:00"] * 3)
    lines = (api.notes[RUN] or "").splitlines()
    assert sorted(lines) == ["task_0: it failed", "task_1: it failed", "task_2: it failed"]
    assert not api.overlapped


@pytest.mark.usefixtures("warehouse_dsn")
def test_note_shows_a_value_as_it_is(api: Api) -> None:
    note("task", text="no order 'x\n\n# All fine ![](https://evil.test/pixel.png)'" + "y" * 10_000)
    note("task_2")
    lines = (api.notes[RUN] or "").splitlines()
    assert lines[0].startswith(r"task: no order 'x \# All fine \!\[\](https：//evil.test/pixel.png)'yyy")
    assert lines[1] == "task_2: it failed"


@pytest.mark.usefixtures("warehouse_dsn")
def test_note_of_a_failure_goes_when_the_task_was_cleared_and_has_not_failed_again(api: Api) -> None:
    """What a person has approved stays, and so does a task that still fails."""
    note("quality.amount", text="approved by Ada")
    for _ in range(2):
        note_failure(context_of("extract.refund", exception="no answer"))
    note_failure(context_of("claim", exception="too late"))
    refund, claim = "extract.refund failed: no answer", "claim failed: too late"
    assert api.notes[RUN] == "\n".join(["quality.amount: approved by Ada", refund, claim])
    api.failed = ["extract.refund"]
    note_repair(context_of("refresh_marts"))
    assert api.notes[RUN] == f"quality.amount: approved by Ada\n{refund}"
    api.failed = []
    note_repair(context_of("refresh_marts"))
    assert api.notes[RUN] == "quality.amount: approved by Ada"


@pytest.mark.usefixtures("warehouse_dsn")
def test_tasks_of_two_runs_do_not_wait_for_each_other(api: Api) -> None:
    note_at_once(api, "one", "other")
    assert api.overlapped
    assert sorted(note or "" for note in api.notes.values()) == ["task_0: it failed", "task_1: it failed"]


@pytest.mark.usefixtures("warehouse_dsn")
def test_task_does_not_wait_for_ever(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run_notes, "_LOCK_TIMEOUT", "100ms")
    run = SimpleNamespace(dag_id="a_dag", run_id="manual__2024-03-01T00:00:00+00:00")
    with run_notes._locked(run), caplog.at_level(logging.WARNING):
        note("task")
    assert api.notes == {RUN: "task: it failed"}
    assert "written without a lock" in caplog.text
    assert "lock timeout" in caplog.text


@pytest.mark.parametrize("account", ["postgres://nobody@127.0.0.1:1/warehouse", None])
def test_note_is_written_without_the_warehouse(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, account: str | None
) -> None:
    name = f"AIRFLOW_CONN_{LOADER.upper()}"
    if account is None:
        monkeypatch.delenv(name, raising=False)
    else:
        monkeypatch.setenv(name, account)
    with caplog.at_level(logging.WARNING):
        note("task")
    assert api.notes == {RUN: "task: it failed"}
    assert "written without a lock" in caplog.text


@pytest.mark.usefixtures("warehouse_dsn")
def test_task_goes_on_without_the_api(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{AIRFLOW_API.upper()}", json.dumps({"conn_type": "http", "host": "127.0.0.1:1"}))
    with caplog.at_level(logging.WARNING):
        note("task")
    assert "the DAG run got no note" in caplog.text
