"""
Reading the warehouse for the pages: read-only, bounded in rows and in time, and asked as seldom as can be.

All of it runs in the API server's event loop: a warehouse that does not answer holds a few connections, and none of the
threads in which Airflow answers everyone else. What marts answered holds until another publication is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from shop_pages.limits import (
    BUSY_PATIENCE,
    CONNECTIONS,
    FRESH_FOR,
    KEPT_ROWS,
    PATIENCE,
    RETRY_AFTER,
    ROW_CAP,
    STATEMENT_TIMEOUT,
)

Row = dict[str, Any]
T = TypeVar("T")
#: Host and port → when it last answered anything (`time.monotonic`).
Answers = dict[tuple[Any, Any], float]

#: Of the session: it cannot write, cannot wait for long, and speaks of UTC. One query takes one processor, so that a
#: page leaves the others to a run, and compiles nothing, which takes longer than a page may.
_SESSION = (
    "-c default_transaction_read_only=on -c timezone=UTC -c datestyle=ISO -c search_path=pg_catalog"
    f" -c statement_timeout={int(STATEMENT_TIMEOUT * 1000)} -c lock_timeout=500"
    " -c idle_in_transaction_session_timeout=5000 -c max_parallel_workers_per_gather=0 -c jit=off"
)

#: The last publication, by the last one of each mart: a history of years has many, and the view's index leads to these.
_PUBLICATION = """
    select max(last.publication_id) as publication_id, max(last.published_at) as published_at
    from pg_class as mart
    cross join lateral (
        select publication_id, published_at
        from marts.published
        where published.mart = mart.relname::text collate "default"
        limit 1
    ) as last
    where mart.relnamespace = 'marts'::regnamespace and mart.relkind = 'r'"""

#: Seconds to connect, and milliseconds to take what was sent.
_LINE = {"connect_timeout": 2, "tcp_user_timeout": 3000}


class WarehouseAway(Exception):
    """The warehouse has not answered, and nothing is left from an earlier time; the message says what happened."""


@dataclass(frozen=True)
class Rows:
    """
    What a query brought.

    :param read_at: when the warehouse gave it
    :param is_cut: there were more rows than the cap
    :param problem: why this is what was read earlier, and not what is there now; None where it is current
    :param reading: a number of its own for each time that something was read
    """

    rows: list[Row]
    read_at: datetime
    is_cut: bool = False
    problem: str | None = None
    reading: int = field(default_factory=itertools.count().__next__)
    _made: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def made(self, name: Any, make: Callable[[list[Row]], T]) -> T:
        """What is made of the rows, a table or a chart: made once, and kept as long as they are."""
        if name not in self._made:
            self._made[name] = make(self.rows)
        return self._made[name]


def connection_arguments(conn_id: str) -> dict[str, Any]:
    """
    How psycopg connects by an Airflow connection.

    :raises WarehouseAway: there is no such connection
    """
    from airflow.exceptions import AirflowNotFoundException
    from airflow.models.connection import Connection

    from ecommerce.common.connections import connect_arguments

    try:
        found = Connection.get_connection_from_secrets(conn_id)
    except AirflowNotFoundException as error:
        raise WarehouseAway(f"there is no connection {conn_id!r}; add it under Admin → Connections") from error
    return {
        "application_name": "airflow pages",
        **connect_arguments(found, _SESSION),
        # A page does not wait as a load does.
        **_LINE,
        **{name: value for name, value in found.extra_dejson.items() if name in _LINE},
        # Whatever the extra has for options, no page may write.
        "options": _SESSION,
    }


class Connections:
    """
    A few read-only connections by one Airflow connection, opened when they are needed.

    :param conn_id: the Airflow connection
    :param size: no more than these at once
    :param answers: of each server; shared by those who may ask the same one as different roles
    """

    def __init__(self, conn_id: str, size: int = CONNECTIONS, answers: Answers | None = None) -> None:
        self.conn_id = conn_id
        self._answers = {} if answers is None else answers
        self._server: tuple[Any, Any] = (None, None)
        self._slots = asyncio.Semaphore(size)
        self._idle: list[AsyncConnection[Row]] = []
        self._away_until = 0.0
        self._away_because = ""

    @property
    def answered_at(self) -> float:
        """When the warehouse last answered anyone (`time.monotonic`)."""
        return self._answers.get(self._server, 0.0)

    async def fetch(self, query: str, parameters: Mapping[str, Any]) -> list[Row]:
        """
        All rows of one query.

        :raises WarehouseAway: no connection, or the statement was given up
        """
        async with self._slots:
            if time.monotonic() < self._away_until:
                raise WarehouseAway(self._away_because)
            if self._idle:
                # It may have died while nobody used it, which says nothing of the server.
                with contextlib.suppress(psycopg.OperationalError):
                    return await self._fetch(self._idle.pop(), query, parameters)
            try:
                return await self._fetch(await self._connect(), query, parameters)
            except psycopg.OperationalError as error:
                self._away_because = f"{self.conn_id}: {_first_line(error)}"
                self._away_until = time.monotonic() + RETRY_AFTER
                raise WarehouseAway(self._away_because) from error

    async def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            await self._idle.pop().close()

    async def _connect(self) -> AsyncConnection[Row]:
        arguments = await asyncio.to_thread(connection_arguments, self.conn_id)
        self._server = (arguments["host"], arguments["port"])
        return await AsyncConnection.connect(**arguments, autocommit=True, row_factory=dict_row)

    async def _fetch(self, connection: AsyncConnection[Row], query: str, parameters: Mapping[str, Any]) -> list[Row]:
        try:
            cursor = await connection.execute(query.encode(), parameters)
            rows = await cursor.fetchall()
            self._answers[self._server] = time.monotonic()
        except psycopg.errors.QueryCanceled as error:
            self._idle.append(connection)
            raise WarehouseAway(f"the warehouse did not answer within {STATEMENT_TIMEOUT:g} s") from error
        except psycopg.errors.LockNotAvailable as error:
            self._idle.append(connection)
            raise WarehouseAway("a table is being rebuilt; try again in a moment") from error
        except psycopg.errors.UndefinedTable as error:
            self._idle.append(connection)
            raise WarehouseAway(f"nothing is there yet: {_first_line(error)}; run the warehouse first") from error
        except psycopg.errors.InsufficientPrivilege as error:
            self._idle.append(connection)
            raise WarehouseAway(f"{self.conn_id}: {_first_line(error)}; see include/sql/roles.sql") from error
        except BaseException:
            await connection.close()
            raise
        self._idle.append(connection)
        return rows


@dataclass(frozen=True)
class _Kept:
    """Rows, with the publication that they are of where they are of one, and when they were asked for."""

    rows: Rows
    publication: Row | None
    asked_at: float


class Warehouse:
    """
    What pages ask: the rows of a query, from the warehouse or as they last were.

    Readers who ask the same at once are one question. What was answered is not asked again within `FRESH_FOR` seconds,
    and of marts, which only a publication changes, not before there is another.

    :param is_of_marts: every query reads marts and nothing else
    """

    def __init__(self, connections: Connections, *, is_of_marts: bool = False) -> None:
        self._connections = connections
        self._is_of_marts = is_of_marts
        self._kept: OrderedDict[tuple[Any, ...], _Kept] = OrderedDict()
        self._kept_rows = 0
        self._asked: dict[tuple[Any, ...], asyncio.Task[Any]] = {}
        self._publication: Row | None = None
        self._publication_holds_until = 0.0
        self._silent_at = 0.0

    async def rows(self, query: str, /, cap: int = ROW_CAP, **parameters: Any) -> Rows:
        """
        The rows of ``query``, no more than ``cap``; of an earlier time, and so marked, where it is not answered now.

        :raises WarehouseAway: it is not answered now, and never was
        """
        key = (query, cap, *sorted((name, repr(value)) for name, value in parameters.items()))
        kept = self._kept.get(key)
        if kept is not None and self._holds(kept):
            self._kept.move_to_end(key)
            return kept.rows
        task = self._once(key, lambda: self._read(key, query, cap, parameters))
        problem = await self._wait(task, has_kept=kept is not None)
        if problem is None:
            return task.result()
        if kept is not None:
            return replace(kept.rows, problem=problem)
        raise WarehouseAway(problem)

    async def close(self) -> None:
        """Let the connections go."""
        await self._connections.close()

    async def _wait(self, task: asyncio.Task[Rows], *, has_kept: bool) -> str | None:
        """
        Wait for an answer: None, or why there is none.

        A warehouse that answers others is busy and not away: who has nothing else to show waits on. One that has not
        said a word to the last who waited is not waited for again by those who have.
        """
        started = time.monotonic()
        is_silent = self._connections.answered_at < self._silent_at
        await asyncio.wait({task}, timeout=0 if has_kept and is_silent else PATIENCE)
        while not task.done():
            now = time.monotonic()
            if self._connections.answered_at < now - 2 * PATIENCE:
                self._silent_at = now
            elif not has_kept and now - started < BUSY_PATIENCE:
                await asyncio.wait({task}, timeout=PATIENCE)
                continue
            return f"the warehouse did not answer within {PATIENCE if has_kept else now - started:.1f} s"
        error = task.exception()
        if error is None or isinstance(error, WarehouseAway):
            return str(error) if error else None
        raise error

    def _once(self, key: tuple[Any, ...], ask: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The question, as it is being asked already or from now on."""
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(ask())
            task.add_done_callback(lambda done: self._answered(key, done))
        return task

    async def _read(self, key: tuple[Any, ...], query: str, cap: int, parameters: Mapping[str, Any]) -> Rows:
        publication = await self._published() if self._is_of_marts else None
        kept = self._kept.get(key)
        if kept is not None and self._holds(kept):
            return kept.rows
        limited = f"select * from (\n{query}\n) as shown limit %(row_cap)s"
        asked_at = time.monotonic()
        rows = await self._connections.fetch(limited, {**parameters, "row_cap": cap + 1})
        result = Rows(rows[:cap], datetime.now(UTC), is_cut=len(rows) > cap)
        self._keep(key, _Kept(result, publication, asked_at))
        return result

    async def _published(self) -> Row | None:
        """The last publication; None where that cannot be told, as before a first run has made its view."""
        if time.monotonic() >= self._publication_holds_until:
            with contextlib.suppress(WarehouseAway):
                await self._once((_PUBLICATION,), self._read_publication)
        return self._publication if time.monotonic() < self._publication_holds_until else None

    async def _read_publication(self) -> None:
        asked_at = time.monotonic()
        self._publication = (await self._connections.fetch(_PUBLICATION, {}))[0]
        self._publication_holds_until = asked_at + FRESH_FOR

    def _holds(self, kept: _Kept) -> bool:
        if kept.publication is None:
            return time.monotonic() - kept.asked_at < FRESH_FOR
        return time.monotonic() < self._publication_holds_until and kept.publication == self._publication

    def _keep(self, key: tuple[Any, ...], kept: _Kept) -> None:
        before = self._kept.pop(key, None)
        self._kept_rows += len(kept.rows.rows) + 1 - (len(before.rows.rows) + 1 if before else 0)
        self._kept[key] = kept
        while self._kept_rows > KEPT_ROWS and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_rows -= len(dropped.rows.rows) + 1

    def _answered(self, key: tuple[Any, ...], task: asyncio.Task[Any]) -> None:
        self._asked.pop(key, None)
        if not task.cancelled():
            # Looked at, so that a failure whose readers have all left is not reported as one that nobody handled.
            task.exception()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
