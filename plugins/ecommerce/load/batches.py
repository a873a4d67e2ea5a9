"""The load ledger `ops.load_batch`, with one row for each load, and the lock that allows one load of a source."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from ecommerce.common import fault_points
from ecommerce.common.errors import LoaderFenced
from ecommerce.common.shown_text import without_values
from ecommerce.common.sources import Source, WriteDisposition
from ecommerce.common.windows import Window

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunIdentity:
    """
    The Airflow task instance that loads.

    :param first_try: the first try since the task was last cleared; a retry has to find out what the tries between that
        one and itself have committed
    """

    dag_id: str
    run_id: str
    try_number: int = 1
    first_try: int = 1


@dataclass(frozen=True)
class BatchCounts:
    """
    The figures of a load for the ledger: bytes and rows.

    :param rejected: all rejected rows, also those that the quarantine already had
    """

    size: int
    read: int
    loaded: int
    unchanged: int
    quarantined: int
    rejected: int
    removed: int


def _lock(source: Source) -> sql.Composed:
    return sql.SQL("hashtextextended({}, 0)").format(sql.Literal(f"ecommerce.load.{source.name}"))


@contextmanager
def one_loader(connection: Connection, source: Source) -> Iterator[None]:
    """Hold the source's advisory lock: a second load of the same source waits here."""
    locked = connection.execute(sql.SQL("select pg_try_advisory_lock({})").format(_lock(source))).fetchone()
    if not locked or not locked[0]:
        fault_points.point("waiting_for_lock")
        log.info("%s: another load of this source is running; waiting for it", source.name)
        connection.execute(sql.SQL("select pg_advisory_lock({})").format(_lock(source)))
    try:
        yield
    finally:
        if not _is_unusable(connection):
            connection.execute(sql.SQL("select pg_advisory_unlock({})").format(_lock(source)))


def _is_unusable(connection: Connection) -> bool:
    """Whether the connection cannot run statements: it is closed, or was interrupted while it waited for an answer."""
    return connection.closed or connection.info.transaction_status is not TransactionStatus.IDLE


def fail_abandoned_batches(connection: Connection, source: Source) -> None:
    """
    Mark batches as failed whose loader is gone; call it with the lock.

    Who has the lock is the only load: a batch that is still `running` lost its session, which rolled it back.
    """
    abandoned = connection.execute(
        """
        update ops.load_batch
        set
            status = 'failed',
            finished_at = now(),
            error = 'the loader died; its transaction was rolled back'
        where source = %s and status = 'running'
        returning batch_id
        """,
        [source.name],
    ).fetchall()
    for (batch_id,) in abandoned:
        log.warning("%s: the loader of batch %s is gone; the batch is marked as failed", source.name, batch_id)


def committed_before(connection: Connection, source: Source, run: RunIdentity) -> dict[str, Any] | None:
    """
    The figures of the batch that an earlier try of this task has committed, if Airflow did not get its result.

    A task whose try succeeded is not tried again, unless someone clears it; then the source has to be read again.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            select
                source,
                window_start::text,
                window_end::text,
                batch_id,
                bytes_read,
                rows_read,
                rows_loaded,
                rows_unchanged,
                rows_quarantined,
                rows_removed,
                (
                    select count(*)
                    from ops.dirty_date
                    where dirty_date.batch_id = load_batch.batch_id
                ) as days_marked
            from ops.load_batch
            where source = %s
                and dag_id = %s
                and run_id = %s
                and status = 'loaded'
                and try_number >= %s
                and try_number < %s
            order by batch_id desc
            limit 1
            """,
            [source.name, run.dag_id, run.run_id, run.first_try, run.try_number],
        ).fetchone()


