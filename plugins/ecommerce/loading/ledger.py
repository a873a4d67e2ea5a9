"""The load ledger: one row a load, the Kafka positions, and the quarantine."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import Connection, sql
from psycopg.pq import TransactionStatus

from ecommerce import faults
from ecommerce.sources import Source
from ecommerce.windows import Window

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunIdentity:
    """Which Airflow task instance loads."""

    dag_id: str
    run_id: str
    try_number: int = 1


@contextmanager
def one_loader(connection: Connection, source: Source) -> Iterator[None]:
    """Hold the source's advisory lock: a second load of the same source queues here."""
    key = f"ecommerce.load.{source.name}"
    taken = connection.execute("select pg_try_advisory_lock(hashtext(%s))", [key]).fetchone()
    if not taken or not taken[0]:
        log.info("%s: another load of this source is under way; waiting for it", source.name)
        faults.point("waiting_for_lock")
        connection.execute("select pg_advisory_lock(hashtext(%s))", [key])
    try:
        yield
    finally:
        if not _is_gone(connection):
            connection.execute("select pg_advisory_unlock(hashtext(%s))", [key])


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


def open_batch(connection: Connection, source: Source, window: Window, run: RunIdentity) -> int:
    """A new `running` row; its batch_id."""
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
    connection: Connection, batch_id: int, *, read: int, loaded: int, unchanged: int, refused: int, removed: int
) -> None:
    """The batch is `loaded`, in the transaction that holds its rows."""
    connection.execute(
        "update ops.load_batch set status = 'loaded', finished_at = clock_timestamp(),"
        " rows_read = %s, rows_loaded = %s, rows_unchanged = %s, rows_quarantined = %s, rows_removed = %s"
        " where batch_id = %s",
        [read, loaded, unchanged, refused, removed, batch_id],
    )


def fail_batch(connection: Connection, batch_id: int, error: BaseException) -> None:
    """The batch is `failed`, after its rows were rolled back; its successor does it if this connection is gone."""
    if _is_gone(connection):
        log.warning("batch %s: the warehouse connection is gone; the next load will mark it failed", batch_id)
        return
    connection.execute(
        "update ops.load_batch set status = 'failed', finished_at = clock_timestamp(), error = %s where batch_id = %s",
        [str(error)[:2000], batch_id],
    )


def quarantine(connection: Connection, source: Source, stage: sql.Identifier, batch_id: int) -> int:
    """
    Put refused rows aside with their reason and whole payload; the number of new ones.

    A row that was refused before, for the same reason, and is read again is the same refusal: it is kept once,
    counted by copies, so that two identical bad rows stay two.
    """
    payload = sql.SQL("jsonb_build_object({})").format(
        sql.SQL(", ").join(
            sql.SQL("{}, {}").format(sql.Literal(column.name), sql.Identifier(column.name)) for column in source.columns
        )
    )
    return connection.execute(
        sql.SQL(
            "insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)"
            " select {batch}, {source}, refused.reason, refused.payload, now()"
            " from ("
            "  select _refusal as reason, coalesce(_payload::jsonb, {payload}) as payload,"
            "   row_number() over (partition by _refusal, coalesce(_payload::jsonb, {payload})) as copy"
            "  from {stage} where _refusal is not null"
            " ) as refused where refused.copy > ("
            "  select count(*) from ops.quarantine as held where held.source = {source} and held.replayed_at is null"
            "  and held.reason = refused.reason and md5(held.payload::text) = md5(refused.payload::text))"
        ).format(batch=batch_id, source=source.name, payload=payload, stage=stage)
    ).rowcount


def store_positions(connection: Connection, topic: str, positions: Mapping[int, int], batch_id: int) -> None:
    """The next offset of each partition, in the transaction that stores its messages; it never goes back."""
    with connection.cursor() as cursor:
        cursor.executemany(
            'insert into ops.kafka_offset as held (topic, "partition", next_offset, batch_id) values (%s, %s, %s, %s)'
            ' on conflict (topic, "partition") do update'
            " set next_offset = excluded.next_offset, batch_id = excluded.batch_id"
            " where held.next_offset < excluded.next_offset",
            [(topic, partition, offset, batch_id) for partition, offset in positions.items()],
        )


class Positions:
    """Where a topic's partitions stand in the warehouse: what a Kafka reader asks before it reads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def resume_at(self, topic: str, partition: int, first: int) -> int:
        """
        The offset at which to begin, for a window whose first offset is ``first``.

        At the stored position, when nothing between is missing: later messages were read already, and earlier
        ones that no window asked for are caught up, so that no gap stays behind. Otherwise at ``first``.
        """
        row = self._connection.execute(
            'select next_offset from ops.kafka_offset where topic = %s and "partition" = %s', [topic, partition]
        ).fetchone()
        if row is None:
            return first
        stored = int(row[0])
        if stored <= first or self._known(topic, partition, first, stored) == stored - first:
            return stored
        return first

    def _known(self, topic: str, partition: int, first: int, end: int) -> int:
        row = self._connection.execute(
            "select (select count(*) from raw.kafka_stream"
            "  where _topic = %(topic)s and _partition = %(partition)s and _offset >= %(first)s and _offset < %(end)s)"
            " + (select count(*) from ops.quarantine where source = 'kafka_stream' and replayed_at is null"
            "  and payload ->> 'topic' = %(topic)s and (payload ->> 'partition')::integer = %(partition)s"
            "  and (payload ->> 'offset')::bigint >= %(first)s and (payload ->> 'offset')::bigint < %(end)s)",
            {"topic": topic, "partition": partition, "first": first, "end": end},
        ).fetchone()
        return int(row[0]) if row else 0
