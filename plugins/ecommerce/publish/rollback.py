"""Restore the marts of an earlier publication. A rollback is a publication itself, so it can be rolled back as well."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import date
from typing import Any

from psycopg import Connection, sql

from ecommerce.audit.decisions import revoke_approvals
from ecommerce.build import lease
from ecommerce.common.errors import RollbackError
from ecommerce.publish.kept_publications import KEPT_QUERY, KeptPublication, publication_to_restore
from ecommerce.publish.marts import LOST_COLUMNS, checksum, columns_of, key_object, key_of, published_columns, same_key
from ecommerce.publish.merge import MartChange, require_full_comparison
from ecommerce.publish.publication import delete_old_deltas, new_publication, record_publication

log = logging.getLogger(__name__)


def roll_back(
    connection: Connection, dag_id: str, run_id: str, *, to: int | None = None, take_over_from: str | None = None
) -> list[MartChange] | None:
    """
    Restore every mart to the state after a publication, in one transaction; None while a run builds.

    The next run builds and publishes again, whether or not anything has changed. What was approved after that
    publication is asked again.

    :param to: its publication_id; None for the one before the last
    :param take_over_from: run_id of a holder of the lease that has ended
    :raises RollbackError: there is no such publication, or it cannot be restored; `marts` is unchanged
    """
    with connection.transaction():
        if not lease.lock_for_rollback(connection, dag_id, run_id, take_over_from=take_over_from):
            return None
        target = publication_to_restore([KeptPublication(*row) for row in connection.execute(KEPT_QUERY)], to)
        publication_id = new_publication(connection)
        marts = connection.execute(
            """
            select distinct mart
            from ops.publication
            where publication_id > %s
            order by mart
            """,
            [target],
        ).fetchall()
        changes = []
        for (mart,) in marts:
            lost = _lost_columns(connection, mart)
            has_lost_some = not set(lost).isdisjoint(_published(connection, mart, target)[1] or ())
            if has_lost_some:
                # Its checksum is of columns that are gone. But if the mart is as its last publication left it, then
                # taking back every change since gives what was there, in the columns that it still has.
                _check_last(connection, mart, publication_id, lost)
                log.warning("marts.%s is restored without its former columns %s", mart, ", ".join(lost))
            change = _restore(connection, mart, target, publication_id, lost)
            if not has_lost_some:
                _check(connection, mart, target)
            require_full_comparison(connection, mart)
            as_of = _as_of_date(connection, mart, target)
            record_publication(connection, publication_id, run_id, change, as_of_date=as_of, restores=target)
            changes.append(change)
        delete_old_deltas(connection)
        revoke_approvals(connection, run_id, target)
        return changes


def _lost_columns(connection: Connection, mart: str) -> list[str]:
    row = connection.execute(LOST_COLUMNS.format(mart="%(mart)s").encode(), {"mart": mart}).fetchone()
    return (row and row[0]) or []


def _restore(connection: Connection, mart: str, target: int, publication_id: int, lost: Collection[str]) -> MartChange:
    """Restore a mart's rows, and keep the rows that this replaces."""
    key = key_of(connection, "marts", mart)
    if key is None:
        raise RollbackError(f"marts.{mart} has no unique constraint any more, so its rows cannot be matched")
    not_null = {name for name, _, is_not_null in columns_of(connection, "marts", mart) if is_not_null}
    names: dict[str, Any] = {
        "table": sql.Identifier("marts", mart),
        "mart": sql.Literal(mart),
        "target": sql.Literal(target),
        "publication_id": sql.Literal(publication_id),
        "key": key_object(key, "current_row"),
        "same_key": same_key(key, not_null, "current_row", "kept_key"),
        "lost": sql.Literal(list(lost)),
    }
    _create_target_rows(connection, names, filled_by=_filled_by(connection, mart, target))
    _create_changed_rows(connection, names)
    connection.execute(
        sql.SQL("""
            insert into ops.publication_delta (publication_id, mart, key, old_row)
            select {publication_id}, {mart}, key, current_content
            from pg_temp.changed
        """).format(**names)
    )
    connection.execute(
        sql.SQL("""
            delete from {table} as current_row
            using pg_temp.changed
            cross join lateral jsonb_populate_record(null::{table}, changed.key) as kept_key
            where {same_key}
        """).format(**names)
    )
    connection.execute(
        sql.SQL("""
            insert into {table}
            select (jsonb_populate_record(null::{table}, target_content)).*
            from pg_temp.changed
            where target_content is not null
        """).format(**names)
    )
    counts = connection.execute(
        """
        select
            count(*) filter (where current_content is null),
            count(*) filter (where target_content is not null and current_content is not null),
            count(*) filter (where target_content is null)
        from pg_temp.changed
        """
    ).fetchone()
    connection.execute("drop table pg_temp.target_row, pg_temp.changed")
    inserted, updated, deleted = counts or (0, 0, 0)
    return MartChange(mart, inserted, updated, deleted)


