"""The task `claim`: which run of a backfill builds, which models it excludes, and what a dry run reports."""

import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from airflow import sdk
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from ecommerce.build import lease
from ecommerce.build.claim_dirty_dates import ClaimDirtyDates
from ecommerce.build.dbt_project import project_digest
from ecommerce.common.sources import SOURCES
from tests.integration.support import Loader

DAG = "a_dag"
FIRST = datetime(2024, 3, 1, tzinfo=UTC)


@dataclass
class Run:
    """A DAG run: its state, and the state of its task `claim`."""

    day: int
    run_type: str = "backfill"
    state: str = "queued"
    claim: str = "null"
    dag_id: str = DAG
    zone: str = "UTC"

    @property
    def run_id(self) -> str:
        return f"{self.run_type}__{self.day}"

    @property
    def logical_date(self) -> datetime:
        return (FIRST + timedelta(days=self.day)).replace(tzinfo=ZoneInfo(self.zone)).astimezone(UTC)

    @property
    def data_interval_start(self) -> datetime:
        return self.logical_date

    @property
    def data_interval_end(self) -> datetime:
        return self.logical_date + timedelta(days=1)


@dataclass
class Airflow:
    """A stand-in for the task instance, by which a task asks Airflow about runs and tasks of its DAG."""

    runs: Sequence[Run]
    #: State of each extract task of the current run.
    extracts: dict[str, str] = field(default_factory=dict)
    #: What extract tasks have returned, and what the task has pushed.
    figures: dict[str, dict[str, int]] = field(default_factory=dict)
    pushed: dict[str, str] = field(default_factory=dict)
    dag_id: str = DAG
    task_id: str = "claim"
    run_id: str = ""

    def get_task_states(self, *, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, dict[str, str]]:
        assert dag_id == DAG
        states = {task_id: self.extracts[task_id] for task_id in task_ids if task_id in self.extracts}
        return {run_ids[0]: states} if states else {}

    def xcom_pull(self, *, task_ids: str) -> dict[str, int] | None:
        """The figures that an extract has returned."""
        return self.figures.get(task_ids)

    def xcom_push(self, *, key: str, value: str) -> None:
        self.pushed[key] = value

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
            run.dag_id == dag_id
            and run.state in states
            and (run.run_id in run_ids if run_ids else run.logical_date in logical_dates)
            for run in self.runs
        )


def claim_task(need_build_task_ids: Sequence[str] = ()) -> ClaimDirtyDates:
    """The task, with an extract for each source."""
    return ClaimDirtyDates(
        task_id="claim",
        extract_task_ids={source: f"extract.{source}" for source in SOURCES},
        build_group_id="warehouse",
        need_build_task_ids=need_build_task_ids,
    )


@dataclass
class Claims:
    """Runs that load their day, claim, and publish if they build."""

    loader: Loader
    airflow: Airflow
    params: dict[str, Any] = field(default_factory=dict)

    def load(self, run: Run) -> None:
        run.state, day = "running", str((FIRST + timedelta(days=run.day)).date())
        row: dict[str, str | None] = {
            "order_id": f"O{day}", "product_id": "P", "customer_id": "C", "order_date": day, "order_amount": "1",
            "created_at": f"{day} 10:00:00",
        }  # fmt: skip
        self.loader.load("sales_fact", day, rows=[row])

    def context(self, run: Run) -> Context:
        """What Airflow hands to a task of this run."""
        self.airflow.run_id = run.run_id
        return cast("Context", {"dag_run": run, "ti": self.airflow, "params": self.params})

    def claim(self, run: Run) -> Any:
        """The value that `claim` returns; False while it waits for another build."""
        run.claim = "running"
        result = claim_task().poke(self.context(run))
        if not result.is_done:
            return False
        run.claim = "success"
        return result.xcom_value

    def end(self, run: Run) -> None:
        with self.loader.connection.transaction():
            lease.release(self.loader.connection, run.run_id)
        run.state = "success"

    @property
    def dirty_dates(self) -> int:
        return self.loader.value("select count(*) from ops.dirty_date")


