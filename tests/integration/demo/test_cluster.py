"""The stack's own Postgres, where a stack of the same place was deleted before."""

import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from include.demo import database
from include.demo import state as states
from include.demo.state import State


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the stacks of this test are."""
    tmp_path.chmod(0o755)
    for module in (database, states):
        monkeypatch.setattr(module, "STACK", tmp_path / "stack")
    monkeypatch.setattr(database, "LOGS", tmp_path / "stack" / "logs")
    yield tmp_path / "stack"
    database.stop()
    database.remove()


def marks(state: State) -> list[tuple]:
    with psycopg.connect(state.dsn()) as connection:
        return connection.execute("select 1 from pg_namespace where nspname = 'mine'").fetchall()


def test_a_stack_finds_its_cluster_again_and_another_makes_its_own(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = State.create_beside()
    database.start(first)
    with psycopg.connect(first.dsn(role="postgres"), autocommit=True) as connection:
        connection.execute("create schema mine")
    database.stop()
    database.start(first)
    assert marks(first) == [(1,)]

    # A clone that was deleted while its server ran, and made anew: its passwords are others.
    (place / "state.json").unlink()
    second = State.create_beside()
    with caplog.at_level(logging.INFO):
        database.start(second)
    assert "is of a stack that was deleted: it is made anew" in caplog.text
    assert marks(second) == []
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(first.dsn(), connect_timeout=3)
