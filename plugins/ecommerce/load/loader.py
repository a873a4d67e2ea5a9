"""One load: read a window of a source, refuse what cannot be taken, land the rest, in one transaction."""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg import Connection, sql

from ecommerce.common import fault_points
from ecommerce.common.errors import EmptySource, QuarantineOverflow
from ecommerce.common.sources import Source, WriteDisposition
from ecommerce.common.value_rules import SQL_TYPES, cast
from ecommerce.common.windows import Window
from ecommerce.extract.reader_protocol import AppendingReader, Chunk, Gap, Reader, VouchingReader
from ecommerce.load import batches, offsets, quarantine, raw_writer, schema_drift, validate
from ecommerce.load.batches import RunIdentity
from ecommerce.load.offsets import Positions
from ecommerce.load.raw_writer import GOOD, STAGE, Extent, Landed

log = logging.getLogger(__name__)

#: Seconds between two progress lines of a long read.
PROGRESS_SECONDS = 5.0

#: After a load of so many rows the planner must hear of them at once, not when autovacuum comes by…
ANALYZE_ROWS = 1_000
#: …though not all there is to say: a third of what the server takes by default is told three times as fast.
ANALYZE_TARGET = 30

#: An empty raw table is indexed after it was filled when the source holds more rows than this.
LARGE = 100_000

#: So many lost ranges of offsets are named in a result; all are in ops.kafka_gap.
LOST_SHOWN = 20


class _NeedsAllRows(Exception):
    """A short cut does not lead to the end: the window has to be read whole and compared row by row."""


@dataclass(frozen=True)
class LoadResult:
    """What one load did. Rows; ``rows_read = rows_loaded + rows_unchanged + rows_quarantined``."""

    source: str
    window_start: str
    window_end: str
    batch_id: int
    bytes_read: int
    rows_read: int
    rows_loaded: int
    rows_unchanged: int
    rows_quarantined: int
    rows_removed: int
    days_marked: int
    seconds: float
    #: Rows that were refused before, and that raw holds now.
    rows_replayed: int = 0
    #: Offsets of a topic that are lost, the first of them, in words.
    lost: tuple[str, ...] = ()
    dry_run: bool = False
    is_of_earlier_try: bool = False

    @property
    def rows_per_second(self) -> int:
        """Rows read a second."""
        return round(self.rows_read / self.seconds) if self.seconds else 0

    def figures(self) -> dict[str, Any]:
        """All of it, for XComs and asset events."""
        return {**asdict(self), "rows_per_second": self.rows_per_second}

    def __str__(self) -> str:
        end = "; dry run, rolled back" if self.dry_run else f"; batch {self.batch_id}"
        if self.is_of_earlier_try:
            end += ", which an earlier try had committed: nothing was read again"
        if self.rows_replayed:
            end += f"; {self.rows_replayed:,} rows that were refused before are replayed"
        if self.lost:
            end += f"; LOST BEFORE THEY WERE READ: {'; '.join(self.lost)}"
        return (
            f"{self.source} {self.window_start} to {self.window_end} (exclusive): {self.rows_read:,} rows read, "
            f"{self.rows_loaded:,} loaded, {self.rows_unchanged:,} unchanged, {self.rows_quarantined:,} quarantined, "
            f"{self.rows_removed:,} gone from the source, {self.days_marked:,} days marked, "
            f"{self.bytes_read / 1e6:,.1f} MB in {self.seconds:.1f} s ({self.rows_per_second:,} rows/s){end}"
        )


