"""
The ways to get a reader's rows into raw. The loader calls each by the same three steps: `read`, `accept`, `write`.

| strategy | reader and source | what it does |
| --- | --- | --- |
| `RowByRow` | any reader, not of a topic | validates all rows, and compares them with raw one by one |
| `PrevalidatedRows` | a table | like `RowByRow`, but validates only suspect rows |
| `CompareByDay` | a table with windows | like `PrevalidatedRows`, only for days whose fingerprint differs from raw's |
| `FirstLoad` | a table with windows, if raw has no row of this one | copies prevalidated rows straight into raw |
| `Append` | messages from the quarantine | validates them, and adds those that are new to raw |
| `ApplyChanges` | changes of a table, from a topic or the quarantine | validates them, and adds a version for each |
| `AppendTopic` | a topic | copies plain messages straight into raw; the others like `Append` |

`FirstLoad` and `CompareByDay` are shortcuts: they raise `ShortcutFailed` or `UniqueViolation` if they cannot tell what
becomes of a row. The loader then rolls back, and loads the window again by `PrevalidatedRows`.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple

from psycopg import Connection, sql

from ecommerce.common.sources import Source, WriteDisposition
from ecommerce.common.windows import Window
from ecommerce.extract.reader_protocol import (
    AppendingReader,
    ChangesReader,
    Chunk,
    Constant,
    PrevalidatingReader,
    Reader,
)
from ecommerce.load import bulk_load, moved_rows, raw_writer, schema_drift, validate
from ecommerce.load.erased_rows import replace_erased
from ecommerce.load.extent import Extent
from ecommerce.load.offsets import StoredOffsets
from ecommerce.load.raw_writer import WriteCounts
from ecommerce.load.read_ahead import ReadAhead
from ecommerce.load.staging import ACCEPTED, MOVED, STAGE, Staging

log = logging.getLogger(__name__)

#: An empty raw table is filled in bulk, and indexed afterwards, if the source has more rows than this.
BULK_ROWS = 100_000


#: Day → rows; None: only raw can tell.
ByDay = dict[str | None, int] | None


class ShortcutFailed(Exception):
    """A shortcut cannot load this window: all its rows have to be read and compared one by one."""


@dataclass(frozen=True)
class LoadJob:
    """
    What to load, and into which batch.

    :param allow_mass_removal: the load may remove more than half of what raw has
    """

    connection: Connection
    source: Source
    window: Window
    batch_id: int
    dry_run: bool
    allow_mass_removal: bool = False


class ReadCounts(NamedTuple):
    """
    Rows that were read: how many there are, and how many of them are staged to be validated.

    :param undated: how many of the staged ones no window has; all of them are rejected
    """

    total: int
    staged: int
    undated: int = 0


class MovedCounts(NamedTuple):
    """Rows that have moved to another window: how many were read, and how many of them are rejected."""

    total: int = 0
    rejected: int = 0


class Strategy(ABC):
    """
    One way to load. ``extent`` is the part of raw that `write` makes equal to what was read.

    A strategy is used once, inside the load's transaction.
    """

    def __init__(self, job: LoadJob) -> None:
        self.job = job
        self.extent = Extent(job.window)
        self.staging = Staging(job.connection, job.source)

    @abstractmethod
    def read(self) -> ReadCounts:
        """Copy the window's rows: suspect ones into the staging table, the others to where they can be written from."""

    @abstractmethod
    def accept(self, passed: int) -> int:
        """
        Take over the staged rows that passed validation; how many rows are rejected for their key.

        :param passed: how many have passed
        """

    def follow_moved(self) -> MovedCounts:
        """
        Accept the rows that have left the window for another one, so that raw does not lose them.

        Only a source that can be asked for keys can tell; of any other nothing is found.
        """
        return MovedCounts()

    @abstractmethod
    def write(self) -> WriteCounts:
        """Bring the accepted rows into raw, and mark the days that change."""


class RowByRow(Strategy):
    """Validates all rows of a source, and compares each with raw."""

    def __init__(self, job: LoadJob, reader: Reader) -> None:
        super().__init__(job)
        self._reader = reader

    def read(self) -> ReadCounts:
        """Stage all rows."""
        chunks = self._reader.read(StoredOffsets(self.job.connection, self.job.source))
        staged = self.staging.copy_suspect(self._reader.columns, chunks)
        self.staging.create_accepted()
        return ReadCounts(staged, staged)

    def accept(self, passed: int) -> int:
        """Accept one row of each key."""
        if passed:
            self.staging.accept_passed()
        self.staging.analyze_accepted()
        repeated = validate.reject_repeated_keys(self.job.connection, self.job.source)
        return repeated + raw_writer.reject_superseded(self.job.connection, self.job.source, self.extent)

    def write(self) -> WriteCounts:
        """Write what differs."""
        return raw_writer.write(self.job.connection, self.job.source, self.extent, self.job.batch_id)


