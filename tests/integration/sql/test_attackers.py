"""
Each role of the warehouse as an active attacker: it plants code where a stronger role writes or reads.

What a planted function could do is shown by `evidence`: the roles with whose rights it was run.
"""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from ecommerce.build import lease
from ecommerce.common.connections import SESSION
from ecommerce.common.errors import PublishError
from ecommerce.publish.publication import publish
from include.demo import database
from include.demo.state import WAREHOUSE_ROLES, State
from tests.integration.support import checks_passed

OWNED = {
    "ops": "publisher", "raw": "loader", "staging": "transformer", "core": "transformer", "quality": "transformer",
    "marts_build": "transformer", "marts": "publisher",
}  # fmt: skip

#: What writes code that Postgres runs for others, on a table of a schema.
PLANTS = {
    "trigger": "create trigger planted before insert on {table} execute function suppress_redundant_updates_trigger()",
    "policy": "create policy planted on {table} using (true)",
    "rule": "create rule planted as on insert to {table} do also select 1",
    "index": "create index planted on {table} ((lower(b)))",
    "generated column": "alter table {table} add column planted int generated always as (1) stored",
    "check": "alter table {table} add check (b <> '')",
    "row security": "alter table {table} enable row level security",
    "owner": "alter table {table} owner to current_user",
    "child": "create table {own}.planted () inherits ({table})",
    "comment": "comment on table {table} is 'planted'",
    "statistics": "create statistics {own}.planted on (lower(b)), a from {table}",
    "view": "create or replace view {table} as select 1 as a",
}
#: What writes code into the database, in any schema.
CODE = {
    "function": "create function {own}.planted() returns int language plpgsql as $$ begin return 1; end $$",
    "function in SQL": "create function {own}.planted() returns int language sql return 1",
    "procedure": "create procedure {own}.planted() language plpgsql as $$ begin end $$",
    "temporary function": "create function pg_temp.planted() returns int language plpgsql as $$ begin return 1; end $$",
    "block": "do $$ begin perform 1; end $$",
    "event trigger": "create event trigger planted on ddl_command_end execute function pg_catalog.int4in()",
    "language": "create extension plperl",
}


@pytest.fixture(scope="module")
def dsn_of(new_database: Callable[[str], str], postgres: State) -> Callable[[str], str]:
    """The DSN, by role, of a warehouse with a table `target` in each schema, one of them a mart."""
    name = new_database("warehouse").rpartition("/")[2]

    def dsn_of(role: str) -> str:
        return postgres.dsn(name, role)

    for schema, owner in OWNED.items():
        with psycopg.connect(dsn_of(owner), autocommit=True) as connection:
            connection.execute(f"create table {schema}.target (a int primary key, b text)".encode())
    return dsn_of


@pytest.fixture
def as_role(dsn_of: Callable[[str], str]) -> Iterator[Callable[[str], psycopg.Connection]]:
    """A session of a role, as its tasks have it; what it does is undone."""
    opened: list[psycopg.Connection] = []

    def connect(role: str) -> psycopg.Connection:
        opened.append(psycopg.connect(dsn_of(role), options=SESSION))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.rollback()
        connection.close()


def is_refused(connection: psycopg.Connection, statement: sql.Composed) -> bool:
    """Whether Postgres refuses a statement; it is undone in any case."""
    try:
        connection.execute(statement)
    except (errors.InsufficientPrivilege, errors.WrongObjectType, errors.FeatureNotSupported):
        return True
    finally:
        connection.rollback()
    return False


def own_schema(role: str) -> str:
    return next((schema for schema, owner in OWNED.items() if owner == role), "pg_temp")


@pytest.mark.parametrize("role", WAREHOUSE_ROLES)
def test_no_role_plants_anything_in_a_table_of_another(role: str, as_role: Callable) -> None:
    """Role × schema × what could be planted."""
    connection = as_role(role)
    for schema, owner in OWNED.items():
        if owner == role:
            continue
        for what, statement in PLANTS.items():
            names = {"table": sql.Identifier(schema, "target"), "own": sql.Identifier(own_schema(role))}
            assert is_refused(connection, sql.SQL(statement).format(**names)), f"{role}: {what} on {schema}.target"


@pytest.mark.parametrize("role", [role for role in WAREHOUSE_ROLES if role != "publisher"])
def test_no_role_but_the_publisher_writes_code(role: str, as_role: Callable) -> None:
    connection = as_role(role)
    for what, statement in CODE.items():
        assert is_refused(connection, sql.SQL(statement).format(own=sql.Identifier(own_schema(role)))), what


