"""Connections to the warehouse, whose `ops` and `raw` tables are made and kept current here."""

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

from ecommerce.errors import SourceError
from ecommerce.silence import ended_when_silent

if TYPE_CHECKING:
    from airflow.sdk import Connection

WAREHOUSE = "warehouse"
SQL_FOLDER = Path(__file__).parents[2] / "include" / "sql"

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
def warehouse(conn_id: str = WAREHOUSE) -> Iterator[psycopg.Connection]:
    """The warehouse, its `ops` and `raw` tables as `include/sql` has them now."""
    # A warehouse that is being copied to hears nothing while a source is silent: the source's end must come first.
    with postgres(conn_id, _WAREHOUSE_SESSION, patience=2.0) as connection:
        ensure_schema(connection)
        yield connection


def ensure_schema(connection: psycopg.Connection) -> None:
    """Apply `include/sql` when a file there is not the one that was applied last; otherwise one cheap query."""
    scripts, digest = _scripts()
    if _applied(connection) == digest:
        return
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('ecommerce.schema'))")
        if _applied(connection) == digest:
            return
        for script in scripts:
            connection.execute(script.encode())
        connection.execute(
            "create table if not exists ops.schema_version"
            " (digest text not null, applied_at timestamptz not null default now())"
        )
        connection.execute("insert into ops.schema_version (digest) values (%s)", [digest])


def _applied(connection: psycopg.Connection) -> str | None:
    found = connection.execute("select to_regclass('ops.schema_version') is not null").fetchone()
    if not found or not found[0]:
        return None
    row = connection.execute("select digest from ops.schema_version order by applied_at desc limit 1").fetchone()
    return row[0] if row else None


@cache
def _scripts() -> tuple[list[str], str]:
    scripts = [path.read_text() for path in sorted(SQL_FOLDER.glob("*.sql"))]
    return scripts, hashlib.sha256("\0".join(scripts).encode()).hexdigest()
