"""
Reading the warehouse for the pages: read-only, bounded in rows and in time, and never waited for longer than a second.

All of it runs in the API server's event loop: a warehouse that does not answer holds a few connections, and none of the
threads in which Airflow answers everyone else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from ecommerce.ui.settings import (
    CONNECTIONS,
    FRESH_FOR,
    KEPT_ROWS,
    PATIENCE,
    RETRY_AFTER,
    ROW_CAP,
    STATEMENT_TIMEOUT,
)

Row = dict[str, Any]

#: Of the session: it cannot write, cannot wait for long, and speaks of UTC.
_SESSION = (
    "-c default_transaction_read_only=on -c timezone=UTC -c datestyle=ISO -c search_path=pg_catalog"
    f" -c statement_timeout={int(STATEMENT_TIMEOUT * 1000)} -c lock_timeout=500"
    " -c idle_in_transaction_session_timeout=5000"
)

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
    """

    rows: list[Row]
    read_at: datetime
    is_cut: bool = False
    problem: str | None = None


def connection_arguments(conn_id: str) -> dict[str, Any]:
    """
    How psycopg connects by an Airflow connection.

    :raises WarehouseAway: there is no such connection
    """
    from airflow.exceptions import AirflowNotFoundException
    from airflow.models.connection import Connection

    from ecommerce.warehouse import connect_arguments

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
    """

    def __init__(self, conn_id: str, size: int = CONNECTIONS) -> None:
        self.conn_id = conn_id
        self._slots = asyncio.Semaphore(size)
        self._idle: list[AsyncConnection[Row]] = []
        self._away_until = 0.0
        self._away_because = ""

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
        return await AsyncConnection.connect(**arguments, autocommit=True, row_factory=dict_row)

    async def _fetch(self, connection: AsyncConnection[Row], query: str, parameters: Mapping[str, Any]) -> list[Row]:
        try:
            cursor = await connection.execute(query.encode(), parameters)
            rows = await cursor.fetchall()
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
            raise WarehouseAway(f"{self.conn_id}: {_first_line(error)}; see include/sql/030_roles.sql") from error
        except BaseException:
            await connection.close()
            raise
        self._idle.append(connection)
        return rows


class Warehouse:
    """
    What pages ask: the rows of a query, from the warehouse or as they last were.

    Two readers who ask the same at once are one question, and a question is not repeated within `FRESH_FOR` seconds.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._kept: OrderedDict[tuple[Any, ...], tuple[float, Rows]] = OrderedDict()
        self._asked: dict[tuple[Any, ...], asyncio.Task[Rows]] = {}

    async def rows(self, query: str, /, cap: int = ROW_CAP, **parameters: Any) -> Rows:
        """
        The rows of ``query``, no more than ``cap``; of an earlier time, and so marked, where it is not answered now.

        :raises WarehouseAway: it is not answered now, and never was
        """
        key = (query, cap, *sorted((name, repr(value)) for name, value in parameters.items()))
        asked_at, kept = self._kept.get(key, (0.0, None))
        if kept is not None and time.monotonic() - asked_at < FRESH_FOR:
            return kept
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._ask(key, query, cap, parameters))
            task.add_done_callback(lambda done: self._answered(key, done))
        await asyncio.wait({task}, timeout=PATIENCE)
        problem: str
        if not task.done():
            problem = f"the warehouse did not answer within {PATIENCE:g} s"
        elif (error := task.exception()) is None:
            return task.result()
        elif isinstance(error, WarehouseAway):
            problem = str(error)
        else:
            raise error
        if kept is not None:
            return replace(kept, problem=problem)
        raise WarehouseAway(problem)

    async def close(self) -> None:
        """Let the connections go."""
        await self._connections.close()

    async def _ask(self, key: tuple[Any, ...], query: str, cap: int, parameters: Mapping[str, Any]) -> Rows:
        limited = f"select * from (\n{query}\n) as shown limit %(row_cap)s"
        rows = await self._connections.fetch(limited, {**parameters, "row_cap": cap + 1})
        result = Rows(rows[:cap], datetime.now(UTC), is_cut=len(rows) > cap)
        self._kept[key] = (time.monotonic(), result)
        self._kept.move_to_end(key)
        while sum(len(kept.rows) + 1 for _, kept in self._kept.values()) > KEPT_ROWS and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return result

    def _answered(self, key: tuple[Any, ...], task: asyncio.Task[Rows]) -> None:
        self._asked.pop(key, None)
        if not task.cancelled():
            # Looked at, so that a failure whose readers have all left is not reported as one that nobody handled.
            task.exception()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
