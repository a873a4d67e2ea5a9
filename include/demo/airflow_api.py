"""Airflow's public REST API, as far as the demo needs it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx

from include.demo.errors import StackError


class AirflowApi:
    """
    A logged-in client.

    :param url: of the API server, e.g. ``http://localhost:8080``
    :raises StackError: Airflow cannot be reached or refuses; with what it said
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
        answer = self._request("PATCH", f"/api/v2/{kind}", json={"actions": [action]})
        if errors := answer["create"]["errors"]:
            raise StackError(f"Airflow refused {kind}: {errors}")

    def dag_is_known(self, dag_id: str) -> bool:
        """Whether the DAG processor has read this DAG."""
        answer = self._client.get(f"/api/v2/dags/{dag_id}")
        return answer.status_code == 200 and not answer.json().get("is_stale")

    def import_errors(self) -> list[str]:
        """What the DAG processor could not read."""
        return [error["stack_trace"] for error in self._request("GET", "/api/v2/importErrors")["import_errors"]]

    def unpause(self, dag_id: str) -> None:
        """Let runs of this DAG start."""
        self._request("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Trigger a run with these params; its run_id."""
        answer = self._request("POST", f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(answer["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """The DAG run as it is now."""
        return self._request("GET", _run_path(dag_id, run_id))

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Every task instance of a run, as it is now."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._request(
                "GET", f"{_run_path(dag_id, run_id)}/taskInstances", params={"limit": 100, "offset": len(found)}
            )
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

    def downstream(self, dag_id: str) -> dict[str, list[str]]:
        """Each task of a DAG → the tasks directly after it."""
        tasks = self._request("GET", f"/api/v2/dags/{dag_id}/tasks")["tasks"]
        return {task["task_id"]: task["downstream_task_ids"] or [] for task in tasks}

    def task_errors(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[str]:
        """The error lines of a task's log, for where no note tells the reason."""
        answer = self._request(
            "GET",
            f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}",
            params={"full_content": "true"},
        )
        lines = [line for line in answer["content"] if isinstance(line, dict)]
        errors = [line for line in lines if str(line.get("level")).lower() in ("error", "critical")]
        return [
            line["error_detail"][-1]["exc_value"] if line.get("error_detail") else str(line.get("event"))
            for line in errors
        ]

    def backfill(self, dag_id: str, first: str, last: str, max_active_runs: int) -> int:
        """Airflow's own backfill over days, both included, past runs done again; its id."""
        body = {
            "dag_id": dag_id,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T00:00:00Z",
            "reprocess_behavior": "completed",
            "max_active_runs": max_active_runs,
            "dag_run_conf": {},
            "run_backwards": False,
        }
        return int(self._request("POST", "/api/v2/backfills", json=body)["id"])

    def backfill_is_complete(self, backfill_id: int) -> bool:
        """Whether every run of a backfill has ended."""
        return self._request("GET", f"/api/v2/backfills/{backfill_id}")["completed_at"] is not None

    def backfill_runs(self, dag_id: str, first: str, last: str) -> list[dict[str, Any]]:
        """The backfill runs of these days, as they are now."""
        query: dict[str, Any] = {
            "logical_date_gte": f"{first}T00:00:00Z",
            "logical_date_lte": f"{last}T00:00:00Z",
            "run_type": "backfill",
            "limit": 100,
        }
        found: list[dict[str, Any]] = []
        while True:
            page = self._request("GET", f"/api/v2/dags/{dag_id}/dagRuns", params={**query, "offset": len(found)})
            found += page["dag_runs"]
            if len(found) >= page["total_entries"] or not page["dag_runs"]:
                return found

    def _request(self, method: str, path: str, **kwargs: Any) -> Any:
        try:
            answer = self._client.request(method, path, **kwargs)
        except httpx.HTTPError as error:
            raise StackError(
                f"Airflow at {self._client.base_url} does not answer: {error}; is it up? (make up)"
            ) from error
        if answer.is_error:
            raise StackError(f"Airflow answered {answer.status_code} to {method} {path}: {_detail(answer)}")
        return answer.json() if answer.content else None


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:500]
