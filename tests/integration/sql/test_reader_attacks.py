"""The roles for pages and BI tools as attackers: they stop neither a load, nor a build, nor a publication."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import errors, sql

from ecommerce.build import lease
from include.demo.state import WORKING_ROLES, State

READERS = ["reader", "inspector", "reviewer", "previewer"]

#: What locks others out or fills the server, and needs no right on a table.
REFUSED = {
    "lock of the build": "select pg_advisory_lock(hashtext('ecommerce.build'))",
    "lock of the build, by two numbers": "select pg_advisory_lock(1, 2)",
    "lock of the build in a transaction": "select pg_advisory_xact_lock(hashtext('ecommerce.build'))",
    "lock that is shared": "select pg_advisory_lock_shared(hashtext('ecommerce.schema'))",
    "lock without waiting": "select pg_try_advisory_lock(hashtext('ecommerce.build'))",
    "large object": "select lo_from_bytea(0, 'much')",
    "empty large object": "select lo_create(0)",
    "old large object": "select lo_creat(-1)",
    "written large object": "select lo_put(1, 0, 'much')",
    "temporary table": "create temp table filled as select 1 as a",
    "temporary function": "create function pg_temp.f() returns int language sql return 1",
    "message to all": "select pg_notify('channel', 'much')",
    "message in the log": "select pg_logical_emit_message(false, 'p', 'much')",
    "held snapshot": "select pg_export_snapshot()",
    "table of its own": "create table marts.mine (a int)",
    "schema": "create schema mine",
    "prepared transaction": "prepare transaction 'for_ever'",
    "another session": "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'loader'",
    "publication": "create publication of_all for all tables",
    "setting of others": "alter role loader set statement_timeout = 1",
    "the server's files": "copy (select 1) to '/tmp/filled'",
    "a program": "copy (select 1) to program 'true'",
    "temporary files": "set temp_file_limit = -1",
    "lock of a mart": "lock table marts.daily in share mode",
}


@pytest.fixture(scope="module")
def dsn_of(new_database: Callable[[str], str], postgres: State) -> Callable[[str], str]:
    """The DSN, by role, of a warehouse with a published table."""
    name = new_database("warehouse").rpartition("/")[2]
    with psycopg.connect(postgres.dsn(name, "publisher"), autocommit=True) as publisher:
        publisher.execute("create table marts.daily (a int)")
    return lambda role: postgres.dsn(name, role)


@pytest.fixture
def loader(dsn_of: Callable[[str], str]) -> Iterator[psycopg.Connection]:
    """A session of the loader, which another one could end."""
    with psycopg.connect(dsn_of("loader"), autocommit=True) as connection:
        yield connection


#: `previewer` makes schemas of its own, in which it builds.
ATTACKS = [(role, attack) for role in READERS for attack in REFUSED if (role, attack) != ("previewer", "schema")]


@pytest.mark.parametrize(("role", "attack"), ATTACKS)
def test_reader_gets_nothing_that_stops_others(
    role: str, attack: str, dsn_of: Callable[[str], str], loader: psycopg.Connection
) -> None:
    with (
        psycopg.connect(dsn_of(role)) as connection,
        pytest.raises((errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState)),
    ):
        connection.execute(REFUSED[attack].encode())
    assert lease.take(loader, "a_dag", attack, project="p", full_refresh=False, take_over_from=None) is not None
    loader.execute("update ops.build set finished_at = now()")


@pytest.mark.parametrize("role", READERS)
def test_reader_leaves_connections_for_those_who_work(role: str, dsn_of: Callable[[str], str]) -> None:
    with ExitStack() as opened:

        def take_all() -> None:
            while True:
                opened.enter_context(psycopg.connect(dsn_of(role)))

        with pytest.raises(psycopg.OperationalError, match=f'too many connections for role "{role}"'):
            take_all()
        for working in WORKING_ROLES:
            with psycopg.connect(dsn_of(working)) as connection:
                assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("role", READERS)
def test_reader_connects_to_no_other_database(role: str, postgres: State, dsn_of: Callable[[str], str]) -> None:
    assert dsn_of(role)
    for name in ("airflow", "shop", "postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match=f'permission denied for database "{name}"'):
            psycopg.connect(postgres.dsn(name, role)).close()


@pytest.mark.parametrize("role", READERS)
def test_statements_and_transactions_of_readers_end(role: str, dsn_of: Callable[[str], str]) -> None:
    settings = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "temp_file_limit")
    with psycopg.connect(dsn_of(role)) as connection:
        values = [connection.execute(sql.SQL("show {}").format(sql.Identifier(name))).fetchone() for name in settings]
    assert values == [("10min",), ("10s",), ("5min",), ("10GB",)]


def test_working_roles_still_take_their_locks(dsn_of: Callable[[str], str]) -> None:
    for role in ("loader", "publisher"):
        with psycopg.connect(dsn_of(role)) as connection:
            assert connection.execute("select pg_try_advisory_xact_lock(1)").fetchone() == (True,)