def load(
    connection: Connection,
    source: Source,
    window: Window,
    reader: Reader,
    *,
    run: RunIdentity,
    dry_run: bool = False,
) -> LoadResult:
    """
    Load one window of one source.

    Rows, quarantine, dirty days, Kafka positions and the ledger's `loaded` commit together or not at all; the
    ledger row of a load that fails says so and why. What an earlier try of the same task has committed is not loaded
    again. A dry run does all of it and rolls back.

    :param connection: to the warehouse, in autocommit
    :raises SourceError: the source cannot be read, is empty, or its table has lost or retyped a column
    :raises QuarantineOverflow: more than the source's share of rows was refused
    :raises LoaderFenced: this loader was declared dead before it could commit
    """
    with batches.one_loader(connection, source):
        batches.bury_the_dead(connection, source)
        if not dry_run and (figures := batches.committed_before(connection, source, run)):
            log.warning("%s: an earlier try had committed batch %s", source.name, figures["batch_id"])
            return LoadResult(**figures, seconds=0.0, is_of_earlier_try=True)
        fault_points.point("before_batch")
        with connection.transaction(force_rollback=True) if dry_run else nullcontext():
            batch_id = batches.open_batch(connection, source, window, run)
            try:
                result = _read_and_land(connection, source, window, reader, batch_id, dry_run=dry_run)
            except BaseException as error:
                if not dry_run:
                    batches.fail_batch(connection, batch_id, error)
                raise
        fault_points.point("after_commit")
        if result.rows_loaded >= ANALYZE_ROWS and not dry_run:
            _analyze(connection, source)
        return result


def _analyze(connection: Connection, source: Source) -> None:
    with connection.transaction():
        connection.execute(sql.SQL("set local default_statistics_target = {}").format(ANALYZE_TARGET))
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier("raw", source.name)))


def _read_and_land(
    connection: Connection, source: Source, window: Window, reader: Reader, batch_id: int, *, dry_run: bool
) -> LoadResult:
    """The load's own transaction; a second one, that reads all rows, where a short cut in the first leads nowhere."""
    if not isinstance(reader, VouchingReader):
        with connection.transaction():
            return _Load(connection, source, window, reader, batch_id, dry_run).run()
    for is_short in (True, False):
        with reader.snapshot():
            noticed = list(schema_drift.changes(source, reader.found))
            schema_drift.write_down(connection, source, batch_id, noticed)
            schema_drift.refuse_broken(source, noticed)
            reader.source = schema_drift.evolve(connection, source, reader.found, dry_run=dry_run)
            try:
                with connection.transaction():
                    return _Load(connection, reader.source, window, reader, batch_id, dry_run, is_short=is_short).run()
            except (psycopg.errors.UniqueViolation, _NeedsAllRows) as error:
                if not is_short:
                    raise
                log.info("%s: %s; the window is read again, to compare row by row", source.name, str(error).strip())
    raise AssertionError("the second attempt returns or raises")


