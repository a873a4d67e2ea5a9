"""The passwords of Airflow's simple auth manager: the stack writes the admin's, and those of other users stay."""

import json
import stat
from pathlib import Path

import pytest

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
