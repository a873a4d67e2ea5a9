"""Which run of a backfill builds: the last that comes to its claim, and every other kind of run for itself."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from airflow.sdk import Context

from ecommerce import lease
from ecommerce.operators import ClaimDirtyDates
from tests.integration.support import Loader

DAG = "a_dag"
FIRST = datetime(2024, 3, 1, tzinfo=UTC)


@dataclass
class Run:
    """A run as Airflow knows it: its state, and the state of its claim."""

    day: int
    run_type: str = "backfill"
    state: str = "queued"
    claim: str = "null"
    dag_id: str = DAG

    @property
    def run_id(self) -> str:
        return f"{self.run_type}__{self.day}"

    @property
    def logical_date(self) -> datetime:
        return FIRST + timedelta(days=self.day)

    @property
    def data_interval_start(self) -> datetime:
        return self.logical_date

    @property
    def data_interval_end(self) -> datetime:
        return self.logical_date + timedelta(days=1)


@dataclass
class Airflow:
    """The runs of a DAG, and what a task may ask about them."""

    runs: Sequence[Run]

    def get_ti_count(
        self, *, dag_id: str, task_ids: Iterable[str], logical_dates: Iterable[datetime], states: Iterable[str]
    ) -> int:
        assert list(task_ids) == ["claim"]
        return sum(run.logical_date in logical_dates and run.claim in states for run in self.runs)

    def get_dr_count(
        self,
        *,
        dag_id: str,
        states: Iterable[str],
        run_ids: Iterable[str] | None = None,
        logical_dates: Iterable[datetime] = (),
    ) -> int:
        return sum(
            run.state in states and (run.run_id in run_ids if run_ids else run.logical_date in logical_dates)
            for run in self.runs
        )


@dataclass
class Claims:
    """Runs that load their day, come to their claim, and publish if they build."""

    loader: Loader
    airflow: Airflow
    params: dict[str, Any] = field(default_factory=dict)

    def load(self, run: Run) -> None:
        run.state, day = "running", str(run.logical_date.date())
        row: dict[str, str | None] = {
            "order_id": f"O{day}", "product_id": "P", "customer_id": "C", "order_date": day, "order_amount": "1",
            "created_at": f"{day} 10:00:00",
        }  # fmt: skip
        self.loader.load("sales_fact", day, rows=[row])

    def claim(self, run: Run) -> Any:
        """What its claim gives to the tasks after it; False while it waits for another build."""
        run.claim = "running"
        context = {"dag_run": run, "ti": self.airflow, "params": self.params}
        result = ClaimDirtyDates(task_id="claim", extract_task_ids={}, build_group_id="warehouse").poke(
            cast("Context", context)
        )
        if not result.is_done:
            return False
        run.claim = "success"
        return result.xcom_value

    def end(self, run: Run) -> None:
        with self.loader.connection.transaction():
            lease.release(self.loader.connection, run.run_id)
        run.state = "success"

    @property
    def marked(self) -> int:
        return self.loader.value("select count(*) from ops.dirty_date")


@pytest.fixture
def backfill(loader: Loader) -> Claims:
    """A backfill of three days; all of them have loaded."""
    claims = Claims(loader, Airflow([Run(day) for day in range(3)]))
    for run in claims.airflow.runs:
        claims.load(run)
    return claims


def test_a_run_of_a_backfill_hands_over_to_those_after_it(backfill: Claims) -> None:
    first, second, last = backfill.airflow.runs
    assert backfill.claim(first) == {"handed_over_to": "2024-03-02"}
    assert backfill.claim(second) == {"handed_over_to": "2024-03-03"}
    assert backfill.claim(last)["days"] == {"sales_fact": ["2024-03-01", "2024-03-02", "2024-03-03"]}


def test_handing_over_takes_no_lease_and_no_mark(backfill: Claims) -> None:
    before = backfill.loader.everything()
    backfill.claim(backfill.airflow.runs[0])
    assert backfill.loader.everything() == before


@pytest.mark.parametrize("seed", range(5))
def test_one_build_whatever_the_order(loader: Loader, seed: int) -> None:
    """Four runs at a time, each of which takes its own time to load; some fail in it."""
    rng = random.Random(seed)
    claims = Claims(loader, Airflow([Run(day) for day in range(20)]))
    waiting, builds = list(claims.airflow.runs), []
    if rng.random() < 0.5:
        waiting.reverse()
    active: list[Run] = []
    while waiting or active:
        while waiting and len(active) < 4:
            active.append(waiting.pop(0))
        run = active.pop(rng.randrange(len(active)))
        if (waiting or active) and rng.random() < 0.2:
            run.state, run.claim = "failed", "upstream_failed"
            continue
        claims.load(run)
        if "handed_over_to" not in claims.claim(run):
            builds.append(run)
            claims.end(run)
        run.state = "success"
    assert len(builds) == 1
    assert claims.marked == 0


@pytest.mark.parametrize("run_type", ["scheduled", "manual"])
def test_other_runs_build_for_themselves(backfill: Claims, run_type: str) -> None:
    first = backfill.airflow.runs[0]
    first.run_type = run_type
    assert len(backfill.claim(first)["days"]["sales_fact"]) == 3


def test_a_full_refresh_builds_itself(backfill: Claims) -> None:
    backfill.params = {"full_refresh": True}
    assert "days" in backfill.claim(backfill.airflow.runs[0])


def test_a_run_that_was_stopped_builds_for_nobody(backfill: Claims) -> None:
    first, *others = backfill.airflow.runs
    for run in others:
        run.state = "failed"
    assert "days" in backfill.claim(first)


def test_handing_over_does_not_wait_for_a_build(backfill: Claims) -> None:
    first, second, last = backfill.airflow.runs
    scheduled = Run(40, "scheduled", "running")
    backfill.airflow.runs = [first, second, last, scheduled]
    assert "days" in backfill.claim(scheduled)
    assert "handed_over_to" in backfill.claim(first)
    assert "handed_over_to" in backfill.claim(second)
    assert backfill.claim(last) is False
    backfill.end(scheduled)
    assert not backfill.claim(last)["is_build_needed"]


def test_what_the_last_run_failed_to_build_comes_with_the_next(backfill: Claims) -> None:
    for run in backfill.airflow.runs:
        claimed = backfill.claim(run)
        run.state = "success"
    assert "days" in claimed
    run.state = "failed"
    later = Run(50, "scheduled", "running")
    backfill.airflow.runs = [*backfill.airflow.runs, later]
    assert len(backfill.claim(later)["days"]["sales_fact"]) == 3
