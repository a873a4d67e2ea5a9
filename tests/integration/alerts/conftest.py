"""A webhook and a mail server of the tests, which receive alerts, and contexts of callbacks."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from ecommerce.alerts.channels import EMAIL, WEBHOOK
from ecommerce.common.windows import warehouse_params
from tests.integration.support import Loader

DAG = "ecommerce_warehouse"


@dataclass
class Receiver:
    """A webhook: the status that it answers with, and what was posted to it."""

    url: str = ""
    status: int = 200
    posted: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    #: No answer is sent while this is not set.
    gate: threading.Event = field(default_factory=threading.Event)

    def titles(self) -> list[str]:
        """First lines of what was posted since the last call."""
        titles = [body["text"].splitlines()[0] for body in self.posted]
        self.posted.clear()
        return titles


@dataclass
class Mails:
    """A mail server: its port, and the recipients and e-mails that it has received."""

    port: int = 0
    received: list[tuple[list[str], EmailMessage]] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        mail = message_from_bytes(envelope.content, policy=default)
        assert isinstance(mail, EmailMessage)
        self.received.append((envelope.rcpt_tos, mail))
        return "250 OK"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A local HTTP server."""
    receiver = Receiver()
    receiver.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.gate.wait(10)
            if receiver.status == 200:
                receiver.posted.append(json.loads(body))
                receiver.headers.append(dict(self.headers))
                receiver.paths.append(self.path)
            self.send_response(receiver.status)
            if receiver.status in (302, 307):
                self.send_header("Location", receiver.url)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keep requests out of the output of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook/secret"
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    yield receiver
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def webhook(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """The local HTTP server as the connection `alerts_webhook`, which does not want recoveries."""
    connect_webhook(monkeypatch, receiver.url)
    return receiver


def connect_webhook(
    monkeypatch: pytest.MonkeyPatch, url: str, *, password: str | None = None, login: str | None = None, **extra: Any
) -> None:
    account = {"conn_type": "http", "host": url, "login": login, "password": password, "extra": extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{WEBHOOK.upper()}", json.dumps(account))


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mails]:
    """A local mail server as the connection `alerts_email`."""
    mails = Mails()
    controller = Controller(mails, hostname="127.0.0.1", port=_free_port())
    controller.start()
    mails.port = controller.port
    extra = {"to": "on-call@shop.test, data@shop.test", "from_email": "airflow@shop.test", "retry_limit": 0}
    extra |= {"disable_ssl": True, "disable_tls": True}
    account = {"conn_type": "smtp", "host": "127.0.0.1", "port": mails.port, "extra": extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{EMAIL.upper()}", json.dumps(account))
    yield mails
    controller.stop()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(autouse=True)
def base_url(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of Airflow's UI in messages."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.shop.test/")
    return "https://airflow.shop.test"


@pytest.fixture
def record(loader: Loader) -> Callable[..., None]:
    """Insert a result of a check in a run."""

    def record(
        run_id: str, status: str, *, check: str = "volume", subject: str = "raw.sales_fact", day: str = "2024-03-01"
    ) -> None:
        loader.connection.execute(
            """
            insert into ops.check_result (
                checked_at, run_id, check_name, subject, window_start, window_end, status, observed, expected, message
            )
            values (clock_timestamp(), %s, %s, %s, %s::date, %s::date + 1, %s, 10, 90, '10 rows of about 90')
            """,
            [run_id, check, subject, day or None, day or None, status],
        )

    return record


def context_of(
    run_id: str, task: Any = None, *, day: str = "2024-03-01", error: str = "it broke", **params: Any
) -> Any:
    """The context of a task's callback."""
    task = task or SimpleNamespace(task_id="window")
    defaults = {name: param.value for name, param in warehouse_params().items()}
    return {
        "dag": SimpleNamespace(dag_id=DAG),
        "run_id": run_id,
        "params": defaults | {"start_date": day, "end_date": day} | params,
        "dag_run": SimpleNamespace(run_id=run_id, dag_id=DAG),
        "ti": SimpleNamespace(run_id=run_id, dag_id=DAG, task_id=task.task_id),
        "task": task,
        "exception": RuntimeError(error),
    }


def open_incidents(loader: Loader) -> list[tuple]:
    return loader.rows("select incident, severity, times_seen from ops.alert where closed_at is null order by incident")


def context_of_dag(run_id: str) -> Any:
    """The least context that the callback of a DAG may have."""
    return {"dag": SimpleNamespace(dag_id=DAG), "run_id": run_id, "reason": "task_failure"}
