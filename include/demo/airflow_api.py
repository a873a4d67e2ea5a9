"""Call the parts of Airflow's public REST API that the demo uses."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

import httpx

from ecommerce.common.open_questions import question_path
from include.demo.errors import NotAllowed, StackError

#: How long Airflow may take to create the runs of a backfill.
BACKFILL_SECONDS = 1800


class AirflowApi:
    """
    A client that has logged in.

    :param url: of the API server, e.g. ``http://localhost:8080``
    :raises StackError: Airflow cannot be reached, or responses with an error; with the text of the error
    """

    def __init__(self, url: str, login: str, password: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=60)
        token = self._request("POST", "/auth/token", json={"username": login, "password": password})
        self._client.headers["Authorization"] = f"Bearer {token['access_token']}"

    def overwrite(self, kind: str, entities: list[dict[str, Any]]) -> None:
        """Create or replace connections, variables or pools."""
        if not entities:
            return
        action = {"action": "create", "action_on_existence": "overwrite", "entities": entities}
        response = self._request("PATCH", f"/api/v2/{kind}", json={"actions": [action]})
        if errors := response["create"]["errors"]:
            raise StackError(f"Airflow rejected {kind}: {errors}")

    def create_postgres_connection(self, conn_id: str, dsn: str) -> None:
        """Create a connection to a Postgres database by its libpq URI, or replace it."""
        parts = urlsplit(dsn)
        connection = {
            "connection_id": conn_id,
            "conn_type": "postgres",
            "host": parts.hostname,
            "port": parts.port,
            "login": parts.username,
            "password": parts.password,
            "schema": parts.path.lstrip("/"),
        }
        self.overwrite("connections", [connection])

    def dag_is_known(self, dag_id: str, *, since: datetime | None = None) -> bool:
        """Whether the DAG processor has read this DAG, after a moment if one is given."""
        response = self._client.get(f"/api/v2/dags/{dag_id}")
        if response.status_code != 200 or response.json().get("is_stale"):
            return False
        read_at = response.json().get("last_parsed_time")
        return since is None or (read_at is not None and datetime.fromisoformat(read_at) >= since)

    def read_again(self, dag_id: str) -> None:
        """Ask the DAG processor to read a DAG's file now."""
        token = self._request("GET", f"/api/v2/dags/{dag_id}")["file_token"]
        self._request("PUT", f"/api/v2/parseDagFile/{token}")

    def import_errors(self) -> list[str]:
        """The errors of the DAG files that the DAG processor could not import."""
        return [error["stack_trace"] for error in self._request("GET", "/api/v2/importErrors")["import_errors"]]

    def is_paused(self, dag_id: str) -> bool:
        """Whether a DAG is paused: Airflow then starts neither its runs nor their next tasks."""
        return bool(self._request("GET", f"/api/v2/dags/{dag_id}")["is_paused"])

    def unpause(self, dag_id: str) -> None:
        """
        Unpause a DAG, so that its runs start.

        :raises NotAllowed: the user may not edit the DAG
        """
        self._request("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Trigger a run with params; its run id."""
        response = self._request("POST", f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(response["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """The current state of a DAG run."""
        return self._request("GET", _run_path(dag_id, run_id))

    def active_runs(self) -> list[dict[str, Any]]:
        """The runs of all DAGs that have started and not ended."""
        return self._all_pages("/api/v2/dags/~/dagRuns", "dag_runs", {"state": "running"})

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The current state of all task instances of a run."""
        return self._all_pages(f"{_run_path(dag_id, run_id)}/taskInstances", "task_instances", {})

    def open_questions(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The questions of a run's tasks that wait for a person."""
        path = f"{_run_path(dag_id, run_id)}/hitlDetails"
        return self._all_pages(path, "hitl_details", {"response_received": "false"})

    def dag_url(self, dag_id: str) -> str:
        """The page of a DAG in Airflow's UI, with the switch that unpauses it."""
        return str(self._client.base_url.join(f"/dags/{dag_id}"))

    def question_url(self, dag_id: str, run_id: str, task_id: str) -> str:
        """The page of Airflow's UI on which a person answers a task's question."""
        return str(self._client.base_url.join(question_path(dag_id, run_id, task_id)))

    def downstream(self, dag_id: str) -> dict[str, list[str]]:
        """Map each task of a DAG to the tasks directly after it."""
        tasks = self._request("GET", f"/api/v2/dags/{dag_id}/tasks")["tasks"]
        return {task["task_id"]: task["downstream_task_ids"] or [] for task in tasks}

    def task_errors(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[str]:
        """The errors in the log of a task's try."""
        lines = self._task_log(dag_id, run_id, task_id, try_number)
        errors = [line for line in lines if str(line.get("level")).lower() in ("error", "critical")]
        return [
            line["error_detail"][-1]["exc_value"] if line.get("error_detail") else str(line.get("event"))
            for line in errors
        ]

    def task_messages(self, dag_id: str, run_id: str, task_id: str) -> list[str]:
        """The lines of the log of a task's last try."""
        tries = (one["try_number"] for one in self.task_instances(dag_id, run_id) if one["task_id"] == task_id)
        return [str(line.get("event")) for line in self._task_log(dag_id, run_id, task_id, max(tries, default=1))]

    def _task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[dict[str, Any]]:
        response = self._request(
            "GET",
            f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}",
            params={"full_content": "true"},
        )
        return [line for line in response["content"] if isinstance(line, dict)]

    def backfill(self, dag_id: str, first: str, last: str, max_active_runs: int) -> int:
        """Start Airflow's backfill of the days from first to last, also of days that already have a run; its id."""
        begin, end = self._midnights(dag_id, first, last)
        body = {
            "dag_id": dag_id,
            "from_date": begin,
            "to_date": end,
            "reprocess_behavior": "completed",
            "max_active_runs": max_active_runs,
            "dag_run_conf": {},
            "run_backwards": False,
        }
        # Airflow answers when it has created all runs. For a day that has had a run it clears each task, which takes
        # some seconds a run.
        return int(self._request("POST", "/api/v2/backfills", json=body, timeout=BACKFILL_SECONDS)["id"])

    def backfill_is_complete(self, backfill_id: int) -> bool:
        """Whether all runs of a backfill have ended."""
        return self._request("GET", f"/api/v2/backfills/{backfill_id}")["completed_at"] is not None

    def backfill_runs(self, dag_id: str, first: str, last: str) -> list[dict[str, Any]]:
        """The current state of the backfill runs of the days from first to last."""
        begin, end = self._midnights(dag_id, first, last)
        query: dict[str, Any] = {"logical_date_gte": begin, "logical_date_lte": end, "run_type": "backfill"}
        return self._all_pages(f"/api/v2/dags/{dag_id}/dagRuns", "dag_runs", query)

    def _midnights(self, dag_id: str, *days: str) -> list[str]:
        """When the runs of a daily DAG's days begin: at midnight of its time zone."""
        zone = ZoneInfo(self._request("GET", f"/api/v2/dags/{dag_id}/details")["timezone"])
        return [datetime.fromisoformat(day).replace(tzinfo=zone).isoformat() for day in days]

    def _all_pages(self, path: str, name: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        """Fetch a list that the API gives in pages of 100."""
        entries: list[dict[str, Any]] = []
        while True:
            page = self._request("GET", path, params={**query, "limit": 100, "offset": len(entries)})
            entries += page[name]
            if len(entries) >= page["total_entries"] or not page[name]:
                return entries

    def _request(self, method: str, path: str, **kwargs: Any) -> Any:
        try:
            response = self._client.request(method, path, **kwargs)
        except httpx.HTTPError as error:
            raise StackError(
                f"Airflow at {self._client.base_url} does not answer: {error}; is it up? (make up)"
            ) from error
        if response.is_error:
            kind = NotAllowed if response.status_code == 403 else StackError
            raise kind(f"Airflow answered {response.status_code} to {method} {path}: {_detail(response)}")
        return response.json() if response.content else None


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:500]
