"""The commands behind the Makefile: what they pass on, what they help with, and how they end."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.demo import __main__ as commands
from include.demo import processes, stack
from include.demo.errors import StackError
from include.demo.logs import show_log
from include.demo.state import ROOT, State


def made(*arguments: str) -> list[str]:
    """The arguments that a command of make passes on."""
    shown = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = re.findall(r"-m include\.demo ((?:.*\\\n)*.*)", shown)
    return [part.strip('"') for part in re.findall(r'"[^"]*"|[^\s\\]+', line)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["replay", "SOURCE=refund", "BATCH=3", "REASON=is negative", "DRY_RUN=1"],
            {"source": "refund", "batch": 3, "reason": "is negative", "dry_run": True},
        ),
        (["replay"], {"source": None, "batch": None, "reason": None, "dry_run": False}),
        (["rollback", "PUBLICATION=12", "DRY_RUN=1"], {"publication": 12, "dry_run": True}),
        (["rollback"], {"publication": None, "dry_run": False}),
        (
            ["erase", "CUSTOMER=anna o'hara@example.org", "DRY_RUN=1"],
            {"customer": "anna o'hara@example.org", "dry_run": True},
        ),
        (["erase", "CUSTOMER=CUST001"], {"customer": "CUST001", "dry_run": False}),
        (["prune", "DRY_RUN=1"], {"dry_run": True}),
        (["prune"], {"dry_run": False}),
        (["verify", "DAYS=30", "SEED=1", "FULL=1"], {"days": 30, "seed": 1, "full": True}),
        (["verify"], {"days": 7, "seed": None, "full": False}),
        (["restart", "SERVICE=scheduler", "FORCE=1"], {"service": "scheduler", "force": True}),
        (["restart"], {"service": None, "force": False}),
        (["logs", "SERVICE=kafka", "LINES=9", "FOLLOW=1"], {"service": "kafka", "lines": 9, "follow": True}),
    ],
)
def test_command_of_make_passes_its_variables_on(arguments: list[str], expected: dict[str, Any]) -> None:
    parsed = vars(commands._parser().parse_args(made(*arguments)))
    assert {name: value for name, value in parsed.items() if name != "work"} == expected


@pytest.mark.parametrize(
    "command", ["run", "backfill", "replay", "rollback", "erase", "prune", "verify", "restart", "logs"]
)
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        commands._parser().parse_args(made(command, "HELP=1"))
    assert end.value.code == 0
    assert f"make {command}" in capsys.readouterr().out


class Runs:
    """The runs that a command starts, and how each of them ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, succeed: bool = True) -> None:
        self.started: list[tuple[str, dict[str, Any]]] = []
        self.state = State.create()
        self.state.ports = {"POSTGRES_PORT": 1}
        for name in ("running", "running_with_the_chosen_shop"):
            monkeypatch.setattr(stack, name, lambda: self.state)
        monkeypatch.setattr(stack, "api_of", lambda state: None)
        monkeypatch.setattr(stack, "let_airflow_read_changed_files", lambda state: None)
        monkeypatch.setattr(commands, "trigger", self.trigger)
        monkeypatch.setattr(commands, "follow", lambda api, dag_id, run_id: succeed)
        monkeypatch.setattr(commands, "run_summary", lambda dsn, run_id, is_to_publish: [f"what {run_id} has done"])
        monkeypatch.setattr(commands, "rollback_in_words", lambda dsn, target: [f"restores {target}"])
        monkeypatch.setattr(commands, "sources_in_quarantine", lambda dsn: ["refund", "sales_fact"])

    def trigger(self, api: None, dag_id: str, conf: dict[str, Any]) -> str:
        self.started.append((dag_id, conf))
        return f"run{len(self.started)}"


def call(*arguments: str) -> int:
    parsed = commands._parser().parse_args(arguments)
    return int(parsed.work(parsed))


def test_commands_do_without_airflow() -> None:
    """Airflow takes seconds to import, and sends all messages to standard output in a form of its own."""
    script = "import sys; import include.demo.__main__; print(sorted(m for m in sys.modules if m == 'airflow'))"
    outcome = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "plugins"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert outcome.stdout == "[]\n"


