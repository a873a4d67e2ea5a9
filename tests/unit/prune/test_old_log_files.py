"""Logs of tasks: old ones go with their folders; those of services, young ones and links stay."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ecommerce.prune.old_log_files import prune_logs

BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
OLD, YOUNG = BEFORE - timedelta(seconds=1), BEFORE + timedelta(seconds=1)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of ten bytes below the folder of logs, changed last at this time."""

    def write(name: str, at: datetime = OLD) -> Path:
        path = tmp_path / "logs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ten bytes\n")
        os.utime(path, (at.timestamp(), at.timestamp()))
        return path

    return write


def test_old_logs_go_with_their_folders(tmp_path: Path, write: Callable[..., Path]) -> None:
    attempts = [
        write(f"dag_id=d/run_id=a/task_id=t/attempt={n}.log{end}") for n, end in ((1, ""), (2, ".trigger.7.log"))
    ]
    write("dag_processor/2025-01-01/dags-folder/d.py.log")
    young = write("dag_id=d/run_id=b/task_id=t/attempt=1.log", YOUNG)
    write("dag_id=d/run_id=b/task_id=u/attempt=1.log")
    kept = [write("scheduler.log"), write("dag_id=d/run_id=a.txt"), young]
    folder = tmp_path / "logs"

    would_go = prune_logs(folder, BEFORE, dry_run=True)
    assert (would_go.deleted, would_go.size) == (4, 40)
    assert all(path.exists() for path in attempts)

    assert prune_logs(folder, BEFORE) == would_go
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(kept)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()} == {
        "dag_id=d", "dag_id=d/run_id=b", "dag_id=d/run_id=b/task_id=t",
    }  # fmt: skip
    again = prune_logs(folder, BEFORE)
    assert (again.deleted, again.size) == (0, 0)


def test_links_are_not_followed(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("dag_id=d/a.log", YOUNG)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = elsewhere / "other.log"
    other.write_text("another program's")
    os.utime(other, (0, 0))
    (tmp_path / "logs" / "latest").symlink_to(elsewhere)
    (tmp_path / "logs" / "dag_id=d" / "link.log").symlink_to(other)
    assert prune_logs(tmp_path / "logs", BEFORE).deleted == 0
    assert other.exists()


def test_folder_that_is_not_there_has_no_logs(tmp_path: Path) -> None:
    assert prune_logs(tmp_path / "logs", BEFORE).deleted == 0
