"""
A small pool of read-only connections to the warehouse for each role.

psycopg_pool limits, reuses, ages and replaces the connections. Two things are added for pages that must answer within a
second: the reason why no connection can be opened is reported at once (the pool alone would retry until its timeout),
and after a failure nothing is tried for `RETRY_AFTER` seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ecommerce.common.connections import connect_arguments
from shop_pages.airflow_access import connection_by_id
from shop_pages.limits import MAX_CONNECTIONS, RETRY_AFTER, STATEMENT_TIMEOUT

Row = dict[str, Any]
#: Host and port of a server → when it last answered a query (`time.monotonic`).
LastAnswers = dict[tuple[Any, Any], float]

#: Read-only, in UTC, without long waits. No parallel workers, so that a page leaves the other processors to a run; no
#: JIT, since compiling takes longer than a page may.
_SESSION = (
    "-c default_transaction_read_only=on -c timezone=UTC -c datestyle=ISO -c search_path=pg_catalog"
    " -c lock_timeout=500 -c max_parallel_workers_per_gather=0 -c jit=off"
    " -c statement_timeout={statement:.0f} -c idle_in_transaction_session_timeout={idle:.0f}"
)
#: Postgres's errors of values that no type of the warehouse holds. No other errors of data: those are a query's own.
_IMPOSSIBLE_VALUES = (
    psycopg.errors.NumericValueOutOfRange,
    psycopg.errors.InvalidTextRepresentation,
    psycopg.errors.DatetimeFieldOverflow,
    psycopg.errors.InvalidDatetimeFormat,
    psycopg.errors.CharacterNotInRepertoire,
    psycopg.errors.UntranslatableCharacter,
)
#: Seconds that a connection of a page may stay in a transaction without a statement.
_IDLE_TIMEOUT = 5.0

#: libpq's timeouts for a page, shorter than those of a load: seconds to connect, milliseconds to send.
_TIMEOUTS = {"connect_timeout": 2, "tcp_user_timeout": 3000}


class WarehouseUnavailable(Exception):
    """The warehouse did not answer, and no earlier result is cached; the message gives the reason."""


class ImpossibleValue(Exception):
    """A value of the address is none that the warehouse can have; the message says why."""


class NotBuiltYet(WarehouseUnavailable):
    """The warehouse has no such table, or the table no such column, before the next run builds it."""


def connection_arguments(
    conn_id: str, *, statement_timeout: float = STATEMENT_TIMEOUT, idle_timeout: float = _IDLE_TIMEOUT
) -> dict[str, Any]:
    """
    Arguments of `psycopg.connect` for an Airflow connection.

    :param statement_timeout: seconds after which Postgres cancels a statement
    :param idle_timeout: seconds without a statement after which Postgres ends a transaction and its connection
    :raises WarehouseUnavailable: there is no such connection
    """
    try:
        account = connection_by_id(conn_id)
    except LookupError as error:
        raise WarehouseUnavailable(f"there is no connection {conn_id!r}; add it under Admin → Connections") from error
    session = _SESSION.format(statement=statement_timeout * 1000, idle=idle_timeout * 1000)
    return {
        "application_name": "airflow pages",
        **connect_arguments(account, session),
        **_TIMEOUTS,
        **{name: value for name, value in account.extra_dejson.items() if name in _TIMEOUTS},
        # Options in the connection's extra are ignored: no page may write.
        "options": session,
    }


class _Connection(AsyncConnection[Row]):
    """A connection that reports why it could not be opened; the pool only writes that to the log."""

    @classmethod
    async def connect(  # type: ignore[override]
        cls, conninfo: str = "", *, on_failure: Callable[[Exception], None], **arguments: Any
    ) -> Self:
        """Open a connection, or call ``on_failure`` with the reason."""
        try:
            return await super().connect(conninfo, **arguments)
        except Exception as error:
            on_failure(error)
            raise


class ConnectionPool:
    """
    Read-only connections by one Airflow connection, each opened when it is first needed.

    :param conn_id: the Airflow connection
    :param size: most connections at once
    :param last_answers: shared by the pools of all roles, since one server may answer for all of them
    """

    def __init__(self, conn_id: str, size: int = MAX_CONNECTIONS, last_answers: LastAnswers | None = None) -> None:
        self.conn_id = conn_id
        self.last_answers = {} if last_answers is None else last_answers
        self._server: tuple[Any, Any] = (None, None)
        self._retry_at = 0.0
        self._reason = ""
        self._failure: asyncio.Future[None] | None = None
        self._pool = AsyncConnectionPool(
            connection_class=_Connection,
            kwargs=self._connection_arguments,
            min_size=0,
            max_size=size,
            # The pool itself does not retry: the next query does, after `RETRY_AFTER`.
            reconnect_timeout=0,
            name=f"pages, {conn_id}",
            open=False,
        )

    @property
    def answered_at(self) -> float:
        """When the server last answered a query of any role (`time.monotonic`)."""
        return self.last_answers.get(self._server, 0.0)

    async def fetch(self, query: str, parameters: Mapping[str, Any]) -> list[Row]:
        """
        All rows of one query.

        :raises WarehouseUnavailable: no connection, or the statement was cancelled
        """
        if self._is_waiting_to_retry():
            raise WarehouseUnavailable(self._reason)
        await self._pool.open()
        try:
            try:
                return await self._execute(query, parameters)
            except psycopg.OperationalError:
                # The server may have closed the idle connections, for example by a restart: open new ones.
                await self._pool.drain()
                return await self._execute(query, parameters)
        except psycopg.OperationalError as error:
            self._report_failure(error)
            raise WarehouseUnavailable(self._reason) from error

    async def close(self) -> None:
        """Close all connections; waits no longer than an attempt to connect may last."""
        await self._pool.close(timeout=_TIMEOUTS["connect_timeout"])

    async def _execute(self, query: str, parameters: Mapping[str, Any]) -> list[Row]:
        connection = await self._get_connection()
        try:
            cursor = await connection.execute(query.encode(), parameters)
            rows = await cursor.fetchall()
        except _IMPOSSIBLE_VALUES as error:
            raise ImpossibleValue(_first_line(error)) from error
        except psycopg.Error as error:
            if problem := statement_problem(error, self.conn_id, STATEMENT_TIMEOUT):
                raise problem from error
            raise
        finally:
            await self._pool.putconn(connection)
        self.last_answers[self._server] = time.monotonic()
        return rows

    async def _get_connection(self) -> _Connection:
        """A connection from the pool, or an error as soon as an attempt to open one has failed."""
        if self._failure is None or self._failure.done():
            self._failure = asyncio.get_running_loop().create_future()
        request = asyncio.create_task(self._pool.getconn())
        try:
            waiting: set[asyncio.Future[Any]] = {request, self._failure}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if request.done():
                return request.result()
        except PoolTimeout as error:
            raise WarehouseUnavailable(f"all connections of {self.conn_id} are busy") from error
        finally:
            request.cancel()
        raise WarehouseUnavailable(self._reason)

    async def _connection_arguments(self) -> dict[str, Any]:
        if self._is_waiting_to_retry():
            raise WarehouseUnavailable(self._reason)
        try:
            # In a thread: the secrets backend may ask the network.
            arguments = await asyncio.to_thread(connection_arguments, self.conn_id)
        except Exception as error:
            self._report_failure(error)
            raise
        self._server = (arguments["host"], arguments["port"])
        return {**arguments, "on_failure": self._report_failure, "autocommit": True, "row_factory": dict_row}

    def _is_waiting_to_retry(self) -> bool:
        return time.monotonic() < self._retry_at

    def _report_failure(self, error: Exception) -> None:
        """Tell all who wait for a connection why they get none, and those who ask within `RETRY_AFTER` seconds."""
        self._reason = str(connection_problem(error, self.conn_id))
        self._retry_at = time.monotonic() + RETRY_AFTER
        if self._failure is not None and not self._failure.done():
            self._failure.set_result(None)


def connection_problem(error: Exception, conn_id: str) -> WarehouseUnavailable:
    """What a reader is told about an error of a connection."""
    return (
        error if isinstance(error, WarehouseUnavailable) else WarehouseUnavailable(f"{conn_id}: {_first_line(error)}")
    )


def statement_problem(error: psycopg.Error, conn_id: str, timeout: float) -> WarehouseUnavailable | None:
    """
    What a reader is told about an error of the statement itself; None for any other error.

    :param timeout: the seconds after which Postgres cancels the statement
    """
    match error:
        case psycopg.errors.QueryCanceled():
            return WarehouseUnavailable(f"the warehouse did not answer within {timeout:g} s")
        case psycopg.errors.LockNotAvailable():
            return WarehouseUnavailable("a table is being rebuilt; try again in a moment")
        case psycopg.errors.UndefinedTable() | psycopg.errors.UndefinedColumn():
            return NotBuiltYet(f"nothing is there yet: {_first_line(error)}; run the warehouse first")
        case psycopg.errors.InsufficientPrivilege():
            return WarehouseUnavailable(f"{conn_id}: {_first_line(error)}; see include/sql/roles.sql")
    return None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