class PrevalidatedRows(RowByRow):
    """
    Accepts the rows that the source has validated, and validates the suspect ones.

    Also reads the rows that no window has. A row that raw has in the window, and the source has not, is looked for by
    its key before raw loses it.
    """

    def __init__(self, job: LoadJob, reader: PrevalidatingReader) -> None:
        super().__init__(job, reader)
        self._table = reader
        self.extent = Extent(job.window, has_undated=not reader.location.is_bound)
        self._undated = 0

    def read(self) -> ReadCounts:
        """Copy all rows of the window."""
        return self._read_days(None)

    def _read_days(self, suspect_days: Collection[date] | None) -> ReadCounts:
        """Copy the prevalidated rows of the extent, and the suspect ones of some days; None: of the whole window."""
        self.staging.create_accepted()
        columns = [column.name for column in self.job.source.columns]
        prevalidated = 0
        if not self.extent.is_empty:
            rows = self._table.prevalidated(self.extent.days, [])
            prevalidated = self.staging.copy(ACCEPTED, columns, rows, self._table.copy_format)
        staged = self._stage_suspect(suspect_days)
        return ReadCounts(prevalidated + staged, staged, self._undated)

    def _stage_suspect(self, days: Collection[date] | None) -> int:
        self._stage_undated()
        # An empty list of days would be an empty condition.
        chunks = iter(()) if days is not None and not days else self._table.suspect(days)
        return self._undated + self._stage(chunks)

    def _stage_undated(self) -> None:
        """Create the stage, with the rows that no window has, all rejected."""
        self.staging.create_stage()
        chunks = self._table.undated()
        if (first := next(chunks, None)) is None:
            return
        self._undated = self._stage(itertools.chain([first], chunks))
        validate.reject_undated(self.job.connection, self.job.source)

    def _stage(self, chunks: Iterator[Chunk]) -> int:
        return self.staging.copy(STAGE, self._table.columns, chunks, "format text")

    def follow_moved(self) -> MovedCounts:
        """Ask the source for the keys that raw would lose, many at a time."""
        job = self.job
        if job.source.window_column is None or not moved_rows.find_lost_keys(job.connection, job.source, self.extent):
            return MovedCounts()
        self.staging.create_moved()
        for keys in moved_rows.lost_keys(job.connection, job.source):
            rows = self._table.in_other_windows(keys)
            self.staging.copy(MOVED, self._table.columns, rows, "format text")
        return MovedCounts(*moved_rows.accept(job.connection, job.source, self.staging))


class CompareByDay(PrevalidatedRows):
    """Reads only the days whose fingerprint at the source differs from raw's."""

    def read(self) -> ReadCounts:
        """Narrow the extent to the days that differ, and copy them."""
        unchanged, differing_days = self._compare_days()
        counts = self._read_days(differing_days)
        return ReadCounts(unchanged + counts.total, counts.staged, counts.undated)

    def accept(self, passed: int) -> int:
        """Accept one row of each key; suspect rows must all be rejected, as they are of days that were not compared."""
        _fail_if_any_passed(passed)
        return super().accept(passed)

    def _compare_days(self) -> tuple[int, list[date]]:
        """Set the extent; the rows of the unchanged days, and the days that may have suspect rows."""
        seed = secrets.randbits(63)
        with _beside(self._table) as executor:
            future = executor.submit(self._table.fingerprints, seed)
            stored = raw_writer.raw_fingerprints(
                self.job.connection, self.job.source, self.extent, seed, self._table.row_hash
            )
            current = future.result()
        unchanged = {day: rows for day, (rows, _) in current.items() if stored.get(day) == current[day]}
        # Some differ only by suspect rows, which raw does not have: of those days the prevalidated rows are compared.
        differing = sorted((current.keys() | stored.keys()) - unchanged.keys())
        prevalidated = self._table.fingerprints(seed, differing) if differing else {}
        unchanged |= {day: rows for day, (rows, _) in prevalidated.items() if stored.get(day) == prevalidated[day]}
        self.extent = replace(self.extent, days=[day for day in differing if day not in unchanged])
        log.info(
            "%s: %s of %s days of %s are unchanged, with %s rows",
            self.job.source.name, len(unchanged), len(current.keys() | stored.keys()), self.job.window,
            f"{sum(unchanged.values()):,}",
        )  # fmt: skip
        return sum(unchanged.values()), differing


