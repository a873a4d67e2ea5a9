"""The roles of the warehouse: Postgres grants each of them what docs/roles.md says, on every table."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql

from ecommerce.build import lease
from ecommerce.common.connections import LOADER, PUBLISHER, warehouse
from ecommerce.common.database_schema import ensure_schema
from ecommerce.common.errors import SourceError
from ecommerce.publish.publication import publish
from include.demo import database
from include.demo.state import ROOT, WAREHOUSE_ROLES, State
from tests.integration.dbt_runs import dbt_on
from tests.integration.support import Loader, checks_passed

VERBS = ("select", "insert", "update", "delete")
#: Rights that only an owner has.
OWNERS_VERBS = ("truncate", "references", "trigger", "maintain")

DOC = (ROOT / "docs" / "roles.md").read_text()


def table_of(heading: str) -> list[list[str]]:
    """The cells, by row, of a table in docs/roles.md."""
    rows = DOC[DOC.index(heading) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


_ROLES = [cell.strip() for cell in re.findall(r"^\| Schema \|(.*)\|$", DOC, re.MULTILINE)[0].split("|")]
#: (schema, role) → owns, reads or –
MATRIX = {
    (schema, role): word for schema, *words in table_of("| Schema |") for role, word in zip(_ROLES, words, strict=True)
}
#: (table, role) → what it may besides, or may not
BESIDES = {(table, role): may for table, role, may in table_of("| Table |")}
OWNERS = {schema: role for (schema, role), word in MATRIX.items() if word == "owns"}


@dataclass(frozen=True)
class Right:
    """A verb on a table: on all columns, on some of them, or on none."""

    verb: str
    columns: frozenset[str] | None = None

    def __str__(self) -> str:
        return self.verb if self.columns is None else f"{self.verb} ({', '.join(sorted(self.columns))})"


def expected(relation: str, role: str, columns: frozenset[str]) -> set[Right]:
    """The rights that docs/roles.md gives a role on a table."""
    word = MATRIX[relation.split(".")[0], role]
    if word == "owns":
        return {Right(verb) for verb in (*VERBS, *OWNERS_VERBS)}
    rights = {"select": Right("select")} if word == "reads" else {}
    for may in filter(None, re.split(r", (?=no |insert|update|delete)", BESIDES.get((relation, role), ""))):
        if may == "no select":
            del rights["select"]
        elif hidden := may.removeprefix("no select of ") if may.startswith("no select of ") else "":
            rights["select"] = Right("select", columns - set(hidden.split(", ")))
        elif " of " in may:
            verb, _, names = may.partition(" of ")
            rights[verb] = Right(verb, frozenset(names.split(", ")))
        else:
            rights[may] = Right(may)
    return set(rights.values())


def granted(connection: psycopg.Connection, relation: str, role: str) -> set[Right]:
    """The rights that Postgres has granted."""
    rights = set()
    for verb in (*VERBS, *OWNERS_VERBS):
        if connection.execute("select has_table_privilege(%s, %s, %s)", [role, relation, verb]).fetchone() == (True,):
            rights.add(Right(verb))
        elif verb in ("select", "insert", "update", "references"):
            columns = connection.execute(
                "select attname::text from pg_attribute where attrelid = %(relation)s::regclass and attnum > 0"
                " and not attisdropped and has_column_privilege(%(role)s, attrelid, attnum, %(verb)s)",
                {"relation": relation, "role": role, "verb": verb},
            ).fetchall()
            if columns:
                rights.add(Right(verb, frozenset(name for (name,) in columns)))
    return rights


def relations(connection: psycopg.Connection) -> dict[str, frozenset[str]]:
    """The columns of each table and view of the warehouse."""
    return {
        name: frozenset(columns)
        for name, columns in connection.execute(
            "select pg_class.oid::regclass::text, array_agg(attname::text) from pg_class"
            " inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid"
            " inner join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped"
            " where nspname !~ '^pg_' and nspname <> 'information_schema' and relkind in ('r', 'p', 'v', 'm')"
            " group by pg_class.oid"
        )
    }


@pytest.fixture(scope="module")
def dsn_of(new_database: Callable[[str], str], postgres: State, tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """The DSN, by role, of a warehouse that its roles have built, with one more table in each schema."""
    name = new_database("warehouse").rpartition("/")[2]

    def dsn_of(role: str) -> str:
        return postgres.dsn(name, role)

    with dbt_on(dsn_of("transformer"), tmp_path_factory.mktemp("dbt")) as project:
        project.run()
    with psycopg.connect(dsn_of("publisher"), autocommit=True) as connection:
        with psycopg.connect(dsn_of("loader"), autocommit=True) as loader:
            lease.take(loader, "a_dag", "a_run", project="p", full_refresh=False)
        with psycopg.connect(dsn_of("warehouse"), autocommit=True) as owner, checks_passed(owner, "a_run"):
            publish(connection, "a_run")
    for schema, owner in OWNERS.items():
        with psycopg.connect(dsn_of(owner), autocommit=True) as connection:
            connection.execute(f"create table {schema}.made_later (a int, b text)".encode())
            connection.execute(f"create view {schema}.seen_later as select a from {schema}.made_later".encode())
    return dsn_of


@pytest.fixture
def administrator(dsn_of: Callable[[str], str]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn_of("postgres"), autocommit=True) as connection:
        yield connection


def test_roles_page_names_every_role_and_schema(administrator: psycopg.Connection) -> None:
    assert list(WAREHOUSE_ROLES) == _ROLES
    schemas = administrator.execute(
        "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'"
    ).fetchall()
    assert {schema for schema, _ in MATRIX} == {name for (name,) in schemas}
    known = relations(administrator)
    assert {table for table, _ in BESIDES} <= set(known)
    assert len(known) > 70


def test_privileges_equal_the_roles_page(administrator: psycopg.Connection) -> None:
    differing = []
    for relation, columns in relations(administrator).items():
        for role in WAREHOUSE_ROLES:
            may, is_to = granted(administrator, relation, role), expected(relation, role, columns)
            if may != is_to:
                differing.append(f"{role} on {relation}: {sorted(map(str, may))}, not {sorted(map(str, is_to))}")
    assert not differing, "\n".join(differing)


STATEMENTS = {
    "select": "select from {table} where false",
    "delete": "delete from {table} where false",
    "insert": "insert into {table} ({column}) select null where false",
    "update": "update {table} set {column} = null",
    "truncate": "truncate {table}",
    "alter": "alter table {table} add column planted int",
    "drop": "drop table {table} cascade",
}


@pytest.mark.parametrize("role", WAREHOUSE_ROLES)
def test_statements_without_a_grant_are_refused(role: str, dsn_of: Callable[[str], str]) -> None:
    """Tried by statements, on one table of each schema, and not only read from the catalog."""
    with psycopg.connect(dsn_of(role)) as connection:
        for (schema, of), word in MATRIX.items():
            if of != role or schema == "public":
                continue
            table = sql.Identifier(schema, "made_later")
            for verb, statement in STATEMENTS.items():
                query = sql.SQL(statement).format(table=table, column=sql.Identifier("b"))
                if word == "owns" or (word == "reads" and verb == "select"):
                    connection.execute(query)
                else:
                    with pytest.raises(errors.InsufficientPrivilege):
                        connection.execute(query)
                connection.rollback()
            made = sql.SQL("create table {} (a int)").format(sql.Identifier(schema, "planted"))
            if word == "owns":
                connection.execute(made)
            else:
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(made)
            connection.rollback()


def test_roles_have_no_other_powers_than_their_schemas(administrator: psycopg.Connection) -> None:
    roles = administrator.execute(
        "select rolname, rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls,"
        " exists (select from pg_auth_members where member = pg_roles.oid) from pg_roles where rolname = any(%s)",
        [list(WAREHOUSE_ROLES)],
    ).fetchall()
    assert sorted(roles) == sorted((role, False, False) for role in WAREHOUSE_ROLES)
    owned = administrator.execute(
        "select nspname, pg_get_userbyid(nspowner) from pg_namespace where nspname = any(%s)", [list(OWNERS)]
    ).fetchall()
    assert dict(owned) == OWNERS
    strangers = administrator.execute(
        "select pg_class.oid::regclass::text, pg_get_userbyid(relowner) from pg_class"
        " inner join pg_namespace on relnamespace = pg_namespace.oid"
        " where nspname = any(%s) and relowner <> nspowner",
        [list(OWNERS)],
    ).fetchall()
    assert strangers == []
    makers = {role for role in WAREHOUSE_ROLES if _may_create(administrator, role)}
    assert makers == {"transformer", "previewer"}
    (in_public,) = administrator.execute(
        "select count(*) from unnest(%s::text[]) as role where has_schema_privilege(role, 'public', 'usage, create')",
        [list(WAREHOUSE_ROLES)],
    ).fetchone() or (None,)
    assert in_public == 0


def _may_create(administrator: psycopg.Connection, role: str) -> bool:
    query = "select has_database_privilege(%s, current_database(), 'create')"
    return administrator.execute(query, [role]).fetchone() == (True,)


def test_marts_have_no_email_column(administrator: psycopg.Connection) -> None:
    columns = administrator.execute(
        "select attrelid::regclass::text, attname from pg_attribute inner join pg_class on attrelid = pg_class.oid"
        " where relnamespace in ('marts'::regnamespace, 'marts_build'::regnamespace) and attname ~ 'mail'"
    ).fetchall()
    assert columns == []


def test_roles_sql_is_repeatable_and_reassigns_existing_tables(
    new_database: Callable[[str], str], postgres: State
) -> None:
    dsn = new_database("warehouse")
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("create table core.old (a int); create view core.old_view as table core.old")
    name = dsn.rpartition("/")[2]
    database.make_schemas(postgres.dsn(name, "postgres"))
    database.make_schemas(postgres.dsn(name, "postgres"))
    with psycopg.connect(postgres.dsn(name, "transformer"), autocommit=True) as transformer:
        transformer.execute("drop view core.old_view; drop table core.old")


def test_missing_schemas_raise_with_the_script_to_run(new_database: Callable[[str], str]) -> None:
    message = r"no schema ops, raw, marts; .* include/sql/roles\.sql"
    with psycopg.connect(new_database("shop")) as connection, pytest.raises(SourceError, match=message):
        ensure_schema(connection)


def test_schema_scripts_are_applied_once_by_their_owners(administrator: psycopg.Connection) -> None:
    def applied() -> dict[str, str]:
        query = "select nspname, obj_description(oid, 'pg_namespace') from pg_namespace where nspname = any(%s)"
        return dict(administrator.execute(query, [["ops", "raw", "marts"]]).fetchall())

    before = applied()
    assert all(comment.startswith("include/sql ") for comment in before.values())
    for schema in before:
        administrator.execute(sql.SQL("comment on schema {} is 'older'").format(sql.Identifier(schema)))
    administrator.execute("set role loader")
    ensure_schema(administrator)
    assert applied() == dict.fromkeys(before, "older"), "raw waits for ops, which is the publisher's"
    administrator.execute("set role publisher")
    ensure_schema(administrator)
    assert applied() == {**before, "raw": "older", "marts": "older"}
    administrator.execute("set role loader")
    ensure_schema(administrator)
    assert applied() == {**before, "marts": "older"}
    administrator.execute("set role publisher")
    ensure_schema(administrator)
    assert applied() == before
    administrator.execute("reset role")


#: Postgres would call each of these instead of its own function of that name, if it looked in `public`.
PLANTED = (
    "to_jsonb(value text) returns jsonb",
    "to_jsonb(value date) returns jsonb",
    "to_jsonb(value numeric) returns jsonb",
    "format(pattern text, one text, two text) returns text",
    "date_trunc(field text, value date) returns timestamp",
    "round(value numeric, places bigint) returns numeric",
    "count(value text) returns bigint",
    "concat(one text, two text) returns text",
)


def test_planted_function_is_not_called(
    new_database: Callable[[str], str],
    postgres: State,
    set_connection: Callable[[str, str], None],
    tmp_path: Path,
) -> None:
    """A load, a build and a publication call no function of `public`, even if an administrator has opened it to all."""
    name = new_database("warehouse").rpartition("/")[2]
    with psycopg.connect(postgres.dsn(name, "postgres"), autocommit=True) as administrator:
        administrator.execute("grant usage on schema public to public")
        for function in PLANTED:
            administrator.execute(
                f"create function public.{function} language plpgsql"
                " as $$ begin raise exception 'planted'; end $$".encode()
            )
        administrator.execute("create table public.load_batch (a int); create table public.sales_fact (a int)")
        # A session that looks in `public` does call it.
        with pytest.raises(errors.RaiseException, match="planted"):
            administrator.execute("set search_path = public; select date_trunc('month', date '2024-01-01')")
    set_connection(LOADER, postgres.dsn(name, "loader"))
    set_connection(PUBLISHER, postgres.dsn(name, "publisher"))
    order = {
        "order_id": "O1", "product_id": "P1", "customer_id": "CUST001", "order_date": "2024-01-05",
        "order_amount": "10.00", "created_at": "2024-01-05 10:00",
    }  # fmt: skip
    with warehouse(LOADER) as connection:
        Loader(connection).load("sales_fact", "2024-01-05", rows=[order])
        Loader(connection).load("customer", "2024-01-05", rows=[{"customer_id": "CUST001", "customer_email": "a@b.c"}])
        lease.take(connection, "a_dag", "a_run", project="p", full_refresh=False)
    with dbt_on(postgres.dsn(name, "transformer"), tmp_path) as project:
        project.run()
    with (
        psycopg.connect(postgres.dsn(name, "warehouse"), autocommit=True) as owner,
        checks_passed(owner, "a_run"),
        warehouse(PUBLISHER) as connection,
    ):
        assert publish(connection, "a_run")
        assert connection.execute("select daily_revenue from marts.daily_revenue").fetchall() == [(10,)]
