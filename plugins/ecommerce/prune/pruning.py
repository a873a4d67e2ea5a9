"""
Deletes old rows of a table in small steps, so that nobody waits for it.

A step is one statement, and so one transaction, on a few hundred blocks of the table: it takes locks only of rows that
it deletes, and none that somebody else has. Whoever is interrupted starts again, and finds the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection, sql

from ecommerce.prune.prunable_tables import KEPT_PUBLICATIONS_AT_LEAST, PrunableTable
from ecommerce.publish.kept_publications import KEPT_PUBLICATIONS

#: Blocks of 8 kB: one megabyte.
BLOCKS_OF_A_STEP = 128

#: Bytes that each row takes beside its columns.
_ROW_HEADER = 28


@dataclass(frozen=True)
class Pruned:
    """
    What was deleted of a table, or would be.

    :param place: the table, or `airflow.logs`
    :param deleted: rows, or files
    :param size: their bytes, of rows as they are stored (values compressed), without indexes
    :param before: what was older than this
    """

    place: str
    deleted: int
    size: int
    before: datetime

    def __str__(self) -> str:
        return f"{self.place}: {self.deleted:,} older than {self.before:%Y-%m-%d}, {size_in_words(self.size)}"


def size_in_words(size: int) -> str:
    """A number of bytes, such as 12.3 MB."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def survey(connection: Connection, table: PrunableTable, before: datetime) -> Pruned:
    """What would be deleted now. Nothing is changed."""
    row = connection.execute(
        sql.SQL("""
            select count(*), coalesce(sum({size}), 0)
            from {table} as old
            where {condition}
        """).format(
            size=size_of_row(connection, table.name), table=_identifier(table.name), condition=sql.SQL(table.condition)
        ),
        _parameters(before),
    ).fetchone()
    deleted, size = row or (0, 0)
    return Pruned(table.name, deleted, int(size), before)


def prune(connection: Connection, table: PrunableTable, before: datetime, run_id: str) -> Iterator[Pruned]:
    """
    Delete what is old; what each step has deleted, if it was anything. `ops.pruning` adds up the steps of a run.

    :param connection: of the owner of the table, in autocommit
    """
    row = connection.execute(
        "select pg_relation_size(%s::regclass) / current_setting('block_size')::integer", [table.name]
    ).fetchone()
    blocks = row[0] if row else 0
    statement = _statement(connection, table)
    values = {**_parameters(before), "run_id": run_id, "place": table.name}
    for first in range(0, blocks, BLOCKS_OF_A_STEP):
        of_step = {"first": f"({first},0)", "end": f"({first + BLOCKS_OF_A_STEP},0)"}
        if step := connection.execute(statement, values | of_step).fetchone():
            yield Pruned(table.name, step[0], int(step[1]), before)


def _statement(connection: Connection, table: PrunableTable) -> sql.Composed:
    """Delete what is old in the blocks from `first` to before `end`; rows and bytes, or no row if it was nothing."""
    # The rows to delete are named by an array of their ctids, since a join would read the whole table. A row that
    # somebody else has locked stays for the next run.
    return sql.SQL("""
        with found as materialized (
            select old.ctid as row_id, {size} as size
            from {table} as old
            where
                old.ctid >= %(first)s::tid
                and old.ctid < %(end)s::tid
                and ({condition})
                and {is_free}
            for update of old skip locked
        ),
        gone as (
            delete from {table} as pruned
            where pruned.ctid = any(array(select row_id from found))
            returning pruned.ctid as row_id
        ),
        counted as (
            select count(*) as deleted, sum(found.size) as bytes
            from gone
            inner join found using (row_id)
            having count(*) > 0
        ),
        noted as (
            {note}
        )
        select deleted, bytes from counted
    """).format(
        size=size_of_row(connection, table.name),
        table=_identifier(table.name),
        condition=sql.SQL(table.condition),
        is_free=sql.SQL(table.is_free),
        note=_NOTE.format(counted=sql.SQL("counted")),
    )


def size_of_row(connection: Connection, table: str) -> sql.Composed:
    """SQL: the bytes of a row of ``old``, by column: the size of the whole row would read large values, too."""
    names = connection.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped",
        [table],
    ).fetchall()
    columns = [sql.SQL("coalesce(pg_column_size(old.{}), 0)").format(sql.Identifier(name)) for (name,) in names]
    return sql.SQL(" + ").join([sql.Literal(_ROW_HEADER), *columns])


#: Add rows and bytes of ``counted`` to what a run has deleted of a place.
_NOTE = sql.SQL("""
    insert into ops.pruning as noted (run_id, place, deleted, bytes, older_than)
    select %(run_id)s, %(place)s, counted.deleted, counted.bytes, %(before)s
    from {counted}
    on conflict (run_id, place) do update set
        deleted = noted.deleted + excluded.deleted,
        bytes = noted.bytes + excluded.bytes,
        pruned_at = excluded.pruned_at
""")


def note(connection: Connection, pruned: Pruned, run_id: str) -> None:
    """Add to `ops.pruning` what was deleted elsewhere than in a table; of a table that it was looked through."""
    connection.execute(
        _NOTE.format(counted=sql.SQL("(select %(deleted)s::bigint as deleted, %(bytes)s::bigint as bytes) as counted")),
        {
            "run_id": run_id,
            "place": pruned.place,
            "before": pruned.before,
            "deleted": pruned.deleted,
            "bytes": pruned.size,
        },
    )


def free_space(connection: Connection, table: str) -> int:
    """
    Let Postgres use the space of deleted rows again; the bytes that the table takes now, with its indexes.

    Empty blocks at the end of a table go back to the disk, others are filled again. Nobody is kept waiting: where
    autovacuum is at work on the table already, it does the same.
    """
    connection.execute(sql.SQL("vacuum (skip_locked, analyze) {}").format(_identifier(table)))
    row = connection.execute("select pg_total_relation_size(%s::regclass)", [table]).fetchone()
    return int(row[0]) if row else 0


def _identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def _parameters(before: datetime) -> dict[str, object]:
    return {"before": before, "kept_publications": max(KEPT_PUBLICATIONS_AT_LEAST, KEPT_PUBLICATIONS + 1)}
