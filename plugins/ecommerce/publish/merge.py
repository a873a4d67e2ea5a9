"""
A mart of `marts` is made equal to the one in `marts_build`: only the rows that differ are written.

Which rows those are is not asked of each row again. After a publication a mart equals what it was built as, so the next
one compares only what was built since: the rows of the same table that a younger transaction has written. That holds
while the mart is as the publication had left it, which the ages of its own rows tell (`_LastTime`). Where they say
otherwise, and where dbt has made the table anew, every row is compared.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Literal, LiteralString

from psycopg import Connection, sql

from ecommerce.common.errors import PublishError

log = logging.getLogger(__name__)


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
class Mart:
    """A mart in `marts_build`: its table, its columns with types, its key, and which columns can never be null."""

    name: str
    oid: int
    columns: dict[str, str]
    key: list[str]
    not_null: set[str]

    @property
    def target(self) -> sql.Identifier:
        """Where it is published."""
        return sql.Identifier("marts", self.name)

    @property
    def built(self) -> sql.Identifier:
        """Where it was built."""
        return sql.Identifier("marts_build", self.name)

    def only(self, columns: Container[str]) -> Mart:
        """The mart with no other columns than these."""
        return replace(self, columns={name: kind for name, kind in self.columns.items() if name in columns})

    @property
    def same_key(self) -> sql.Composed:
        """The condition by which ``old`` and ``new`` are the same row."""
        return sql.SQL(" and ").join(_same(name, name in self.not_null) for name in self.key)


@dataclass(frozen=True)
class _LastTime:
    """
    What the last publication left of a mart that nothing else has changed since.

    :param built: oid of the table that it was made equal to
    :param age: rows of that table which are older than so many transactions were compared then
    """

    built: int
    age: int
    rows: int
    checksum: int


#: Postgres tells the age of a row by 32 bits.
_OLDEST = 2_000_000_000


def merge(connection: Connection, mart: Mart, publication_id: int) -> Published:
    """
    Make the published mart equal to the built one, and keep what is replaced; in the caller's transaction.

    :raises PublishError: someone else writes to the mart
    """
    # What others write into the built table from now on belongs to the next publication.
    horizon = _number(connection, "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    columns = [name for name, _, _ in columns_of(connection, "marts", mart.name)]
    if not columns:
        connection.execute(
            sql.SQL("create table {} (like {} including constraints including indexes)").format(mart.target, mart.built)
        )
        columns = list(mart.columns)
    last = _last_time(connection, mart.name, columns)
    rows = last.rows if last else _number(connection, _COUNT.format(mart.target))
    if not rows:
        inserted = connection.execute(
            sql.SQL("insert into {} ({}) select {} from {} as new").format(
                mart.target, sql.SQL(", ").join(map(sql.Identifier, columns)), listed("new", columns), mart.built
            )
        ).rowcount
        _remember(connection, mart, horizon, rows=inserted, checksum=checksum(connection, mart.name, columns))
        return said(Published(mart.name, inserted, 0, 0, undo_by="emptying"))
    changed = _find_changed(connection, mart, rows, last)
    done = Published(mart.name, 0, 0, 0)
    # By how the checksum changes: a row less, or one more, is its hash in the exclusive or of all.
    before = after = 0
    if changed:
        before = _hash_of_changed(connection, mart, columns, "old")
        after = _hash_of_changed(connection, mart, columns, "new")
        done = _write(connection, mart, publication_id)
    connection.execute("drop table pg_temp.changed")
    if done.changed != changed:
        raise PublishError(
            f"{changed} rows of marts.{mart.name} were to be written, and {done.changed} were: someone else writes to "
            "it. Nothing was published; clear this task"
        )
    _remember(
        connection,
        mart,
        horizon,
        rows=rows + done.inserted - done.deleted,
        checksum=last.checksum ^ before ^ after if last else checksum(connection, mart.name, columns),
    )
    return said(done)


def _remember(connection: Connection, mart: Mart, horizon: int, *, rows: int, checksum: int) -> None:
    """
    Note down, in `ops.published_mart`, what the next publication may rely on.

    :param horizon: the first transaction whose rows in the built table may not have been seen
    """
    connection.execute(
        "insert into ops.published_mart (mart, built, horizon, written_by, rows, columns, checksum)"
        " values (%s, %s, %s::text::xid8, pg_current_xact_id(), %s, %s, %s)"
        " on conflict (mart) do update set built = excluded.built, horizon = excluded.horizon,"
        "  written_by = excluded.written_by, rows = excluded.rows, columns = excluded.columns,"
        "  checksum = excluded.checksum",
        [mart.name, mart.oid, horizon, rows, [n for n, _, _ in columns_of(connection, "marts", mart.name)], checksum],
    )


def compare_in_full(connection: Connection, mart: str) -> None:
    """Let the next publication compare every row of a mart: something else than it being made equal has changed it."""
    connection.execute("delete from ops.published_mart where mart = %s", [mart])


def _last_time(connection: Connection, mart: str, columns: Sequence[str]) -> _LastTime | None:
    """None where the mart is not what the last publication left, or nobody knows."""
    row = connection.execute(
        "select built, now - horizon::text::bigint, now - written_by::text::bigint, rows, checksum"
        " from ops.published_mart cross join (select pg_current_xact_id()::text::bigint as now) as here"
        " where mart = %s and columns = %s",
        [mart, list(columns)],
    ).fetchone()
    if row is None or not 0 <= row[1] < _OLDEST or not 0 <= row[2] < _OLDEST:
        return None
    built, age, written_ago, rows, known_checksum = row
    held = connection.execute(
        sql.SQL("select count(*), count(*) filter (where age(xmin) < {}) from {}").format(
            sql.Literal(written_ago), sql.Identifier("marts", mart)
        )
    ).fetchone()
    if held != (rows, 0):
        log.warning("marts.%s was changed by something besides publications: every row is compared", mart)
        return None
    return _LastTime(built, age, rows, int(known_checksum))


_COUNT = sql.SQL("select count(*) from {}")


def find_changed(connection: Connection, mart: Mart) -> int:
    """Make `pg_temp.changed`, the places of rows that differ, in the published mart and in the built one; how many."""
    columns = [name for name, _, _ in columns_of(connection, "marts", mart.name)]
    last = _last_time(connection, mart.name, columns)
    return _find_changed(connection, mart, last.rows if last else _number(connection, _COUNT.format(mart.target)), last)


def _find_changed(connection: Connection, mart: Mart, rows: int, last: _LastTime | None) -> int:
    """
    See `find_changed`.

    :param rows: that the published mart has
    """
    names = list(mart.columns)
    parts = {
        "target": mart.target,
        "built": mart.built,
        "same_key": mart.same_key,
        "old": listed("old", names),
        "new": listed("new", names),
    }
    if last is not None and last.built == mart.oid:
        connection.execute(
            sql.SQL(
                "create temp table touched on commit drop as select ctid as place from {built} where age(xmin) <= {age}"
            ).format(age=sql.Literal(last.age), **parts)
        )
        connection.execute("analyze pg_temp.touched")
        changed = connection.execute(
            sql.SQL(
                "create temp table changed on commit drop as select old.ctid as old_place, new.ctid as new_place"
                " from pg_temp.touched inner join {built} as new on new.ctid = touched.place"
                " left join {target} as old on {same_key}"
                " where old.ctid is null or ({old}) is distinct from ({new})"
            ).format(**parts)
        ).rowcount
        connection.execute("drop table pg_temp.touched")
        gained = _number(connection, "select count(*) from pg_temp.changed where old_place is null")
        if rows + gained == _number(connection, _COUNT.format(mart.built)):
            return changed
        # Some rows are gone, and nothing of them is left that tells which.
        connection.execute("drop table pg_temp.changed")
    return connection.execute(
        sql.SQL(
            "create temp table changed on commit drop as select old.ctid as old_place, new.ctid as new_place"
            " from {target} as old full join {built} as new on {same_key}"
            " where old.ctid is null or new.ctid is null or ({old}) is distinct from ({new})"
        ).format(**parts)
    ).rowcount


def _hash_of_changed(connection: Connection, mart: Mart, columns: Sequence[str], side: Literal["old", "new"]) -> int:
    """The exclusive or of the hashes of the rows that are to change, as they are or as they will be."""
    return _number(
        connection,
        sql.SQL(
            "select coalesce(bit_xor(hash_record_extended(row({columns}), 0)), 0)"
            " from pg_temp.changed inner join {table} as mart on mart.ctid = changed.{place}"
        ).format(
            columns=listed("mart", columns),
            table=mart.target if side == "old" else mart.built,
            place=sql.Identifier(f"{side}_place"),
        ),
    )


def _write(connection: Connection, mart: Mart, publication_id: int) -> Published:
    """Keep the rows that are to change as they are, then change them."""
    names = list(mart.columns)
    others = [name for name in names if name not in mart.key]
    parts = {
        "target": mart.target,
        "new": sql.SQL("inner join {} as new on new.ctid = changed.new_place").format(mart.built),
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
            built=mart.built,
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
        ).format(columns=sql.SQL(", ").join(map(sql.Identifier, names)), values=listed("new", names), **parts)
    ).rowcount
    return Published(mart.name, inserted, updated, deleted)


def checksum(connection: Connection, mart: str, columns: Sequence[str]) -> int:
    """Of the rows of a mart over these columns, whatever their order."""
    return _number(
        connection,
        sql.SQL("select coalesce(bit_xor(hash_record_extended(row({columns}), 0)), 0) from {mart} as mart").format(
            columns=listed("mart", columns), mart=sql.Identifier("marts", mart)
        ),
    )


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


def said(done: Published) -> Published:
    """Logged."""
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


def listed(alias: str, names: Sequence[str]) -> sql.Composed:
    """Columns of a table in a statement."""
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in names)


def _same(name: str, never_null: bool) -> sql.Composed:
    old, new = sql.Identifier("old", name), sql.Identifier("new", name)
    if never_null:
        return sql.SQL("{} = {}").format(old, new)
    # `is not distinct from` cannot be hashed; as jsonb, null equals null and the join stays a hash join.
    return sql.SQL("coalesce(to_jsonb({}), 'null') = coalesce(to_jsonb({}), 'null')").format(old, new)


def _number(connection: Connection, query: LiteralString | sql.Composed) -> int:
    row = connection.execute(query).fetchone()
    if row is None:
        raise RuntimeError("a query for a number gave no row")
    return int(row[0])
