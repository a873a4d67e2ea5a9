"""Notes on the DAG run, where people look first: why a task failed, and what a run does not build."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import quote

import requests
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk.exceptions import AirflowRuntimeError

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

#: Airflow's own API, with a user who may edit DAG runs. Without the connection a run gets no note.
AIRFLOW_API = "airflow_api"
_NOTE_LENGTH = 1000


def note_failure(context: Context) -> None:
    """Add the reason of a task's failure to the DAG run's note."""
    add_note(context, str(context.get("exception")))


def add_note(context: Context, text: str) -> None:
    """
    Add ``task: text`` to the DAG run's note, through Airflow's public API.

    The note is optional: an error while writing it is logged, and the task goes on.
    """
    run, line = context["dag_run"], f"{context['ti'].task_id}: {text}"
    try:
        hook = HttpHook(method="GET", http_conn_id=AIRFLOW_API)
        account = hook.get_connection(AIRFLOW_API)
        session = requests.Session()
        token = session.post(
            hook.url_from_endpoint("/auth/token"),
            json={"username": account.login, "password": account.password},
            timeout=10,
        )
        token.raise_for_status()
        session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
        url = hook.url_from_endpoint(f"/api/v2/dags/{run.dag_id}/dagRuns/{quote(run.run_id, safe='')}")
        current = session.get(url, timeout=10)
        current.raise_for_status()
        notes = [note for note in (current.json().get("note"), line) if note]
        patched = session.patch(
            url, params={"update_mask": "note"}, json={"note": "\n".join(notes)[:_NOTE_LENGTH]}, timeout=10
        )
        patched.raise_for_status()
    except (AirflowRuntimeError, requests.RequestException, AttributeError, KeyError, ValueError) as error:
        log.warning("the DAG run got no note, through the connection %r: %s", AIRFLOW_API, error)