def reach_back(connection: Connection, source: Source, window: Window) -> Window:
    """
    The window with the days before it that have to be read again: `lookback_days`, as far as they were loaded before.

    Days that were never loaded are not read.
    """
    if source.write_disposition is not WriteDisposition.REPLACE_WINDOW:
        return window
    row = connection.execute(
        """
        select coalesce(max(day)::date + 1, %(earliest)s)
        from generate_series(%(earliest)s::date, %(last)s, '1 day') as day
        where not exists (
            select from ops.load_batch
            where source = %(source)s
                and status = 'loaded'
                and window_start <= day
                and day < window_end
        )
        """,
        {
            "source": source.name,
            "earliest": window.start - timedelta(days=source.lookback_days),
            "last": window.start - timedelta(days=1),
        },
    ).fetchone()
    return Window(row[0], window.end) if row else window


def open_batch(connection: Connection, source: Source, window: Window, run: RunIdentity) -> int:
    """Add a `running` row; return its batch_id, which is the fencing token of this load."""
    row = connection.execute(
        """
        insert into ops.load_batch
            (source, window_start, window_end, status, started_at, dag_id, run_id, try_number)
        values (%s, %s, %s, 'running', clock_timestamp(), %s, %s, %s)
        returning batch_id
        """,
        [source.name, window.start, window.end, run.dag_id, run.run_id, run.try_number],
    ).fetchone()
    if row is None:
        raise RuntimeError("insert into ops.load_batch returned no row")
    return int(row[0])


def close_batch(connection: Connection, source: Source, batch_id: int, counts: BatchCounts) -> None:
    """
    Mark the batch as `loaded`, in the transaction with its rows, if this is still the source's only loader.

    :raises LoaderFenced: the batch was marked as failed, a later one was opened, or the lock is gone
    """
    closed = connection.execute(
        sql.SQL("""
            update ops.load_batch
            set
                status = 'loaded',
                finished_at = clock_timestamp(),
                bytes_read = %(size)s,
                rows_read = %(read)s,
                rows_loaded = %(loaded)s,
                rows_unchanged = %(unchanged)s,
                rows_quarantined = %(quarantined)s,
                rows_refused = %(rejected)s,
                rows_removed = %(removed)s
            where batch_id = %(batch_id)s
                and status = 'running'
                and not exists (
                    select from ops.load_batch as later
                    where later.source = %(source)s and later.batch_id > %(batch_id)s
                )
                and exists (
                    select from pg_locks
                    where locktype = 'advisory'
                        and pid = pg_backend_pid()
                        and granted
                        and objsubid = 1
                        and (classid::bigint << 32 | objid::bigint) = {lock}
                )
        """).format(lock=_lock(source)),
        {**vars(counts), "batch_id": batch_id, "source": source.name},
    ).rowcount
    if not closed:
        raise LoaderFenced(
            f"{source.name}: batch {batch_id} may no longer load: it was marked as failed, another load of this "
            "source has begun, or its lock is gone. Its rows were rolled back. Run the window again"
        )


def fail_batch(connection: Connection, batch_id: int, error: BaseException) -> None:
    """Mark the batch as `failed` after its rows were rolled back; without a connection the next load does it."""
    if _is_unusable(connection):
        log.warning(
            "batch %s: the connection to the warehouse is lost; the next load finds out whether it was committed",
            batch_id,
        )
        return
    # A source's answer may hold what Postgres cannot store.
    message = without_values(error)[:2000].replace("\0", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()
    try:
        connection.execute(
            """
            update ops.load_batch
            set status = 'failed', finished_at = clock_timestamp(), error = %s
            where batch_id = %s and status = 'running'
            """,
            [message, batch_id],
        )
    except psycopg.Error as ledger_error:
        # The load's own error is what matters; the next load finds the batch.
        log.warning("batch %s could not be marked as failed: %s", batch_id, ledger_error)


def was_loaded(connection: Connection, name: str) -> bool:
    """Whether a window of the source was ever loaded."""
    row = connection.execute(
        "select exists (select from ops.load_batch where source = %s and status = 'loaded')", [name]
    ).fetchone()
    return bool(row and row[0])
