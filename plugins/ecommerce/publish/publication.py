"""From `marts_build` to `marts`: every mart in one transaction, on the record."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date
from typing import TypeVar

from psycopg import Connection, errors, sql

from ecommerce.audit.check_results import CheckResult, record_results
from ecommerce.build import lease
from ecommerce.build.lease import Exclusions
from ecommerce.common.errors import PublishError
from ecommerce.publish.merge import Mart, Published, checksum, columns_of, compare_in_full, key_of, merge, said

log = logging.getLogger(__name__)

T = TypeVar("T")

#: So many publications can be undone, one after the other.
KEPT_PUBLICATIONS = int(os.environ.get("ECOMMERCE_KEPT_PUBLICATIONS", "7"))

#: A change of columns locks out readers, and those who come after it wait behind it: so it does not wait for longer,
#: and tries again.
_LOCK_WAIT, _TRY_AGAIN_SECONDS, _PATIENCE_SECONDS = "50ms", 0.5, 60.0


def publish(connection: Connection, run_id: str, *, allow_column_changes: bool = False) -> list[Published]:
    """
    Merge every mart, record it in `ops.publication`, clear the marks that it covers and give back the lease.

    Readers see all of it at once, and wait for nothing: rows are merged, and columns that a mart gains are added
    before, each in a moment. What the run's build left out stays as it was published, and is written down as stale.

    :param connection: in autocommit
    :param allow_column_changes: a mart that lost or retyped columns is made anew, if no view is made of it
    :raises LeaseLost: another run has taken over
    :raises PublishError: no mart was built, one has no key, or one lost or retyped a published column
    """
    lease.assert_held(connection, run_id)
    left_out = lease.exclusions_of(connection, run_id)
    marts = built_marts(connection, left_out.models)
    remade = [mart for mart in marts if _is_to_be_remade(connection, mart, allow_column_changes)]
    for mart in marts:
        if mart not in remade:
            _add_columns(connection, mart)
    return _patiently(lambda: _publish(connection, run_id, left_out, marts, remade), "marts")


def _publish(
    connection: Connection, run_id: str, left_out: Exclusions, marts: Sequence[Mart], remade: Sequence[Mart]
) -> list[Published]:
    with connection.transaction():
        # First of all: nothing of a run that was overtaken reaches `marts`.
        lease.release(connection, run_id)
        publication_id = new_publication(connection)
        as_of = connection.execute("select as_of_date from ops.build where run_id = %s", [run_id]).fetchone()
        published = [merge(connection, mart, publication_id) for mart in marts if mart not in remade]
        for done in published:
            record(connection, publication_id, run_id, done, as_of_date=as_of[0] if as_of else None)
        record_results(connection, "stale", run_id, list(_stale(connection, left_out)), window=None)
        forget(connection)
        # Last, since from here on the readers of these marts wait for the commit.
        for mart in remade:
            published.append(_remake(connection, mart))
            record(connection, publication_id, run_id, published[-1], as_of_date=as_of[0] if as_of else None)
    return sorted(published, key=lambda done: done.mart)


def new_publication(connection: Connection) -> int:
    """Its id."""
    row = connection.execute("select nextval('ops.publication_id_seq')").fetchone()
    if row is None:
        raise RuntimeError("ops.publication_id_seq gave no number")
    return int(row[0])


def record(
    connection: Connection,
    publication_id: int,
    run_id: str,
    done: Published,
    *,
    as_of_date: date | None,
    restores: int | None = None,
) -> None:
    """A row of `ops.publication`, with a checksum of the mart as it is now."""
    columns = [name for name, _, _ in columns_of(connection, "marts", done.mart)]
    known = connection.execute("select checksum from ops.published_mart where mart = %s", [done.mart]).fetchone()
    connection.execute(
        "insert into ops.publication (publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted,"
        " published_at, as_of_date, undo_by, columns, checksum, restores)"
        " values (%s, %s, %s, %s, %s, %s, now(), %s, %s, %s, %s, %s)",
        [
            publication_id,
            run_id,
            done.mart,
            done.inserted,
            done.updated,
            done.deleted,
            as_of_date,
            done.undo_by,
            columns,
            known[0] if known else checksum(connection, done.mart, columns),
            restores,
        ],
    )


def forget(connection: Connection) -> None:
    """Delete what publications replaced that are too old to be undone."""
    connection.execute(
        "delete from ops.publication_delta where publication_id < (select min(publication_id) from ("
        " select distinct publication_id from ops.publication order by publication_id desc limit %s) as kept)",
        [KEPT_PUBLICATIONS],
    )


def _stale(connection: Connection, left_out: Exclusions) -> Iterator[CheckResult]:
    """A judgement for each published mart that was not built."""
    for mart, published_at in connection.execute(
        "select mart, max(published_at) from ops.publication where mart = any(%s) group by mart order by mart",
        [list(left_out.models)],
    ).fetchall():
        message = (
            f"keeps what was published at {published_at:%Y-%m-%d %H:%M} UTC: {', '.join(sorted(left_out.sources))} "
            "could not be loaded"
        )
        log.warning("marts.%s %s", mart, message)
        yield CheckResult(f"marts.{mart}", "fail", None, None, message)


def built_marts(connection: Connection, left_out: Collection[str] = ()) -> list[Mart]:
    """What `marts_build` holds, without what the build left out."""
    marts = []
    for name, oid in connection.execute(
        "select relname, oid::bigint from pg_class"
        " where relnamespace = to_regnamespace('marts_build') and relkind = 'r'"
        # dbt builds beside a table and renames; a crash can leave these names behind.
        " and relname !~ '__dbt_(tmp|backup)$' and relname <> all(%s) order by relname",
        [list(left_out)],
    ).fetchall():
        columns = columns_of(connection, "marts_build", name)
        key = key_of(connection, "marts_build", name)
        if key is None:
            raise PublishError(f"marts_build.{name} has no unique constraint, so its rows cannot be matched")
        marts.append(Mart(name, oid, {c: t for c, t, _ in columns}, key, {c for c, _, fixed in columns if fixed}))
    if not marts and not left_out:
        raise PublishError("marts_build holds no table: nothing was built that could be published")
    return marts


def _is_to_be_remade(connection: Connection, mart: Mart, allowed: bool) -> bool:
    """Whether the published mart has columns that the built one lost or retyped; refused, unless it is allowed."""
    lost = [
        f"{name} {kind}"
        for name, kind, _ in columns_of(connection, "marts", mart.name)
        if mart.columns.get(name) != kind
    ]
    if not lost:
        return False
    if not allowed:
        raise PublishError(
            f"marts.{mart.name} would lose or retype {', '.join(lost)}; readers may depend on it, so nothing was "
            "published. Bring the column back, or run again with `allow_column_changes`, which makes the mart anew"
        )
    views = [
        name
        for (name,) in connection.execute(
            "select distinct format('%%I.%%I', dependent_schema.nspname, dependent.relname) from pg_depend"
            " inner join pg_rewrite on pg_depend.objid = pg_rewrite.oid"
            " inner join pg_class as dependent on pg_rewrite.ev_class = dependent.oid"
            " inner join pg_namespace as dependent_schema on dependent.relnamespace = dependent_schema.oid"
            " where pg_depend.refobjid = %s::regclass and dependent.oid <> pg_depend.refobjid order by 1",
            [sql.Identifier("marts", mart.name).as_string()],
        )
    ]
    if views:
        raise PublishError(
            f"marts.{mart.name} cannot lose or retype {', '.join(lost)}, since {', '.join(views)} is made of it; "
            "nothing was published. Drop that first, and make it anew afterwards"
        )
    return True


def _add_columns(connection: Connection, mart: Mart) -> None:
    """Give the published table the columns that it lacks, empty as yet; views and grants on it stay."""
    published = {name for name, _, _ in columns_of(connection, "marts", mart.name)}
    gained = [(name, kind) for name, kind in mart.columns.items() if published and name not in published]
    if not gained:
        return
    added = sql.SQL(", ").join(
        sql.SQL("add column {} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in gained
    )

    def add() -> None:
        with connection.transaction():
            connection.execute(sql.SQL("set local lock_timeout = {}").format(_LOCK_WAIT))
            connection.execute(sql.SQL("alter table {} {}").format(mart.target, added))

    _patiently(add, f"marts.{mart.name}")


def _patiently(change: Callable[[], T], what: str) -> T:
    """Do it as soon as no reader is in the way, without ever making the next one wait."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return change()
        except errors.LockNotAvailable as error:
            if time.monotonic() > until:
                raise PublishError(
                    f"the columns of {what} cannot be changed, since a transaction has been reading it for "
                    f"{_PATIENCE_SECONDS:.0f} s; nothing was published. End it (pg_stat_activity), and clear this task"
                ) from error
        time.sleep(_TRY_AGAIN_SECONDS)


