"""One load: read a window of a source, refuse what cannot be taken, land the rest, in one transaction."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg import Connection, sql

from ecommerce import faults
from ecommerce.errors import EmptySource, QuarantineOverflow
from ecommerce.loading import ledger, validate
from ecommerce.loading.land import GOOD, STAGE, land, refuse_superseded
from ecommerce.loading.ledger import Positions, RunIdentity
from ecommerce.sources import Landing, Source
from ecommerce.windows import Window

log = logging.getLogger(__name__)

#: Seconds between two progress lines of a long read.
PROGRESS_SECONDS = 5.0

#: After a load of so many rows the planner must hear of them at once, not when autovacuum comes by.
ANALYZE_ROWS = 1_000

#: A block of Postgres COPY text, or one row of texts.
Chunk = bytes | bytearray | memoryview | Sequence[str | None]


class Reader(Protocol):
    """What an extractor offers: it only reads, and knows nothing of `raw`."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of the staged columns, in the order of the chunks' values."""

    @property
    def positions(self) -> Mapping[str, Mapping[int, int]]:
        """Topic → partition → next offset, once everything was read; empty where the source has none."""

    def read(self, resume: Positions) -> Iterator[Chunk]:
        """
        Everything the source has for the window, as COPY blocks or rows, in any order.

        ``resume`` can be asked until the first chunk is out.
        """


