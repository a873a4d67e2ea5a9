"""From `marts_build` to `marts`: every mart in one transaction, only the rows that differ."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from psycopg import Connection, sql

from ecommerce import lease
from ecommerce.errors import PublishError
from ecommerce.lease import LeftOut
from ecommerce.quality.base import Judgement, write_down

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """Rows that one mart gained, changed and lost."""

    mart: str
    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True)
class _Mart:
    """A mart in `marts_build`: its columns with types, its key, and which columns can never be null."""

    name: str
    columns: dict[str, str]
    key: list[str]
    not_null: set[str]


def publish(connection: Connection, run_id: str) -> list[Published]:
    """
    Merge every mart, record it in `ops.publication`, clear the marks that it covers and give back the lease.

    What the run's build left out stays as it was published, and is written down as stale.

    :raises LeaseLost: another run has taken over
    :raises PublishError: no mart was built, one has no key, or one lost or retyped a published column
    """
    with connection.transaction():
        # First of all: nothing of a run that was overtaken reaches `marts`.
        lease.release(connection, run_id)
        left_out = lease.left_out(connection, run_id)
        row = connection.execute("select nextval('ops.publication_id_seq')").fetchone()
        publication_id = row[0] if row else None
        published = merge_marts(connection, left_out.models)
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into ops.publication"
                " (publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted, published_at)"
                " values (%s, %s, %s, %s, %s, %s, now())",
                [(publication_id, run_id, p.mart, p.inserted, p.updated, p.deleted) for p in published],
            )
        write_down(connection, "stale", run_id, list(_stale(connection, left_out)), window=None)
    return published


def merge_marts(connection: Connection, left_out: Collection[str] = ()) -> list[Published]:
    """
    Make every mart in `marts` equal to the one in `marts_build`, in the caller's transaction.

    :param left_out: models that were not built: what `marts_build` has of them is not to be published
    :raises PublishError: as `publish`
    """
    return [_merge(connection, mart) for mart in _built(connection, left_out)]


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


def _built(connection: Connection, left_out: Collection[str]) -> list[_Mart]:
    marts = []
    for (name,) in connection.execute(
        "select relname from pg_class where relnamespace = to_regnamespace('marts_build') and relkind = 'r'"
        # dbt builds beside a table and renames; a crash can leave these names behind.
        " and relname !~ '__dbt_(tmp|backup)$' and relname <> all(%s) order by relname",
        [list(left_out)],
    ).fetchall():
        columns = _columns(connection, "marts_build", name)
        key = connection.execute(
            "select array_agg(attribute.attname::text order by place.n)"
            " from pg_constraint as rule"
            " cross join lateral unnest(rule.conkey) with ordinality as place(attnum, n)"
            " inner join pg_attribute as attribute"
            "  on attribute.attrelid = rule.conrelid and attribute.attnum = place.attnum"
            " where rule.conrelid = to_regclass(format('marts_build.%%I', %s::text)) and rule.contype in ('p', 'u')"
            " group by rule.oid order by rule.oid limit 1",
            [name],
        ).fetchone()
        if key is None:
            raise PublishError(f"marts_build.{name} has no unique constraint, so its rows cannot be matched")
        marts.append(_Mart(name, {c: t for c, t, _ in columns}, key[0], {c for c, _, fixed in columns if fixed}))
    if not marts and not left_out:
        raise PublishError("marts_build holds no table: nothing was built that could be published")
    return marts


def _columns(connection: Connection, schema: str, table: str) -> list[tuple[str, str, bool]]:
    return connection.execute(
        "select attname::text, format_type(atttypid, atttypmod), attnotnull from pg_attribute"
        " where attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) and attnum > 0 and not attisdropped"
        " order by attnum",
        [schema, table],
    ).fetchall()


def _merge(connection: Connection, mart: _Mart) -> Published:
    _prepare_target(connection, mart)
    names = list(mart.columns)
    others = [name for name in names if name not in mart.key]
    update = (
        sql.SQL("when matched and ({old}) is distinct from ({new}) then update set {assignments}").format(
            old=_list("old", others),
            new=_list("new", others),
            assignments=sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("new", name)) for name in others
            ),
        )
        if others
        else sql.SQL("")
    )
    # analyze: dbt has just made the table, and without statistics the join of two big marts goes wrong.
    connection.execute(sql.SQL("analyze {}").format(sql.Identifier("marts_build", mart.name)))
    counts: dict[str, int] = dict(
        connection.execute(
            sql.SQL(
                "with merged as ("
                " merge into {target} as old using {built} as new on {same_key} {update}"
                " when not matched then insert ({columns}) values ({values})"
                " when not matched by source then delete returning merge_action() as action"
                ") select action, count(*) from merged group by action"
            ).format(
                target=sql.Identifier("marts", mart.name),
                built=sql.Identifier("marts_build", mart.name),
                same_key=sql.SQL(" and ").join(_same(name, name in mart.not_null) for name in mart.key),
                update=update,
                columns=sql.SQL(", ").join(map(sql.Identifier, names)),
                values=_list("new", names),
            )
        ).fetchall()
    )
    done = Published(mart.name, counts.get("INSERT", 0), counts.get("UPDATE", 0), counts.get("DELETE", 0))
    log.info("marts.%s: %s rows inserted, %s updated, %s deleted", mart.name, done.inserted, done.updated, done.deleted)
    return done


def _prepare_target(connection: Connection, mart: _Mart) -> None:
    """Make the published table, or give it the columns it lacks; views and grants on it stay."""
    published = {name: kind for name, kind, _ in _columns(connection, "marts", mart.name)}
    if not published:
        connection.execute(
            sql.SQL("create table {} (like {} including constraints including indexes)").format(
                sql.Identifier("marts", mart.name), sql.Identifier("marts_build", mart.name)
            )
        )
        return
    lost = [f"{name} {kind}" for name, kind in published.items() if mart.columns.get(name) != kind]
    if lost:
        raise PublishError(
            f"marts.{mart.name} would lose or retype {', '.join(lost)}; readers may depend on it, so nothing was "
            "published. Bring the column back, or drop the published table to have it made anew"
        )
    for name, kind in mart.columns.items():
        if name not in published:
            connection.execute(
                sql.SQL("alter table {} add column {} {}").format(
                    sql.Identifier("marts", mart.name), sql.Identifier(name), sql.SQL(kind)
                )
            )


def _list(alias: str, names: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in names)


def _same(name: str, never_null: bool) -> sql.Composed:
    old, new = sql.Identifier("old", name), sql.Identifier("new", name)
    if never_null:
        return sql.SQL("{} = {}").format(old, new)
    # `is not distinct from` cannot be hashed; as jsonb, null equals null and the join stays a hash join.
    return sql.SQL("coalesce(to_jsonb({}), 'null') = coalesce(to_jsonb({}), 'null')").format(old, new)