@pytest.fixture
def backfill(loader: Loader) -> Claims:
    """A backfill of three days, all of them loaded."""
    claims = Claims(loader, Airflow([Run(day) for day in range(3)]))
    for run in claims.airflow.runs:
        claims.load(run)
    return claims


def test_backfill_run_hands_over_to_later_runs(backfill: Claims) -> None:
    first, second, last = backfill.airflow.runs
    assert backfill.claim(first) == {"handed_over_to": "2024-03-02"}
    assert backfill.claim(second) == {"handed_over_to": "2024-03-03"}
    assert backfill.claim(last)["days"] == {"sales_fact": ["2024-03-01", "2024-03-02", "2024-03-03"]}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_backfill_over_a_change_of_clocks_builds_once(
    loader: Loader, set_time_zone: Callable[..., None], zone: str
) -> None:
    set_time_zone(zone)
    claims = Claims(loader, Airflow([Run(day, zone=zone) for day in range(8, 32)]))
    for run in claims.airflow.runs:
        claims.load(run)
    *handed_over, last = claims.airflow.runs
    days = [str((FIRST + timedelta(days=run.day)).date()) for run in claims.airflow.runs]
    assert [claims.claim(run) for run in handed_over] == [{"handed_over_to": day} for day in days[1:]]
    assert claims.claim(last)["days"] == {"sales_fact": days}


def test_handover_writes_nothing(backfill: Claims) -> None:
    before = backfill.loader.everything()
    backfill.claim(backfill.airflow.runs[0])
    assert backfill.loader.everything() == before


@pytest.mark.parametrize("seed", range(5))
def test_backfill_builds_once_in_any_order(loader: Loader, seed: int) -> None:
    """Four runs at a time; each takes a random time to load, and some fail."""
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
    assert claims.dirty_dates == 0


@pytest.mark.parametrize("run_type", ["scheduled", "manual"])
def test_scheduled_and_manual_runs_build_for_themselves(backfill: Claims, run_type: str) -> None:
    first = backfill.airflow.runs[0]
    first.run_type = run_type
    assert len(backfill.claim(first)["days"]["sales_fact"]) == 3


def test_backfill_run_with_full_refresh_builds_itself(backfill: Claims) -> None:
    backfill.params = {"full_refresh": True}
    first = backfill.airflow.runs[0]
    assert "days" in backfill.claim(first)
    assert backfill.loader.rows("select run_id, is_full_refresh from ops.build") == [(first.run_id, True)]


def test_claim_records_the_project_it_builds(backfill: Claims) -> None:
    backfill.claim(Run(50, "scheduled", "running"))
    assert backfill.loader.rows("select project_digest, is_full_refresh from ops.build") == [(project_digest(), False)]


def test_backfill_does_not_hand_over_to_a_stopped_run(backfill: Claims) -> None:
    first, *others = backfill.airflow.runs
    for run in others:
        run.state = "failed"
    assert "days" in backfill.claim(first)


def test_handover_does_not_wait_for_a_build(backfill: Claims) -> None:
    first, second, last = backfill.airflow.runs
    scheduled = Run(40, "scheduled", "running")
    backfill.airflow.runs = [first, second, last, scheduled]
    assert "days" in backfill.claim(scheduled)
    assert "handed_over_to" in backfill.claim(first)
    assert "handed_over_to" in backfill.claim(second)
    assert backfill.claim(last) is False
    backfill.end(scheduled)
    assert not backfill.claim(last)["is_build_needed"]


def test_days_of_a_failed_backfill_are_claimed_by_the_next_run(backfill: Claims) -> None:
    for run in backfill.airflow.runs:
        claimed = backfill.claim(run)
        run.state = "success"
    assert "days" in claimed
    run.state = "failed"
    later = Run(50, "scheduled", "running")
    backfill.airflow.runs = [*backfill.airflow.runs, later]
    assert len(backfill.claim(later)["days"]["sales_fact"]) == 3


