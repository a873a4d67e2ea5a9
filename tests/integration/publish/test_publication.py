"""Publishing the marts: only rows that differ are written, all marts or none, and views and grants stay."""

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal

import psycopg
import pytest

from ecommerce.build import lease
from ecommerce.common.errors import LeaseLost, PublishError
from ecommerce.publish import publication
from ecommerce.publish.merge import MartChange
from include.demo.state import State
from tests.integration.support import Loader, acting_as, checks_passed

RUN = "a_run"
REVENUE = "revenue_month date not null, category_name text, revenue numeric(18,2)"
REVENUE_KEY = "unique nulls not distinct (revenue_month, category_name)"
TIERS = "customer_id text not null, tier text"


@pytest.fixture
def warehouse(loader: Loader) -> Loader:
    """A warehouse without marts, whose lease the run holds."""
    loader.connection.execute(
        "do $$ declare mart regclass; begin for mart in select pg_class.oid from pg_class"
        " where relnamespace in ('marts'::regnamespace, 'marts_build'::regnamespace) and relkind = 'r'"
        " loop execute format('drop table %s cascade', mart); end loop; end $$"
    )
    take(loader)
    return loader


def take(loader: Loader, exclusions: lease.Exclusions = lease.NO_EXCLUSIONS) -> None:
    lease.take(loader.connection, "a_dag", RUN, project="p", full_refresh=False, exclusions=exclusions)


def build(loader: Loader, mart: str, columns: str, rule: str, *rows: tuple) -> None:
    """Create a mart in `marts_build` anew, as dbt does."""
    with acting_as(loader.connection, "transformer"):
        loader.connection.execute(f"drop table if exists marts_build.{mart}".encode())
        loader.connection.execute(f"create table marts_build.{mart} ({columns}, {rule})".encode())
        for row in rows:
            places = ", ".join(["%s"] * len(row))
            loader.connection.execute(f"insert into marts_build.{mart} values ({places})".encode(), row)


def publish(connection: psycopg.Connection, run_id: str, **options: bool) -> list[MartChange]:
    with checks_passed(connection, run_id), acting_as(connection, "publisher"):
        return publication.publish(connection, run_id, **options)


def republish(loader: Loader) -> list[MartChange]:
    take(loader)
    return publish(loader.connection, RUN)


def content(loader: Loader, mart: str) -> list[tuple]:
    return sorted(loader.rows(f"select * from marts.{mart}"), key=repr)


JANUARY, FEBRUARY = date(2024, 1, 1), date(2024, 2, 1)


def test_first_publication_creates_the_marts(warehouse: Loader) -> None:
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", 10), (JANUARY, None, 5))
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"))
    done = publish(warehouse.connection, RUN)
    assert done == [MartChange("revenue", 2, 0, 0, "emptying"), MartChange("tiers", 1, 0, 0, "emptying")]
    assert content(warehouse, "revenue") == [(JANUARY, "Toys", Decimal(10)), (JANUARY, None, Decimal(5))]
    assert content(warehouse, "tiers") == [("C1", "High")]
    with pytest.raises(psycopg.errors.UniqueViolation):
        warehouse.connection.execute("insert into marts.revenue values ('2024-01-01', null, 7)")


def test_publication_writes_only_rows_that_differ(warehouse: Loader) -> None:
    rows = [(JANUARY, "Toys", 10), (JANUARY, None, 5), (JANUARY, "null", 6), (FEBRUARY, "Toys", None)]
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, *rows)
    publish(warehouse.connection, RUN)
    versions = "select category_name, revenue_month, xmin::text from marts.revenue"
    before = set(warehouse.rows(versions))

    build(warehouse, "revenue", REVENUE, REVENUE_KEY, *rows)
    assert republish(warehouse) == [MartChange("revenue", 0, 0, 0)]
    assert set(warehouse.rows(versions)) == before

    changed = [(JANUARY, "Toys", 10), (JANUARY, None, 8), (FEBRUARY, "Toys", 1), (FEBRUARY, None, 2)]
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, *changed)
    assert republish(warehouse) == [MartChange("revenue", 1, 2, 1)]
    assert content(warehouse, "revenue") == sorted(
        [(month, category, Decimal(amount)) for month, category, amount in changed], key=repr
    )
    assert ("Toys", JANUARY) in {(category, month) for category, month, _ in set(warehouse.rows(versions)) & before}


