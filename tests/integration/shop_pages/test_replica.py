"""The pages with `warehouse_reader` on a streaming replica: the same figures, and a word when it lags behind."""

import asyncio
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from fastapi.testclient import TestClient

from include.demo import database
from include.demo.state import State
from shop_pages import queries, replica
from shop_pages.pool import ConnectionPool
from tests.integration.shop_pages.conftest import client_of

PASSWORD = secrets.token_hex(8)
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = replica
max_wal_senders = 4
shared_buffers = 32MB
# A query of the replica is cancelled at once if it stands in the way of what the warehouse has done.
max_standby_streaming_delay = 0
"""
PUBLISH = """
    insert into ops.publication
        (publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted, published_at, undo_by)
    values (%s, 'a_run', 'figures', 0, 0, 0, now() - make_interval(mins => %s), 'rows')"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A Postgres server with a folder of its own, and the binaries of the tests' server."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.log = folder / "log"
        self.port = free_port()

    def dsn(self, role: str = "postgres", name: str = "warehouse") -> str:
        return f"postgresql://{role}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        database._write_as_server(self.data / "stack.conf", f"{SETTINGS}port = {self.port}\n")
        run("pg_ctl", "start", "-D", self.data, "-l", self.log, "-w", "-t", "60", "-s")

    def stop(self) -> None:
        database._command("pg_ctl", "stop", "-D", self.data, "-m", "immediate", "-w", "-s")

    def execute(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(statement.encode(), values)


def run(program: str | Path, *arguments: str | Path) -> None:
    done = database._command(str(program), *arguments)
    assert done.returncode == 0, f"{program}: {done.stderr}"


@contextmanager
def folder_of_server(name: str) -> Iterator[Path]:
    """A folder that the server's user may write to."""
    folder = database._home() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    database._give_to_server(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def primary(postgres: State) -> Iterator[Server]:
    """A warehouse with a mart, of which one publication is known."""
    with folder_of_server("primary") as folder:
        server = Server(folder)
        database._write_as_server(folder / "password", PASSWORD)
        run(
            *("initdb", "-D", server.data, "-U", "postgres", "-E", "UTF8", "--locale=C"),
            *("--auth=scram-sha-256", f"--pwfile={folder / 'password'}"),
        )
        database._write_as_server(server.data / "postgresql.conf", "\ninclude 'stack.conf'\n", append=True)
        server.start()
        with psycopg.connect(server.dsn(name="postgres"), autocommit=True) as connection:
            connection.execute("create database warehouse")
        database.make_tables(server.dsn())
        for role in ("reader", "inspector"):
            server.execute(f"alter role {role} login password '{PASSWORD}'")
        server.execute("create table marts.figures as select n from generate_series(1, 1000) as n")
        server.execute("grant select on marts.figures to reader")
        server.execute(PUBLISH, 1, 60)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def standby(primary: Server, set_connection: Callable[[str, str], None]) -> Iterator[Server]:
    """Its streaming replica, to which the connection `warehouse_reader` leads."""
    with folder_of_server("standby") as folder:
        server = Server(folder)
        run("pg_basebackup", "-D", server.data, "-R", "-c", "fast", "-d", primary.dsn(name="postgres"))
        server.start()
        set_connection("warehouse_reader", server.dsn("reader"))
        set_connection("warehouse_inspector", primary.dsn("inspector"))
        yield server
        server.stop()


def wait_until_replayed(primary: Server, standby: Server) -> None:
    with psycopg.connect(primary.dsn(), autocommit=True) as connection:
        (position,) = connection.execute("select pg_current_wal_lsn()::text").fetchone() or ("",)
    with psycopg.connect(standby.dsn(), autocommit=True) as connection:
        deadline = time.monotonic() + 20
        while not connection.execute("select where pg_last_wal_replay_lsn() >= %s::pg_lsn", [position]).rowcount:
            assert time.monotonic() < deadline, "the replica does not catch up"
            time.sleep(0.1)


@pytest.fixture
def admin(
    primary: Server, standby: Server, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """A user of the pages, which look at the replica each time."""
    for module in (queries, replica):
        monkeypatch.setattr(module, "FRESH_SECONDS", 0.2)
    wait_until_replayed(primary, standby)
    with client_of(tokens["admin"]) as client:
        yield client


def page(client: TestClient) -> str:
    """A page after the look that an earlier one has begun."""
    time.sleep(0.3)
    client.get("/metrics")
    time.sleep(0.3)
    return client.get("/metrics").text


def reasons(client: TestClient) -> dict[str, str]:
    return {reason["part"]: reason["message"] for reason in client.get("/health").json()["reasons"]}


def test_pages_say_what_a_replica_lacks_until_it_has_caught_up(
    admin: TestClient, primary: Server, standby: Server
) -> None:
    assert "not the latest" not in page(admin)
    assert "replica" not in reasons(admin)
    standby.execute("select pg_wal_replay_pause()")
    try:
        for number, minutes in ((2, 10), (3, 5)):
            primary.execute(PUBLISH, number, minutes)
        text = page(admin)
        assert "The replica that the pages read lacks 2 publications, the first of" in " ".join(text.split())
        assert reasons(admin)["replica"].startswith("the replica that the pages read lacks 2 publications")
        assert admin.get("/health").status_code == 503
    finally:
        standby.execute("select pg_wal_replay_resume()")
    wait_until_replayed(primary, standby)
    assert "not the latest" not in page(admin)
    assert "replica" not in reasons(admin)


def test_a_publication_of_this_moment_is_not_missed(admin: TestClient, primary: Server, standby: Server) -> None:
    standby.execute("select pg_wal_replay_pause()")
    try:
        primary.execute(PUBLISH, 4, 0)
        assert "not the latest" not in page(admin)
        assert "replica" not in reasons(admin)
    finally:
        standby.execute("select pg_wal_replay_resume()")
    wait_until_replayed(primary, standby)


def test_query_that_the_replica_cancels_is_asked_again(primary: Server, standby: Server) -> None:
    """A mart that is created anew takes away what a query of the replica is reading."""

    async def ask() -> list[dict[str, object]]:
        pool = ConnectionPool("warehouse_reader", size=1)
        query = asyncio.create_task(pool.fetch("select count(*) as n, pg_sleep(0.8)::text from marts.figures", {}))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(primary.execute, "alter table marts.figures add column more int")
        rows = await query
        await pool.close()
        return rows

    conflicts = "select sum(confl_lock) from pg_stat_database_conflicts"
    assert asyncio.run(ask())[0]["n"] == 1000
    with psycopg.connect(standby.dsn()) as connection:
        assert connection.execute(conflicts.encode()).fetchone() == (1,)
