"""
Loads one window of one source, in one transaction.

`load` has what is around the transaction: the source's lock, the ledger, and earlier tries. `_run` has the steps inside
it, in order: read → validate → quarantine → write to raw → offsets → close the batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import psycopg
from psycopg import Connection, sql

from ecommerce.common import fault_points
from ecommerce.common.errors import MassRemoval, QuarantineOverflow
from ecommerce.common.shown_text import one_line
from ecommerce.common.sources import Source, WriteDisposition
from ecommerce.common.windows import Window
from ecommerce.extract.reader_protocol import AppendingReader, ChangesReader, PrevalidatingReader, Reader
from ecommerce.load import batches, offsets, quarantine, schema_drift, strategies, validate
from ecommerce.load.batches import BatchCounts, RunIdentity
from ecommerce.load.erased_rows import fail_while_half_erased, replace_in_rejected_messages
from ecommerce.load.mass_removal import first_mass_removal
from ecommerce.load.raw_writer import WriteCounts
from ecommerce.load.result import LoadResult, lost_ranges
from ecommerce.load.staging import STAGE
from ecommerce.load.strategies import AppendTopic, ApplyChanges, LoadJob, PrevalidatedRows, ShortcutFailed, Strategy

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Reader)

#: After a load of so many rows raw is analysed at once, since autovacuum may come much later…
ANALYZE_ROWS = 1_000
#: …with a smaller sample than the server's default of 100, which takes a third of the time.
ANALYZE_TARGET = 30


def load(
    connection: Connection,
    source: Source,
    window: Window,
    reader_of: Callable[[Source, Window], Reader],
    *,
    run: RunIdentity,
    dry_run: bool = False,
    allow_mass_removal: bool = False,
) -> LoadResult:
    """
    Load one window of one source.

    Rows, quarantine, dirty dates, Kafka offsets and the ledger's `loaded` commit together or not at all; the ledger row
    of a load that fails has the error. What an earlier try of the same task has committed is not loaded again. A dry
    run does all of it and rolls back.

    :param connection: to the warehouse, in autocommit
    :param reader_of: gives the reader; called inside the batch, so that the ledger also has an error in the shop's
        profile or in a connection's type
    :param allow_mass_removal: remove more than half of what raw has, if the source does not have it any more
    :raises SourceError: the source cannot be read, or its table has lost or retyped a column
    :raises QuarantineOverflow: more than the source's share of rows was rejected
    :raises MassRemoval: more than half of raw's rows of the window or of a day of it, or of a version log's keys,
        would be removed
    :raises HalfErased: the erasure of a customer was interrupted
    :raises LoaderFenced: another load has marked this one as failed before it could commit
    """
    with batches.one_loader(connection, source):
        fail_while_half_erased(connection)
        batches.fail_abandoned_batches(connection, source)
        if not dry_run and (figures := batches.committed_before(connection, source, run)):
            log.warning("%s: an earlier try had committed batch %s", source.name, figures["batch_id"])
            return LoadResult(**figures, seconds=0.0, is_of_earlier_try=True)
        fault_points.point("before_batch")
        with connection.transaction(force_rollback=True) if dry_run else nullcontext():
            batch_id = batches.open_batch(connection, source, window, run)
            try:
                job = LoadJob(connection, source, window, batch_id, dry_run, allow_mass_removal)
                result = _load_batch(job, reader_of(source, window))
            except BaseException as error:
                if not dry_run:
                    batches.fail_batch(connection, batch_id, error)
                raise
        fault_points.point("after_commit")
        if not dry_run:
            _analyze_what_grew(connection, result)
        return result


def _load_batch(job: LoadJob, reader: Reader) -> LoadResult:
    """Choose the strategy by the kind of reader."""
    match reader:
        case PrevalidatingReader():
            return _load_table(job, reader)
        case AppendingReader():
            return _in_transaction(job, reader, AppendTopic)
        case ChangesReader():
            return _in_transaction(replace(job, source=reader.source), reader, ApplyChanges)
        case _:
            return _in_transaction(job, reader, strategies.for_rows)


def _load_table(job: LoadJob, reader: PrevalidatingReader) -> LoadResult:
    """Load by the fastest strategy; if that cannot load the window, by the one that always can."""
    try:
        return _in_snapshot(job, reader, strategies.fastest_for_table)
    except (psycopg.errors.UniqueViolation, ShortcutFailed) as error:
        log.info("%s: %s; the window is read again, to compare row by row", job.source.name, str(error).strip())
    return _in_snapshot(job, reader, PrevalidatedRows)


def _in_snapshot(
    job: LoadJob, reader: PrevalidatingReader, strategy_of: Callable[[LoadJob, PrevalidatingReader], Strategy]
) -> LoadResult:
    """Load inside one snapshot of the source, after its table was compared with the registry and earlier loads."""
    with reader.snapshot():
        seen = schema_drift.seen_columns(job.connection, job.source)
        differences = list(schema_drift.changes(job.source, reader.column_types, seen))
        schema_drift.note(job.connection, job.source, job.batch_id, differences)
        schema_drift.fail_if_broken(job.source, reader.location, differences)
        reader.source = schema_drift.evolve(
            job.connection, job.source, reader.location, reader.column_types, dry_run=job.dry_run
        )
        with job.connection.transaction():
            schema_drift.note_seen(job.connection, job.source, job.batch_id, reader.column_types.keys() - seen)
            job = replace(job, source=reader.source)
            return _run(job, reader, strategy_of(job, reader))


def _in_transaction(job: LoadJob, reader: R, strategy_of: Callable[[LoadJob, R], Strategy]) -> LoadResult:
    """The load's own transaction."""
    with job.connection.transaction():
        return _run(job, reader, strategy_of(job, reader))


