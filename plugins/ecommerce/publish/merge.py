"""
Make a mart of `marts` equal to the one in `marts_build`; only rows that differ are written.

Most rows need not be compared. After a publication a mart equals the table that was built, so the next publication
compares only the rows that a later transaction has written into that table. This holds only if nothing else has changed
the mart since, which the ages of its own rows show (`_LastPublication`). If something has, or if dbt has created the
built table anew, every row is compared.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import Connection, sql

from ecommerce.common.errors import PublishError
from ecommerce.publish.marts import Mart, checksum, column_list, count_rows, fetch_number, key_object, published_columns

log = logging.getLogger(__name__)

#: Postgres compares the ages of rows in 32 bits, so an older transaction's age means nothing.
_OLDEST = 2_000_000_000


@dataclass(frozen=True)
class MartChange:
    """
    How many rows of one mart a publication inserted, updated and deleted.

    :param undo_by: how a rollback undoes this, see `ops.publication`
    """

    mart: str
    inserted: int
    updated: int
    deleted: int
    undo_by: Literal["rows", "emptying", "nothing"] = "rows"

    @property
    def total(self) -> int:
        """Rows inserted, updated and deleted."""
        return self.inserted + self.updated + self.deleted

    def __str__(self) -> str:
        return f"marts.{self.mart}: {self.inserted} rows inserted, {self.updated} updated, {self.deleted} deleted"


@dataclass(frozen=True)
class _LastPublication:
    """
    What the last publication left of a mart that nothing else has changed since.

    :param built_oid: oid of the table that it was made equal to
    :param age: rows of that table that are older than so many transactions have been compared
    """

    built_oid: int
    age: int
    rows: int
    checksum: int


def merge(connection: Connection, mart: Mart, publication_id: int) -> MartChange:
    """
    Make the published mart equal to the built one, and keep what is replaced; in the caller's transaction.

    :raises PublishError: someone else writes to the mart
    """
    # What others write into the built table from now on belongs to the next publication.
    horizon = fetch_number(connection, sql.SQL("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint"))
    columns = published_columns(connection, mart.name) or _create_published_table(connection, mart)
    last = _last_publication(connection, mart.name, columns)
    rows = last.rows if last else count_rows(connection, mart.published_table)
    if rows:
        change, new_checksum = _merge_rows(connection, mart, columns, rows, last, publication_id)
    else:
        change, new_checksum = _fill(connection, mart, columns)
    _add_indexes(connection, mart)
    _record_published_mart(
        connection, mart, horizon, rows=rows + change.inserted - change.deleted, new_checksum=new_checksum
    )
    log.info("%s", change)
    return change


def create_changed_rows(connection: Connection, mart: Mart) -> int:
    """
    Create `pg_temp.changed`: where the rows that differ lie, in the published mart and in the built one.

    :return: how many there are
    """
    last = _last_publication(connection, mart.name, published_columns(connection, mart.name))
    rows = last.rows if last else count_rows(connection, mart.published_table)
    return _create_changed_rows(connection, mart, rows, last)


def require_full_comparison(connection: Connection, mart: str) -> None:
    """Let the next publication compare every row of a mart, because something else than `merge` has changed it."""
    connection.execute("delete from ops.published_mart where mart = %s", [mart])


def _create_published_table(connection: Connection, mart: Mart) -> list[str]:
    """Create the empty table that readers see; its columns."""
    connection.execute(
        sql.SQL("create table {} (like {} including constraints including indexes)").format(
            mart.published_table, mart.built_table
        )
    )
    return list(mart.columns)


def _add_indexes(connection: Connection, mart: Mart) -> None:
    """
    Create the indexes that only the built mart has: a model got one since the mart was published first.

    Readers do not wait for it. An index that only the published mart has stays, since it may be a reader's.
    """
    missing = connection.execute(
        """
        select columns
        from (
            select
                indrelid,
                array(
                    select attname::text
                    from unnest(indkey::smallint[]) with ordinality as place (attnum, n)
                    inner join pg_attribute on attrelid = indrelid and pg_attribute.attnum = place.attnum
                    order by n
                ) as columns
            from pg_index
            where indrelid in (%(built)s::regclass, %(published)s::regclass)
        ) as index
        group by columns
        having bool_and(indrelid = %(built)s::regclass)
        order by columns
        """,
        {"built": mart.built_table.as_string(), "published": mart.published_table.as_string()},
    ).fetchall()
    for (columns,) in missing:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        connection.execute(sql.SQL("create index on {} ({})").format(mart.published_table, names))
        log.info("marts.%s: new index on %s", mart.name, ", ".join(columns))


def _last_publication(connection: Connection, mart: str, columns: Sequence[str]) -> _LastPublication | None:
    """What the last publication left of a mart; None if that is unknown or something else has changed the mart."""
    row = connection.execute(
        """
        select
            built,
            now - horizon::text::bigint,
            now - written_by::text::bigint,
            rows,
            checksum
        from ops.published_mart
        cross join (select pg_current_xact_id()::text::bigint as now) as this_transaction
        where mart = %s and columns = %s
        """,
        [mart, list(columns)],
    ).fetchone()
    if row is None or not 0 <= row[1] < _OLDEST or not 0 <= row[2] < _OLDEST:
        return None
    built_oid, age, written_ago, rows, last_checksum = row
    counts = connection.execute(
        sql.SQL("""
            select count(*), count(*) filter (where age(xmin) < {written_ago})
            from {mart}
        """).format(written_ago=sql.Literal(written_ago), mart=sql.Identifier("marts", mart))
    ).fetchone()
    if counts != (rows, 0):
        log.warning("marts.%s was changed by something besides publications: every row is compared", mart)
        return None
    return _LastPublication(built_oid, age, rows, int(last_checksum))


def _fill(connection: Connection, mart: Mart, columns: Sequence[str]) -> tuple[MartChange, int]:
    """Copy every row into a mart that is empty; the change and the checksum."""
    inserted = connection.execute(
        sql.SQL("""
            insert into {published} ({columns})
            select {values} from {built} as new
        """).format(
            published=mart.published_table,
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            values=column_list("new", columns),
            built=mart.built_table,
        )
    ).rowcount
    return MartChange(mart.name, inserted, 0, 0, undo_by="emptying"), checksum(connection, mart.name, columns)


def _merge_rows(
    connection: Connection,
    mart: Mart,
    columns: Sequence[str],
    rows: int,
    last: _LastPublication | None,
    publication_id: int,
) -> tuple[MartChange, int]:
    """
    Write the rows that differ; the change and the checksum.

    :param rows: how many rows the published mart has
    """
    expected = _create_changed_rows(connection, mart, rows, last)
    change = MartChange(mart.name, 0, 0, 0)
    # The checksum is the exclusive or of all rows' hashes, so it is enough to know those of the changed rows.
    old_hash = new_hash = 0
    if expected:
        old_hash = hash_of_changed_rows(connection, columns, mart.published_table, "old_place")
        new_hash = hash_of_changed_rows(connection, columns, mart.built_table, "new_place")
        _keep_old_rows(connection, mart, publication_id)
        change = _write_changed_rows(connection, mart)
    connection.execute("drop table pg_temp.changed")
    if change.total != expected:
        raise PublishError(
            f"{expected} rows of marts.{mart.name} were to be written, but {change.total} were: someone else writes to "
            "it. Nothing was published; clear this task"
        )
    if last:
        return change, last.checksum ^ old_hash ^ new_hash
    return change, checksum(connection, mart.name, columns)


def _create_changed_rows(connection: Connection, mart: Mart, rows: int, last: _LastPublication | None) -> int:
    """
    See `create_changed_rows`.

    :param rows: how many rows the published mart has
    """
    if last is not None and last.built_oid == mart.oid:
        changed = _compare_recent_rows(connection, mart, last.age)
        gained = fetch_number(connection, sql.SQL("select count(*) from pg_temp.changed where old_place is null"))
        if rows + gained == count_rows(connection, mart.built_table):
            return changed
        # Rows were deleted from the built table, and nothing is left there that shows which.
        connection.execute("drop table pg_temp.changed")
    return _compare_all_rows(connection, mart)


def _compare_recent_rows(connection: Connection, mart: Mart, age: int) -> int:
    """Compare only rows of the built table that were written at most so many transactions ago."""
    connection.execute(
        sql.SQL("""
            create temp table recent on commit drop as
            select ctid as place
            from {built}
            where age(xmin) <= {age}
        """).format(built=mart.built_table, age=sql.Literal(age))
    )
    connection.execute("analyze pg_temp.recent")
    changed = connection.execute(
        sql.SQL("""
            create temp table changed on commit drop as
            select old.ctid as old_place, new.ctid as new_place
            from pg_temp.recent
            inner join {built} as new on new.ctid = recent.place
            left join {published} as old on {key_condition}
            where old.ctid is null or ({old}) is distinct from ({new})
        """).format(**_names(mart))
    ).rowcount
    connection.execute("drop table pg_temp.recent")
    return changed


def _compare_all_rows(connection: Connection, mart: Mart) -> int:
    return connection.execute(
        sql.SQL("""
            create temp table changed on commit drop as
            select old.ctid as old_place, new.ctid as new_place
            from {published} as old
            full join {built} as new on {key_condition}
            where old.ctid is null or new.ctid is null or ({old}) is distinct from ({new})
        """).format(**_names(mart))
    ).rowcount


def hash_of_changed_rows(
    connection: Connection, columns: Sequence[str], table: sql.Identifier, place: Literal["old_place", "new_place"]
) -> int:
    """The exclusive or of the changed rows' hashes, as they are before (`old_place`) or after the merge."""
    return fetch_number(
        connection,
        sql.SQL("""
            select coalesce(bit_xor(hash_record_extended(row({columns}), 0)), 0)
            from pg_temp.changed
            inner join {table} as mart on mart.ctid = changed.{place}
        """).format(columns=column_list("mart", columns), table=table, place=sql.Identifier(place)),
    )