@pytest.fixture
def manifest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A manifest with one model for each source."""
    nodes = {
        f"model.ecommerce.of_{source}": {
            "name": f"of_{source}",
            "resource_type": "model",
            "original_file_path": f"models/of_{source}.sql",
            "depends_on": {"nodes": [f"source.ecommerce.raw.{source}"]},
            "config": {"meta": {}},
        }
        for source in SOURCES
    }
    sources = {f"source.ecommerce.raw.{source}": {"schema": "raw", "name": source} for source in SOURCES}
    monkeypatch.setattr("ecommerce.build.dbt_project.MANIFEST", tmp_path / "manifest.json")
    (tmp_path / "manifest.json").write_text(
        json.dumps({"metadata": {"project_name": "ecommerce"}, "nodes": nodes, "macros": {}, "sources": sources})
    )


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The notes that `claim` adds to the DAG run."""
    notes: list[str] = []
    monkeypatch.setattr("ecommerce.build.claim_dirty_dates.add_note", lambda context, text: notes.append(text))
    return notes


@pytest.mark.usefixtures("manifest")
def test_failed_source_excludes_its_models_from_the_claim(backfill: Claims, notes: list[str]) -> None:
    (run, *_) = backfill.airflow.runs
    run.run_type = "manual"
    backfill.airflow.extracts = dict.fromkeys([f"extract.{source}" for source in SOURCES], "success")
    backfill.airflow.extracts |= {"extract.weather_data": "failed", "extract.customer": "skipped"}
    claimed = backfill.claim(run)
    assert claimed["excluded_models"] == ["of_weather_data"]
    assert set(claimed["days"]) == {"sales_fact"}
    assert lease.exclusions_of(backfill.loader.connection, run.run_id).sources == {"weather_data"}
    assert notes == ["weather_data could not be loaded; left as before: of_weather_data"]


@pytest.mark.usefixtures("manifest")
def test_handover_with_a_failed_source_excludes_nothing_from_the_last_run(backfill: Claims, notes: list[str]) -> None:
    first, second, last = backfill.airflow.runs
    backfill.airflow.extracts = {"extract.weather_data": "failed"}
    assert "handed_over_to" in backfill.claim(first)
    backfill.airflow.extracts = {}
    backfill.claim(second)
    assert backfill.claim(last)["excluded_models"] == []
    assert notes == []


@pytest.mark.parametrize("end", ["failed", "upstream_failed"])
def test_claim_fails_if_no_source_was_loaded(backfill: Claims, end: str) -> None:
    before = backfill.loader.everything()
    backfill.params = {"sources": ["sales_fact", "customer"]}
    backfill.airflow.extracts = {"extract.sales_fact": end, "extract.customer": end, "extract.product": "skipped"}
    with pytest.raises(AirflowFailException, match="customer, sales_fact could not be loaded: there is nothing to"):
        backfill.claim(backfill.airflow.runs[0])
    assert backfill.loader.everything() == before


@pytest.mark.usefixtures("manifest")
def test_dry_run_reports_failed_sources(backfill: Claims, capsys: pytest.CaptureFixture[str]) -> None:
    before = backfill.loader.everything()
    backfill.params = {"dry_run": True}
    backfill.airflow.extracts = {"extract.sales_fact": "skipped", "extract.weather_data": "failed"}
    backfill.claim(backfill.airflow.runs[0])
    assert "DRY RUN: weather_data could not be read" in capsys.readouterr().out
    assert backfill.loader.everything() == before