def test_mart_without_columns_besides_its_key_is_merged(warehouse: Loader) -> None:
    build(warehouse, "days", "day date not null", "primary key (day)", (JANUARY,))
    publish(warehouse.connection, RUN)
    build(warehouse, "days", "day date not null", "primary key (day)", (FEBRUARY,))
    assert republish(warehouse) == [MartChange("days", 1, 0, 1)]


def test_empty_build_empties_the_mart(warehouse: Loader) -> None:
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"))
    publish(warehouse.connection, RUN)
    build(warehouse, "tiers", TIERS, "unique (customer_id)")
    assert republish(warehouse) == [MartChange("tiers", 0, 0, 1)]


@pytest.mark.parametrize("kind", ["text", "date", "timestamptz", "numeric(18,2)", "boolean", "uuid"])
def test_nullable_key_of_any_type_matches_itself(warehouse: Loader, kind: str) -> None:
    value = {
        "text": "null", "date": JANUARY, "timestamptz": "2024-01-01 00:00Z", "numeric(18,2)": "1.50",
        "boolean": False, "uuid": "00000000-0000-0000-0000-000000000001",
    }[kind]  # fmt: skip
    for _ in range(2):
        build(warehouse, "odd", f"k {kind}, v int", "unique nulls not distinct (k)", (value, 1), (None, 2))
        done = republish(warehouse)
    assert done == [MartChange("odd", 0, 0, 0)]


def test_publication_is_recorded_by_mart(warehouse: Loader) -> None:
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", 10))
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"))
    publish(warehouse.connection, RUN)
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "Low"))
    republish(warehouse)
    recorded = warehouse.rows(
        "select dense_rank() over (order by publication_id), run_id, mart, rows_inserted, rows_updated, rows_deleted"
        " from ops.publication order by publication_id, mart"
    )
    assert recorded == [
        (1, RUN, "revenue", 1, 0, 0),
        (1, RUN, "tiers", 1, 0, 0),
        (2, RUN, "revenue", 0, 0, 0),
        (2, RUN, "tiers", 0, 1, 0),
    ]


def test_new_column_keeps_views_and_grants(warehouse: Loader) -> None:
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"), ("C2", None))
    publish(warehouse.connection, RUN)
    warehouse.connection.execute("create view marts.high as select customer_id from marts.tiers where tier = 'High'")
    warehouse.connection.execute("grant insert on marts.tiers to reader")
    build(warehouse, "tiers", f"{TIERS}, orders bigint", "unique (customer_id)", ("C1", "High", 7), ("C2", None, None))
    assert republish(warehouse) == [MartChange("tiers", 0, 1, 0)]
    assert content(warehouse, "tiers") == [("C1", "High", 7), ("C2", None, None)]
    assert warehouse.rows("select * from marts.high") == [("C1",)]
    assert warehouse.value("select has_table_privilege('reader', 'marts.tiers', 'insert')")
    assert warehouse.value("select has_table_privilege('reader', 'marts.tiers', 'select')")


