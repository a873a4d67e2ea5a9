"""A run of the warehouse on the running stack, as a test follows it: the states, logs and results of its tasks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from include.demo import stack
from include.demo.airflow_api import AirflowApi

DAG = stack.WAREHOUSE_DAG
#: Seconds that a run over these few rows may take, with a retry, on two busy cores.
PATIENCE = 600


class Api(AirflowApi):
    """Requests to Airflow that only these tests need."""

    def clear(self, run_id: str, **chosen: Any) -> None:
        body = {"dry_run": False, "dag_run_id": run_id, "reset_dag_runs": True, "only_failed": False, **chosen}
        self._request("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", json=body)

    def kind_of_task(self, task_id: str) -> str:
        return str(self._request("GET", f"/api/v2/dags/{DAG}/tasks/{task_id}")["class_ref"])

    def xcom(self, run_id: str, task_id: str, key: str) -> Any:
        path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/xcomEntries/{key}"
        return self._request("GET", path)["value"]

    def question(self, run_id: str, task_id: str) -> Any:
        """The question that a task asks a person."""
        return self._request("GET", self._question(run_id, task_id))

    def answer(self, run_id: str, task_id: str, option: str, why: str) -> None:
        body = {"chosen_options": [option], "params_input": {"reason": why}}
        self._request("PATCH", self._question(run_id, task_id), json=body)

    @staticmethod
    def _question(run_id: str, task_id: str) -> str:
        return f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/-1/hitlDetails"

    def log(self, run_id: str, task_id: str, try_number: int, *, containing: str) -> str:
        """A task's log, once it contains a text: a triggerer writes the logs of its tasks with a delay."""
        deadline = time.monotonic() + 20
        while containing not in (log := self._log(run_id, task_id, try_number)) and time.monotonic() < deadline:
            time.sleep(0.5)
        return log

    def _log(self, run_id: str, task_id: str, try_number: int) -> str:
        path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/logs/{try_number}"
        lines = self._request("GET", path, params={"full_content": "true"})["content"]
        return "\n".join(str(line.get("event", line)) if isinstance(line, dict) else str(line) for line in lines)


@dataclass
class Run:
    """A run of the warehouse, and the states of its tasks."""

    api: Api
    run_id: str

    def tasks(self) -> dict[str, dict[str, Any]]:
        return {task["task_id"]: task for task in self.api.task_instances(DAG, self.run_id)}

    def states(self) -> dict[str, str | None]:
        return {task_id: task["state"] for task_id, task in self.tasks().items()}

    def results(self, task_id: str) -> list[dict[str, Any]]:
        """dbt's results for a task's nodes."""
        return self.api.xcom(self.run_id, task_id, "dbt_result")["nodes"]

    def in_state(self, state: str) -> set[str]:
        return {task_id for task_id, current in self.states().items() if current == state}

    def ends(self) -> dict[str, tuple[int, str]]:
        return {task_id: (task["try_number"], task["end_date"]) for task_id, task in self.tasks().items()}

    def await_task(self, task_id: str, *states: str) -> dict[str, Any]:
        """Wait until a task is in one of these states."""

        def task_in_state() -> dict[str, Any] | None:
            task = self.tasks().get(task_id)
            return task if task and task["state"] in states else None

        return self.await_that(task_in_state)

    def await_that(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not in {PATIENCE} s; the tasks: {self.states()}"
            time.sleep(0.3)
        return value

    def end(self) -> str:
        """Wait for the run's end and return its state. Every task must have ended as well."""
        state = self.await_that(
            lambda: (state := self.api.run(DAG, self.run_id)["state"]) in ("success", "failed") and state
        )
        assert set(self.states().values()) <= {"success", "failed", "skipped", "upstream_failed"}
        return str(state)