def _remake(connection: Connection, mart: Mart) -> Published:
    """The mart with other columns, under the same name and with the same rights; it is locked only for the swap."""
    made = sql.Identifier("marts", f"{mart.name}__made")
    connection.execute(
        sql.SQL("create table {} (like {} including constraints including indexes)").format(made, mart.built)
    )
    inserted = connection.execute(sql.SQL("insert into {} table {}").format(made, mart.built)).rowcount
    rights = connection.execute(
        "select case when grantee = 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end, privilege_type,"
        " is_grantable from pg_class cross join lateral aclexplode(relacl)"
        " where pg_class.oid = %s::regclass and grantee <> relowner",
        [mart.target.as_string()],
    ).fetchall()
    for grantee, right, is_grantable in rights:
        connection.execute(
            sql.SQL("grant {} on {} to {}{}").format(
                sql.SQL(right), made, sql.SQL(grantee), sql.SQL(" with grant option" if is_grantable else "")
            )
        )
    connection.execute(sql.SQL("set local lock_timeout = {}").format(_LOCK_WAIT))
    deleted = connection.execute(sql.SQL("select count(*) from {}").format(mart.target)).fetchone()
    connection.execute(sql.SQL("drop table {}").format(mart.target))
    connection.execute(sql.SQL("alter table {} rename to {}").format(made, sql.Identifier(mart.name)))
    compare_in_full(connection, mart.name)
    return said(Published(mart.name, inserted, 0, deleted[0] if deleted else 0, undo_by="nothing"))
