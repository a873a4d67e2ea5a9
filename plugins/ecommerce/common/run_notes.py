"""Notes on the DAG run, where people look first: why a task failed, and what a run does not build."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk.exceptions import AirflowRuntimeError

from ecommerce.common.connections import LOADER, SESSION, postgres
from ecommerce.common.http_answers import ask
from ecommerce.common.shown_text import markdown_text

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import DagRunProtocol

log = logging.getLogger(__name__)

#: Airflow's own API, with a user who may edit DAG runs. Without the connection a run gets no note.
AIRFLOW_API = "airflow_api"
#: Between a task and why it failed, in a line of the note.
_FAILED = " failed: "
#: Airflow's limit, and the characters of one task's line.
_NOTE_LENGTH, _LINE_LENGTH = 1000, 500
#: Bytes of an answer: that about a run has its params, and no more than a page of its note.
_LONGEST_ANSWER = 1_000_000
#: How long a task waits while others add to the note of the same run, each for some hundredths of a second.
_LOCK_TIMEOUT = "10s"


def note_failure(context: Context) -> None:
    """Add the reason of a task's failure to the DAG run's note."""
    _add_line(context, f"{context['ti'].task_id}{_FAILED}{_one_line(str(context.get('exception')))}")


def add_note(context: Context, text: str) -> None:
    """Add ``task: text`` to the DAG run's note."""
    _add_line(context, f"{context['ti'].task_id}: {_one_line(text)}")


def note_repair(context: Context) -> None:
    """
    Take the failures of tasks that were cleared, and have not failed again, out of the DAG run's note.

    For `on_success_callback` of the last task of a run. What another task of the run still fails by stays.
    """

    def without_repaired(session: requests.Session, url: str, lines: list[str]) -> list[str]:
        if not any(_FAILED in line for line in lines):
            return lines
        failed = _ask(session, "GET", f"{url}/taskInstances", params={"state": "failed", "limit": 100})
        task_ids = {instance["task_id"] for instance in failed["task_instances"]}
        return [line for line in lines if _FAILED not in line or line.partition(_FAILED)[0] in task_ids]

    _edit(context, without_repaired)


def note_own_repair(context: Context) -> None:
    """The same for the only task of a run: it has failed before if this is not its first try."""
    if context["ti"].try_number > 1:
        note_repair(context)


def _add_line(context: Context, line: str) -> None:
    # A task that fails again for the same reason says it once.
    _edit(context, lambda session, url, lines: lines if line in lines else [*lines, line])


def _one_line(text: str) -> str:
    """Airflow shows notes as Markdown. The text is shown as it is: a value of the shop may be in it."""
    return markdown_text(text, _LINE_LENGTH)


def _edit(context: Context, edit: Callable[[requests.Session, str, list[str]], list[str]]) -> None:
    """
    Change the lines of the DAG run's note, through Airflow's public API.

    The note is optional: an error while writing it is logged, and the task goes on.

    :param edit: a session with the API, the address of the run, and the lines → the new lines
    """
    run = context["dag_run"]
    try:
        hook = HttpHook(method="GET", http_conn_id=AIRFLOW_API)
        account = hook.get_connection(AIRFLOW_API)
        session = requests.Session()
        login = {"username": account.login, "password": account.password}
        token = _ask(session, "POST", hook.url_from_endpoint("/auth/token"), json=login)
        session.headers["Authorization"] = f"Bearer {token['access_token']}"
        url = hook.url_from_endpoint(f"/api/v2/dags/{run.dag_id}/dagRuns/{quote(run.run_id, safe='')}")
        with ExitStack() as stack:
            _lock_if_possible(stack, run)
            lines = (_ask(session, "GET", url).get("note") or "").splitlines()
            if (edited := edit(session, url, lines)) != lines:
                note = {"note": "\n".join(edited)[:_NOTE_LENGTH]}
                _ask(session, "PATCH", url, params={"update_mask": "note"}, json=note)
    except (AirflowRuntimeError, requests.RequestException, AttributeError, KeyError, TypeError, ValueError) as error:
        log.warning("the DAG run got no note, through the connection %r: %s", AIRFLOW_API, error)


def _ask(session: requests.Session, method: str, url: str, **arguments: Any) -> Any:
    """The JSON of an answer."""
    _, content = ask(session, method, url, most_bytes=_LONGEST_ANSWER, seconds=20, timeout=(10, 10), **arguments)
    return json.loads(content)


def _lock_if_possible(stack: ExitStack, run: DagRunProtocol) -> None:
    """Lock the run's note until the stack is closed; without the warehouse the note is written all the same."""
    try:
        stack.enter_context(_locked(run))
    except Exception as error:
        # Whatever it is, such as a cloud that issues no password: the task must not fail because of its note.
        log.warning("the DAG run's note is written without a lock, and a line of another task may be lost: %s", error)


@contextmanager
def _locked(run: DagRunProtocol) -> Iterator[None]:
    """
    Hold an advisory lock of the warehouse, by the run's id.

    The API can only replace a note: of two tasks that fail at once, the second would overwrite the line of the first.
    """
    with postgres(LOADER, f"{SESSION} -c lock_timeout={_LOCK_TIMEOUT}") as connection:
        key = f"ecommerce.note.{run.dag_id}.{run.run_id}"
        connection.execute("select pg_advisory_lock(hashtextextended(%s, 0))", [key])
        # The end of the session releases it.
        yield
