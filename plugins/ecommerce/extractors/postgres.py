"""Read a Postgres table, whole or by window, as blocks of COPY text in one consistent snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from ecommerce.errors import SourceError
from ecommerce.loading.positions import Positions, TopicRead
from ecommerce.sources import Source
from ecommerce.warehouse import postgres
from ecommerce.windows import Window


class PostgresReader:
    """
    One table of a source database, each value as Postgres' own text.

    :raises SourceError: on reading: no connection, a missing table or column, a lost server
    """

    topics: Sequence[TopicRead] = ()

    def __init__(self, source: Source, window: Window) -> None:
        self.source = source
        self.columns = [column.name for column in source.columns]
        self._window = window

    def read(self, resume: Positions) -> Iterator[bytes | bytearray | memoryview]:
        """COPY blocks of the table's rows; only the window's where the source has a window column."""
        with postgres(self.source.connection) as connection:
            try:
                with connection.transaction(), connection.cursor() as cursor:
                    cursor.execute("set transaction isolation level repeatable read, read only")
                    with cursor.copy(self._query()) as copy:
                        yield from copy
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
                raise SourceError(
                    f"{self.source.name}: the table at the connection {self.source.connection!r} is not what was "
                    f"expected: {error.diag.message_primary}; expected columns: {', '.join(self.columns)}"
                ) from error
            except psycopg.Error as error:
                raise SourceError(
                    f"{self.source.name}: reading {self._window} at the connection {self.source.connection!r} "
                    f"failed: {str(error).strip()}"
                ) from error

    def _query(self) -> sql.Composed:
        columns = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in self.columns)
        query = sql.SQL("select {} from {}").format(columns, sql.Identifier("public", self.source.name))
        if self.source.window_column:
            query += sql.SQL(" where {column} >= {start} and {column} < {end}").format(
                column=sql.Identifier(self.source.window_column), start=self._window.start, end=self._window.end
            )
        return sql.SQL("copy ({}) to stdout").format(query)