def _run(job: LoadJob, reader: Reader, strategy: Strategy) -> LoadResult:
    """The steps of a load, inside the caller's transaction."""
    started = time.monotonic()
    fault_points.point("before_read")

    read, staged, undated = strategy.read()
    rejected = validate.reject_bad_values(job.connection, job.source) if staged else 0
    rejected += strategy.accept(staged - rejected)
    moved = strategy.follow_moved()
    read, rejected = read + moved.total, rejected + moved.rejected
    _fail_on_overflow(job, read, rejected, undated)

    if rejected:
        replace_in_rejected_messages(job.connection, job.source, STAGE)
    quarantined = quarantine.store_rejected(job.connection, job.source, job.batch_id) if rejected else 0
    fault_points.point("quarantined")

    written = strategy.write()
    _fail_on_mass_removal(job, written)
    gaps = [
        (topic.topic, gap)
        for topic in reader.topics
        for gap in offsets.store(job.connection, job.source, topic, job.batch_id)
    ]
    replayed = quarantine.mark_replayed(job.connection, job.source, strategy.extent, job.batch_id, rejected)
    fault_points.point("written_to_raw")

    counts = BatchCounts(
        size=strategy.staging.size,
        read=read,
        loaded=written.loaded,
        unchanged=read - written.loaded - quarantined,
        quarantined=quarantined,
        rejected=rejected,
        removed=written.removed,
    )
    batches.close_batch(job.connection, job.source, job.batch_id, counts)
    result = LoadResult(
        source=job.source.name,
        window_start=str(job.window.start),
        window_end=str(job.window.end),
        batch_id=job.batch_id,
        bytes_read=counts.size,
        rows_read=counts.read,
        rows_loaded=counts.loaded,
        rows_unchanged=counts.unchanged,
        rows_quarantined=counts.quarantined,
        rows_removed=counts.removed,
        days_marked=written.days,
        seconds=round(time.monotonic() - started, 3),
        rows_replayed=replayed,
        lost=lost_ranges(gaps),
        dry_run=job.dry_run,
    )
    fault_points.point("before_commit")
    return result


def _fail_on_mass_removal(job: LoadJob, written: WriteCounts) -> None:
    """
    Fail if more than a few rows are lost, and more than half of what raw had: few sources mean to lose that many.

    :raises MassRemoval: the load was not allowed to
    """
    source, window = job.source, job.window
    loss = first_mass_removal(written.losses)
    if loss is None or job.allow_mass_removal:
        return
    is_log = source.write_disposition is WriteDisposition.VERSION_LOG
    what = f"current {source.key[0]}s" if is_log else f"rows that raw has of {loss.day or window}"
    raise MassRemoval(
        f"{source.name}: this load would remove {loss.lost:,} of {loss.held:,} {what}, since the source does not "
        "have them any more, or only with values that are rejected. That is more than half, so nothing was loaded. "
        "Repair the source and load again; or, if it is right, allow it: "
        f"`allow_mass_removal` in the form of extract_{source.name}, or make run FROM={window.start} TO={window.last} "
        f"SOURCES={source.name} ALLOW_MASS_REMOVAL=1"
    )


def _fail_on_overflow(job: LoadJob, read: int, rejected: int, undated: int) -> None:
    """
    Log what was rejected, and fail if it is too much.

    :param undated: rows that no window has; each load reads all of them, and fails for none
    :raises QuarantineOverflow: more than the source's share
    """
    if not rejected:
        return
    examples: list[Any] = job.connection.execute(
        sql.SQL("""
            select _rejection, count(*)
            from {}
            where _rejection is not null
            group by 1
            order by 2 desc
            limit 5
        """).format(STAGE)
    ).fetchall()
    reasons = "; ".join(f"{count}x {one_line(reason, 300)}" for reason, count in examples)
    source = job.source
    log.warning("%s %s: %s of %s rows rejected: %s", source.name, job.window, rejected, read, reasons)
    rejected, read = rejected - undated, read - undated
    if rejected > source.max_rejected_rows and rejected > source.max_rejected_share * read:
        raise QuarantineOverflow(
            f"{source.name} {job.window}: {rejected:,} of {read:,} rows were rejected, more than the "
            f"{source.max_rejected_share:.0%} that the source allows; nothing was loaded. The most frequent: {reasons}"
        )


def _analyze_what_grew(connection: Connection, result: LoadResult) -> None:
    for table, rows in (
        (sql.SQL("raw.{}").format(sql.Identifier(result.source)), result.rows_loaded),
        # Not the payloads, which take longest and are no condition of a query.
        (sql.SQL("ops.quarantine (batch_id, source, replayed_at)"), result.rows_quarantined),
    ):
        if rows >= ANALYZE_ROWS:
            with connection.transaction():
                connection.execute(sql.SQL("set local default_statistics_target = {}").format(ANALYZE_TARGET))
                connection.execute(sql.SQL("analyze {}").format(table))
