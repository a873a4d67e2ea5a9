"""The passwords of Airflow's simple auth manager, and when the dbt manifest is written again."""

import json
import os
import stat
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from include.demo import airflow_services
from include.demo.airflow_services import write_passwords
from include.demo.errors import StackError
from include.demo.state import State


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    return tmp_path / "passwords.json"


def test_users_that_were_added_by_hand_keep_their_passwords(passwords: Path) -> None:
    state = State.create()
    passwords.write_text(json.dumps({"admin": "an earlier one", "viewer": "by hand"}))
    passwords.chmod(0o644)
    write_passwords(passwords, state)
    assert json.loads(passwords.read_text()) == {"admin": state.passwords["admin"], "viewer": "by hand"}
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", [None, ""])
def test_new_stack_has_the_admin_alone(passwords: Path, text: str | None) -> None:
    state = State.create()
    if text is not None:
        passwords.write_text(text)
    write_passwords(passwords, state)
    assert json.loads(passwords.read_text()) == {"admin": state.passwords["admin"]}
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_broken_file_is_an_error_and_stays(passwords: Path, text: str) -> None:
    passwords.write_text(text)
    with pytest.raises(StackError, match=r"passwords\.json should have user names and passwords"):
        write_passwords(passwords, State.create())
    assert passwords.read_text() == text


@pytest.mark.parametrize(
    ("dbt_version", "age", "is_written"),
    [(version("dbt-core"), -1, False), (version("dbt-core"), 1, True), ("1.10.0", -1, True), (None, 0, True)],
)
def test_manifest_is_written_again_after_a_change_and_by_another_dbt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dbt_version: str | None, age: int, is_written: bool
) -> None:
    """A manifest of another dbt has other names: the DAG would be made from it until a file changes."""
    model, manifest = tmp_path / "model.sql", tmp_path / "manifest.json"
    model.touch()
    if dbt_version:
        manifest.write_text(json.dumps({"metadata": {"dbt_version": dbt_version}}))
        os.utime(manifest, (model.stat().st_mtime - age,) * 2)
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=0)

    (tmp_path / "dags").mkdir()
    for name, value in {"MANIFEST": manifest, "ROOT": tmp_path, "project_files": lambda: [model]}.items():
        monkeypatch.setattr(airflow_services, name, value)
    monkeypatch.setattr(airflow_services.subprocess, "run", run)
    airflow_services.build_manifest()
    assert ["parse" in command for command in commands] == [True] * is_written
