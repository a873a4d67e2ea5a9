"""Connections to the warehouse, one a role, and the tables of the schemas that a role owns, made and kept current."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psycopg
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk.exceptions import AirflowNotFoundException
from psycopg import sql

from ecommerce.common.connection_watchdog import ended_when_silent
from ecommerce.common.errors import SourceError

if TYPE_CHECKING:
    from airflow.sdk import Connection

#: Airflow connections to the warehouse, one a role (docs/roles.md): who loads, who builds, who audits and publishes.
LOADER, TRANSFORMER, PUBLISHER = "warehouse_loader", "warehouse_transformer", "warehouse_publisher"

#: `roles.sql` for an administrator; and the schemas whose tables are no models, in the order of what they rest on.
SQL_FOLDER = Path(__file__).parents[3] / "include" / "sql"
_SCHEMAS = ("ops", "raw", "marts")

#: Everything in UTC and ISO; no one's functions but Postgres' own; a loader that hangs gives its locks back.
SESSION = (
    "-c timezone=UTC -c datestyle=ISO -c client_encoding=UTF8 "
    "-c search_path=pg_catalog -c idle_in_transaction_session_timeout=30min "
    "-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=6"
)

#: The warehouse asks after its client even while it works: what a loader that is gone has left is not worked to its
#: end, and its locks are free for its successor. (Postgres knows the setting from 14 on; a source may be older.)
_WAREHOUSE_SESSION = f"{SESSION} -c client_connection_check_interval=10s"

#: What libpq does about a server that is not there (seconds), or does not take what was sent to it (milliseconds).
_LINE = {
    "connect_timeout": 20,
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 6,
    "tcp_user_timeout": 120_000,
}


def connect_arguments(account: Connection, session: str) -> dict[str, Any]:
    """What psycopg connects with by an Airflow connection, where no hook does it: to a session, and never for ever."""
    extra = _with_extra(account.extra_dejson, session)
    not_libpq = (*PostgresHook.ignored_extra_options, "cursor")
    return {
        "host": account.host,
        "port": account.port,
        "user": account.login,
        "password": account.password,
        "dbname": account.schema,
        **{name: value for name, value in extra.items() if name not in not_libpq},
    }


def _with_extra(extra: Mapping[str, Any], session: str) -> dict[str, Any]:
    """A connection's extra, which wins over our timeouts and comes after our options."""
    return {**_LINE, **extra, "options": f"{session} {extra.get('options', '')}".strip()}


@contextmanager
def postgres(conn_id: str, session: str = SESSION, *, patience: float = 1.0) -> Iterator[psycopg.Connection]:
    """
    A psycopg 3 connection by its Airflow connection, in autocommit, closed at the end; its session is in UTC.

    Nothing on it waits for ever; the connection's extra wins over the timeouts given here.

    :param patience: so many times the usual wait for an answer
    :raises SourceError: there is no such connection, or the server refuses it
    """
    try:
        hook = PostgresHook(postgres_conn_id=conn_id)
        hook.connection.extra = json.dumps(_with_extra(hook.connection.extra_dejson, session))
        # psycopg 3, which the hook takes where it is installed.
        connection = cast("psycopg.Connection", hook.get_conn())
    except AirflowNotFoundException as error:
        raise SourceError(f"there is no connection {conn_id!r}; add it under Admin → Connections") from error
    except psycopg.OperationalError as error:
        raise SourceError(
            f"cannot connect to Postgres by the connection {conn_id!r}: {str(error).strip()}; "
            f"see Admin → Connections → {conn_id}"
        ) from error
    with ended_when_silent(connection, patience), connection:
        connection.autocommit = True
        yield connection


@contextmanager
def warehouse(conn_id: str) -> Iterator[psycopg.Connection]:
    """
    The warehouse, the tables of the role's own schemas as `include/sql` has them now.

    :raises SourceError: there is no such connection, the server refuses it, or the warehouse has no schemas yet
    """
    # A warehouse that is being copied to hears nothing while a source is silent: the source's end must come first.
    with postgres(conn_id, _WAREHOUSE_SESSION, patience=2.0) as connection:
        ensure_schema(connection)
        yield connection


def ensure_schema(connection: psycopg.Connection) -> None:
    """
    Apply the files of `include/sql` whose schemas the role owns, where they changed; otherwise one cheap query.

    :raises SourceError: an administrator has not made the schemas yet
    """
    scripts = _scripts()
    if not _outdated(connection, scripts):
        return
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('ecommerce.schema'))")
        for schema in _outdated(connection, scripts):
            script, digest = scripts[schema]
            connection.execute(script.encode())
            connection.execute(
                sql.SQL("comment on schema {} is {}").format(sql.Identifier(schema), sql.Literal(f"{_APPLIED}{digest}"))
            )


_APPLIED = "include/sql "


def _outdated(connection: psycopg.Connection, scripts: Mapping[str, tuple[str, str]]) -> list[str]:
    """The role's schemas whose comment names other scripts than these."""
    found = {
        schema: (is_own, comment)
        for schema, is_own, comment in connection.execute(
            "select nspname, nspowner = current_user::regrole, obj_description(oid, 'pg_namespace')"
            " from pg_namespace where nspname = any(%s)",
            [list(_SCHEMAS)],
        )
    }
    if missing := [schema for schema in _SCHEMAS if schema not in found]:
        raise SourceError(
            f"the warehouse has no schema {', '.join(missing)}; an administrator of the server is to run "
            "include/sql/roles.sql in its database, see docs/roles.md"
        )
    return [
        schema
        for schema in _SCHEMAS
        if found[schema][0] and (found[schema][1] or "") != f"{_APPLIED}{scripts[schema][1]}"
    ]


@cache
def _scripts() -> dict[str, tuple[str, str]]:
    """Each schema → its script, and the digest of that."""
    scripts = {schema: (SQL_FOLDER / f"{schema}.sql").read_text() for schema in _SCHEMAS}
    return {schema: (script, hashlib.sha256(script.encode()).hexdigest()) for schema, script in scripts.items()}
