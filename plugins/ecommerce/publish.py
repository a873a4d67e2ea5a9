"""From `marts_build` to `marts`: every mart in one transaction, only the rows that differ."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, TypeVar

from psycopg import Connection, errors, sql

from ecommerce import lease
from ecommerce.errors import PublishError
from ecommerce.lease import LeftOut
from ecommerce.quality.base import Judgement, write_down

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Published:
    """
    Rows that one mart gained, changed and lost.

    :param undo_by: how that is undone, see `ops.publication`
    """

    mart: str
    inserted: int
    updated: int
    deleted: int
    undo_by: Literal["rows", "emptying", "nothing"] = "rows"

    @property
    def changed(self) -> int:
        """Rows that are not as they were."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True)
class _Mart:
    """A mart in `marts_build`: its columns with types, its key, and which columns can never be null."""

    name: str
    columns: dict[str, str]
    key: list[str]
    not_null: set[str]


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
    left_out = lease.left_out(connection, run_id)
    marts = built_marts(connection, left_out.models)
    remade = [mart for mart in marts if _is_to_be_remade(connection, mart, allow_column_changes)]
    for mart in marts:
        if mart not in remade:
            _add_columns(connection, mart)
    return _patiently(lambda: _publish(connection, run_id, left_out, marts, remade), "marts")


def _publish(
    connection: Connection, run_id: str, left_out: LeftOut, marts: Sequence[_Mart], remade: Sequence[_Mart]
) -> list[Published]:
    with connection.transaction():
        # First of all: nothing of a run that was overtaken reaches `marts`.
        lease.release(connection, run_id)
        publication_id = new_publication(connection)
        as_of = connection.execute("select as_of_date from ops.build where run_id = %s", [run_id]).fetchone()
        published = merge_marts(connection, [mart for mart in marts if mart not in remade], publication_id)
        for done in published:
            record(connection, publication_id, run_id, done, as_of_date=as_of[0] if as_of else None)
        write_down(connection, "stale", run_id, list(_stale(connection, left_out)), window=None)
        forget(connection)
        # Last, since from here on the readers of these marts wait for the commit.
        for mart in remade:
            published.append(_remake(connection, mart))
            record(connection, publication_id, run_id, published[-1], as_of_date=as_of[0] if as_of else None)
    return sorted(published, key=lambda done: done.mart)


def merge_marts(connection: Connection, marts: Iterable[_Mart], publication_id: int) -> list[Published]:
    """Make marts equal to the built ones, in the caller's transaction."""
    return [_merge(connection, mart, publication_id) for mart in marts]


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
    # Where nothing has changed, the last one holds; a mart is as large as its history.
    last = connection.execute(
        "select columns, checksum from ops.publication where mart = %s order by publication_id desc limit 1",
        [done.mart],
    ).fetchone()
    is_changed = last is None or last[0] != columns or last[1] is None or done.changed > 0
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
            checksum(connection, done.mart, columns) if is_changed or last is None else last[1],
            restores,
        ],
    )


def checksum(connection: Connection, mart: str, columns: Sequence[str]) -> Decimal:
    """Of the rows of a mart over these columns, whatever their order."""
    row = connection.execute(
        sql.SQL("select coalesce(bit_xor(hash_record_extended(row({columns}), 0)), 0) from {mart} as mart").format(
            columns=_list("mart", columns), mart=sql.Identifier("marts", mart)
        )
    ).fetchone()
    if row is None:
        raise RuntimeError(f"marts.{mart} has no checksum")
    return Decimal(row[0])


def forget(connection: Connection) -> None:
    """Delete what publications replaced that are too old to be undone."""
    connection.execute(
        "delete from ops.publication_delta where publication_id < (select min(publication_id) from ("
        " select distinct publication_id from ops.publication order by publication_id desc limit %s) as kept)",
        [KEPT_PUBLICATIONS],
    )


def _stale(connection: Connection, left_out: LeftOut) -> Iterator[Judgement]:
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
        yield Judgement(f"marts.{mart}", "fail", None, None, message)