def test_weaker_roles_write_only_into_tables_of_stronger_ones(dsn_of: Callable[[str], str]) -> None:
    """A trigger runs as whoever writes to its table, so a table's owner is at least as strong as who writes to it."""
    strength = {
        "inspector": 0, "reader": 0, "reviewer": 0, "previewer": 0, "loader": 1, "transformer": 2, "publisher": 3,
    }  # fmt: skip
    with psycopg.connect(dsn_of("postgres")) as administrator:
        written = administrator.execute(
            """
            select pg_class.oid::regclass::text, pg_get_userbyid(relowner), role
            from pg_class
            inner join pg_namespace on relnamespace = pg_namespace.oid
            cross join unnest(%s::text[]) as role
            where
                nspname = any(%s)
                and relkind in ('r', 'p')
                and (
                    has_table_privilege(role, pg_class.oid, 'insert, update, delete, truncate')
                    or has_any_column_privilege(role, pg_class.oid, 'insert, update')
                )
            """,
            [list(WAREHOUSE_ROLES), list(OWNED)],
        ).fetchall()
    assert [row for row in written if strength[row[1]] < strength[row[2]]] == []
    assert {("ops.check_result", "publisher", "transformer"), ("ops.build", "publisher", "loader")} <= set(written)


@pytest.fixture
def mart(dsn_of: Callable[[str], str]) -> Iterator[Callable[[str], psycopg.Connection]]:
    """
    A built mart, in which `transformer` has planted something; a session of the publisher.

    The function that it calls is one of an administrator: where languages cannot be revoked it could be its own.
    """
    with psycopg.connect(dsn_of("postgres"), autocommit=True) as administrator:
        administrator.execute(
            """
            create table staging.evidence (who text);
            grant insert, select on staging.evidence to public;
            grant usage on schema staging to public;
            create function staging.caught(int) returns int immutable language plpgsql as
                $$ begin insert into staging.evidence values (current_user); return $1; end $$;
            create function staging.noted() returns int volatile language plpgsql as
                $$ begin insert into staging.evidence values (current_user); return 1; end $$;
            create function staging.is_good(int) returns boolean immutable language plpgsql as
                $$ begin perform staging.noted(); return true; end $$;
            create function staging.on_write() returns trigger language plpgsql as
                $$ begin perform staging.noted(); return new; end $$;
            alter function staging.noted() owner to transformer;
            alter function staging.is_good(int) owner to transformer;
            alter function staging.on_write() owner to transformer;
            drop function staging.caught(int);
            """
        )
        with psycopg.connect(dsn_of("loader"), autocommit=True) as loader:
            lease.take(loader, "a_dag", "a_run", project="p", full_refresh=True)
        with (
            psycopg.connect(dsn_of("publisher"), autocommit=True, options=SESSION) as publisher,
            psycopg.connect(dsn_of("transformer"), autocommit=True) as transformer,
        ):

            def plant(statements: str) -> psycopg.Connection:
                transformer.execute("drop table if exists marts_build.target")
                transformer.execute(statements.encode())
                return publisher

            yield plant
            transformer.execute(
                "drop table if exists marts_build.target cascade; drop table if exists marts_build.child"
            )
            transformer.execute("drop domain if exists marts_build.good")
            transformer.execute("create table marts_build.target (a int primary key, b text)")
        administrator.execute(
            "drop function staging.is_good(int), staging.on_write(), staging.noted() cascade;"
            "drop table staging.evidence; delete from ops.build; delete from ops.published_mart"
        )


TABLE = "create table marts_build.target (a int primary key, b text); insert into marts_build.target values (1, 'x');"