def test_dry_run_reports_what_each_extract_would_do(backfill: Claims, capsys: pytest.CaptureFixture[str]) -> None:
    backfill.params = {"dry_run": True}
    figures = {
        "rows_loaded": 1234567, "rows_unchanged": 2, "rows_quarantined": 3, "rows_removed": 4, "days_marked": 5,
    }  # fmt: skip
    # What an extract returned before it was tried again and failed does not count.
    backfill.airflow.figures = {"extract.product": figures, "extract.weather_data": figures}
    backfill.airflow.extracts = {"extract.product": "success", "extract.weather_data": "failed"}
    backfill.claim(backfill.airflow.runs[0])
    printed = capsys.readouterr().out
    assert "Not published before this run: days to rebuild, as of 2024-03-03: sales_fact: 3 (2024-03-01 " in printed
    assert re.findall(r"\[info +\] DRY RUN: (\w+ (?:would|could) .+?) \[", printed) == [
        "product would load 1,234,567, leave 2 unchanged, quarantine 3, remove 4, and rebuild 5 days",
        "weather_data could not be read",
    ]


class Chain:
    """A small DAG after `claim`: two models that are built, a check, and a task that is for builds only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.skipped: list[str] = []
        monkeypatch.setattr(ClaimDirtyDates, "skip", lambda _, ti, tasks: self._skip(tasks))
        with sdk.DAG(DAG, schedule=None):
            before = EmptyOperator(task_id="before")
            self.claim = claim_task(need_build_task_ids=["publish"])
            check, publish = EmptyOperator(task_id="check"), EmptyOperator(task_id="publish")
            models = []
            for source in ("customer", "weather_data"):
                model = EmptyOperator(task_id=f"warehouse.of_{source}")
                model.extra_context = {"dbt_node_config": {"unique_id": f"model.ecommerce.of_{source}"}}
                models.append(model)
            before >> self.claim >> models >> check >> publish

    def _skip(self, tasks: Iterable[Any]) -> None:
        self.skipped = sorted(task.task_id for task in tasks)


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Chain:
    """The tasks around `claim`."""
    return Chain(monkeypatch)


BUILD = ["warehouse.of_customer", "warehouse.of_weather_data"]


def test_build_skips_nothing(backfill: Claims, chain: Chain) -> None:
    claimed = chain.claim.execute(backfill.context(Run(50, "scheduled", "running")))
    assert claimed["is_build_needed"]
    assert chain.skipped == []
    assert backfill.airflow.pushed == {}


def test_dry_run_skips_all_that_follows(backfill: Claims, chain: Chain) -> None:
    backfill.params = {"dry_run": True}
    chain.claim.execute(backfill.context(backfill.airflow.runs[0]))
    assert chain.skipped == ["check", "publish", *BUILD]


def test_handover_skips_the_build_and_what_is_for_builds_only(backfill: Claims, chain: Chain) -> None:
    assert chain.claim.execute(backfill.context(backfill.airflow.runs[0])) == {"handed_over_to": "2024-03-02"}
    assert chain.skipped == ["publish", *BUILD]


def test_run_without_changes_skips_the_build_alone(backfill: Claims, chain: Chain) -> None:
    first, later = Run(50, "scheduled", "running"), Run(51, "scheduled", "running")
    backfill.claim(first)
    backfill.end(first)
    assert not chain.claim.execute(backfill.context(later))["is_build_needed"]
    assert chain.skipped == BUILD


@pytest.mark.usefixtures("manifest", "notes")
def test_models_of_a_failed_source_are_skipped_and_named(backfill: Claims, chain: Chain) -> None:
    backfill.airflow.extracts = {"extract.weather_data": "failed", "extract.refund": "upstream_failed"}
    run = Run(50, "scheduled", "running")
    chain.claim.execute(backfill.context(run))
    assert chain.skipped == ["warehouse.of_weather_data"]
    assert backfill.airflow.pushed["excluded_models"].split(" ") == ["of_refund", "of_weather_data"]


def test_claim_rejects_a_window_that_makes_no_sense(backfill: Claims) -> None:
    backfill.params = {"start_date": "2024-03-02", "end_date": "2024-03-01"}
    with pytest.raises(AirflowFailException, match="start_date 2024-03-02 is after end_date 2024-03-01"):
        backfill.claim(backfill.airflow.runs[0])