def built_marts(connection: Connection, left_out: Collection[str] = ()) -> list[_Mart]:
    """What `marts_build` holds, without what the build left out."""
    marts = []
    for (name,) in connection.execute(
        "select relname from pg_class where relnamespace = to_regnamespace('marts_build') and relkind = 'r'"
        # dbt builds beside a table and renames; a crash can leave these names behind.
        " and relname !~ '__dbt_(tmp|backup)$' and relname <> all(%s) order by relname",
        [list(left_out)],
    ).fetchall():
        columns = columns_of(connection, "marts_build", name)
        key = key_of(connection, "marts_build", name)
        if key is None:
            raise PublishError(f"marts_build.{name} has no unique constraint, so its rows cannot be matched")
        marts.append(_Mart(name, {c: t for c, t, _ in columns}, key, {c for c, _, fixed in columns if fixed}))
    if not marts and not left_out:
        raise PublishError("marts_build holds no table: nothing was built that could be published")
    return marts


def key_of(connection: Connection, schema: str, table: str) -> list[str] | None:
    """The columns of its unique constraint."""
    row = connection.execute(
        "select array_agg(attribute.attname::text order by place.n)"
        " from pg_constraint as rule"
        " cross join lateral unnest(rule.conkey) with ordinality as place(attnum, n)"
        " inner join pg_attribute as attribute"
        "  on attribute.attrelid = rule.conrelid and attribute.attnum = place.attnum"
        " where rule.conrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) and rule.contype in ('p', 'u')"
        " group by rule.oid order by rule.oid limit 1",
        [schema, table],
    ).fetchone()
    return row[0] if row else None


def columns_of(connection: Connection, schema: str, table: str) -> list[tuple[str, str, bool]]:
    """Name, type, and whether it is declared not null."""
    return connection.execute(
        "select attname::text, format_type(atttypid, atttypmod), attnotnull from pg_attribute"
        " where attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) and attnum > 0 and not attisdropped"
        " order by attnum",
        [schema, table],
    ).fetchall()


def _is_to_be_remade(connection: Connection, mart: _Mart, allowed: bool) -> bool:
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


def _add_columns(connection: Connection, mart: _Mart) -> None:
    """Give the published table the columns that it lacks, empty as yet; views and grants on it stay."""
    target = sql.Identifier("marts", mart.name)
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
            connection.execute(sql.SQL("alter table {} {}").format(target, added))

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


def _merge(connection: Connection, mart: _Mart, publication_id: int) -> Published:
    """Make the published mart equal to the built one, and keep what is replaced."""
    target, built = sql.Identifier("marts", mart.name), sql.Identifier("marts_build", mart.name)
    if not columns_of(connection, "marts", mart.name):
        connection.execute(
            sql.SQL("create table {} (like {} including constraints including indexes)").format(target, built)
        )
    names = list(mart.columns)
    is_empty = connection.execute(sql.SQL("select not exists (select from {})").format(target)).fetchone()
    if is_empty and is_empty[0]:
        inserted = connection.execute(
            sql.SQL("insert into {} ({}) select {} from {} as new").format(
                target, sql.SQL(", ").join(map(sql.Identifier, names)), _list("new", names), built
            )
        ).rowcount
        return _said(Published(mart.name, inserted, 0, 0, undo_by="emptying"))
    # analyze: dbt has just made the table, and without statistics the join of two big marts goes wrong.
    connection.execute(sql.SQL("analyze {}").format(built))
    same_key = sql.SQL(" and ").join(_same(name, name in mart.not_null) for name in mart.key)
    # The one pass over all rows; what differs is then found by its place.
    changed = connection.execute(
        sql.SQL(
            "create temp table changed on commit drop as select old.ctid as old_place, new.ctid as new_place"
            " from {target} as old full join {built} as new on {same_key}"
            " where old.ctid is null or new.ctid is null or ({old}) is distinct from ({new})"
        ).format(target=target, built=built, same_key=same_key, old=_list("old", names), new=_list("new", names))
    ).rowcount
    done = _write(connection, mart, publication_id) if changed else Published(mart.name, 0, 0, 0)
    connection.execute("drop table pg_temp.changed")
    if done.changed != changed:
        raise PublishError(
            f"{changed} rows of marts.{mart.name} were to be written, and {done.changed} were: someone else writes to "
            "it. Nothing was published; clear this task"
        )
    return _said(done)