@pytest.mark.parametrize(
    ("columns", "lost"),
    [
        pytest.param("customer_id text not null", "tier text", id="lost"),
        pytest.param("customer_id text not null, tier integer", "tier text", id="retyped"),
        pytest.param("customer_id text not null, tier varchar(9)", "tier text", id="narrowed"),
        pytest.param("customer_id text not null, level text", "tier text", id="renamed"),
    ],
)
def test_lost_or_retyped_column_is_published_only_if_allowed(warehouse: Loader, columns: str, lost: str) -> None:
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", 10))
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"))
    publish(warehouse.connection, RUN)
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", 99))
    build(warehouse, "tiers", columns, "unique (customer_id)")
    with pytest.raises(PublishError, match=rf"^marts\.tiers would lose or retype {lost}; .* nothing was published"):
        republish(warehouse)
    # The other mart is unchanged as well, although it comes first.
    assert content(warehouse, "revenue") == [(JANUARY, "Toys", Decimal(10))]
    assert content(warehouse, "tiers") == [("C1", "High")]

    # With `allow_column_changes` it is published, and the grants on it stay.
    warehouse.connection.execute("grant insert on marts.tiers to reader")
    publish(warehouse.connection, RUN, allow_column_changes=True)
    assert content(warehouse, "revenue") == [(JANUARY, "Toys", Decimal(99))]
    assert content(warehouse, "tiers") == []
    assert warehouse.value("select has_table_privilege('reader', 'marts.tiers', 'select, insert')")
    build(warehouse, "tiers", columns, "unique (customer_id)")
    assert MartChange("tiers", 0, 0, 0, "emptying") in republish(warehouse)


def test_mart_with_views_is_not_recreated(warehouse: Loader) -> None:
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"))
    publish(warehouse.connection, RUN)
    warehouse.connection.execute("create view marts.high as select customer_id from marts.tiers where tier = 'High'")
    build(warehouse, "tiers", "customer_id text not null", "unique (customer_id)", ("C1",))
    take(warehouse)
    with pytest.raises(
        PublishError, match=r"^marts\.tiers cannot lose or retype tier text, because marts\.high reads it"
    ):
        publish(warehouse.connection, RUN, allow_column_changes=True)
    assert warehouse.rows("select * from marts.high") == [("C1",)]
    warehouse.connection.execute("drop view marts.high")


def test_mart_without_a_key_publishes_nothing(warehouse: Loader) -> None:
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", 10))
    build(warehouse, "tiers", TIERS, "check (true)", ("C1", "High"))
    with pytest.raises(PublishError, match=r"^marts_build\.tiers has no unique constraint"):
        publish(warehouse.connection, RUN)
    assert warehouse.value("select count(*) from pg_tables where schemaname = 'marts'") == 0
    assert warehouse.value("select count(*) from ops.publication") == 0


def test_publication_without_a_built_mart_raises(warehouse: Loader) -> None:
    with pytest.raises(PublishError, match="marts_build holds no table"):
        publish(warehouse.connection, RUN)


def test_temporary_tables_of_dbt_are_not_published(warehouse: Loader) -> None:
    for name in ("tiers", "tiers__dbt_tmp", "tiers__dbt_backup"):
        build(warehouse, name, TIERS, "unique (customer_id)", ("C1", "High"))
    assert [mart.mart for mart in publish(warehouse.connection, RUN)] == ["tiers"]


def test_excluded_mart_stays_as_published_and_is_recorded_as_stale(warehouse: Loader) -> None:
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", 10))
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"))
    publish(warehouse.connection, RUN)
    # An earlier build, which failed its checks, has already rebuilt it.
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "Low"))
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", 11))
    take(warehouse, lease.Exclusions(frozenset({"customer"}), frozenset({"tiers", "dim_customer"})))
    assert publish(warehouse.connection, RUN) == [MartChange("revenue", 0, 1, 0)]
    assert content(warehouse, "tiers") == [("C1", "High")]
    ((subject, status, message),) = warehouse.rows(
        "select subject, status, message from ops.check_result where check_name = 'stale'"
    )
    assert (subject, status) == ("marts.tiers", "fail")
    assert message.startswith("keeps what was published at 2")
    assert message.endswith("UTC: customer could not be loaded")

    # The next build publishes it, and the pages do not show it as stale any more; it is said once.
    assert republish(warehouse) == [MartChange("revenue", 0, 0, 0), MartChange("tiers", 0, 1, 0)]
    republish(warehouse)
    last = "select subject, status from ops.check_result where check_name = 'stale' order by check_result_id"
    assert warehouse.rows(last) == [("marts.tiers", "fail"), ("marts.tiers", "pass")]


