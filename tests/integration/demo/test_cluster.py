"""The stack's Postgres: a deleted stack's cluster is created again, and a port taken by another program is left."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from include.demo import database
from include.demo import state as states
from include.demo.state import State


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the stack, for this test."""
    tmp_path.chmod(0o755)
    for module in (database, states):
        monkeypatch.setattr(module, "STACK", tmp_path / "stack")
    monkeypatch.setattr(database, "LOGS", tmp_path / "stack" / "logs")
    yield tmp_path / "stack"
    database.stop()
    database.remove()


def schemas(state: State) -> list[tuple]:
    with psycopg.connect(state.dsn()) as connection:
        return connection.execute("select 1 from pg_namespace where nspname = 'mine'").fetchall()


def test_cluster_is_kept_by_its_stack_and_created_again_by_another(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = State.create_beside()
    database.start(first)
    with psycopg.connect(first.dsn(role="postgres"), autocommit=True) as connection:
        connection.execute("create schema mine")
    database.stop()
    database.start(first)
    assert schemas(first) == [(1,)]

    # As after a clone was deleted while its server ran, and cloned again: the new stack has other passwords.
    (place / "state.json").unlink()
    second = State.create_beside()
    with caplog.at_level(logging.INFO):
        database.start(second)
    assert "belongs to a stack that was deleted: it is created again" in caplog.text
    assert schemas(second) == []
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(first.dsn(), connect_timeout=3)


def test_server_moves_if_its_port_is_taken_before_its_start(place: Path) -> None:
    state = State.create_beside()
    port = state.ports["POSTGRES_PORT"]
    with socket.create_server(("127.0.0.1", port)):
        database.start(state)
    assert state.ports["POSTGRES_PORT"] != port
    assert State.load() == state
    assert schemas(state) == []
