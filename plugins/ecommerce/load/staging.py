"""
The temporary tables of a load, and the COPY that fills them or raw.

`stage` has suspect rows as texts; if one is rejected, the reason is in `_rejection`. `accepted` has typed rows, as raw
stores them. `moved` has rows of other windows as texts, among them those whose keys raw has in this one.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from psycopg import Connection, sql

from ecommerce.common import fault_points
from ecommerce.common.sources import Source
from ecommerce.common.value_rules import SQL_TYPES, cast
from ecommerce.extract.reader_protocol import Chunk
from ecommerce.load.erased_rows import replace_erased
from ecommerce.load.read_ahead import size_of

log = logging.getLogger(__name__)

STAGE = sql.Identifier("pg_temp", "stage")
ACCEPTED = sql.Identifier("pg_temp", "accepted")
MOVED = sql.Identifier("pg_temp", "moved")

#: Seconds between two progress lines of a long read.
PROGRESS_SECONDS = 5.0


class Staging:
    """
    Creates and fills the temporary tables of one load.

    ``size`` is the bytes that were copied so far, into any table.
    """

    def __init__(self, connection: Connection, source: Source) -> None:
        self._connection = connection
        self._source = source
        self._reported_at = time.monotonic()
        self.size = 0

    def copy(self, table: sql.Identifier, columns: Sequence[str], chunks: Iterator[Chunk], options: str) -> int:
        """COPY chunks into a table, in a temporary one without customers who were erased; the number of rows."""
        target = sql.SQL("copy {} ({}) from stdin ({})").format(
            table, sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(options)
        )
        with closing(_closable(chunks)) as chunks:
            # The first chunk before COPY: until then the reader may ask the warehouse where to resume, and a source
            # that cannot be read fails first.
            first = list(itertools.islice(chunks, 1))
            with self._connection.cursor() as cursor:
                with cursor.copy(target) as copy:
                    for chunk in self._counted(itertools.chain(first, chunks)):
                        if isinstance(chunk, (bytes, bytearray, memoryview)):
                            copy.write(chunk)
                        else:
                            copy.write_row(chunk)
                rows = cursor.rowcount
        if table in (STAGE, ACCEPTED, MOVED):
            replace_erased(self._connection, self._source, table)
        return rows

    def copy_suspect(self, columns: Sequence[str], chunks: Iterator[Chunk]) -> int:
        """Create `stage` and copy rows of texts into it; the number of rows."""
        self.create_stage()
        return self.copy(STAGE, columns, chunks, "format text")

    def create_stage(self) -> None:
        """Create the table `stage`, empty."""
        texts = sql.SQL(", ").join(
            sql.SQL("{} text").format(sql.Identifier(column.name)) for column in self._source.loaded_columns
        )
        self._connection.execute(
            sql.SQL("""
                create temp table {stage} (
                    {texts},
                    _payload text,
                    _rejection text
                ) on commit drop
            """).format(stage=STAGE, texts=texts)
        )

    def create_moved(self) -> None:
        """Create the table `moved`, empty, in the form of `stage`."""
        self._connection.execute(sql.SQL("create temp table {} (like {}) on commit drop").format(MOVED, STAGE))

    def staged_by(self, column: str) -> dict[str | None, int]:
        """The number of staged rows of each text of a column."""
        return dict(
            self._connection.execute(
                sql.SQL("select {0}, count(*) from {1} group by 1").format(sql.Identifier(column), STAGE)
            ).fetchall()
        )

    def create_accepted(self) -> None:
        """Create the table `accepted`, empty."""
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(SQL_TYPES[column.kind]))
            for column in self._source.loaded_columns
        )
        self._connection.execute(sql.SQL("create temp table {} ({}) on commit drop").format(ACCEPTED, columns))

    def create_accepted_view(self) -> None:
        """Make `accepted` a view of the staged rows that passed, so that they are not written twice."""
        self._connection.execute(sql.SQL("create temp view {} as {}").format(ACCEPTED, self._passed()))

    def accept_passed(self) -> None:
        """Insert the staged rows that passed into the table `accepted`."""
        self._connection.execute(sql.SQL("insert into {} {}").format(ACCEPTED, self._passed()))

    def analyze_accepted(self) -> None:
        """Without statistics the planner assumes that a new temporary table is tiny, and loops over it."""
        self._connection.execute(sql.SQL("analyze {}").format(ACCEPTED))

    def _passed(self) -> sql.Composed:
        values = sql.SQL(", ").join(
            sql.SQL("{} as {}").format(cast(self._source, column), sql.Identifier(column.name))
            for column in self._source.loaded_columns
        )
        return sql.SQL("select {} from {} where _rejection is null").format(values, STAGE)

    def _counted(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            self.size += size_of(chunk)
            if time.monotonic() - self._reported_at > PROGRESS_SECONDS:
                self._reported_at = time.monotonic()
                log.info("%s: %.1f MB read", self._source.name, self.size / 1e6)
            yield chunk
            fault_points.point("mid_copy")


def _closable(chunks: Iterator[Chunk]) -> Any:
    """A generator closes what it reads from; a plain iterator is wrapped into one."""
    return chunks if hasattr(chunks, "close") else (chunk for chunk in chunks)
