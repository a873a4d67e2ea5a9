"""Airflow's own database is pruned by Airflow's command, with the days of the file."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from ecommerce.prune import airflow_database, retention_file
from ecommerce.prune.retention_file import RETENTION_FILE


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run; each fails with 3."""
    commands: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["airflow_database"])
    return commands


def parsed(command: list[str]) -> SimpleNamespace:
    """As Airflow's own command line understands it."""
    from airflow.cli.cli_parser import get_parser

    assert command[:3] == [sys.executable, "-m", "airflow"]
    return SimpleNamespace(**vars(get_parser().parse_args(command[3:])))


def test_airflow_deletes_what_is_older(commands: list[list[str]]) -> None:
    assert airflow_database.main() == 3
    (command,) = commands
    options = parsed(command)
    expected = datetime.now(UTC) - timedelta(days=90)
    assert abs(options.clean_before_timestamp - expected) < timedelta(minutes=1)
    assert (options.yes, options.dry_run, options.skip_archive, options.error_on_cleanup_failure) == (
        True, False, True, True,
    )  # fmt: skip
    assert options.batch_size == 5000
    assert options.tables is None


def test_dry_run_deletes_nothing(commands: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["airflow_database", "--dry-run"])
    airflow_database.main()
    options = parsed(commands[0])
    assert (options.yes, options.dry_run) == (False, True)


@pytest.mark.parametrize(
    ("days", "exit_code", "text"),
    [("keep", 0, "Airflow's own database is kept for ever"), ("3", 1, "error: retention.yml, line")],
)
def test_nothing_is_run_without_days(
    commands: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    days: str,
    exit_code: int,
    text: str,
) -> None:
    file = tmp_path / "retention.yml"
    file.write_text(RETENTION_FILE.read_text().replace("airflow.database: 90", f"airflow.database: {days}"))
    monkeypatch.setattr(retention_file, "RETENTION_FILE", file)
    assert airflow_database.main() == exit_code
    assert text in "".join(capsys.readouterr())
    assert commands == []