@pytest.mark.parametrize("succeed", [True, False])
def test_command_follows_its_run_and_says_what_it_has_done(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, succeed: bool
) -> None:
    caplog.set_level(logging.INFO)
    runs = Runs(monkeypatch, succeed=succeed)
    for arguments, dag_id, conf in (
        (["run", "--from", "2024-06-01", "--to", "2024-06-02"], "ecommerce_warehouse", {"end_date": "2024-06-02"}),
        (["rollback", "--publication", "12"], "rollback_publication", {"publication_id": 12}),
        (["erase", "--customer", "C1"], "erase_customer", {"customer": "C1", "dry_run": False}),
        (["verify", "--full"], "verify_warehouse", {"days": 7, "seed": None, "full": True}),
        (["replay", "--source", "refund"], "replay_quarantine", {"source": "refund", "batch": None}),
    ):
        caplog.clear()
        runs.started.clear()
        assert call(*arguments) == (0 if succeed else 1)
        ((started, passed),) = runs.started
        assert started == dag_id
        assert conf.items() <= passed.items()
        assert "  what run1 has done" in caplog.messages


@pytest.mark.parametrize(
    ("arguments", "task"),
    [
        (["run", "--dry-run"], "claim"),
        (["replay", "--source", "refund", "--dry-run"], "replay"),
        (["erase", "--customer", "C1", "--dry-run"], "erase"),
    ],
)
def test_dry_run_shows_its_report(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, arguments: list[str], task: str
) -> None:
    class Logs:
        def task_messages(self, dag_id: str, run_id: str, task_id: str) -> list[str]:
            return [f"DRY RUN: {task_id} would load 3", "another line"]

    caplog.set_level(logging.INFO)
    Runs(monkeypatch)
    monkeypatch.setattr(stack, "api_of", lambda state: Logs())
    assert call(*arguments) == 0
    assert f"  DRY RUN: {task} would load 3" in caplog.messages
    assert not any("another line" in message or "has done" in message for message in caplog.messages)


@pytest.mark.parametrize(("succeed", "exit_code"), [(True, 3), (False, 1)])
@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_prune_lets_airflow_prune_its_own_database_before_the_run(
    monkeypatch: pytest.MonkeyPatch, options: list[str], succeed: bool, exit_code: int
) -> None:
    runs = Runs(monkeypatch, succeed=succeed)
    ran: list[tuple[str, ...]] = []

    def run_with_connections(state: State, *arguments: str) -> int:
        assert runs.started == []
        ran.append(arguments)
        return 3

    monkeypatch.setattr(commands, "_run_with_connections", run_with_connections)
    monkeypatch.setattr(stack, "api_of", lambda state: SimpleNamespace(task_messages=lambda *_: []))
    assert call("prune", *options) == exit_code
    assert runs.started == [("prune_warehouse", {"dry_run": bool(options)})]
    assert ran == [("ecommerce.prune.airflow_database", *options)]


def test_backfill_says_what_its_last_run_has_done(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Backfill:
        def backfill_runs(self, dag_id: str, first: str, last: str) -> list[dict[str, str]]:
            return [{"dag_run_id": f"backfill__2024-06-{day}T00:00:00+00:00"} for day in ("02", "03", "01")]

    caplog.set_level(logging.INFO)
    Runs(monkeypatch)
    monkeypatch.setattr(stack, "api_of", lambda state: Backfill())
    for succeed in (True, False):
        monkeypatch.setattr(commands, "backfill", lambda api, *days, max_active_runs, succeed=succeed: succeed)
        assert call("backfill", "--from", "2024-05-31", "--to", "2024-06-02") == (0 if succeed else 1)
        assert caplog.messages[-1] == "  what backfill__2024-06-03T00:00:00+00:00 has done"


def test_replay_without_a_source_is_of_each_that_has_rejected_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch)
    assert call("replay") == 0
    assert [conf["source"] for _, conf in runs.started] == ["refund", "sales_fact"]
    monkeypatch.setattr(commands, "sources_in_quarantine", lambda dsn: [])
    runs.started.clear()
    assert call("replay") == 0
    assert runs.started == []


def test_rollback_says_first_what_it_changes_and_a_dry_one_nothing_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    runs = Runs(monkeypatch)
    assert call("rollback", "--publication", "12", "--dry-run") == 0
    assert (runs.started, caplog.messages) == ([], ["  restores 12"])
    assert call("rollback", "--publication", "12") == 0
    assert len(runs.started) == 1
    assert "dags pause ecommerce_warehouse" in caplog.messages[-1]


def test_log_of_a_service_is_shown_by_its_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "LOGS", tmp_path)
    (tmp_path / "airflow-scheduler.log").write_text("one\ntwo\nthree\n")
    (tmp_path / "kafka.log").write_text("broker\n")
    for service in ("scheduler", "airflow-scheduler"):
        assert show_log(service, lines=2, is_followed=False) == 0
        assert capfd.readouterr().out == "two\nthree\n"
    with pytest.raises(StackError, match="webserver has no log; there are logs of kafka, scheduler"):
        show_log("webserver", lines=2, is_followed=False)
