"""What the stack remembers, and the ports it takes."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.demo import state
from include.demo.errors import StackError
from include.demo.state import PORTS, State, choose_port


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which someone listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    """A port on which no one listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("current", [None, 1])
def test_the_port_that_was_asked_for(monkeypatch: pytest.MonkeyPatch, free: int, current: int | None) -> None:
    monkeypatch.setenv("KAFKA_PORT", str(free))
    assert choose_port("KAFKA_PORT", current) == free


def test_a_port_that_was_asked_for_and_is_taken(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    monkeypatch.setenv("KAFKA_PORT", str(taken))
    says = rf"^port {taken} \(KAFKA_PORT\) is taken by another program; choose another: make up KAFKA_PORT=\.\.\.$"
    with pytest.raises(StackError, match=says):
        choose_port("KAFKA_PORT", None)


@pytest.mark.parametrize("wanted", ["0", "65536", "-1", "http", "80.5"])
def test_what_is_no_port(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv("KAFKA_PORT", wanted)
    with pytest.raises(StackError, match=f"^KAFKA_PORT={wanted} is not a port number$"):
        choose_port("KAFKA_PORT", None)


def test_a_service_keeps_its_port(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.delenv("KAFKA_PORT", raising=False)
    assert choose_port("KAFKA_PORT", free) == free


def test_a_service_moves_when_its_port_was_taken(monkeypatch: pytest.MonkeyPatch, taken: int, free: int) -> None:
    monkeypatch.delenv("KAFKA_PORT", raising=False)
    monkeypatch.setitem(PORTS, "KAFKA_PORT", free)
    assert choose_port("KAFKA_PORT", taken) == free


def test_any_free_port_when_the_preferred_one_is_taken(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    monkeypatch.delenv("KAFKA_PORT", raising=False)
    monkeypatch.setitem(PORTS, "KAFKA_PORT", taken)
    found = choose_port("KAFKA_PORT", taken)
    assert found != taken
    with socket.create_server(("127.0.0.1", found)):
        """It can be listened on."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty stack's folder."""
    monkeypatch.setattr(state, "STACK", tmp_path / "stack")
    return tmp_path / "stack"


def test_no_stack_yet(folder: Path) -> None:
    assert State.load() is None


def test_a_state_is_remembered_by_its_owner_alone(folder: Path) -> None:
    made = State.create()
    made.ports["KAFKA_PORT"] = 1234
    made.shop = {"folder": "somewhere"}
    made.save()
    made.save()
    assert State.load() == made
    assert stat.S_IMODE((folder / "state.json").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["state.json"]


def test_no_two_stacks_share_a_secret() -> None:
    one, other = State.create(), State.create()
    secrets = [*one.passwords.values(), *one.keys.values(), *other.passwords.values(), *other.keys.values()]
    assert len(secrets) == len(set(secrets))
    assert min(map(len, secrets)) >= 20


def test_addresses() -> None:
    made = State.create()
    made.ports = {"POSTGRES_PORT": 5, "KAFKA_PORT": 6, "AIRFLOW_PORT": 7}
    made.passwords |= {"warehouse": "w", "reader": "r"}
    assert made.dsn() == "postgresql://warehouse:w@127.0.0.1:5/warehouse"
    assert made.dsn("warehouse", "reader") == "postgresql://reader:r@127.0.0.1:5/warehouse"
    assert (made.bootstrap, made.airflow_url) == ("127.0.0.1:6", "http://localhost:7")