def test_publication_with_all_marts_excluded_only_releases_the_lease(warehouse: Loader) -> None:
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"))
    publish_nothing(warehouse)
    take(warehouse, lease.Exclusions(frozenset({"customer"}), frozenset({"tiers"})))
    assert publish(warehouse.connection, RUN) == []
    assert warehouse.value("select count(*) from ops.publication") == 0
    assert lease.holder(warehouse.connection) is None


@pytest.fixture
def dirty_dates(warehouse: Loader) -> Callable[[], set[str]]:
    """One day is claimed and another became dirty since; returns the days that are dirty now."""
    row: dict[str, str | None] = {
        "order_id": "O", "product_id": "P", "customer_id": "C", "order_amount": "1",
        "order_date": "2024-03-01", "created_at": "2024-03-01 10:00",
    }  # fmt: skip
    publish_nothing(warehouse)
    warehouse.load("sales_fact", "2024-03-01", rows=[row])
    take(warehouse)
    warehouse.load(
        "sales_fact",
        "2024-03-02",
        rows=[row | {"order_id": "O2", "order_date": "2024-03-02", "created_at": "2024-03-02 10:00"}],
    )
    return lambda: {str(day) for (day,) in warehouse.rows("select dirty_date from ops.dirty_date")}


def publish_nothing(loader: Loader) -> None:
    loader.connection.execute("update ops.build set finished_at = now()")


def test_publication_deletes_the_dirty_dates_that_were_built(
    warehouse: Loader, dirty_dates: Callable[[], set[str]]
) -> None:
    build(warehouse, "tiers", TIERS, "unique (customer_id)")
    publish(warehouse.connection, RUN)
    assert dirty_dates() == {"2024-03-02"}
    assert lease.holder(warehouse.connection) is None


def test_failed_publication_keeps_dirty_dates_and_lease(warehouse: Loader, dirty_dates: Callable[[], set[str]]) -> None:
    build(warehouse, "tiers", TIERS, "check (true)")
    with pytest.raises(PublishError):
        publish(warehouse.connection, RUN)
    assert dirty_dates() == {"2024-03-01", "2024-03-02"}
    assert lease.holder(warehouse.connection) == ("a_dag", RUN)


def test_run_that_lost_the_lease_publishes_nothing(warehouse: Loader) -> None:
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"))
    lease.take(warehouse.connection, "a_dag", "another", project="p", full_refresh=False, take_over_from=RUN)
    with pytest.raises(LeaseLost):
        publish(warehouse.connection, RUN)
    assert warehouse.value("select count(*) from pg_tables where schemaname = 'marts'") == 0
    assert lease.holder(warehouse.connection) == ("a_dag", "another")


@pytest.fixture
def reader(warehouse: Loader, postgres: State) -> Iterator[psycopg.Connection]:
    """A session of the role `reader`, after a publication."""
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"))
    publish(warehouse.connection, RUN)
    database = warehouse.connection.info.dbname
    with psycopg.connect(postgres.dsn(database, "reader"), autocommit=True) as connection:
        yield connection


def test_reader_may_select_from_marts(reader: psycopg.Connection) -> None:
    assert reader.execute("select * from marts.tiers").fetchall() == [("C1", "High")]


@pytest.mark.parametrize(
    "attempt",
    [
        "select * from marts_build.tiers",
        "select * from raw.customer",
        "select * from ops.load_batch",
        "select * from ops.as_of",
        "insert into marts.tiers values ('C2', 'High')",
        "update marts.tiers set tier = 'Low'",
        "delete from marts.tiers",
        "truncate marts.tiers",
        "create table marts.mine (id int)",
        "create table public.mine (id int)",
        "create schema mine",
    ],
)
def test_reader_may_do_nothing_else(reader: psycopg.Connection, attempt: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(attempt.encode())
