"""Fills an empty raw table several times faster: without its indexes, and with rows that are frozen as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from psycopg import Connection, sql
from psycopg.errors import LockNotAvailable

from ecommerce.common.sources import Source
from ecommerce.load.batches import was_loaded
from ecommerce.load.raw_writer import has_rows


def try_to_lock(connection: Connection, source: Source) -> bool:
    """
    Lock a raw table for `without_indexes` if it is empty, was never loaded and is not in use; whether it is locked.

    Loads of other sources do not read such a table. One that is in use is left alone: the lock would have to wait for
    its reader, and all later readers would wait for the lock.
    """
    if was_loaded(connection, source.name) or has_rows(connection, source):
        return False
    try:
        with connection.transaction():
            connection.execute(
                sql.SQL("lock table {} in access exclusive mode nowait").format(sql.Identifier("raw", source.name))
            )
    except LockNotAvailable:
        return False
    return True


@contextmanager
def without_indexes(connection: Connection, source: Source, lineage: Mapping[str, sql.Composable]) -> Iterator[None]:
    """
    Inside, the empty raw table has no index and can be filled by `copy … (freeze)`; at the end it is indexed.

    The table is locked until the transaction ends (see `try_to_lock`). Frozen rows are visible to every later snapshot,
    also to one that is older than the load.

    :param lineage: columns that are not copied → the constant that each row gets
    """
    raw = sql.Identifier("raw", source.name)
    constraints = connection.execute(
        """
        select conname::text, pg_get_constraintdef(oid)
        from pg_constraint
        where conrelid = %s::regclass and contype in ('p', 'u')
        """,
        [f"raw.{source.name}"],
    ).fetchall()
    # TRUNCATE gives the table a file of this transaction's own. Rows of such a file may be frozen as they come
    # (otherwise the first reader writes each page again to note their commit), and need no log if `wal_level` is
    # minimal.
    connection.execute(sql.SQL("truncate {}").format(raw))
    for name, _ in constraints:
        connection.execute(sql.SQL("alter table {} drop constraint {}").format(raw, sql.Identifier(name)))
    indexes = connection.execute(
        """
        select indexrelid::regclass::text, pg_get_indexdef(indexrelid)
        from pg_index
        where indrelid = %s::regclass
        """,
        [f"raw.{source.name}"],
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"drop index {name}".encode())
    for name, value in lineage.items():
        connection.execute(sql.SQL("alter table {} alter {} set default {}").format(raw, sql.Identifier(name), value))
    yield
    for name in lineage:
        connection.execute(sql.SQL("alter table {} alter {} drop default").format(raw, sql.Identifier(name)))
    for name, definition in constraints:
        connection.execute(
            sql.SQL("alter table {} add constraint {} {}").format(raw, sql.Identifier(name), sql.SQL(definition))
        )
    for _, definition in indexes:
        connection.execute(definition.encode())
