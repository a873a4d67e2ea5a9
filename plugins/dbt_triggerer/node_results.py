"""Results of a `dbt build` by node, on their way from the task that runs it to the tasks of the nodes (XComs)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

#: XCom of the build task: which attempt this is, when it began, how many batches of results there are.
PROGRESS = "dbt_progress"
#: XCom of a node's task: the result of its node.
RESULT = "dbt_result"
#: The SQL of a task's nodes: the XCom that brings it has this name, and *Rendered Templates* shows it under this name.
COMPILED = "compiled_sql"


def batch_key(number: int) -> str:
    """XCom of the build task with the results since the batch before."""
    return f"dbt_results_{number}"


@dataclass(frozen=True)
class NodeResult:
    """
    How one node ended, as dbt reported it.

    :param status: dbt's own: success, pass, warn, no-op; error, fail, runtime error, partial success; skipped
    :param started_at: ISO 8601, UTC; None for a node that dbt did not begin
    :param finished_at: likewise
    :param seconds: dbt's execution time
    :param rows: rows that were written, where the database counts them; None for a view and a test
    :param failures: rows a test returned
    :param sql: the compiled statement; None for a node without one, such as a seed
    """

    unique_id: str
    status: str
    message: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    seconds: float = 0.0
    rows: int | None = None
    failures: int | None = None
    sql: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether the nodes downstream of it may be built."""
        return self.status in ("success", "pass", "warn", "no-op")

    @property
    def is_bad(self) -> bool:
        """Whether it ran and failed."""
        return not self.is_good and not self.is_skipped

    @property
    def is_skipped(self) -> bool:
        """Whether dbt skipped it, because something upstream of it failed."""
        return self.status == "skipped"

    def __str__(self) -> str:
        figures = [f"{self.seconds:.2f} s"]
        if self.rows is not None:
            figures.append(f"{self.rows:,} rows")
        if self.failures:
            figures.append(f"{self.failures:,} failing rows")
        name = self.unique_id.split(".", 2)[-1]
        return f"{name}: {self.status} ({', '.join(figures)})" + (f" – {self.message}" if self.message else "")


def result_xcom(state: str, reason: str, results: Iterable[NodeResult]) -> dict[str, Any]:
    """The XCom of a task that waited for a build: its state and why, and its nodes without their SQL."""
    nodes = [{name: value for name, value in vars(result).items() if name != "sql"} for result in results]
    return {"state": state, "reason": reason, "nodes": nodes}


def compiled_sql(results: Sequence[NodeResult]) -> str | None:
    """The compiled statements of a task's nodes; with their names, if there are several."""
    statements = [(result.unique_id.split(".", 2)[-1], result.sql) for result in results if result.sql]
    if len(statements) == 1:
        return statements[0][1]
    return "\n\n".join(f"-- {name}\n{sql}" for name, sql in statements) or None


def note_of(result: Mapping[str, Any]) -> str:
    """
    What a task that waited for a build says of itself in one line: seconds and rows, or why it has none.

    :param result: of `result_xcom`
    """
    nodes = result["nodes"]
    if not nodes or result["state"] == "failed":
        return str(result["reason"])
    rows = [node["rows"] for node in nodes if node.get("rows") is not None]
    said = [f"{sum(node['seconds'] for node in nodes):.2f} s"]
    if rows:
        said.append(f"{sum(rows):,} {'row' if sum(rows) == 1 else 'rows'}")
    if warned := sum(node["status"] == "warn" for node in nodes):
        said.append(f"{warned} with a warning")
    return (f"{len(nodes)} nodes: " if len(nodes) > 1 else "") + ", ".join(said)


def is_result_xcom(value: object) -> bool:
    """Whether an XCom is one of `result_xcom`, whatever its key."""
    return isinstance(value, dict) and value.keys() == {"state", "reason", "nodes"}


@dataclass(frozen=True)
class Progress:
    """
    How far an attempt of the build has come.

    :param attempt: try number of the build task
    :param started_at: ISO 8601, UTC
    :param batches: how many batches of results have been written
    """

    attempt: int
    started_at: str
    batches: int = 0

    def as_xcom(self) -> dict[str, Any]:
        """The value of the XCom `PROGRESS`."""
        return asdict(self)


@dataclass
class Build:
    """
    The state of a build as far as other tasks can read it.

    :param task_state: state of the build task, None while it is not scheduled
    :param task_states: states of the run's other tasks by task id, once the build task has ended
    """

    progress: Progress | None = None
    results: dict[str, NodeResult] = field(default_factory=dict)
    task_state: str | None = None
    task_states: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def started_at(self) -> datetime | None:
        """When the latest attempt began."""
        return datetime.fromisoformat(self.progress.started_at) if self.progress else None
