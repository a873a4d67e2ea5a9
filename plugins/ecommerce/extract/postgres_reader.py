"""Read a table or template of Postgres, whole or by window, in one snapshot, over one connection or several."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import date, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.waiting import Ready, Wait

from ecommerce.common.connections import pin, postgres, source_session
from ecommerce.common.days import TimeColumn, today
from ecommerce.common.errors import SourceError
from ecommerce.common.fingerprint import FIRST_VERSION, Fingerprint, RowHash, fingerprints
from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import CALENDAR, Column, Kind, Source
from ecommerce.common.value_rules import REASONS_VERSION, column_of, is_converted, passes, reasons_to_reject, typed
from ecommerce.common.windows import CALENDAR_WINDOW, Window
from ecommerce.extract.postgres_relation import is_any_of, named_errors, relation_of, window_column
from ecommerce.extract.reader_protocol import BINARY_TRAILER, ColumnType, Constant, ResumePoints, TopicRead
from ecommerce.extract.texts import escaped, is_utf8

#: Bytes of rows in one block: the server sends each row as a message of its own, and Python is slow per message. In
#: larger blocks libpq copies the rest again at each attempt to send, while the warehouse has not taken all of it.
BLOCK = 32 * 1024
#: Seconds to cancel a statement at the source.
CANCEL_TIMEOUT = 5.0
#: Blocks that may wait between the connections of a parallel read and the connection that writes.
QUEUED_BLOCKS = 32

#: What comes before the rows in COPY's binary format (Postgres' documentation of COPY, "Binary Format").
_HEADER = b"PGCOPY\n\xff\r\n\0" + b"\0" * 8


class PostgresReader:
    """
    One table of a source database, or what a template selects there.

    The source validates its own rows by the registry's rules: `prevalidated` returns those that pass, typed, as binary
    COPY; `suspect` returns all others, each value as Postgres' own text. All methods work inside one `snapshot`.

    A database with the encoding SQL_ASCII stores any bytes. Postgres would fail the whole COPY at a text that is not
    UTF-8, so such a row is returned escaped, with the reason to reject it.

    :raises SourceError: on reading: no connection, a missing table, a lost server
    :raises ShopError: on reading: the template is wrong
    """

    topics: Sequence[TopicRead] = ()
    copy_format = "format binary"
    row_hash = RowHash.RECORD

    def __init__(self, source: Source, location: SourceLocation, window: Window) -> None:
        self.source = source
        self.location = location
        self._window = window
        self._relation = relation_of(source, location, window)
        self._column_types: Mapping[str, ColumnType] = {}
        #: Place → text column whose bytes the source does not check.
        self._unchecked: Mapping[int, Column] = {}
        self._encoding = "UTF8"
        self._gives_reasons = False
        self._connection: psycopg.Connection | None = None

    @property
    def columns(self) -> Sequence[str]:
        """The business columns, and the reason to reject a row if the source itself has one."""
        return [
            *(column.name for column in self.source.columns),
            *(["_rejection"] if self._unchecked or self._gives_reasons else []),
        ]

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Inside, all reads see the same moment of the source."""
        with postgres(self.location.connection, source_session()) as connection:
            with self._named_errors():
                connection.execute("start transaction isolation level repeatable read, read only")
                pin(connection)
                # It is idle while the warehouse writes the rows, however long that takes.
                connection.execute("set local idle_in_transaction_session_timeout = 0")
                self._connection = connection
                self._column_types = self._relation.column_types(connection)
                self._relation.fail_if_wrong(connection, self._column_types)
                self._encoding = connection.info.parameter_status("server_encoding") or "SQL_ASCII"
                self._gives_reasons = connection.info.server_version >= REASONS_VERSION and self._encoding == "UTF8"
            if self._encoding == "SQL_ASCII":
                self._unchecked = {
                    n: column
                    for n, column in enumerate(self.source.columns)
                    if column.kind is Kind.TEXT and column.name in self._column_types
                }
            try:
                yield
            finally:
                self._connection = None
                # There is nothing to commit, so a source that is gone by now does not fail the load.
                connection.close()

    def cancel(self) -> None:
        """Cancel the statement that another thread runs at the source."""
        with suppress(psycopg.Error):
            self._at_source.cancel_safe(timeout=CANCEL_TIMEOUT)

    @property
    def column_types(self) -> Mapping[str, ColumnType]:
        """The table's columns with their types."""
        return self._column_types

    def is_large(self, rows: int) -> bool:
        """Whether Postgres estimates that the whole table or template has more rows than that."""
        with self._named_errors():
            return self._relation.estimated_rows(self._at_source) > rows

    def rows_by_day(self) -> dict[str | None, int] | None:
        """
        Rows of the window by the day whose facts they change, suspect ones included.

        A day is Postgres' own text: that of a suspect row may be outside of Python's dates. None, if the registry's day
        is more than a column: it is written for the warehouse.
        """
        if self.source.day and self.source.day not in self._column_types:
            return None
        day = self._typed(column_of(self.source, self.source.day)) if self.source.day else sql.SQL("null::date")
        query = sql.SQL("""
            select ({day})::text, count(*)
            from {table}
            where {inside}
            group by {day}
        """).format(day=day, table=self._relation.rows(None), inside=self._inside(None))
        with self._named_errors():
            return dict(self._at_source.execute(query).fetchall())

    def newest_day(self) -> date | None:
        """
        The last day, up to today, of which the source has rows.

        None: it has none, is read without windows, or its template itself chooses the rows of a window.
        """
        if self.source.window_column not in self._column_types or self.location.is_bound:
            return None
        column = self._window_column
        query = sql.SQL("select max({day}) from {table} where {until_today}").format(
            day=column.day,
            table=self._relation.rows(None),
            until_today=column.between(date.fromisoformat(CALENDAR[0]), today() + timedelta(days=1)),
        )
        with self._named_errors():
            row = self._at_source.execute(query).fetchone()
        return row[0] if row else None

    def has_fingerprints(self) -> bool:
        """Whether the source is new enough to compute them."""
        return self._at_source.info.server_version >= FIRST_VERSION

    def fingerprints(self, seed: int, days: Collection[date] | None = None) -> dict[date, Fingerprint]:
        """
        By day of the window; a day without rows is left out.

        :param days: only the prevalidated rows of these days; None: all rows of all days with their values as they are,
            which costs half as much and is the same if all rows of a day pass
        """
        values: list[sql.Composable] = [
            self._as_it_is(column) if days is None else self._typed(column) for column in self.source.columns
        ]
        with self._named_errors():
            return fingerprints(
                self._at_source,
                self.source,
                self._relation.rows(days),
                values,
                seed,
                day=self._window_column.day,
                inside=self._inside(days),
                passes=sql.SQL("true") if days is None else self._passes,
            )

    def prevalidated(self, days: Collection[date] | None, lineage: Sequence[Constant]) -> Iterator[bytes]:
        """
        The rows that pass, as blocks of binary COPY.

        :param days: only these days of the window; None: all of it
        :param lineage: constants that follow the business columns in each row
        """
        values = sql.SQL(", ").join(
            [*(self._typed(column) for column in self.source.columns), *(constant.as_sql() for constant in lineage)]
        )
        queries = [
            sql.SQL("""
                copy (
                    select {values}
                    from {table}
                    where {part} and {passes}
                ) to stdout (format binary)
            """).format(values=values, table=self._relation.rows(days), part=part, passes=self._passes)
            for part in self._parts(days)
        ]
        yield _HEADER
        with self._named_errors():
            if len(queries) == 1:
                yield from _rows(self._at_source, queries[0])
            else:
                yield from _ParallelRead(self.location.connection, self._export_snapshot(), queries).rows()
        yield BINARY_TRAILER

    def read(self, resume: ResumePoints) -> Iterator[bytes]:
        """The rows of the window that do not pass, as blocks of COPY text."""
        return self.suspect(None)

    def suspect(self, days: Collection[date] | None) -> Iterator[bytes]:
        """The rows that do not pass, of some days or of the whole window, as blocks of COPY text."""
        condition = sql.SQL("{} and ({}) is not true").format(self._inside(days), self._passes)
        # To validate the rows once more, as texts, takes the warehouse ten times as long.
        return self._texts(days, condition, reasons_to_reject(self.source, self._type_names))

    def undated(self) -> Iterator[bytes]:
        """Rows that no window has, as blocks of COPY text."""
        if self.source.window_column and not self.location.is_bound:
            everything = CALENDAR_WINDOW
            yield from self._texts(None, self._window_column.outside(everything.start, everything.end))

    def in_other_windows(self, keys: Mapping[str, Collection[str]]) -> Iterator[bytes]:
        """Rows outside of the window that may have one of these keys, as blocks of COPY text."""
        column, everything = self._window_column, CALENDAR_WINDOW
        conditions = [
            *(is_any_of(name, self._column_types[name], values) for name, values in keys.items()),
            column.between(everything.start, everything.end),
            sql.SQL("not {}").format(column.between(self._window.start, self._window.end)),
        ]
        return self._texts([everything.start, everything.last], sql.SQL(" and ").join(conditions))

    def _texts(
        self, days: Collection[date] | None, condition: sql.Composable, reasons: sql.Composable | None = None
    ) -> Iterator[bytes]:
        """
        Rows as blocks of COPY text.

        :param days: the days that a template is asked for; None: the window
        :param reasons: why a row is rejected, where the server can tell; None: the warehouse finds that out
        """
        values = [self._text(column) for column in self.source.columns]
        if self._unchecked:
            for place, column in self._unchecked.items():
                value = sql.Identifier(column.name)
                values[place] = sql.SQL("case when {} then {}::text else {} end").format(
                    is_utf8(value), value, escaped(value)
                )
            values.append(self._not_utf8())
        elif self._gives_reasons:
            values.append(reasons or sql.SQL("null::text"))
        query = sql.SQL("""
            copy (
                select {values}
                from {table}
                where {condition}
            ) to stdout
        """).format(values=sql.SQL(", ").join(values), table=self._relation.rows(days), condition=condition)
        if self._at_source.info.transaction_status is TransactionStatus.ACTIVE:
            raise RuntimeError("the session with the source has not read the result of its last statement to the end")
        # In a savepoint, since whoever does not take all rows cancels the COPY, which ends a transaction.
        with self._named_errors(), self._at_source.transaction():
            yield from _blocks(self._at_source, query)

    @property
    def _window_column(self) -> TimeColumn:
        return window_column(self.source, self._column_types)

    @property
    def _at_source(self) -> psycopg.Connection:
        if self._connection is None:
            raise RuntimeError("a PostgresReader is read inside its snapshot()")
        return self._connection

    @property
    def _passes(self) -> sql.Composed:
        return sql.SQL(" and ").join(
            [
                *(is_utf8(sql.Identifier(column.name)) for column in self._unchecked.values()),
                passes(self.source, self._type_names, self._encoding),
            ]
        )

    @property
    def _type_names(self) -> dict[str, str]:
        return {name: kind.name for name, kind in self._column_types.items()}

    def _typed(self, column: Column) -> sql.Composed:
        found = self._column_types.get(column.name)
        return typed(self.source, column, found.name if found else None, self._encoding)

    def _as_it_is(self, column: Column) -> sql.Composable:
        """The value without casts, which a value that does not pass might fail; what null means is filled in."""
        found = self._column_types.get(column.name)
        if found is None or is_converted(column, found.name):
            return self._typed(column)
        value = sql.Identifier(column.name)
        return (
            value if column.default is None else sql.SQL("coalesce({}, {})").format(value, sql.Literal(column.default))
        )

    def _text(self, column: Column) -> sql.Composable:
        """The value as text, null where the source has none; what null means is left to the warehouse."""
        found = self._column_types.get(column.name)
        if found is None:
            return sql.SQL("null::text")
        value = self._typed(column) if is_converted(column, found.name) else sql.Identifier(column.name)
        return sql.SQL("{}::text").format(value)

    def _not_utf8(self) -> sql.Composed:
        reasons = [
            sql.SQL("case when not {} then {} || left({}, 80) end").format(
                is_utf8(sql.Identifier(column.name)),
                sql.Literal(f"{column.name} has bytes that are not UTF-8: "),
                escaped(sql.Identifier(column.name)),
            )
            for column in self._unchecked.values()
        ]
        return sql.SQL("nullif(concat_ws('; ', {}), '')").format(sql.SQL(", ").join(reasons))

    def _inside(self, days: Collection[date] | None) -> sql.Composable:
        if not self.source.window_column:
            return sql.SQL("true")
        column = self._window_column
        return column.between(self._window.start, self._window.end) if days is None else column.among(days)

    def _parts(self, days: Collection[date] | None) -> list[sql.Composable]:
        """Conditions that divide the rows among the connections of a parallel read."""
        n = self.source.parallel_reads
        if n == 1:
            return [self._inside(days)]
        if self.source.window_column:
            each = sorted(self._window.days if days is None else days)
            if len(each) >= n:
                # The same number of days for each, or one more.
                bounds = [len(each) * k // n for k in range(n + 1)]
                return [self._inside(each[a:b]) for a, b in itertools.pairwise(bounds)]
        # A column that the source does not have is the same in each row.
        key = sql.SQL(", ").join(sql.Identifier(name) for name in self.source.key if name in self._column_types)
        return [
            sql.SQL("{} and abs(hashtext(row({})::text) % {}) = {}").format(self._inside(days), key, n, k)
            for k in range(n)
        ]

    def _export_snapshot(self) -> str:
        row = self._at_source.execute("select pg_export_snapshot()").fetchone()
        return str(row[0]) if row else ""

    def _named_errors(self) -> AbstractContextManager[None]:
        return named_errors(self.source, self.location, self._window)


class _ParallelRead:
    """
    Several queries, each over a connection of its own in a thread of its own, all from one snapshot.

    :param snapshot: the id under which the snapshot was exported
    """

    def __init__(self, conn_id: str, snapshot: str, queries: Sequence[sql.Composed]) -> None:
        self._conn_id = conn_id
        self._snapshot = snapshot
        self._queries = queries
        #: Blocks of rows; None: one query is done; an error: the read failed.
        self._blocks: queue.Queue[bytes | Exception | None] = queue.Queue(QUEUED_BLOCKS)
        self._is_cancelled = threading.Event()
        self._connections: list[psycopg.Connection] = []

    def rows(self) -> Iterator[bytes]:
        """Blocks of whole rows of all queries, as they come."""
        threads = [threading.Thread(target=self._read, args=(query,), daemon=True) for query in self._queries]
        for thread in threads:
            thread.start()
        open_reads = len(threads)
        try:
            while open_reads:
                block = self._blocks.get()
                if block is None:
                    open_reads -= 1
                elif isinstance(block, Exception):
                    raise block
                else:
                    yield block
        finally:
            self._is_cancelled.set()
            if open_reads:
                self._cancel_statements()
            for thread in threads:
                thread.join()

    def _read(self, query: sql.Composed) -> None:
        try:
            with postgres(self._conn_id, source_session()) as connection, connection.transaction():
                self._connections.append(connection)
                connection.execute("set transaction isolation level repeatable read, read only")
                connection.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(self._snapshot)))
                pin(connection)
                with closing(_rows(connection, query)) as rows:
                    for block in rows:
                        if self._is_cancelled.is_set():
                            return
                        self._put(block)
            self._put(None)
        except Exception as error:
            self._put(error)

    def _put(self, block: bytes | Exception | None) -> None:
        while not self._is_cancelled.is_set():
            try:
                return self._blocks.put(block, timeout=1)
            except queue.Full:
                continue

    def _cancel_statements(self) -> None:
        for connection in self._connections:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=CANCEL_TIMEOUT)


