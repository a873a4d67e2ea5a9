"""The pool of connections: its limit, dead connections, failures, and an event loop that is never blocked."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from shop_pages import pool as pool_module
from shop_pages.pool import ConnectionPool, WarehouseUnavailable

SESSIONS = (
    "select count(*) as n from pg_stat_activity where usename = current_user and application_name = 'airflow pages'"
)


@pytest.fixture
def reader_dsn(dsn_of: Callable[[str], str]) -> str:
    return dsn_of("reader")


def terminate_sessions(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = current_user and pid <> pg_backend_pid()"
        )


@pytest.fixture
def unresponsive_port() -> Iterator[int]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        accepted = []

        def accept() -> None:
            while True:
                try:
                    accepted.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]


def test_pool_opens_no_connection_before_first_query_and_never_more_than_its_size(reader_dsn: str) -> None:
    async def run() -> list[int]:
        pool = ConnectionPool("warehouse_reader", size=2)
        with psycopg.connect(reader_dsn, autocommit=True) as observer:
            counts = [observer.execute(SESSIONS.encode()).fetchone()[0]]  # type: ignore[index]
            await asyncio.gather(*(pool.fetch("select pg_sleep(0.05)", {}) for _ in range(6)))
            counts.append(observer.execute(SESSIONS.encode()).fetchone()[0])  # type: ignore[index]
        await pool.close()
        return counts

    assert asyncio.run(run()) == [0, 2]


def test_pool_replaces_all_connections_that_server_has_closed(reader_dsn: str) -> None:
    async def run() -> float:
        pool = ConnectionPool("warehouse_reader", size=3)
        await asyncio.gather(*(pool.fetch("select pg_sleep(0.05)", {}) for _ in range(3)))
        terminate_sessions(reader_dsn)
        started = time.monotonic()
        for _ in range(4):
            assert await pool.fetch("select 1 as n", {}) == [{"n": 1}]
        seconds = time.monotonic() - started
        await pool.close()
        return seconds

    assert asyncio.run(run()) < 2


def test_pool_keeps_connection_after_cancelled_statement(reader_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        pool = ConnectionPool("warehouse_reader", size=1)
        (first,) = await pool.fetch("select pg_backend_pid() as pid", {})
        with pytest.raises(WarehouseUnavailable, match="did not answer within 2 s"):
            await pool.fetch("select pg_sleep(30)", {})
        with pytest.raises(WarehouseUnavailable, match="nothing is there yet"):
            await pool.fetch("select * from marts.no_such_mart", {})
        assert await pool.fetch("select pg_backend_pid() as pid", {}) == [first]
        await pool.close()

    asyncio.run(run())


def test_failed_connection_is_reported_at_once_and_not_retried_within_retry_after(
    dsn_of: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "RETRY_AFTER", 1.0)
    attempts = []
    original = pool_module.connection_arguments

    def count_attempts(conn_id: str) -> dict:
        attempts.append(conn_id)
        return original(conn_id)

    monkeypatch.setattr(pool_module, "connection_arguments", count_attempts)
    working = pool_module.connection_by_id("warehouse_reader").get_uri()
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed_port = server.getsockname()[1]

    async def run() -> None:
        pool = ConnectionPool("warehouse_reader")
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_READER", f"postgres://reader:x@127.0.0.1:{closed_port}/warehouse")
        started = time.monotonic()
        answers = await asyncio.gather(*(pool.fetch("select 1", {}) for _ in range(5)), return_exceptions=True)
        assert time.monotonic() - started < 0.7
        assert {type(answer) for answer in answers} == {WarehouseUnavailable}
        assert "refused" in str(answers[0])
        attempts_before = len(attempts)
        with pytest.raises(WarehouseUnavailable, match="refused"):
            await pool.fetch("select 1", {})
        assert len(attempts) == attempts_before
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_READER", working)
        await asyncio.sleep(1.1)
        assert await pool.fetch("select 1 as n", {}) == [{"n": 1}]
        await pool.close()

    asyncio.run(run())


def test_unresponsive_server_neither_blocks_event_loop_nor_shutdown(
    dsn_of: object, monkeypatch: pytest.MonkeyPatch, unresponsive_port: int
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_READER", f"postgres://reader:x@127.0.0.1:{unresponsive_port}/warehouse")

    async def run() -> tuple[float, float]:
        pool = ConnectionPool("warehouse_reader")
        query = asyncio.create_task(pool.fetch("select 1", {}))
        longest = 0.0
        for _ in range(50):
            started = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - started)
        started = time.monotonic()
        await pool.close()
        seconds = time.monotonic() - started
        await asyncio.gather(query, return_exceptions=True)
        return longest, seconds

    longest, seconds = asyncio.run(run())
    assert longest < 0.4
    assert seconds < 3
