"""Numbered changes of the warehouse's tables: each once, in order, whole or not at all, and never backwards."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ecommerce.common import database_schema
from ecommerce.common.connections import LOADER, PUBLISHER, TRANSFORMER, warehouse
from ecommerce.common.errors import SourceError
from ecommerce.common.migrate import main, migrate
from ecommerce.common.migrations import read_migrations
from ecommerce.publish.rollback import roll_back
from include.demo import database
from include.demo.state import State
from tests.integration.support import Loader

FORMER = Path(__file__).with_name("warehouse_335d66e.sql")
MIGRATIONS = database_schema.SQL_FOLDER / "migrations"
#: The number of the last one.
LAST = max(read_migrations(MIGRATIONS))

#: Each table, column, constraint, index, view, function and right of the schemas, but not the order of columns.
CATALOG = """
with relations as (
    select pg_class.*, oid::regclass::text as label
    from pg_class
    where relnamespace in ('ops'::regnamespace, 'raw'::regnamespace, 'marts'::regnamespace)
)
select format('%s %s of %s', relkind, label, relowner::regrole) from relations where relkind <> 'i'
union all
select format('%s.%s %s %s %s %s', label, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
    pg_get_expr(adbin, adrelid))
from relations
inner join pg_attribute on attrelid = relations.oid and attnum > 0 and not attisdropped
left join pg_attrdef on adrelid = attrelid and adnum = attnum
where relkind in ('r', 'v')
union all
select format('%s: %s %s', label, conname, pg_get_constraintdef(pg_constraint.oid))
from relations
inner join pg_constraint on conrelid = relations.oid
where contype <> 'n'
union all
select pg_get_indexdef(oid) from relations where relkind = 'i'
union all
select format('%s as %s', label, pg_get_viewdef(oid)) from relations where relkind = 'v'
union all
select format('%s of %s', pg_get_functiondef(oid), proowner::regrole)
from pg_proc
where pronamespace = 'ops'::regnamespace
union all
select format('%s to %s of %s', privilege_type, grantee::regrole, label)
from relations
cross join lateral aclexplode(relacl)
where grantee <> relowner
union all
select format('%s to %s of %s.%s', privilege_type, grantee::regrole, label, attname)
from relations
inner join pg_attribute on attrelid = relations.oid
cross join lateral aclexplode(attacl)
"""

#: Of days in UTC. The same days as those of a shop in UTC, so the planner uses it, and it is not built again.
FORMER_INDEX = "CREATE INDEX kafka_stream_event_date"

#: Marts are no business of the scripts; these stand in the former warehouse only.
MARTS = ("marts.daily_revenue", "marts.product_performance_monthly", "marts.seasonal_sales_analysis")


def catalog(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        return {
            line
            for (line,) in connection.execute(CATALOG)
            if not line.startswith(FORMER_INDEX) and not any(mart in line for mart in MARTS)
        }


@pytest.fixture(scope="module")
def create_former(postgres: State) -> Iterator[Callable[[], str]]:
    """Create a warehouse of before, with rows; the name of its database."""
    created: list[str] = []

    def create() -> str:
        name = f"former_{os.urandom(3).hex()}"
        with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("create database {} owner warehouse").format(sql.Identifier(name)))
        created.append(name)
        with psycopg.connect(postgres.dsn(name, "postgres"), autocommit=True) as connection:
            connection.execute(FORMER.read_bytes())
        return name

    yield create
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        for name in created:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def lead_to(postgres: State, set_connection: Callable[[str, str], None]) -> Callable[[str], None]:
    """Let the Airflow connections of the warehouse's roles lead to a database."""

    def lead(name: str) -> None:
        for conn_id in (LOADER, TRANSFORMER, PUBLISHER):
            set_connection(conn_id, postgres.dsn(name, conn_id.removeprefix("warehouse_")))

    return lead


