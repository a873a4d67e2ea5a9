"""The state file of a stack: who may read it, secrets, addresses."""

import stat
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from include.demo import state
from include.demo.state import State


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty stack's folder."""
    monkeypatch.setattr(state, "STACK", tmp_path / "stack")
    return tmp_path / "stack"


def test_state_is_none_without_a_stack(folder: Path) -> None:
    assert State.load() is None


def test_state_file_is_readable_by_its_owner_alone(folder: Path) -> None:
    made = State.create()
    made.ports["KAFKA_PORT"] = 1234
    made.shop = {"folder": "somewhere"}
    made.save()
    made.save()
    assert State.load() == made
    assert stat.S_IMODE((folder / "state.json").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["state.json"]


def test_folder_of_a_stack_is_closed_to_others(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    State.create().save()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    # A stack of an earlier version.
    folder.chmod(0o755)
    assert State.load() is not None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_address_for_a_command_line_has_no_password(folder: Path) -> None:
    made = State.create()
    made.ports = {"POSTGRES_PORT": 5}
    made.save()
    addresses = [made.dsn_by_file(), made.dsn_by_file("warehouse", "reader"), made.dsn_by_file("shop")]
    assert not [secret for secret in made.passwords.values() for address in addresses if secret in address]
    assert conninfo_to_dict(addresses[1]) == {
        "user": "reader", "host": "127.0.0.1", "port": "5", "dbname": "warehouse", "passfile": str(folder / "pgpass"),
    }  # fmt: skip
    assert stat.S_IMODE((folder / "pgpass").stat().st_mode) == 0o600
    passwords = (folder / "pgpass").read_text().splitlines()
    assert f"127.0.0.1:*:*:reader:{made.passwords['reader']}" in passwords
    assert made.passwords["admin"] not in "".join(passwords)


def test_secrets_of_two_stacks_differ() -> None:
    one, other = State.create(), State.create()
    secrets = [*one.passwords.values(), *one.keys.values(), *other.passwords.values(), *other.keys.values()]
    assert len(secrets) == len(set(secrets))
    assert min(map(len, secrets)) >= 20


def test_addresses_contain_ports_and_passwords() -> None:
    made = State.create()
    made.ports = {"POSTGRES_PORT": 5, "KAFKA_PORT": 6, "AIRFLOW_PORT": 7}
    made.passwords |= {"warehouse": "w", "reader": "r"}
    assert made.dsn() == "postgresql://warehouse:w@127.0.0.1:5/warehouse"
    assert made.dsn("warehouse", "reader") == "postgresql://reader:r@127.0.0.1:5/warehouse"
    assert (made.bootstrap, made.airflow_url) == ("127.0.0.1:6", "http://localhost:7")