class FirstLoad(PrevalidatedRows):
    """Copies the prevalidated rows of a window straight into raw, which has none of it."""

    def __init__(self, job: LoadJob, reader: PrevalidatingReader) -> None:
        super().__init__(job, reader)
        self._copied = 0
        self._had_rows = False
        #: The days whose facts are new; None: only raw can tell.
        self._days: list[str] | None = None

    def read(self) -> ReadCounts:
        """Copy the prevalidated rows into raw; stage the suspect ones, if there are any."""
        self._had_rows = raw_writer.has_rows(self.job.connection, self.job.source)
        # Before the suspect rows: those are read ahead, and the source answers one question at a time.
        self._stage_undated()
        undated = self._staged_by_day() if self._undated else {}
        with ReadAhead() as suspect:
            self._copied, by_day = self._copy_into_raw(suspect)
            staged = self._stage(suspect.chunks())
        source = self.job.source
        replace_erased(
            self.job.connection, source, sql.Identifier("raw", source.name), self.extent.condition(source, "held")
        )
        self._days = self._days_in_raw(by_day, staged, undated)
        return ReadCounts(self._copied + self._undated + staged, self._undated + staged, self._undated)

    def accept(self, passed: int) -> int:
        """Accept nothing more: suspect rows must all be rejected, and a repeated key has failed the copy."""
        _fail_if_any_passed(passed)
        return 0

    def follow_moved(self) -> MovedCounts:
        """Nothing: raw had no row of the window that it could lose."""
        return MovedCounts()

    def write(self) -> WriteCounts:
        """Mark the days; raw already has the rows."""
        job = self.job
        return raw_writer.count_first_load(
            job.connection, job.source, self.extent, job.batch_id, self._copied, self._days, had_rows=self._had_rows
        )

    def _copy_into_raw(self, suspect: ReadAhead) -> tuple[int, ByDay]:
        """The number of copied rows, and that of all rows of the window by day, if the source can tell."""
        job = self.job
        raw = sql.Identifier("raw", job.source.name)
        columns = [column.name for column in job.source.columns]
        row = job.connection.execute("select now()::text").fetchone()
        lineage = {
            "_batch_id": Constant(str(job.batch_id), "bigint"),
            "_loaded_at": Constant(row[0] if row else "now", "timestamptz"),
        }
        form = self._table.copy_format
        is_bulk = (
            not job.dry_run and self._table.is_large(BULK_ROWS) and bulk_load.try_to_lock(job.connection, job.source)
        )
        if not is_bulk:
            rows = self._table.prevalidated(None, list(lineage.values()))
            copied = self.staging.copy(raw, [*columns, *lineage], rows, form)
            return copied, self._count_and_begin(copied, suspect)
        with _beside(self._table) as executor:
            constants = {name: constant.as_sql() for name, constant in lineage.items()}
            with bulk_load.without_indexes(job.connection, job.source, constants):
                copied = self.staging.copy(raw, columns, self._table.prevalidated(None, []), f"{form}, freeze")
                # The source counts, and begins with the suspect rows, while raw is indexed.
                future = executor.submit(self._count_and_begin, copied, suspect)
            return copied, future.result()

    def _count_and_begin(self, copied: int, suspect: ReadAhead) -> ByDay:
        """Count the rows by day, and begin to read the suspect ones if there are more rows than were copied."""
        by_day = self._table.rows_by_day()
        if by_day is None or copied != sum(by_day.values()):
            suspect.begin(self._table.suspect(None))
        return by_day

    def _days_in_raw(self, by_day: ByDay, staged: int, undated: dict[str | None, int]) -> list[str] | None:
        """The days of the copied rows: those that have more rows in the window than are suspect."""
        if by_day is None:
            return None
        if staged and self.job.source.day:
            for day, rows in self._staged_by_day().items():
                by_day[day] = by_day.get(day, 0) - rows + undated.get(day, 0)
        if any(rows < 0 for rows in by_day.values()):
            return None
        return [day for day, rows in by_day.items() if rows and day is not None]

    def _staged_by_day(self) -> dict[str | None, int]:
        return self.staging.staged_by(self.job.source.day) if self.job.source.day else {}


