"""Back to an earlier publication: what the later ones replaced is put back, and that is a publication itself."""

from __future__ import annotations

from datetime import date

from psycopg import Connection, sql

from ecommerce.build import lease
from ecommerce.common.errors import RollbackError
from ecommerce.publish.merge import Published, checksum, columns_of, compare_in_full, key_object, key_of
from ecommerce.publish.publication import KEPT_PUBLICATIONS, forget, new_publication, record


def roll_back(
    connection: Connection, dag_id: str, run_id: str, *, to: int | None = None, over: str | None = None
) -> list[Published] | None:
    """
    Put every mart back to what a publication had left, in one transaction; None while a run builds.

    The next run builds and publishes again, whether or not anything has changed.

    :param to: its publication_id; None: the one before the last
    :param over: run_id of a holder of the lease that the caller knows to have ended
    :raises RollbackError: there is no such publication, or no way back to it; `marts` is untouched
    """
    with connection.transaction():
        if not lease.interrupt(connection, dag_id, run_id, over=over):
            return None
        target = _target(connection, to)
        publication_id = new_publication(connection)
        marts = connection.execute(
            "select distinct mart from ops.publication where publication_id > %s order by mart", [target]
        ).fetchall()
        done = []
        for (mart,) in marts:
            done.append(_undo(connection, mart, target, publication_id))
            compare_in_full(connection, mart)
            as_of = _as_it_was(connection, mart, target)
            record(connection, publication_id, run_id, done[-1], as_of_date=as_of, restores=target)
        forget(connection)
        return done


def _target(connection: Connection, to: int | None) -> int:
    """The publication to go back to, if there is a way."""
    known = [
        number
        for (number,) in connection.execute(
            "select distinct publication_id from ops.publication order by publication_id desc"
        )
    ]
    if to is None and len(known) < 2:
        raise RollbackError("there is no publication before the last one")
    target = known[1] if to is None else to
    if target not in known:
        raise RollbackError(f"there is no publication {target}; see ops.publication")
    later = known[: known.index(target)]
    if not later:
        raise RollbackError(f"publication {target} is the last one: the marts are as it left them")
    if len(later) > KEPT_PUBLICATIONS:
        raise RollbackError(
            f"publication {target} is {len(later)} publications ago, and what the last {KEPT_PUBLICATIONS} replaced is "
            "kept (ECOMMERCE_KEPT_PUBLICATIONS)"
        )
    barred = connection.execute(
        "select publication_id, mart, undo_by from ops.publication"
        " where publication_id > %s and (undo_by is null or undo_by = 'nothing') order by publication_id desc limit 1",
        [target],
    ).fetchone()
    if barred:
        why = "made the mart anew, with other columns" if barred[2] else "did not keep what it replaced"
        raise RollbackError(f"no way back to publication {target}: publication {barred[0]} of {barred[1]} {why}")
    return int(target)


def _undo(connection: Connection, mart: str, target: int, publication_id: int) -> Published:
    """Put a mart's rows back, and keep what that replaces."""
    table = sql.Identifier("marts", mart)
    key = key_of(connection, "marts", mart)
    if key is None:
        raise RollbackError(f"marts.{mart} has no unique constraint any more, so its rows cannot be matched")
    names = {"table": table, "mart": sql.Literal(mart), "target": sql.Literal(target), "key": key_object(key, "now")}
    emptied = connection.execute(
        "select min(publication_id) from ops.publication"
        " where mart = %s and publication_id > %s and undo_by = 'emptying'",
        [mart, target],
    ).fetchone()
    filled_by = emptied[0] if emptied else None
    # Of a key that several publications changed, the oldest of them knows what it was.
    connection.execute(
        sql.SQL(
            "create temp table then_row on commit drop as"
            " select distinct on (key) key, old_row from ops.publication_delta"
            " where mart = {mart} and publication_id > {target} and publication_id < {filled_by}"
            " order by key, publication_id"
        ).format(filled_by=sql.Literal(filled_by if filled_by is not None else publication_id), **names)
    )
    if filled_by is not None:
        connection.execute(
            sql.SQL(
                "insert into pg_temp.then_row select {key}, null from {table} as now"
                " where not exists (select from pg_temp.then_row where then_row.key = {key})"
            ).format(**names)
        )
    connection.execute("analyze pg_temp.then_row")
    connection.execute(
        sql.SQL(
            "create temp table change on commit drop as"
            " select then_row.key, then_row.old_row, case when now.ctid is not null then to_jsonb(now) end as now_row"
            " from pg_temp.then_row left join {table} as now on {key} = then_row.key"
        ).format(**names)
    )
    # A column that was added since is null in what was there before.
    connection.execute(
        "delete from pg_temp.change where jsonb_strip_nulls(now_row) is not distinct from jsonb_strip_nulls(old_row)"
    )
    connection.execute("analyze pg_temp.change")
    connection.execute(
        sql.SQL(
            "insert into ops.publication_delta (publication_id, mart, key, old_row)"
            " select {publication_id}, {mart}, key, now_row from pg_temp.change"
        ).format(publication_id=sql.Literal(publication_id), **names)
    )
    connection.execute(
        sql.SQL("delete from {table} as now using pg_temp.change where {key} = change.key").format(**names)
    )
    connection.execute(
        sql.SQL(
            "insert into {table} select (jsonb_populate_record(null::{table}, old_row)).*"
            " from pg_temp.change where old_row is not null"
        ).format(**names)
    )
    counts = connection.execute(
        "select count(*) filter (where now_row is null), count(*) filter (where old_row is not null and now_row is not"
        " null), count(*) filter (where old_row is null) from pg_temp.change"
    ).fetchone()
    connection.execute("drop table pg_temp.then_row, pg_temp.change")
    _compare(connection, mart, target)
    inserted, updated, deleted = counts or (0, 0, 0)
    return Published(mart, inserted, updated, deleted)


def _compare(connection: Connection, mart: str, target: int) -> None:
    """The mart must come out as the publication had left it."""
    row = connection.execute(
        "select publication_id, columns, checksum from ops.publication where mart = %s and publication_id <= %s"
        " order by publication_id desc limit 1",
        [mart, target],
    ).fetchone()
    # Before its first publication a mart was empty.
    left_by, columns, expected = row or (None, [name for name, _, _ in columns_of(connection, "marts", mart)], 0)
    if expected is not None and checksum(connection, mart, columns) != expected:
        raise RollbackError(
            f"marts.{mart} does not come out as publication {left_by} had left it: something besides publications has "
            "changed its rows. Nothing was rolled back; trigger ecommerce_warehouse with full_refresh instead"
        )


def _as_it_was(connection: Connection, mart: str, target: int) -> date | None:
    row = connection.execute(
        "select as_of_date from ops.publication where mart = %s and publication_id <= %s"
        " order by publication_id desc limit 1",
        [mart, target],
    ).fetchone()
    return row[0] if row else None
