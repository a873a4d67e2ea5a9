"""Change the columns of published marts, so that no reader waits for longer than a moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from psycopg import Connection, errors, sql

from ecommerce.common.errors import PublishError
from ecommerce.publish.marts import Mart, columns_of, count_rows
from ecommerce.publish.merge import MartChange, require_full_comparison

log = logging.getLogger(__name__)

T = TypeVar("T")

#: A change of columns locks out readers, and readers that come later queue behind it. So it waits only 50 ms for its
#: lock, and tries again half a second later.
_LOCK_TIMEOUT, _RETRY_SECONDS, _GIVE_UP_SECONDS = "50ms", 0.5, 60.0


def must_recreate(connection: Connection, mart: Mart, *, is_allowed: bool) -> bool:
    """
    Whether the published mart must be created anew, because the built one lost columns or changed their types.

    :raises PublishError: it must and is not allowed to, or a view reads it
    """
    lost = [
        f"{name} {kind}"
        for name, kind, _ in columns_of(connection, "marts", mart.name)
        if mart.columns.get(name) != kind
    ]
    if not lost:
        return False
    if not is_allowed:
        raise PublishError(
            f"marts.{mart.name} would lose or retype {', '.join(lost)}; readers may depend on it, so nothing was "
            "published. Bring the column back, or run again with `allow_column_changes`, which creates the mart again"
        )
    if views := _views_on(connection, mart):
        raise PublishError(
            f"marts.{mart.name} cannot lose or retype {', '.join(lost)}, because {', '.join(views)} reads it; "
            "nothing was published. Drop the views first, and create them again afterwards"
        )
    return True


def _views_on(connection: Connection, mart: Mart) -> list[str]:
    """Views, by schema and name, that read the published mart."""
    return [
        name
        for (name,) in connection.execute(
            """
            select distinct format('%%I.%%I', dependent_schema.nspname, dependent.relname)
            from pg_depend
            inner join pg_rewrite on pg_depend.objid = pg_rewrite.oid
            inner join pg_class as dependent on pg_rewrite.ev_class = dependent.oid
            inner join pg_namespace as dependent_schema on dependent.relnamespace = dependent_schema.oid
            where pg_depend.refobjid = %s::regclass and dependent.oid <> pg_depend.refobjid
            order by 1
            """,
            [mart.published_table.as_string()],
        )
    ]


def add_columns(connection: Connection, mart: Mart) -> list[str]:
    """
    Add to the published mart the columns that only the built one has, null for now; views and grants stay.

    :return: their names
    """
    published = {name for name, _, _ in columns_of(connection, "marts", mart.name)}
    gained = [(name, kind) for name, kind in mart.columns.items() if published and name not in published]
    if not gained:
        return []
    additions = sql.SQL(", ").join(
        sql.SQL("add column {} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in gained
    )

    def alter() -> None:
        with connection.transaction():
            _limit_lock_wait(connection)
            connection.execute(sql.SQL("alter table {} {}").format(mart.published_table, additions))

    retry_while_locked(alter, f"marts.{mart.name}")
    return [name for name, _ in gained]


def recreate(connection: Connection, mart: Mart) -> MartChange:
    """
    Replace the published mart by one with the built mart's columns, under the same name and with the same grants.

    It is filled beside the old one, so that readers are locked out only while the two are swapped.
    """
    replacement = sql.Identifier("marts", f"{mart.name}__made")
    connection.execute(
        sql.SQL("create table {} (like {} including constraints including indexes)").format(
            replacement, mart.built_table
        )
    )
    inserted = connection.execute(sql.SQL("insert into {} table {}").format(replacement, mart.built_table)).rowcount
    _copy_grants(connection, mart, replacement)
    _limit_lock_wait(connection)
    deleted = count_rows(connection, mart.published_table)
    connection.execute(sql.SQL("drop table {}").format(mart.published_table))
    connection.execute(sql.SQL("alter table {} rename to {}").format(replacement, sql.Identifier(mart.name)))
    require_full_comparison(connection, mart.name)
    change = MartChange(mart.name, inserted, 0, deleted, undo_by="nothing")
    log.info("%s", change)
    return change


def _copy_grants(connection: Connection, mart: Mart, replacement: sql.Identifier) -> None:
    grants = connection.execute(
        """
        select
            case when grantee = 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end,
            privilege_type,
            is_grantable
        from pg_class
        cross join lateral aclexplode(relacl)
        where pg_class.oid = %s::regclass and grantee <> relowner
        """,
        [mart.published_table.as_string()],
    ).fetchall()
    for grantee, privilege, is_grantable in grants:
        connection.execute(
            sql.SQL("grant {} on {} to {}{}").format(
                sql.SQL(privilege),
                replacement,
                sql.SQL(grantee),
                sql.SQL(" with grant option" if is_grantable else ""),
            )
        )


def retry_while_locked(change: Callable[[], T], table: str) -> T:
    """
    Try a change of columns until no reader holds a lock on the table, without making the next reader wait.

    :raises PublishError: a transaction has been reading it for a minute
    """
    give_up_at = time.monotonic() + _GIVE_UP_SECONDS
    while True:
        try:
            return change()
        except errors.LockNotAvailable as error:
            if time.monotonic() > give_up_at:
                raise PublishError(
                    f"the columns of {table} cannot be changed, because a transaction has been reading it for "
                    f"{_GIVE_UP_SECONDS:.0f} s; nothing was published. End it (pg_stat_activity), and clear this task"
                ) from error
        time.sleep(_RETRY_SECONDS)


def _limit_lock_wait(connection: Connection) -> None:
    connection.execute(sql.SQL("set local lock_timeout = {}").format(_LOCK_TIMEOUT))