@pytest.mark.parametrize(
    ("planted", "named"),
    [
        (
            f"{TABLE} alter table marts_build.target enable row level security;"
            "create policy planted on marts_build.target using (staging.is_good(a))",
            "has row-level security",
        ),
        (f"{TABLE} create policy planted on marts_build.target using (staging.is_good(a))", "has the policy planted"),
        (
            f"{TABLE} create trigger planted after insert on marts_build.target"
            " for each row execute function staging.on_write()",
            "has the trigger planted",
        ),
        (
            f"{TABLE} create rule planted as on insert to marts_build.target do also select staging.noted()",
            "has the rule planted",
        ),
        (
            f"{TABLE} create index planted on marts_build.target ((staging.is_good(1)))",
            "has an index of expressions, marts_build.planted",
        ),
        (
            f"{TABLE} create index planted on marts_build.target (a) where staging.is_good(1)",
            "has an index of expressions, marts_build.planted",
        ),
        (
            f"{TABLE} alter table marts_build.target add column c int generated always as (a + 1) stored",
            "has the generated column c",
        ),
        (f"{TABLE} alter table marts_build.target add check (staging.is_good(a))", r"uses function staging.is_good\("),
        (
            "create domain marts_build.good as int check (staging.is_good(value));"
            "create table marts_build.target (a marts_build.good primary key, b text)",
            "uses type marts_build.good",
        ),
        (
            f"{TABLE} create statistics marts_build.planted on (staging.is_good(1)), b from marts_build.target",
            "has the extended statistics planted",
        ),
        (
            f"{TABLE} create table marts_build.child () inherits (marts_build.target)",
            "has a table that inherits from it",
        ),
    ],
)
def test_publisher_refuses_what_is_planted_in_a_built_table(
    mart: Callable[[str], psycopg.Connection], dsn_of: Callable[[str], str], planted: str, named: str
) -> None:
    publisher = mart(planted)
    with (
        psycopg.connect(dsn_of("postgres"), autocommit=True) as administrator,
        checks_passed(administrator, "a_run"),
    ):
        administrator.execute("delete from staging.evidence")
        with pytest.raises(PublishError, match=rf"^nothing is published: .*{named}.* would run with the publisher's"):
            publish(publisher, "a_run")
        who = administrator.execute("select distinct who from staging.evidence").fetchall()
        assert ("publisher",) not in who
        assert administrator.execute(
            "select to_regclass('marts.target') is null or not exists "
            "(select from ops.published_mart where mart = 'target')"
        ).fetchone() == (True,)


def test_table_that_is_made_again_during_a_publication_is_refused(
    mart: Callable[[str], psycopg.Connection], dsn_of: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the plan and the transaction, another table takes the name."""
    from ecommerce.publish import publication

    publisher = mart(TABLE)
    passed = publication.assert_checks_passed

    def meanwhile(*arguments: Any, **named: Any) -> None:
        passed(*arguments, **named)
        mart(TABLE)

    with psycopg.connect(dsn_of("postgres"), autocommit=True) as administrator, checks_passed(administrator, "a_run"):
        monkeypatch.setattr(publication, "assert_checks_passed", meanwhile)
        with pytest.raises(PublishError, match=r"marts_build\.target was made again meanwhile"):
            publish(publisher, "a_run")


def test_warehouse_whose_loader_owned_ops_is_taken_over(
    new_database: Callable[[str], str], postgres: State, set_connection: Callable[[str, str], None]
) -> None:
    """As an older commit has made it: the administrator's script and the next task that connects do the rest."""
    from ecommerce.common.connections import LOADER, PUBLISHER, warehouse

    name = new_database("warehouse").rpartition("/")[2]
    with psycopg.connect(postgres.dsn(name, "postgres"), autocommit=True) as administrator:
        administrator.execute("grant usage on language plpgsql, sql to public; alter schema ops owner to loader")
        for (statement,) in administrator.execute(
            """
            select format('alter table %s owner to loader', oid::regclass)
            from pg_class
            where relnamespace = 'ops'::regnamespace and relkind in ('r', 'v')
            union all
            select format('alter routine %s owner to loader', oid::regprocedure)
            from pg_proc
            where pronamespace = 'ops'::regnamespace
            """
        ).fetchall():
            administrator.execute(statement.encode())
    set_connection(LOADER, postgres.dsn(name, "loader"))
    set_connection(PUBLISHER, postgres.dsn(name, "publisher"))
    # Without the administrator's script all goes on as before.
    with warehouse(LOADER) as connection:
        assert lease.take(connection, "a_dag", "before", project="p", full_refresh=False)
    database.make_schemas(postgres.dsn(name, "postgres"))
    with warehouse(LOADER) as connection:
        assert lease.take(connection, "a_dag", "after", project="p", full_refresh=False, take_over_from="before")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(
                "create trigger planted before insert on ops.check_result execute function"
                " suppress_redundant_updates_trigger()"
            )
    with warehouse(PUBLISHER) as connection:
        owners = connection.execute(
            "select distinct pg_get_userbyid(relowner) from pg_class where relnamespace = 'ops'::regnamespace"
        ).fetchall()
        assert owners == [("publisher",)]