def _keep_old_rows(connection: Connection, mart: Mart, publication_id: int) -> None:
    """Copy the rows that are about to change into `ops.publication_delta`, for a rollback."""
    connection.execute("analyze pg_temp.changed")
    connection.execute(
        sql.SQL("""
            insert into ops.publication_delta (publication_id, mart, key, old_row)
            select
                {publication_id},
                {name},
                {key},
                case when old.ctid is not null then to_jsonb(old) end
            from pg_temp.changed
            left join {published} as old on old.ctid = changed.old_place
            left join {built} as new on new.ctid = changed.new_place
        """).format(
            publication_id=sql.Literal(publication_id),
            name=sql.Literal(mart.name),
            key=key_object(mart.key, "new", "old"),
            published=mart.published_table,
            built=mart.built_table,
        )
    )


def _write_changed_rows(connection: Connection, mart: Mart) -> MartChange:
    """Delete, update and insert the rows of `pg_temp.changed`."""
    names = list(mart.columns)
    values = [name for name in names if name not in mart.key]
    tables = {"published": mart.published_table, "built": mart.built_table}
    deleted = connection.execute(
        sql.SQL("""
            delete from {published} as old
            using pg_temp.changed
            where old.ctid = changed.old_place and changed.new_place is null
        """).format(**tables)
    ).rowcount
    updated = 0
    if values:
        updated = connection.execute(
            sql.SQL("""
                update {published} as old
                set {assignments}
                from pg_temp.changed
                inner join {built} as new on new.ctid = changed.new_place
                where old.ctid = changed.old_place
            """).format(
                assignments=sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("new", name)) for name in values
                ),
                **tables,
            )
        ).rowcount
    inserted = connection.execute(
        sql.SQL("""
            insert into {published} ({columns})
            select {values}
            from pg_temp.changed
            inner join {built} as new on new.ctid = changed.new_place
            where changed.old_place is null
        """).format(columns=sql.SQL(", ").join(map(sql.Identifier, names)), values=column_list("new", names), **tables)
    ).rowcount
    return MartChange(mart.name, inserted, updated, deleted)


def _record_published_mart(connection: Connection, mart: Mart, horizon: int, *, rows: int, new_checksum: int) -> None:
    """
    Write into `ops.published_mart` what the next publication may rely on.

    :param horizon: the first transaction whose rows in the built table this publication may not have seen
    """
    connection.execute(
        """
        insert into ops.published_mart (mart, built, horizon, written_by, rows, columns, checksum)
        values (%s, %s, %s::text::xid8, pg_current_xact_id(), %s, %s, %s)
        on conflict (mart) do update set
            built = excluded.built,
            horizon = excluded.horizon,
            written_by = excluded.written_by,
            rows = excluded.rows,
            columns = excluded.columns,
            checksum = excluded.checksum
        """,
        [mart.name, mart.oid, horizon, rows, published_columns(connection, mart.name), new_checksum],
    )


def _names(mart: Mart) -> dict[str, sql.Composable]:
    """What the statements that compare rows are made of."""
    names = list(mart.columns)
    return {
        "published": mart.published_table,
        "built": mart.built_table,
        "key_condition": mart.key_condition,
        "old": column_list("old", names),
        "new": column_list("new", names),
    }