class Append(Strategy):
    """Validates messages, and adds those that raw does not have. Their key is their place in the topic."""

    def __init__(self, job: LoadJob, reader: Reader) -> None:
        super().__init__(job)
        self._reader = reader

    def read(self) -> ReadCounts:
        """Stage all messages."""
        staged = self._stage()
        return ReadCounts(staged, staged)

    def accept(self, passed: int) -> int:
        """Accept what passed; no key comes twice."""
        self.staging.create_accepted_view()
        return 0

    def write(self) -> WriteCounts:
        """Add what is new."""
        return raw_writer.write(self.job.connection, self.job.source, self.extent, self.job.batch_id)

    def _stage(self) -> int:
        chunks = self._reader.read(StoredOffsets(self.job.connection, self.job.source))
        return self.staging.copy_suspect(self._reader.columns, chunks)


class AppendTopic(Append):
    """Copies plain messages straight into raw, and appends the others."""

    def __init__(self, job: LoadJob, reader: AppendingReader) -> None:
        super().__init__(job, reader)
        self._topic = reader
        self._copied = 0

    def read(self) -> ReadCounts:
        """Copy the plain messages into raw, then stage the others."""
        job = self.job
        columns = [*(column.name for column in job.source.loaded_columns), "_batch_id", "_loaded_at"]
        row = job.connection.execute("select now()::text").fetchone()
        lineage = [str(job.batch_id), row[0] if row else "now"]
        rows = self._topic.new_rows(StoredOffsets(job.connection, job.source), lineage)
        raw = sql.Identifier("raw", job.source.name)
        self._copied = self.staging.copy(raw, columns, rows, "format text")
        if self._copied:
            is_new = sql.SQL("held._batch_id = {}").format(sql.Literal(job.batch_id))
            replace_erased(job.connection, job.source, raw, is_new)
        staged = self._stage()
        return ReadCounts(self._copied + staged, staged)

    def write(self) -> WriteCounts:
        """Add what is new; note fields that the registry does not have, and mark the days of all messages."""
        job, counts = self.job, super().write()
        schema_drift.note(job.connection, job.source, job.batch_id, schema_drift.new_fields(self._topic.unknown_fields))
        schema_drift.note_schemas(job.connection, job.source, job.batch_id, self._topic.schemas)
        return raw_writer.add_messages(
            job.connection, job.source, job.batch_id, counts, self._copied, self._topic.first_offsets
        )


class ApplyChanges(Append):
    """Adds a version for each change of a row, in the order of the changes."""

    def __init__(self, job: LoadJob, reader: ChangesReader) -> None:
        super().__init__(job, reader)
        self._changes = reader

    def accept(self, passed: int) -> int:
        """Accept what passed; a key may come many times."""
        self.staging.create_accepted()
        if passed:
            self.staging.accept_passed()
        self.staging.analyze_accepted()
        return 0

    def write(self) -> WriteCounts:
        """Add the versions; note the schemas of the messages."""
        job = self.job
        schema_drift.note_schemas(job.connection, job.source, job.batch_id, self._changes.schemas)
        return raw_writer.apply_changes(job.connection, job.source, self._changes.topic, job.batch_id)


def for_rows(job: LoadJob, reader: Reader) -> Strategy:
    """The strategy for a reader of rows, such as an API or the quarantine."""
    return (Append if job.source.write_disposition is WriteDisposition.APPEND else RowByRow)(job, reader)


def fastest_for_table(job: LoadJob, reader: PrevalidatingReader) -> Strategy:
    """The strategy to try first for a table."""
    if job.source.write_disposition is WriteDisposition.REPLACE_WINDOW:
        if not raw_writer.has_rows(job.connection, job.source, Extent(job.window)):
            return FirstLoad(job, reader)
        if reader.has_fingerprints():
            return CompareByDay(job, reader)
    return PrevalidatedRows(job, reader)


def _fail_if_any_passed(passed: int) -> None:
    if passed:
        raise ShortcutFailed("rows that the source did not prevalidate passed all rules")


@contextmanager
def _beside(reader: PrevalidatingReader) -> Iterator[ThreadPoolExecutor]:
    """A thread in which the source is queried meanwhile; a load that fails cancels the query."""
    with ThreadPoolExecutor(1) as executor:
        try:
            yield executor
        except BaseException:
            reader.cancel()
            raise
