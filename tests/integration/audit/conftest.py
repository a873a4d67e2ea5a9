"""Evaluate a check for a run as its task does, by the settings of a test or of the project."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from ecommerce.audit import checks_file
from ecommerce.audit.quality_check import QualityCheck
from ecommerce.build import lease
from tests.integration.support import Loader

#: Evaluates a check over days; returns (subject, status, message) of each result.
Evaluate = Callable[..., list[tuple[str, str, str]]]


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Make these the settings of the only check, `it`, and of the known incidents; its name."""

    def only(check: str, incidents: str = "[]") -> str:
        file = tmp_path / "checks.yml"
        file.write_text(f"known_incidents: {incidents}\nchecks:\n  it: {{description: it, {check}}}\n")
        monkeypatch.setattr(checks_file, "CHECKS_FILE", file)
        return "it"

    return only


@pytest.fixture
def evaluate(loader: Loader) -> Evaluate:
    """
    Run a check as a task does, over days, and return (subject, status, message) of each result that it has recorded.

    A check with a failure must fail its task with the reasons, and any other must not; failures of what the run's build
    leaves out do not count.
    """

    def evaluate(check: str, first: str, last: str | None = None, **params: object) -> list[tuple]:
        earlier = loader.value("select coalesce(max(check_result_id), 0) from ops.check_result")
        window = {"start_date": first, "end_date": last or first}
        context = {"params": window | params, "dag_run": SimpleNamespace(run_id="a_run", dag_id="a_dag")}
        error = None
        try:
            QualityCheck(task_id="check", check_name=check, window_task_id="window").execute(context)  # type: ignore[arg-type]
        except AirflowFailException as failure:
            error = str(failure)
        results = loader.rows(
            """
            select subject, status, message, check_name, run_id, window_start, window_end, checked_at
            from ops.check_result
            where check_name = %s and check_result_id > %s
            order by check_result_id
            """,
            [check, earlier],
        )
        start, end = datetime.fromisoformat(first).date(), datetime.fromisoformat(last or first).date()
        for _, _, _, check_name, run_id, window_start, window_end, checked_at in results:
            assert (check_name, run_id) == (check, "a_run")
            assert (window_start, window_end) == (start, end + timedelta(days=1))
            assert datetime.now(UTC) - checked_at < timedelta(minutes=1)
        exclusions = lease.exclusions_of(loader.connection, "a_run")
        failed = [
            f"{subject}: {message}"
            for subject, status, message, *_ in results
            if status == "fail" and not exclusions.covers(subject)
        ]
        if failed:
            assert error == f"check {check} failed, nothing is published; {'; '.join(failed)}"
        else:
            assert error is None
        return [row[:3] for row in results]

    return evaluate