@pytest.fixture(scope="module")
def migrated(
    postgres: State, create_former: Callable[[], str], lead_to: Callable[[str], None]
) -> Iterator[psycopg.Connection]:
    """The warehouse of before, after the administrator and a task of today."""
    name = create_former()
    lead_to(name)
    database.make_schemas(postgres.dsn(name, "postgres"))
    assert [name for _, name in migrate()] == [each.name for each in read_migrations(MIGRATIONS).values()]
    with psycopg.connect(postgres.dsn(name, "postgres"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def own_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A copy of the SQL files, which the code takes for its own."""
    folder = tmp_path / "sql"
    shutil.copytree(database_schema.SQL_FOLDER, folder)
    monkeypatch.setattr(database_schema, "SQL_FOLDER", folder)
    database_schema._scripts.cache_clear()
    yield folder / "migrations"
    database_schema._scripts.cache_clear()


def changed(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(script)
    database_schema._scripts.cache_clear()
    read_migrations.cache_clear()


#: Migration that others may have applied → the digest of its file. A new file gets its line when it is merged.
DIGESTS = {
    "0001_ops_former_tables": "a69a43e75d3e23db",
    "0002_raw_former_tables": "ea661718e24a6d8e",
    "0003_marts_former_columns": "2da3132e7e4d1354",
    "0004_raw_versions_of_a_batch": "4ea71e16feb246b8",
    "0005_ops_model_digests": "82e45ffd0746478c",
}


def test_migration_that_others_may_have_applied_is_as_it_was() -> None:
    """Their warehouses would refuse every load. What was wrong in one is put right by the next."""
    assert {each.name: each.digest[:16] for each in read_migrations(MIGRATIONS).values()} == DIGESTS


def test_former_warehouse_becomes_as_a_new_one(
    migrated: psycopg.Connection, new_database: Callable[[str], str], postgres: State
) -> None:
    new = new_database("warehouse").rpartition("/")[2]
    expected = catalog(postgres.dsn(new, "postgres"))
    assert len(expected) > 400
    found = catalog(postgres.dsn(migrated.info.dbname, "postgres"))
    assert (found - expected, expected - found) == (set(), set())
    with psycopg.connect(postgres.dsn(new, "postgres")) as connection:
        query = "select number, name, digest, applied_by from ops.migration order by 1"
        assert connection.execute(query).fetchall() == migrated.execute(query).fetchall()


def test_rows_of_the_former_warehouse_stay(migrated: psycopg.Connection) -> None:
    query = "select order_id, line_number, order_amount from raw.sales_fact order by 1"
    assert migrated.execute(query).fetchall() == [("O1", 1, 1), ("O2", 1, 2), ("O3", 1, 3)]
    query = "select customer_id, subscription_id from raw.subscription_data order by 2"
    assert migrated.execute(query).fetchall() == [("CUST001", "S1"), ("CUST1000", "S2")]
    query = "select product_id, _valid_from = _loaded_at from raw.product_category order by 1"
    assert migrated.execute(query).fetchall() == [("P1", False), ("P2", True)]
    query = "select source, count(*) from ops.source_column group by source order by source"
    assert migrated.execute(query).fetchall() == [
        ("kafka_stream", 4), ("product_category", 14), ("sales_fact", 10), ("subscription_data", 7),
    ]  # fmt: skip
    query = "select source, day::text, rows from ops.loaded_day"
    assert migrated.execute(query).fetchall() == [("sales_fact", "2024-03-01", 3)]
    assert migrated.execute("select next_offset from ops.kafka_offset").fetchall() == [(42,)]
    assert migrated.execute("select dirty_date::text from ops.dirty_date").fetchall() == [("2024-03-02",)]


@pytest.mark.parametrize(
    ("mart", "column"),
    [("product_performance_monthly", "category_rank"), ("seasonal_sales_analysis", "percent_of_average")],
)
def test_former_column_of_a_mart_may_be_null(migrated: psycopg.Connection, mart: str, column: str) -> None:
    query = "select attnotnull from pg_attribute where attrelid = %s::regclass and attname = %s"
    assert migrated.execute(query, [f"marts.{mart}", column]).fetchall() == [(False,)]


def test_load_and_rollback_after_the_migration(migrated: psycopg.Connection) -> None:
    row = {
        "product_id": "P1", "customer_id": "CUST001", "order_date": "2024-03-01", "payment_method": "card",
        "discount_applied": "0.10", "created_at": "2024-03-01 12:00:00",
    }  # fmt: skip
    rows = [{**row, "order_id": f"O{n}", "line_number": "1", "order_amount": str(n)} for n in (1, 2, 3)]
    refused = {**row, "order_id": "O4", "order_amount": "-1"}
    with warehouse(LOADER) as connection:
        result = Loader(connection).load("sales_fact", "2024-03-01", rows=[*rows, refused])
    assert (result.rows_read, result.rows_unchanged, result.rows_loaded, result.rows_removed) == (4, 4, 0, 0)
    with warehouse(PUBLISHER) as connection:
        changes = roll_back(connection, "rollback_publication", "undo")
    assert [(change.mart, change.updated) for change in changes or ()] == [("daily_revenue", 1)]
    assert migrated.execute("select revenue from marts.daily_revenue").fetchall() == [(5,)]


def test_interrupted_migration_leaves_nothing_and_goes_on(
    postgres: State, create_former: Callable[[], str], lead_to: Callable[[str], None], own_files: Path,
    migrated: psycopg.Connection,
) -> None:  # fmt: skip
    name = create_former()
    lead_to(name)
    try:
        database.make_schemas(postgres.dsn(name, "postgres"))
        script = "alter table raw.sales_fact add column seen text"
        breaks = f"{script}; select 1 / count(seen) from raw.sales_fact"
        changed(own_files, f"{LAST + 1:04d}_raw_new_column.sql", breaks)
        with pytest.raises(psycopg.errors.DivisionByZero), warehouse(LOADER):
            pass
        with psycopg.connect(postgres.dsn(name, "postgres"), autocommit=True) as connection:
            query = "select number from ops.migration order by number"
            # The files of raw before it stay applied, and there is nothing of it.
            applied = [number for number, each in read_migrations(MIGRATIONS).items() if each.schema in ("ops", "raw")]
            assert [number for (number,) in connection.execute(query)] == applied
            changed(own_files, f"{LAST + 1:04d}_raw_new_column.sql", script)
            with warehouse(LOADER):
                pass
            assert [number for (number,) in connection.execute(query)] == [*range(1, LAST + 2)]
            assert connection.execute("select count(seen) from raw.sales_fact").fetchone() == (0,)
    finally:
        lead_to(migrated.info.dbname)


def test_older_code_refuses_a_newer_warehouse(
    own_files: Path, migrated: psycopg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing, later = f"{LAST + 1:04d}_marts_nothing", f"{LAST + 2:04d}_ops_later"
    changed(own_files, f"{nothing}.sql", "select 1")
    try:
        assert migrate() == [(LAST + 1, nothing)]
        changed(own_files, f"{later}.sql", "select 1")
        assert main() == 0
        assert capsys.readouterr().out == f"applied {later}\nthe warehouse is up to date\n"
        (own_files / f"{later}.sql").unlink()
        changed(own_files, f"{nothing}.sql", "select 1")
        for role in (LOADER, PUBLISHER):
            message = rf"newer than this code: it has the migration {later}, .* see docs/migration.md"
            with pytest.raises(SourceError, match=message), warehouse(role):
                pass
        assert main() == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert re.match(f"error: .*{message}", said.err)
    finally:
        migrated.execute(f"delete from ops.migration where number > {LAST}".encode())


def test_two_processes_apply_a_migration_once(own_files: Path, migrated: psycopg.Connection) -> None:
    script = "alter table raw.sales_fact add column seen text; select pg_sleep(0.5)"
    changed(own_files, f"{LAST + 1:04d}_raw_new_column.sql", script)

    def connect(_: int) -> None:
        with warehouse(LOADER):
            pass

    try:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(connect, range(2)))
        assert migrated.execute("select count(*) from ops.migration where number > %s", [LAST]).fetchone() == (1,)
    finally:
        migrated.execute("delete from ops.migration where number > %s", [LAST])
        migrated.execute("alter table raw.sales_fact drop column seen")


def test_applied_file_that_was_changed_is_refused(own_files: Path, migrated: psycopg.Connection) -> None:
    changed(own_files, "0001_ops_former_tables.sql", "select 1")
    with (
        pytest.raises(SourceError, match=r"0001_ops_former_tables was applied .* with another content"),
        warehouse(LOADER),
    ):
        pass
    assert migrated.execute("select count(*) from ops.migration").fetchone() == (LAST,)


def test_number_below_an_applied_one_is_refused(own_files: Path, migrated: psycopg.Connection) -> None:
    changed(own_files, "0000_raw_too_late.sql", "select 1")
    with (
        pytest.raises(SourceError, match=r"0000_raw_too_late was not applied, but \d{4}_raw_\w+ was"),
        warehouse(LOADER),
    ):
        pass
