"""The calendar of the page Data status, and the steps of a run."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from shop_pages import status
from shop_pages.airflow_access import TaskTimes


def test_calendar_shows_state_of_each_day() -> None:
    def row(day: int, **other: Any) -> dict[str, Any]:
        plain = {
            "batch_id": 1, "is_loaded": True, "is_failed": False, "is_published": False, "rejected": None,
            "is_dirty": False, "rows_of_day": None, "rows_of_load": 100, "rows_of_loads": None,
        }  # fmt: skip
        return {"source": "sales_fact", "day": date(2024, 1, day), **plain, **other}

    rows = [
        row(2, is_published=True), row(3), row(5, is_dirty=True), row(6, rejected=2, is_published=True),
        row(7, is_loaded=False, is_failed=True), row(8, is_published=True, is_failed=True),
    ]  # fmt: skip
    reach = [
        {"source": "sales_fact", "first_day": date(2024, 1, 2), "last_day": date(2024, 1, 8)},
        {"source": "customer", "first_day": date(2024, 1, 1), "last_day": date(2024, 1, 9)},
    ]
    cells = status.calendar(rows, reach, date(2024, 1, 1), date(2024, 1, 10))["sales_fact"]
    assert [cell.state for cell in cells] == [
        "none", "published", "loaded", "missing", "dirty", "quarantined", "failed", "failed", "late", "none",
    ]  # fmt: skip
    assert cells[5].title == "Sales fact, 2024-01-06: loaded, 2 of 100 rows of its load rejected (2%), published"
    assert cells[6].title == "Sales fact, 2024-01-07: last load failed, no data"
    assert cells[7].title == "Sales fact, 2024-01-08: last load failed, with the rows of an earlier load"


@pytest.mark.parametrize(
    ("rejected", "rows_of_day", "letter", "text"),
    [
        (42, 92, "31%", "42 of 134 rows of the day rejected (31%)"),
        (1, 133, "<1%", "1 of 134 rows of the day rejected (<1%)"),
        (999, 1, "99%", "999 of 1,000 rows of the day rejected (99%)"),
        (3, 0, "100%", "3 of 3 rows of the day rejected (100%)"),
    ],
)
def test_cell_shows_the_share_of_rejected_rows(rejected: int, rows_of_day: int, letter: str, text: str) -> None:
    day = date(2024, 1, 1)
    row = {
        "source": "sales_fact", "day": day, "batch_id": 1, "is_loaded": True, "is_failed": False, "is_published": True,
        "rejected": rejected, "rows_of_day": rows_of_day, "rows_of_load": 5_000, "rows_of_loads": None,
        "is_dirty": True,
    }  # fmt: skip
    reach = [{"source": "sales_fact", "first_day": day, "last_day": day}]
    (cell,) = status.calendar([row], reach, day, day)["sales_fact"]
    # Also while the marts are not rebuilt: the check that stops their publication may have failed for these rows.
    assert (cell.state, cell.letter) == ("quarantined", letter)
    assert cell.title == f"Sales fact, 2024-01-01: loaded, {text}, marts not rebuilt yet"


def test_run_steps_add_up_tasks_of_each_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def at(minute: int) -> datetime:
        return datetime(2024, 1, 1, 0, minute, tzinfo=UTC)

    tasks = [
        TaskTimes("run", "marts.daily_revenue", "failed", at(4), at(6)),
        TaskTimes("run", "extract.sales_fact", "success", at(0), at(2)),
        TaskTimes("run", "extract.customer", "success", at(1), at(3)),
        TaskTimes("run", "refresh_marts", "upstream_failed", None, None),
    ]
    monkeypatch.setattr(status, "task_times", lambda dag_id, run_ids: tasks)
    steps = status.run_steps("a_dag", ["run"])["run"]
    assert [(step.name, step.tasks, step.failed, step.seconds, step.task_seconds) for step in steps] == [
        ("extract", 2, 0, 180.0, 240.0),
        ("marts", 1, 1, 120.0, 120.0),
    ]
