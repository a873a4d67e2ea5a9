"""
Queries of the pages: read-only, limited in time, and cached.

A result is whole, or one of those that say that they are the first rows of more: a query with more rows than a page can
hold is an error that the page shows.

All of it runs in the API server's event loop: a warehouse that does not answer blocks a few connections, and none of
the threads with which Airflow serves everyone else. Rows of marts stay valid until the next publication.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from cachetools import LRUCache

from shop_pages.limits import BUSY_TIMEOUT, CACHED_ROWS_BYTES, FRESH_SECONDS, MAX_ROWS, RESPONSE_TIMEOUT
from shop_pages.pool import ConnectionPool, NotBuiltYet, Row, WarehouseUnavailable

T = TypeVar("T")

#: The latest publication: the latest of each mart, by the view's index, since a history of years has many rows.
_PUBLICATION = """
    select
        max(latest.publication_id) as publication_id, max(latest.published_at) as published_at,
        max(latest.last_erasure) as last_erasure
    from pg_class as mart
    cross join lateral (
        select publication_id, published_at, last_erasure
        from marts.published
        where published.mart = mart.relname::text collate "default"
        limit 1
    ) as latest
    where mart.relnamespace = 'marts'::regnamespace and mart.relkind = 'r'"""


class TooManyRows(WarehouseUnavailable):
    """A query has more rows than a page can hold."""


@dataclass(frozen=True)
class Rows:
    """
    The result of a query.

    :param read_at: when the warehouse returned it
    :param is_truncated: these are the first rows of more, as `Warehouse.first_rows` was asked for
    :param problem: why this is an earlier result and not the current one; None if it is current
    :param version: a number of its own for each time that the query was executed
    """

    rows: list[Row]
    read_at: datetime
    is_truncated: bool = False
    problem: str | None = None
    version: int = field(default_factory=itertools.count().__next__)
    _derived: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def derive(self, name: Any, build: Callable[[list[Row]], T]) -> T:
        """A table or a chart of the rows: built once, and kept as long as the rows are."""
        if name not in self._derived:
            self._derived[name] = build(self.rows)
        return self._derived[name]


@dataclass(frozen=True)
class _CacheEntry:
    """
    A result, when its query started, and the publication at that time if all of it comes from marts.

    :param rows: None for a query of a table or a column that was not there
    :param size: bytes, roughly, of the result and its key
    """

    rows: Rows | None
    publication: Row | None
    queried_at: float
    size: int
    problem: NotBuiltYet | None = None


#: Rows of a result that are measured, and bytes of a value beside its text: to measure all would take longer than to
#: show them.
_MEASURED_ROWS, _VALUE_BYTES = 50, 60


def size_of(key: tuple[Any, ...], rows: Sequence[Row]) -> int:
    """
    The bytes of a result and its key in memory, roughly.

    The key counts: it has what an address asked for, and each other address has another.
    """
    measured = rows[:: max(1, len(rows) // _MEASURED_ROWS)]
    of_measured = sum(_VALUE_BYTES + len(str(value)) for row in measured for value in row.values())
    # The query is a text of the program, not of the address.
    of_key = 500 + sum(len(str(part)) for part in key[1:])
    return of_key + of_measured * len(rows) // max(1, len(measured))


class Warehouse:
    """
    Rows for the pages, from the warehouse or from the cache.

    Equal queries that are asked at the same time are executed once. A result is reused for `FRESH_SECONDS`; a result of
    marts, which change by a publication only, until the next one.

    :param reads_marts_only: no query reads anything but marts
    :param on_erasure: called when a customer was erased, after all results are forgotten: none may be shown any more,
        not even while the warehouse does not answer
    """

    def __init__(
        self,
        pool: ConnectionPool,
        *,
        reads_marts_only: bool = False,
        on_erasure: Callable[[], None] = lambda: None,
    ) -> None:
        self.pool = pool
        self._on_erasure = on_erasure
        self._reads_marts_only = reads_marts_only
        self._cache: LRUCache[tuple[Any, ...], _CacheEntry] = LRUCache(
            CACHED_ROWS_BYTES, getsizeof=lambda entry: entry.size
        )
        self._running: dict[tuple[Any, ...], asyncio.Task[Any]] = {}
        self._publication: Row | None = None
        self._publication_valid_until = 0.0
        self._unresponsive_at = 0.0

    async def rows(self, query: str, /, **parameters: Any) -> Rows:
        """
        All rows of ``query``; an earlier result, marked by its problem, if there is no answer now.

        :raises WarehouseUnavailable: there is no answer now, and no earlier result
        :raises TooManyRows: there are more than `MAX_ROWS`
        """
        rows = await self._read(query, MAX_ROWS, parameters)
        if rows.is_truncated:
            raise TooManyRows(f"there are more than {MAX_ROWS:,} rows; choose fewer days, or one category")
        return rows

    async def first_rows(self, query: str, /, n: int, **parameters: Any) -> Rows:
        """
        The first ``n`` rows of ``query``; `is_truncated` says whether there are more. Otherwise as `rows`.

        The page that shows them says of how many they are the first.

        :raises WarehouseUnavailable: there is no answer now, and no earlier result
        """
        return await self._read(query, n, parameters)

    async def rows_now(self, query: str, /, **parameters: Any) -> Rows:
        """
        All rows of ``query`` as they are now, never from the cache: what a person has just written is among them.

        :raises WarehouseUnavailable: there is no answer now
        :raises TooManyRows: there are more than `MAX_ROWS`
        """
        rows = await self.first_rows_now(query, MAX_ROWS, **parameters)
        if rows.is_truncated:
            raise TooManyRows(f"there are more than {MAX_ROWS:,} rows; choose fewer days")
        return rows

    async def first_rows_now(self, query: str, /, n: int, **parameters: Any) -> Rows:
        """
        The first ``n`` rows of ``query`` as they are now. Otherwise as `first_rows`.

        :raises WarehouseUnavailable: there is no answer now
        """
        limited = f"select * from (\n{query}\n) as result limit %(row_limit)s"
        rows = await self.pool.fetch(limited, {**parameters, "row_limit": n + 1})
        return Rows(rows[:n], datetime.now(UTC), is_truncated=len(rows) > n)

    async def count(self, query: str, /, **parameters: Any) -> int:
        """
        The number of rows of ``query``.

        :raises WarehouseUnavailable: there is no answer now, and no earlier result
        """
        counted = await self.rows(f"select count(*) as n from (\n{query}\n) as result", **parameters)
        return int(counted.rows[0]["n"])

    async def _read(self, query: str, cap: int, parameters: Mapping[str, Any]) -> Rows:
        key = (query, cap, *sorted((name, repr(value)) for name, value in parameters.items()))
        if (current := self._current(key)) is not None:
            return current
        entry = self._cache.get(key)
        task = self._run_once(key, lambda: self._query(key, query, cap, parameters))
        problem = await self._wait(task, has_cached_rows=entry is not None and entry.rows is not None)
        if problem is None:
            return task.result()
        # Meanwhile an erasure may have been noticed.
        if (entry := self._cache.get(key)) and entry.rows is not None:
            return replace(entry.rows, problem=str(problem))
        raise problem

    async def publication(self) -> Row | None:
        """The latest publication that this database has, at most `FRESH_SECONDS` old; None if it cannot be read."""
        return await self._current_publication()

    def forget(self) -> None:
        """Forget all results."""
        self._cache.clear()

    async def close(self) -> None:
        """Close the connections."""
        await self.pool.close()

    async def _wait(self, task: asyncio.Task[Rows], *, has_cached_rows: bool) -> WarehouseUnavailable | None:
        """
        Wait for a running query: None if it has succeeded, else the reason why there is no result.

        If other queries still get answers, the warehouse is busy, not down: a page without cached rows then waits up to
        `BUSY_TIMEOUT`. Once nothing was answered at all, pages with cached rows do not wait until there is an answer.
        """
        started = time.monotonic()
        is_unresponsive = self.pool.answered_at < self._unresponsive_at
        await asyncio.wait({task}, timeout=0 if has_cached_rows and is_unresponsive else RESPONSE_TIMEOUT)
        while not task.done():
            now = time.monotonic()
            if self.pool.answered_at < now - 2 * RESPONSE_TIMEOUT:
                self._unresponsive_at = now
            elif not has_cached_rows and now - started < BUSY_TIMEOUT:
                await asyncio.wait({task}, timeout=RESPONSE_TIMEOUT)
                continue
            waited = RESPONSE_TIMEOUT if has_cached_rows else now - started
            return WarehouseUnavailable(f"the warehouse did not answer within {waited:.1f} s")
        error = task.exception()
        if error is None or isinstance(error, WarehouseUnavailable):
            return error
        raise error

    def _run_once(self, key: tuple[Any, ...], start: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The task that already runs for this key, or a new one."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(start())
            task.add_done_callback(lambda done: self._forget(key, done))
        return task

    def _forget(self, key: tuple[Any, ...], task: asyncio.Task[Any]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            # Asyncio reports an exception that nobody has looked at, even if all readers of the page have left.
            task.exception()

    async def _query(self, key: tuple[Any, ...], query: str, cap: int, parameters: Mapping[str, Any]) -> Rows:
        publication = await self._current_publication() if self._reads_marts_only else None
        if (current := self._current(key)) is not None:
            return current
        # One more than wanted: whether there are more.
        limited = f"select * from (\n{query}\n) as result limit %(row_limit)s"
        queried_at = time.monotonic()
        try:
            rows = await self.pool.fetch(limited, {**parameters, "row_limit": cap + 1})
        except NotBuiltYet as problem:
            # Like a result of no rows: of marts, it holds until the next publication.
            self._cache[key] = _CacheEntry(None, publication, queried_at, size_of(key, ()), problem)
            raise
        result = Rows(rows[:cap], datetime.now(UTC), is_truncated=len(rows) > cap)
        size = size_of(key, rows)
        if size <= self._cache.maxsize:
            self._cache[key] = _CacheEntry(result, publication, queried_at, size)
        return result

    def _current(self, key: tuple[Any, ...]) -> Rows | None:
        """
        The cached result, if it is still valid.

        :raises NotBuiltYet: this is the result
        """
        entry = self._cache.get(key)
        if entry is None or not self._is_current(entry):
            return None
        if entry.problem is not None:
            raise entry.problem
        return entry.rows

    async def _current_publication(self) -> Row | None:
        """The latest publication; None if it cannot be read, for example before the first run has made its view."""
        if time.monotonic() >= self._publication_valid_until:
            with contextlib.suppress(WarehouseUnavailable):
                await self._run_once((_PUBLICATION,), self._read_publication)
        return self._publication if time.monotonic() < self._publication_valid_until else None

    async def _read_publication(self) -> None:
        queried_at = time.monotonic()
        before, self._publication = self._publication, (await self.pool.fetch(_PUBLICATION, {}))[0]
        self._publication_valid_until = queried_at + FRESH_SECONDS
        if before is not None and before["last_erasure"] != self._publication["last_erasure"]:
            self.forget()
            self._on_erasure()

    def _is_current(self, entry: _CacheEntry) -> bool:
        if entry.publication is None:
            return time.monotonic() - entry.queried_at < FRESH_SECONDS
        return time.monotonic() < self._publication_valid_until and entry.publication == self._publication