def _filled_by(connection: Connection, mart: str, target: int) -> int | None:
    """The first later publication that found the mart empty and filled it."""
    row = connection.execute(
        """
        select min(publication_id)
        from ops.publication
        where mart = %s and publication_id > %s and undo_by = 'emptying'
        """,
        [mart, target],
    ).fetchone()
    return row[0] if row else None


def _create_target_rows(connection: Connection, names: dict[str, Any], *, filled_by: int | None) -> None:
    """Create `pg_temp.target_row`: by key, the rows to restore; null content for a row that did not exist."""
    # If several publications changed a row, the oldest of them has kept what it was.
    connection.execute(
        sql.SQL("""
            create temp table target_row on commit drop as
            select distinct on (key) key, old_row - {lost}::text[] as content
            from ops.publication_delta
            where mart = {mart} and publication_id > {target} and publication_id < {end}
            order by key, publication_id
        """).format(end=names["publication_id"] if filled_by is None else sql.Literal(filled_by), **names)
    )
    if filled_by is not None:
        # The mart was empty, so no row of now existed then, unless a publication before has kept it.
        connection.execute(
            sql.SQL("""
                insert into pg_temp.target_row
                select {key}, null
                from {table} as current_row
                where not exists (select from pg_temp.target_row where target_row.key = {key})
            """).format(**names)
        )
    connection.execute("analyze pg_temp.target_row")


def _create_changed_rows(connection: Connection, names: dict[str, Any]) -> None:
    """Create `pg_temp.changed`: the rows that differ now from what they were, with both contents."""
    connection.execute(
        sql.SQL("""
            create temp table changed on commit drop as
            select
                target_row.key,
                target_row.content as target_content,
                case when current_row.ctid is not null then to_jsonb(current_row) end as current_content
            from pg_temp.target_row
            -- The key in the mart's own types, so that few rows are found by the mart's index.
            cross join lateral jsonb_populate_record(null::{table}, target_row.key) as kept_key
            left join {table} as current_row on {same_key}
        """).format(**names)
    )
    # A column that was added since is null in the rows to restore, which have no such column.
    connection.execute(
        """
        delete from pg_temp.changed
        where jsonb_strip_nulls(current_content) is not distinct from jsonb_strip_nulls(target_content)
        """
    )
    connection.execute("analyze pg_temp.changed")


def _published(connection: Connection, mart: str, until: int) -> tuple[int | None, list[str], int | None]:
    """Number, columns and checksum of a mart's last publication up to this one; before its first it was empty."""
    row = connection.execute(
        """
        select publication_id, columns, checksum
        from ops.publication
        where mart = %s and publication_id <= %s
        order by publication_id desc
        limit 1
        """,
        [mart, until],
    ).fetchone()
    return row or (None, published_columns(connection, mart), 0)


def _check(connection: Connection, mart: str, target: int) -> None:
    """
    Check by its checksum that the mart has the rows that the publication left.

    :raises RollbackError: it has not
    """
    publication_id, columns, expected = _published(connection, mart, target)
    if expected is not None and checksum(connection, mart, columns) != expected:
        raise RollbackError(
            f"marts.{mart} would not be as publication {publication_id} left it: something besides publications has "
            "changed its rows. Nothing was rolled back; trigger ecommerce_warehouse with full_refresh instead"
        )


def _check_last(connection: Connection, mart: str, publication_id: int, lost: Collection[str]) -> None:
    """
    Check by its checksum that the mart has the rows that its last publication left.

    :raises RollbackError: it has not, or it has lost columns since
    """
    if not set(lost).isdisjoint(_published(connection, mart, publication_id)[1] or ()):
        raise RollbackError(
            f"marts.{mart} has lost its columns {', '.join(lost)} since its last publication: run ecommerce_warehouse, "
            "then roll back"
        )
    _check(connection, mart, publication_id)


def _as_of_date(connection: Connection, mart: str, target: int) -> date | None:
    """The models' "today" in the rows that are restored."""
    row = connection.execute(
        """
        select as_of_date
        from ops.publication
        where mart = %s and publication_id <= %s
        order by publication_id desc
        limit 1
        """,
        [mart, target],
    ).fetchone()
    return row[0] if row else None
