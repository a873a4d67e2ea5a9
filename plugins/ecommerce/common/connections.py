"""The one way to reach Postgres: the arguments of a connection, a session that blocks, and one for async code."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import BaseHook
from airflow.sdk import Connection as Account
from airflow.sdk.exceptions import AirflowNotFoundException
from psycopg import AsyncConnection

from ecommerce.common.connection_watchdog import end_when_unresponsive
from ecommerce.common.database_schema import ensure_schema
from ecommerce.common.errors import SourceError, hide_values
from ecommerce.common.shop import shop

#: Airflow connections to the warehouse, one a role (docs/roles.md): who loads, who builds, who audits and publishes.
LOADER, TRANSFORMER, PUBLISHER = "warehouse_loader", "warehouse_transformer", "warehouse_publisher"

#: What values look like, which rows are seen and which names are found, however server, database and role are set.
PINNED = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "client_encoding": "UTF8",
    # All digits of a `real`; without them 12345.67 is 12345.7.
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    # No functions but those of Postgres itself.
    "search_path": "pg_catalog",
    # Row-level security is an error: otherwise it hides rows, which then seem to be gone.
    "row_security": "off",
}


def _options(settings: Mapping[str, str]) -> str:
    """As libpq's `options`, in which a blank is escaped."""
    return " ".join("-c {}={}".format(name, value.replace(" ", "\\ ")) for name, value in settings.items())


#: Everything in UTC and ISO; a loader that hangs releases its locks.
SESSION = (
    f"{_options(PINNED)} -c idle_in_transaction_session_timeout=30min "
    "-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=6"
)


def source_settings() -> dict[str, str]:
    """
    The pinned settings of a session at a shop's Postgres: its time zone is the shop's.

    So a template's `placed_at::date` is the shop's day, and `placed_at >= %(start)s` begins at the shop's midnight.
    """
    return PINNED | {"TimeZone": shop().time_zone}


def source_session() -> str:
    """
    libpq `options` of a session at a shop's Postgres.

    A connection pooler may drop them: each transaction there has to begin with `pin`.
    """
    return f"{SESSION} -c TimeZone={shop().time_zone}"


_PIN = """
select name, pg_catalog.set_config(name, value, true)
from pg_catalog.json_each_text(%s::json) as pinned (name, value)
"""


_ASK = "select name, pg_catalog.current_setting(name) from pg_catalog.unnest(%s::text[]) as pinned (name)"


def pin(connection: psycopg.Connection) -> None:
    """
    Pin the settings of a source for the transaction under way, whatever stands between it and the server.

    :raises SourceError: the server does not take one
    """
    settings = source_settings()
    rows = connection.execute(_PIN, [json.dumps(settings)]).fetchall()
    _fail_if_other(dict(rows), settings)


async def pin_async(connection: AsyncConnection) -> None:
    """As `pin`."""
    settings = source_settings()
    cursor = await connection.execute(_PIN, [json.dumps(settings)])
    _fail_if_other(dict(await cursor.fetchall()), settings)