@dataclass
class _Load:
    """
    One load, inside the caller's transaction.

    Rows come on two ways. Those that the source vouches for are copied, typed, into `good`, or straight into raw where
    raw holds nothing of the window. All others are copied as text into `stage` and judged there; what is accepted joins
    `good`, and what is refused stays.
    """

    connection: Connection
    source: Source
    window: Window
    reader: Reader
    batch_id: int
    dry_run: bool
    is_short: bool = False

    def __post_init__(self) -> None:
        self.extent = Extent(self.window)
        self.size = 0
        self.started = self.reported = time.monotonic()

    def run(self) -> LoadResult:
        """Read, judge, land, and close the batch."""
        fault_points.point("before_read")
        spared, straight, vouched = 0, False, 0
        #: The days whose facts are new, where the source itself can tell.
        facts_of: list[str] | None = None
        doubtful: Iterator[Chunk]
        if isinstance(self.reader, VouchingReader):
            days: Collection[date] | None = None
            if self.is_short and self.source.write_disposition is WriteDisposition.REPLACE_WINDOW:
                straight = not raw_writer.is_held(self.connection, self.source, self.extent)
                if not straight and self.reader.has_fingerprints():
                    spared, days = self._leave_out_days(self.reader)
            if straight:
                vouched, by_day = self._copy_straight(self.reader)
                if vouched == sum(by_day.values()):
                    facts_of, days = [day for day in by_day if day is not None], []
            else:
                vouched = self._copy_vouched(self.reader)
            doubtful = iter(()) if days == [] else self.reader.doubtful(days)
        else:
            if isinstance(self.reader, AppendingReader):
                vouched = self._copy_appended(self.reader)
            doubtful = self.reader.read(Positions(self.connection))
        staged = self._stage(doubtful)
        read = spared + vouched + staged
        if read == 0 and self.source.write_disposition is WriteDisposition.VERSION_LOG:
            raise EmptySource(
                f"{self.source.name} at {self.source.connection!r} holds no row; taking that as the truth would delete "
                f"every {self.source.key[0]}, so nothing was loaded"
            )
        refused = self._judge(staged)
        if refused < staged and self.is_short and isinstance(self.reader, VouchingReader):
            raise _NeedsAllRows("rows that the source did not vouch for were found good")
        if not straight:
            refused += self._accept(staged - refused)
        self._judge_refusals(read, refused)
        quarantined = quarantine.put_aside(self.connection, self.source, STAGE, self.batch_id) if refused else 0
        fault_points.point("quarantined")
        landed = (
            raw_writer.landed_straight(self.connection, self.source, self.extent, self.batch_id, vouched, facts_of)
            if straight
            else raw_writer.land(self.connection, self.source, self.extent, self.batch_id)
        )
        if isinstance(self.reader, AppendingReader):
            schema_drift.write_down(
                self.connection, self.source, self.batch_id, schema_drift.new_fields(self.reader.unknown)
            )
            landed = raw_writer.with_appended(
                self.connection, self.source, self.batch_id, landed, vouched, self.reader.begun
            )
        gaps = [
            (topic.topic, gap)
            for topic in self.reader.topics
            for gap in offsets.store(self.connection, topic, self.batch_id)
        ]
        replayed = quarantine.settle(self.connection, self.source, STAGE, self.extent, self.batch_id)
        fault_points.point("landed")
        result = self._close(read, landed, refused, quarantined, replayed, _in_words(gaps))
        fault_points.point("before_commit")
        return result

    def _leave_out_days(self, reader: VouchingReader) -> tuple[int, list[date]]:
        """
        Narrow the extent to the days of which the source says something else than raw holds.

        Returns the rows of the others, and the days that may have rows which do not pass.
        """
        seed = secrets.randbits(63)
        with _asking(reader) as side:
            asked = side.submit(reader.fingerprints, seed)
            held = raw_writer.held_fingerprints(self.connection, self.source, self.extent, seed)
            said = asked.result()
        alike = {day: rows for day, (rows, _) in said.items() if held.get(day) == said[day]}
        # Some differ only by rows that do not pass, which raw cannot hold.
        unsure = sorted((said.keys() | held.keys()) - alike.keys())
        judged = reader.fingerprints(seed, unsure) if unsure else {}
        alike |= {day: rows for day, (rows, _) in judged.items() if held.get(day) == judged[day]}
        self.extent = Extent(self.window, [day for day in unsure if day not in alike])
        log.info(
            "%s: %s of %s days of %s are as they were read before, with %s rows",
            self.source.name, len(alike), len(said.keys() | held.keys()), self.window, f"{sum(alike.values()):,}",
        )  # fmt: skip
        return sum(alike.values()), unsure

    def _copy_straight(self, reader: VouchingReader) -> tuple[int, dict[str | None, int]]:
        """Vouched rows into raw itself; their number, and that of all rows of the window by day."""
        raw = sql.Identifier("raw", self.source.name)
        columns = [column.name for column in self.source.columns]
        row = self.connection.execute("select now()").fetchone()
        lineage = {
            "_batch_id": sql.SQL("{}::bigint").format(sql.Literal(self.batch_id)),
            "_loaded_at": sql.SQL("{}::timestamptz").format(sql.Literal(row[0] if row else None)),
        }
        is_first = not self.dry_run and reader.is_large(LARGE) and raw_writer.lock_if_free(self.connection, self.source)
        if not is_first:
            rows = reader.vouched(None, list(lineage.values()))
            return self._copy(raw, [*columns, *lineage], rows, "format binary"), reader.rows_by_day()
        with _asking(reader) as side:
            with raw_writer.in_bulk(self.connection, self.source, lineage):
                copied = self._copy(raw, columns, reader.vouched(None, []), "format binary, freeze")
                # The source counts while raw is indexed.
                counted = side.submit(reader.rows_by_day)
            return copied, counted.result()

    def _copy_vouched(self, reader: VouchingReader) -> int:
        """Vouched rows into `good`."""
        self._make_good()
        if self.extent.is_empty:
            return 0
        columns = [column.name for column in self.source.columns]
        return self._copy(GOOD, columns, reader.vouched(self.extent.days, []), "format binary")

    def _copy_appended(self, reader: AppendingReader) -> int:
        """Rows that are certainly good and new into raw itself."""
        columns = [*(column.name for column in self.source.loaded_columns), "_batch_id", "_loaded_at"]
        row = self.connection.execute("select now()::text").fetchone()
        lineage = [str(self.batch_id), row[0] if row else "now"]
        rows = reader.appended(Positions(self.connection), lineage)
        return self._copy(sql.Identifier("raw", self.source.name), columns, rows, "format text")

    def _stage(self, chunks: Iterator[Chunk]) -> int:
        """Everything that the reader does not vouch for, as text; the number of rows."""
        columns = sql.SQL(", ").join(
            sql.SQL("{} text").format(sql.Identifier(column.name)) for column in self.source.loaded_columns
        )
        self.connection.execute(
            sql.SQL("create temp table {stage} ({columns}, _payload text, _refusal text) on commit drop").format(
                stage=STAGE, columns=columns
            )
        )
        return self._copy(STAGE, self.reader.columns, chunks, "format text")

    def _copy(self, table: sql.Identifier, columns: Sequence[str], chunks: Iterator[Chunk], options: str) -> int:
        """COPY what comes; the number of rows."""
        target = sql.SQL("copy {} ({}) from stdin ({})").format(
            table, sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(options)
        )
        with closing(_closable(chunks)) as chunks:
            # The first chunk before COPY: until then the reader may still ask the warehouse where to resume, and a
            # source that cannot be read says so first.
            first = list(itertools.islice(chunks, 1))
            with self.connection.cursor() as cursor:
                with cursor.copy(target) as copy:
                    for chunk in self._counted(itertools.chain(first, chunks)):
                        if isinstance(chunk, (bytes, bytearray, memoryview)):
                            copy.write(chunk)
                        else:
                            copy.write_row(chunk)
                return cursor.rowcount

    def _counted(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            if isinstance(chunk, (bytes, bytearray, memoryview)):
                self.size += len(chunk)
            else:
                self.size += sum(len(value) for value in chunk if value)
            if time.monotonic() - self.reported > PROGRESS_SECONDS:
                self.reported = time.monotonic()
                log.info("%s: %.1f MB read", self.source.name, self.size / 1e6)
            yield chunk
            fault_points.point("mid_copy")

    def _make_good(self) -> None:
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(SQL_TYPES[column.kind]))
            for column in self.source.loaded_columns
        )
        self.connection.execute(sql.SQL("create temp table {} ({}) on commit drop").format(GOOD, columns))

    def _judge(self, staged: int) -> int:
        """Refuse staged rows for their values; the number of refused rows."""
        if not staged:
            return 0
        validate.refuse_bad_values(self.connection, self.source, STAGE)
        row = self.connection.execute(
            sql.SQL("select count(*) from {} where _refusal is not null").format(STAGE)
        ).fetchone()
        return int(row[0]) if row else 0

    def _accept(self, rows: int) -> int:
        """The accepted staged rows, typed as raw has them, into `good`; rows refused for what else is there."""
        values = sql.SQL(", ").join(
            sql.SQL("{} as {}").format(cast(self.source, column), sql.Identifier(column.name))
            for column in self.source.loaded_columns
        )
        accepted = sql.SQL("select {} from {} where _refusal is null").format(values, STAGE)
        if self.source.write_disposition is WriteDisposition.APPEND:
            # Each is read once, and its key is the place it came from: no need to write them a second time.
            self.connection.execute(sql.SQL("create temp view {} as {}").format(GOOD, accepted))
            return 0
        if not isinstance(self.reader, VouchingReader):
            self._make_good()
        if rows:
            self.connection.execute(sql.SQL("insert into {} {}").format(GOOD, accepted))
        # Without statistics the planner takes a fresh temporary table for tiny and loops over it.
        self.connection.execute(sql.SQL("analyze {}").format(GOOD))
        repeated = validate.refuse_repeated_keys(self.connection, self.source, GOOD, STAGE)
        return repeated + raw_writer.refuse_superseded(self.connection, self.source, self.extent)

    def _judge_refusals(self, read: int, refused: int) -> None:
        """
        Say what was refused, and stop where it is too much.

        :raises QuarantineOverflow: more than the source's share
        """
        if not refused:
            return
        examples: list[Any] = self.connection.execute(
            sql.SQL(
                "select _refusal, count(*) from {} where _refusal is not null group by 1 order by 2 desc limit 5"
            ).format(STAGE)
        ).fetchall()
        reasons = "; ".join(f"{count}x {reason}" for reason, count in examples)
        name = self.source.name
        log.warning("%s %s: %s of %s rows refused: %s", name, self.window, refused, read, reasons)
        if refused > self.source.max_refused_rows and refused > self.source.max_refused_share * read:
            raise QuarantineOverflow(
                f"{name} {self.window}: {refused:,} of {read:,} rows were refused, more than the "
                f"{self.source.max_refused_share:.0%} this source may have; nothing was loaded. The most frequent: "
                f"{reasons}"
            )

    def _close(
        self, read: int, landed: Landed, refused: int, quarantined: int, replayed: int, lost: tuple[str, ...]
    ) -> LoadResult:
        unchanged = read - landed.loaded - quarantined
        batches.close_batch(
            self.connection,
            self.source,
            self.batch_id,
            size=self.size,
            read=read,
            loaded=landed.loaded,
            unchanged=unchanged,
            quarantined=quarantined,
            refused=refused,
            removed=landed.removed,
        )
        return LoadResult(
            source=self.source.name,
            window_start=str(self.window.start),
            window_end=str(self.window.end),
            batch_id=self.batch_id,
            bytes_read=self.size,
            rows_read=read,
            rows_loaded=landed.loaded,
            rows_unchanged=unchanged,
            rows_quarantined=quarantined,
            rows_removed=landed.removed,
            days_marked=landed.days,
            seconds=round(time.monotonic() - self.started, 3),
            rows_replayed=replayed,
            lost=lost,
            dry_run=self.dry_run,
        )


@contextmanager
def _asking(reader: VouchingReader) -> Iterator[ThreadPoolExecutor]:
    """A thread in which the source is asked meanwhile; a load that fails does not wait for the answer."""
    with ThreadPoolExecutor(1) as side:
        try:
            yield side
        except BaseException:
            reader.cancel()
            raise


def _in_words(gaps: Sequence[tuple[str, Gap]]) -> tuple[str, ...]:
    lost = [f"{topic}[{gap.partition}] {gap.first}-{gap.last} ({gap.cause})" for topic, gap in gaps if gap.is_loss]
    more = (f"{len(lost) - LOST_SHOWN} more",) if len(lost) > LOST_SHOWN else ()
    return (*lost[:LOST_SHOWN], *more)


def _closable(chunks: Iterator[Chunk]) -> Any:
    """A generator that is closed with what it reads; a plain iterator has nothing to close."""
    return chunks if hasattr(chunks, "close") else (chunk for chunk in chunks)
