"""The load ledger: one row a load."""

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
from ecommerce.common.sources import Source, WriteDisposition
from ecommerce.common.windows import Window

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunIdentity:
    """
    Which Airflow task instance loads.

    :param first_try: the first try since the task was last cleared; the tries between it and this one are what a retry
        has to find out about
    """

    dag_id: str
    run_id: str
    try_number: int = 1
    first_try: int = 1


def _lock(source: Source) -> sql.Composed:
    return sql.SQL("hashtextextended({}, 0)").format(sql.Literal(f"ecommerce.load.{source.name}"))


@contextmanager
def one_loader(connection: Connection, source: Source) -> Iterator[None]:
    """Hold the source's advisory lock: a second load of the same source queues here."""
    taken = connection.execute(sql.SQL("select pg_try_advisory_lock({})").format(_lock(source))).fetchone()
    if not taken or not taken[0]:
        fault_points.point("waiting_for_lock")
        log.info("%s: another load of this source is under way; waiting for it", source.name)
        connection.execute(sql.SQL("select pg_advisory_lock({})").format(_lock(source)))
    try:
        yield
    finally:
        if not _is_gone(connection):
            connection.execute(sql.SQL("select pg_advisory_unlock({})").format(_lock(source)))


def _is_gone(connection: Connection) -> bool:
    """Whether nothing can be asked any more: it is closed, or was interrupted while it waited for an answer."""
    return connection.closed or connection.info.transaction_status is not TransactionStatus.IDLE


def bury_the_dead(connection: Connection, source: Source) -> None:
    """Whoever holds the lock knows that a load still `running` died with its session; its data rolled back."""
    dead = connection.execute(
        "update ops.load_batch set status = 'failed', finished_at = now(),"
        " error = 'the loader died; its transaction was rolled back'"
        " where source = %s and status = 'running' returning batch_id",
        [source.name],
    ).fetchall()
    for (batch_id,) in dead:
        log.warning("%s: batch %s was left running by a loader that died; marked failed", source.name, batch_id)


def committed_before(connection: Connection, source: Source, run: RunIdentity) -> dict[str, Any] | None:
    """
    The figures of the batch that an earlier try of this task has committed, without the task hearing of it.

    A try that ended well is not tried again, unless someone clears the task, and then the source is to be read anew.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select source, window_start::text, window_end::text, batch_id, bytes_read, rows_read, rows_loaded,"
            " rows_unchanged, rows_quarantined, rows_removed,"
            " (select count(*) from ops.dirty_date where dirty_date.batch_id = load_batch.batch_id) as days_marked"
            " from ops.load_batch where source = %s and dag_id = %s and run_id = %s and status = 'loaded'"
            " and try_number >= %s and try_number < %s order by batch_id desc limit 1",
            [source.name, run.dag_id, run.run_id, run.first_try, run.try_number],
        ).fetchone()


def reach_back(connection: Connection, source: Source, window: Window) -> Window:
    """
    The window with the days before it that are to be read again: `lookback_days`, as far as they were loaded before.

    Days that nobody has asked for yet are not read along.
    """
    if source.write_disposition is not WriteDisposition.REPLACE_WINDOW:
        return window
    row = connection.execute(
        "select coalesce(max(day)::date + 1, %(earliest)s) from generate_series(%(earliest)s::date, %(last)s, '1 day')"
        " as day where not exists (select from ops.load_batch where source = %(source)s and status = 'loaded'"
        "  and window_start <= day and day < window_end)",
        {
            "source": source.name,
            "earliest": window.start - timedelta(days=source.lookback_days),
            "last": window.start - timedelta(days=1),
        },
    ).fetchone()
    return Window(row[0], window.end) if row else window


def open_batch(connection: Connection, source: Source, window: Window, run: RunIdentity) -> int:
    """A new `running` row; its batch_id, which is the fencing token of this load."""
    row = connection.execute(
        "insert into ops.load_batch"
        " (source, window_start, window_end, status, started_at, dag_id, run_id, try_number)"
        " values (%s, %s, %s, 'running', clock_timestamp(), %s, %s, %s) returning batch_id",
        [source.name, window.start, window.end, run.dag_id, run.run_id, run.try_number],
    ).fetchone()
    if row is None:
        raise RuntimeError("insert into ops.load_batch returned no row")
    return int(row[0])


def close_batch(
    connection: Connection,
    source: Source,
    batch_id: int,
    *,
    size: int,
    read: int,
    loaded: int,
    unchanged: int,
    quarantined: int,
    refused: int,
    removed: int,
) -> None:
    """
    The batch is `loaded`, in the transaction that holds its rows, if this is still the source's one loader.

    :param refused: all that was refused, also what the quarantine had before
    :raises LoaderFenced: the batch was declared dead, a later one was opened, or the lock is gone
    """
    closed = connection.execute(
        sql.SQL(
            "update ops.load_batch set status = 'loaded', finished_at = clock_timestamp(), bytes_read = %(size)s,"
            " rows_read = %(read)s, rows_loaded = %(loaded)s, rows_unchanged = %(unchanged)s,"
            " rows_quarantined = %(quarantined)s, rows_refused = %(refused)s, rows_removed = %(removed)s"
            " where batch_id = %(batch_id)s and status = 'running'"
            " and not exists (select from ops.load_batch as later"
            "  where later.source = %(source)s and later.batch_id > %(batch_id)s)"
            " and exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and granted"
            "  and objsubid = 1 and (classid::bigint << 32 | objid::bigint) = {lock})"
        ).format(lock=_lock(source)),
        {
            "size": size,
            "read": read,
            "loaded": loaded,
            "unchanged": unchanged,
            "quarantined": quarantined,
            "refused": refused,
            "removed": removed,
            "batch_id": batch_id,
            "source": source.name,
        },
    ).rowcount
    if not closed:
        raise LoaderFenced(
            f"{source.name}: batch {batch_id} may no longer load, since it was declared dead, another load of this "
            "source has begun, or its lock is gone; what it had read was rolled back. Run the window again"
        )


def fail_batch(connection: Connection, batch_id: int, error: BaseException) -> None:
    """The batch is `failed`, after its rows were rolled back; its successor does it if this connection is gone."""
    if _is_gone(connection):
        log.warning(
            "batch %s: the warehouse connection is gone; the next load will find out what became of it", batch_id
        )
        return
    # What a source has answered may hold what Postgres cannot store.
    said = str(error)[:2000].replace("\0", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()
    try:
        connection.execute(
            "update ops.load_batch set status = 'failed', finished_at = clock_timestamp(), error = %s"
            " where batch_id = %s and status = 'running'",
            [said, batch_id],
        )
    except psycopg.Error as refused:
        # The load's own error is what matters; its successor finds the batch.
        log.warning("batch %s could not be called failed: %s", batch_id, refused)


def was_loaded(connection: Connection, name: str) -> bool:
    """Whether a window of the source was ever loaded."""
    row = connection.execute(
        "select exists (select from ops.load_batch where source = %s and status = 'loaded')", [name]
    ).fetchone()
    return bool(row and row[0])