def _fail_if_other(found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    others = [
        f"{name} is {found.get(name)!r} and not {value!r}" for name, value in wanted.items() if found.get(name) != value
    ]
    if others:
        raise SourceError(
            f"the session with Postgres is not as its values are read: {', '.join(others)}; a connection pooler may "
            "drop start-up options, see docs/pgbouncer.md"
        )


#: The warehouse checks for its client even while a statement runs: it stops working for a loader that is gone, and the
#: next loader gets the locks. (Postgres has the setting since 14; a source may be older.)
_WAREHOUSE_SESSION = f"{SESSION} -c client_connection_check_interval=10s"

#: When libpq gives up a server that cannot be reached (seconds), or does not take what was sent to it (milliseconds).
_TIMEOUTS = {
    "connect_timeout": 20,
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 6,
    "tcp_user_timeout": 120_000,
}


def connect_arguments(account: Account, session: str) -> dict[str, Any]:
    """
    Arguments of psycopg's `connect` for an Airflow connection.

    The connection's extra overrides our timeouts, and its `options` are added to those of the session.

    :param session: libpq `options`, such as `SESSION`
    """
    extra: Mapping[str, Any] = account.extra_dejson
    login, password, port = account.login, account.password, account.port
    if extra.get("iam"):
        # A password that the cloud issues for some minutes; Airflow's hook knows how to ask for it.
        login, password, port = PostgresHook().get_iam_token(account)
    return {
        "host": account.host,
        "port": port,
        "user": login,
        "password": password,
        "dbname": account.schema,
        **_TIMEOUTS,
        **{name: value for name, value in extra.items() if name not in PostgresHook.ignored_extra_options},
        "options": f"{session} {extra.get('options', '')}".strip(),
    }


def connection_type(conn_id: str) -> str | None:
    """The type of an Airflow connection, such as `postgres`; None: there is no such connection."""
    try:
        return BaseHook.get_connection(conn_id).conn_type
    except AirflowNotFoundException:
        return None


@contextmanager
def postgres(conn_id: str, session: str = SESSION, *, patience: float = 1.0) -> Iterator[psycopg.Connection]:
    """
    A psycopg 3 connection by its Airflow connection, in autocommit, closed at the end.

    A server that stops answering is given up, see `connection_watchdog`. An error inside loses the values that Postgres
    quotes: it is shown to more people than the rows.

    :param patience: multiplies the usual time to wait for an answer
    :raises SourceError: there is no such connection, or the server refuses it
    """
    try:
        account = BaseHook.get_connection(conn_id)
        connection = psycopg.connect(**connect_arguments(account, session), autocommit=True)
    except AirflowNotFoundException as error:
        raise no_connection(conn_id) from error
    except psycopg.OperationalError as error:
        raise _cannot_connect(conn_id, error) from error
    try:
        with end_when_unresponsive(connection, patience), connection:
            yield connection
    except Exception as error:
        hide_values(error)
        raise


@contextmanager
def warehouse(conn_id: str) -> Iterator[psycopg.Connection]:
    """
    A connection to the warehouse, after the tables of `ops`, `raw` and `marts` were brought up to date.

    :raises SourceError: there is no such connection, the server refuses it, something between dropped the session's
        settings, or the warehouse has no schemas yet
    """
    # During a COPY into it the warehouse gets nothing while the source does not answer: the source must time out first,
    # so that the error names it.
    with postgres(conn_id, _WAREHOUSE_SESSION, patience=2.0) as connection:
        rows = connection.execute(_ASK, [list(PINNED)]).fetchall()
        _fail_if_other(dict(rows), PINNED)
        ensure_schema(connection, others=_apply_all_scripts)
        yield connection


def _apply_all_scripts() -> None:
    """Let each role apply the scripts of its schemas, in the order in which they build on each other."""
    for conn_id in (PUBLISHER, LOADER, PUBLISHER):
        with postgres(conn_id, _WAREHOUSE_SESSION) as connection:
            ensure_schema(connection)


async def fetch_airflow_connection(conn_id: str) -> Account:
    """
    An Airflow connection, for `async_postgres`; get it once where many sessions follow, as Airflow asks its API server.

    :raises SourceError: there is none
    """
    try:
        return await BaseHook.aget_connection(conn_id)
    except AirflowNotFoundException as error:
        raise no_connection(conn_id) from error


@asynccontextmanager
async def async_postgres(
    account: Account, session: str = SESSION, *, timeout_seconds: int
) -> AsyncIterator[AsyncConnection]:
    """
    A connection by an Airflow connection, in autocommit, closed at the end; errors inside as those of `postgres`.

    :param timeout_seconds: after which Postgres cancels a statement
    :raises SourceError: the server refuses it
    """
    arguments = connect_arguments(account, f"{session} -c statement_timeout={timeout_seconds}s")
    try:
        connection = await AsyncConnection.connect(**arguments, autocommit=True)
    except psycopg.OperationalError as error:
        raise _cannot_connect(account.conn_id, error) from error
    try:
        async with connection:
            yield connection
    except Exception as error:
        hide_values(error)
        raise


def no_connection(conn_id: str) -> SourceError:
    """The error that there is no such Airflow connection."""
    return SourceError(f"there is no connection {conn_id!r}; add it under Admin → Connections")


def _cannot_connect(conn_id: str, error: psycopg.OperationalError) -> SourceError:
    # So says PgBouncer.
    is_pooler = "unsupported startup parameter" in str(error)
    return SourceError(
        f"cannot connect to Postgres by the connection {conn_id!r}: {str(error).strip()}; "
        f"see Admin → Connections → {conn_id}{' and docs/pgbouncer.md' if is_pooler else ''}"
    )