def _write(connection: Connection, mart: _Mart, publication_id: int) -> Published:
    """Keep the rows that are to change as they are, then change them."""
    names = list(mart.columns)
    others = [name for name in names if name not in mart.key]
    parts = {
        "target": sql.Identifier("marts", mart.name),
        "new": sql.SQL("inner join {} as new on new.ctid = changed.new_place").format(
            sql.Identifier("marts_build", mart.name)
        ),
    }
    connection.execute("analyze pg_temp.changed")
    connection.execute(
        sql.SQL(
            "insert into ops.publication_delta (publication_id, mart, key, old_row)"
            " select {publication_id}, {name}, {key}, case when old.ctid is not null then to_jsonb(old) end"
            " from pg_temp.changed left join {target} as old on old.ctid = changed.old_place"
            " left join {built} as new on new.ctid = changed.new_place"
        ).format(
            publication_id=publication_id,
            name=mart.name,
            key=key_object(mart.key, "new", "old"),
            built=sql.Identifier("marts_build", mart.name),
            **parts,
        )
    )
    deleted = connection.execute(
        sql.SQL(
            "delete from {target} as old using pg_temp.changed"
            " where old.ctid = changed.old_place and changed.new_place is null"
        ).format(**parts)
    ).rowcount
    updated = 0
    if others:
        updated = connection.execute(
            sql.SQL(
                "update {target} as old set {assignments} from pg_temp.changed {new} where old.ctid = changed.old_place"
            ).format(
                assignments=sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("new", name)) for name in others
                ),
                **parts,
            )
        ).rowcount
    inserted = connection.execute(
        sql.SQL(
            "insert into {target} ({columns}) select {values} from pg_temp.changed {new}"
            " where changed.old_place is null"
        ).format(columns=sql.SQL(", ").join(map(sql.Identifier, names)), values=_list("new", names), **parts)
    ).rowcount
    return Published(mart.name, inserted, updated, deleted)


def _remake(connection: Connection, mart: _Mart) -> Published:
    """The mart with other columns, under the same name and with the same rights; it is locked only for the swap."""
    target, built = sql.Identifier("marts", mart.name), sql.Identifier("marts_build", mart.name)
    made = sql.Identifier("marts", f"{mart.name}__made")
    connection.execute(sql.SQL("create table {} (like {} including constraints including indexes)").format(made, built))
    inserted = connection.execute(sql.SQL("insert into {} table {}").format(made, built)).rowcount
    rights = connection.execute(
        "select case when grantee = 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end, privilege_type,"
        " is_grantable from pg_class cross join lateral aclexplode(relacl)"
        " where pg_class.oid = %s::regclass and grantee <> relowner",
        [target.as_string()],
    ).fetchall()
    for grantee, right, is_grantable in rights:
        connection.execute(
            sql.SQL("grant {} on {} to {}{}").format(
                sql.SQL(right), made, sql.SQL(grantee), sql.SQL(" with grant option" if is_grantable else "")
            )
        )
    connection.execute(sql.SQL("set local lock_timeout = {}").format(_LOCK_WAIT))
    deleted = connection.execute(sql.SQL("select count(*) from {}").format(target)).fetchone()
    connection.execute(sql.SQL("drop table {}").format(target))
    connection.execute(sql.SQL("alter table {} rename to {}").format(made, sql.Identifier(mart.name)))
    return _said(Published(mart.name, inserted, 0, deleted[0] if deleted else 0, undo_by="nothing"))


def _said(done: Published) -> Published:
    log.info("marts.%s: %s rows inserted, %s updated, %s deleted", done.mart, done.inserted, done.updated, done.deleted)
    return done


def key_object(key: Sequence[str], *aliases: str) -> sql.Composed:
    """The key of a row as jsonb, from the first of these aliases that has it."""
    return sql.SQL("jsonb_build_object({})").format(
        sql.SQL(", ").join(
            sql.SQL("{}, coalesce({})").format(
                sql.Literal(name), sql.SQL(", ").join(sql.Identifier(alias, name) for alias in aliases)
            )
            for name in key
        )
    )


def _list(alias: str, names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in names)


def _same(name: str, never_null: bool) -> sql.Composed:
    old, new = sql.Identifier("old", name), sql.Identifier("new", name)
    if never_null:
        return sql.SQL("{} = {}").format(old, new)
    # `is not distinct from` cannot be hashed; as jsonb, null equals null and the join stays a hash join.
    return sql.SQL("coalesce(to_jsonb({}), 'null') = coalesce(to_jsonb({}), 'null')").format(old, new)