def _rows(connection: psycopg.Connection, query: sql.Composed) -> Generator[bytes]:
    """Blocks of whole rows of a binary COPY, without its header and trailer."""
    # One block is always kept back, since the last one has the trailer.
    last: bytes | None = None
    with closing(_blocks(connection, query)) as blocks:
        for block in blocks:
            if last is None:
                last = block[len(_HEADER) :]
                continue
            if last:
                yield last
            last = block
    if last is None or not last.endswith(BINARY_TRAILER):
        raise SourceError("the source ended a COPY before its last row")
    if len(last) > len(BINARY_TRAILER):
        yield last[: -len(BINARY_TRAILER)]


def _blocks(connection: psycopg.Connection, query: sql.Composed) -> Generator[bytes]:
    """The output of a COPY, many rows in a block; psycopg itself would return each row alone."""
    with connection.cursor() as cursor, cursor.copy(query):
        is_over = False
        while not is_over:
            block, is_over = connection.wait(_next_block(connection.pgconn))
            if block:
                yield block
        connection.wait(_end(connection.pgconn))


def _next_block(pgconn: Any) -> Generator[Wait, Ready | int, tuple[bytes, bool]]:
    rows: list[memoryview] = []
    size = 0
    while size < BLOCK:
        length, row = pgconn.get_copy_data(1)
        if length > 0:
            rows.append(row)
            size += length
        elif length < 0:
            return b"".join(rows), True
        elif rows:
            break
        else:
            while not (yield Wait.R):
                continue
            pgconn.consume_input()
    return b"".join(rows), False


def _end(pgconn: Any) -> Generator[Wait, Ready | int, None]:
    while pgconn.is_busy():
        while not (yield Wait.R):
            continue
        pgconn.consume_input()
    while result := pgconn.get_result():
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result)
