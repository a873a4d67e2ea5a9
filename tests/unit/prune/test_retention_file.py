"""`include/retention.yml`: its days, those of the docs, and the message for each kind of mistake."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from ecommerce.common.errors import RetentionError
from ecommerce.prune import retention_file
from ecommerce.prune.prunable_tables import NEVER_PRUNED, PACKABLE_TABLE, PRUNABLE_TABLES
from ecommerce.prune.retention_file import AIRFLOW_DATABASE, RETENTION_FILE, read_retention
from include.demo.state import ROOT

DOCS = (ROOT / "docs" / "retention.md").read_text()


def rows_of(header: str) -> list[list[str]]:
    """The cells of the rows of the table of the docs with this header."""
    body = DOCS.split(header, 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in body]


def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> retention_file.Retention:
    file = tmp_path / "retention.yml"
    file.write_text(text)
    monkeypatch.setattr(retention_file, "RETENTION_FILE", file)
    return read_retention()


def test_nothing_runs_by_itself_unless_somebody_says_so() -> None:
    assert read_retention().schedule is None


def test_docs_have_the_days_of_the_file_and_what_stays() -> None:
    documented = {
        re.sub("`", "", place): (days, minimum, stays)
        for place, days, minimum, stays in rows_of("| Place | Days | At least | What stays, however old |")
    }
    retention = read_retention()
    assert documented.keys() == retention.days.keys()
    for place, (days, minimum, stays) in documented.items():
        assert days == str(retention.days[place] or "keep"), place
        assert minimum == str(retention_file._MINIMUM_DAYS[place]), place
        if table := (PRUNABLE_TABLES | {PACKABLE_TABLE.name: PACKABLE_TABLE}).get(place):
            assert stays == table.stays, place


def test_docs_have_each_table_that_is_never_pruned() -> None:
    listed = [name for cells in rows_of("| Never pruned | Why |") for name in re.findall(r"`([a-z]+\.\w+)`", cells[0])]
    assert sorted(listed) == sorted(NEVER_PRUNED)


def test_helm_values_have_the_same_days_for_airflow() -> None:
    values = yaml.safe_load((ROOT / "deploy" / "helm" / "values.yaml").read_text())
    assert values["databaseCleanup"]["retentionDays"] == read_retention().days[AIRFLOW_DATABASE]


def test_days_count_from_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = RETENTION_FILE.read_text().replace("ops.alert: 400", "ops.alert: keep")
    retention = read(tmp_path, monkeypatch, text.replace("schedule: null", 'schedule: "0 5 * * 0"'))
    now = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert retention.before("airflow.logs", now) == datetime(2026, 4, 2, 12, tzinfo=UTC)
    assert retention.before("ops.alert", now) is None
    assert retention.schedule == "0 5 * * 0"


@pytest.mark.parametrize(
    ("line", "wrong", "message"),
    [
        ("ops.alert: 400", "ops.alert: soon", "ops.alert: is 'soon'; write a number of days, 30 or more, or keep"),
        ("ops.alert: 400", "ops.alert: 29", "ops.alert: is 29; write a number of days, 30 or more, or keep"),
        ("ops.alert: 400", "ops.alert: true", "ops.alert: is True; write a number of days, 30 or more, or keep"),
        ("ops.alert: 400", "ops.alert: 400.5", "ops.alert: is 400.5; write a number of days, 30 or more, or keep"),
        ("ops.alert: 400", "ops.alert:", "ops.alert: is None; write a number of days, 30 or more, or keep"),
        ("ops.alert: 400", "ops.alert: 99999", "ops.alert: is 99999; write a number of days, 30 or more, or keep"),
        ("ops.alert: 400", "ops.alerts: 400", "ops.alerts: there is no such table to prune; there are airflow.data"),
        ("raw.kafka_stream: keep", "raw.kafka_stream: 400", "raw.kafka_stream: is 400; a full refresh builds the fact"),
        ("raw.kafka_stream: keep", "raw.kafka_stream: {days: 400}", "raw.kafka_stream: is {'days': 400}; a full refre"),
        (
            "raw.kafka_stream: keep",
            "raw.kafka_stream: {days: 400, facts_are_kept: false}",
            "raw.kafka_stream: is {'days': 400, 'facts_are_kept': False}; a full refresh",
        ),
        (
            "raw.kafka_stream: keep",
            "raw.kafka_stream: {days: 119, facts_are_kept: true}",
            "raw.kafka_stream: is {'days': 119, 'facts_are_kept': True}; a full refresh",
        ),
        ("ops.alert: 400", "raw.sales_fact: 400", "raw.sales_fact: is never pruned: a full refresh builds all marts"),
        ("ops.alert: 400", "ops.erased_value: 400", "ops.erased_value: is never pruned: a load would bring the erase"),
        ("ops.check_failure: 180", "ops.check_failure: 401", "ops.check_failure: is 401; its rows belong to results"),
        ("ops.check_failure: 180", "ops.check_failure: keep", "ops.check_failure: is keep; its rows belong to result"),
        ("schedule: null", "schedule: weekly", "schedule is 'weekly'; write five fields of cron, such as"),
    ],
)
def test_mistake_is_named_by_line_and_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, wrong: str, message: str
) -> None:
    text = RETENTION_FILE.read_text()
    number = text[: text.index(line)].count("\n") + 1
    with pytest.raises(RetentionError, match=re.escape(f"retention.yml, line {number}: {message}")):
        read(tmp_path, monkeypatch, text.replace(line, wrong))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: write `schedule:`, and `days:` with a line for each table below it"),
        ("days: [", "retention.yml is no YAML: while parsing"),
        ("schedule: null\ndays: {ops.alert: 400}\nday: 3", "line 3: there is no setting day; there are schedule and"),
        ("schedule: null\ndays: {ops.alert: 400}", "line 2: ops.check_result is missing; write its days, or keep"),
        ("schedule: null\ndays:\n  ops.alert: 40\n  ops.alert: 4", "no YAML: ops.alert is there twice, in line 3 and"),
    ],
)
def test_file_without_its_form_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    with pytest.raises(RetentionError, match=re.escape(message)):
        read(tmp_path, monkeypatch, text)


def test_line_that_says_what_is_so_anyway_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(tmp_path, monkeypatch, RETENTION_FILE.read_text() + "  raw.sales_fact: keep\n").days


def test_messages_are_packed_only_if_the_file_says_that_facts_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_retention().before("raw.kafka_stream") is None
    told = "raw.kafka_stream: {days: 400, facts_are_kept: true}"
    retention = read(tmp_path, monkeypatch, RETENTION_FILE.read_text().replace("raw.kafka_stream: keep", told))
    now = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert retention.before("raw.kafka_stream", now) == datetime(2025, 5, 27, 12, tzinfo=UTC)