@dataclass(frozen=True)
class LoadResult:
    """What one load did. Rows; ``rows_read = rows_loaded + rows_unchanged + rows_quarantined``."""

    source: str
    window_start: str
    window_end: str
    batch_id: int
    rows_read: int
    rows_loaded: int
    rows_unchanged: int
    rows_quarantined: int
    rows_removed: int
    days_marked: int
    seconds: float
    dry_run: bool

    def __str__(self) -> str:
        rate = self.rows_read / self.seconds if self.seconds else 0
        return (
            f"{self.source} {self.window_start} to {self.window_end} (exclusive): {self.rows_read:,} rows read, "
            f"{self.rows_loaded:,} loaded, {self.rows_unchanged:,} unchanged, {self.rows_quarantined:,} quarantined, "
            f"{self.rows_removed:,} gone from the source, {self.days_marked:,} days marked, "
            f"in {self.seconds:.1f} s ({rate:,.0f} rows/s)"
            + ("; dry run, rolled back" if self.dry_run else f"; batch {self.batch_id}")
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
    ledger row of a load that fails says so and why. A dry run does all of it and rolls back.

    :param connection: to the warehouse, in autocommit
    :raises SourceError: the source cannot be read, or is empty
    :raises QuarantineOverflow: more than the source's share of rows was refused
    """
    with ledger.one_loader(connection, source):
        ledger.bury_the_dead(connection, source)
        faults.point("before_batch")
        if dry_run:
            with connection.transaction(force_rollback=True):
                batch_id = ledger.open_batch(connection, source, window, run)
                return _load(connection, source, window, reader, batch_id, dry_run=True)
        batch_id = ledger.open_batch(connection, source, window, run)
        try:
            with connection.transaction():
                result = _load(connection, source, window, reader, batch_id, dry_run=False)
                faults.point("before_commit")
        except BaseException as error:
            ledger.fail_batch(connection, batch_id, error)
            raise
        faults.point("after_commit")
        if result.rows_loaded >= ANALYZE_ROWS:
            connection.execute(sql.SQL("analyze {}").format(sql.Identifier("raw", source.name)))
        return result


def _load(
    connection: Connection, source: Source, window: Window, reader: Reader, batch_id: int, *, dry_run: bool
) -> LoadResult:
    started = time.monotonic()
    faults.point("before_read")
    read = _stage(connection, source, reader)
    if read == 0 and source.landing is Landing.VERSION_LOG:
        raise EmptySource(
            f"{source.name} at {source.connection!r} holds no row; taking that as the truth would delete every "
            f"{source.key[0]}, so nothing was loaded"
        )
    validate.refuse_bad_values(connection, source, STAGE)
    validate.refuse_repeated_keys(connection, source, STAGE)
    refuse_superseded(connection, source, window)
    good = _type(connection, source)
    refused = read - good
    _judge_refusals(connection, source, window, read, refused)
    quarantined = ledger.quarantine(connection, source, STAGE, batch_id) if refused else 0
    faults.point("quarantined")
    landed = land(connection, source, window, batch_id)
    for topic, positions in reader.positions.items():
        ledger.store_positions(connection, topic, positions, batch_id)
    unchanged = read - landed.loaded - quarantined
    faults.point("landed")
    ledger.close_batch(
        connection,
        batch_id,
        read=read,
        loaded=landed.loaded,
        unchanged=unchanged,
        quarantined=quarantined,
        refused=refused,
        removed=landed.removed,
    )
    return LoadResult(
        source=source.name,
        window_start=str(window.start),
        window_end=str(window.end),
        batch_id=batch_id,
        rows_read=read,
        rows_loaded=landed.loaded,
        rows_unchanged=unchanged,
        rows_quarantined=quarantined,
        rows_removed=landed.removed,
        days_marked=landed.days,
        seconds=round(time.monotonic() - started, 3),
        dry_run=dry_run,
    )


def _stage(connection: Connection, source: Source, reader: Reader) -> int:
    """COPY everything the reader yields into a temporary table of texts; the number of rows."""
    columns = sql.SQL(", ").join(
        sql.SQL("{} text").format(sql.Identifier(column.name)) for column in source.loaded_columns
    )
    connection.execute(
        sql.SQL("create temp table {stage} ({columns}, _payload text, _refusal text) on commit drop").format(
            stage=STAGE, columns=columns
        )
    )
    target = sql.SQL("copy {stage} ({columns}) from stdin").format(
        stage=STAGE, columns=sql.SQL(", ").join(map(sql.Identifier, reader.columns))
    )
    size, reported = 0, time.monotonic()
    chunks = reader.read(Positions(connection))
    # The first chunk before COPY: until then the reader may still ask the warehouse where to resume, and a source
    # that cannot be read says so first.
    first = list(itertools.islice(chunks, 1))
    with connection.cursor() as cursor:
        with cursor.copy(target) as copy:
            for chunk in itertools.chain(first, chunks):
                if isinstance(chunk, (bytes, bytearray, memoryview)):
                    copy.write(chunk)
                    size += len(chunk)
                else:
                    copy.write_row(chunk)
                    size += sum(len(value) for value in chunk if value)
                faults.point("mid_copy")
                if time.monotonic() - reported > PROGRESS_SECONDS:
                    reported = time.monotonic()
                    log.info("%s: %.1f MB read", source.name, size / 1e6)
        rows = cursor.rowcount
    log.info("%s: %s rows read, %.1f MB", source.name, f"{rows:,}", size / 1e6)
    return rows


def _type(connection: Connection, source: Source) -> int:
    """The accepted rows, typed as raw has them, in a temporary table; the number of rows."""
    values = sql.SQL(", ").join(
        sql.SQL("{} as {}").format(validate.cast(source, column), sql.Identifier(column.name))
        for column in source.loaded_columns
    )
    rows = connection.execute(
        sql.SQL(
            "create temp table {good} on commit drop as select {values} from {stage} where _refusal is null"
        ).format(good=GOOD, values=values, stage=STAGE)
    ).rowcount
    # Without statistics the planner takes a fresh temporary table for tiny and loops over it.
    connection.execute(sql.SQL("analyze {}").format(GOOD))
    return rows


def _judge_refusals(connection: Connection, source: Source, window: Window, read: int, refused: int) -> None:
    if not refused:
        return
    examples: list[Any] = connection.execute(
        sql.SQL(
            "select _refusal, count(*) from {} where _refusal is not null group by 1 order by 2 desc limit 5"
        ).format(STAGE)
    ).fetchall()
    reasons = "; ".join(f"{count}x {reason}" for reason, count in examples)
    log.warning("%s %s: %s of %s rows refused: %s", source.name, window, refused, read, reasons)
    if refused > source.max_refused_rows and refused > source.max_refused_share * read:
        raise QuarantineOverflow(
            f"{source.name} {window}: {refused:,} of {read:,} rows were refused, more than the "
            f"{source.max_refused_share:.0%} this source may have; nothing was loaded. The most frequent: {reasons}"
        )
