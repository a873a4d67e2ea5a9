"""What a Postgres shop may have instead of a plain table, and what is said of a template that is wrong."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from ecommerce.common.errors import SchemaDrift, ShopError, SourceError
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Window
from ecommerce.extract.postgres_reader import PostgresReader
from ecommerce.extract.readers import reader_of
from include.demo.state import State
from tests.integration.support import Loader, set_shop

DAYS = ("2024-03-01", "2024-03-02")

#: Three orders on two days, one of them suspect, in any table with these columns.
COLUMNS = "order_id, product_id, customer_id, order_date, order_amount, created_at"
VALUES = """
    ('O1', 'P1', 'C1', date '2024-03-01', 10.5, timestamptz '2024-03-01 23:30:00.123456+00'),
    ('O2', 'P1', null, date '2024-03-02', 20, timestamptz '2024-03-02 01:00:00+02'),
    ('O3', 'P1', 'C1', date '2024-03-02', -1, timestamptz '2024-03-02 12:00:00+00')
"""
LOADED = [
    ("O1", 1, Decimal("10.5"), datetime(2024, 3, 1, 23, 30, 0, 123456)),
    # Recorded at 01:00 in a zone two hours ahead.
    ("O2", 1, Decimal("20"), datetime(2024, 3, 1, 23)),
]

PLAIN = """
    order_id text, product_id text, customer_id text, order_date date, order_amount numeric, created_at timestamptz
"""
RELATIONS = {
    "timestamptz": f"create table other.orders ({PLAIN})",
    "view": f"create table other.kept ({PLAIN}); create view other.orders as select * from other.kept",
    "partitioned": f"""
        create table other.orders ({PLAIN}) partition by range (created_at);
        create table other.first partition of other.orders for values from ('2024-01-01') to ('2024-03-02');
        create table other.others partition of other.orders default
    """,
    "generated": """
        create table other.orders (
            order_id text, product_id text, customer_id text, order_date date, net numeric,
            order_amount numeric generated always as (net * 1) stored, created_at timestamptz
        )
    """,
    "domains": """
        create domain other.id as text;
        create domain other.order_key as other.id check (value <> '');
        create domain other.moment as timestamptz;
        create domain other.recorded as other.moment not null;
        create domain other.money as numeric(12, 2);
        create domain other.amount as other.money;
        create table other.orders (
            order_id other.order_key, product_id other.id, customer_id varchar(20), order_date date,
            order_amount other.amount, created_at other.recorded
        )
    """,
}


@pytest.fixture
def other(shop: psycopg.Connection) -> psycopg.Connection:
    """A schema of the shop, empty."""
    shop.execute("drop schema if exists other cascade; create schema other")
    return shop


def raw_rows(loader: Loader) -> list[tuple]:
    return loader.rows("select order_id, line_number, order_amount, created_at from raw.sales_fact order by 1")


@pytest.mark.parametrize("name", RELATIONS)
@pytest.mark.parametrize("place", ["table", "template"])
def test_relation_loads_like_a_table(
    loader: Loader, other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    """By each way of loading: first, by fingerprints with nothing changed, and after a change."""
    other.execute(RELATIONS[name].encode())
    amount = "net" if name == "generated" else "order_amount"
    table = "other.kept" if name == "view" else "other.orders"
    other.execute(f"insert into {table} ({COLUMNS.replace('order_amount', amount)}) values {VALUES}".encode())
    location = {"table": "other.orders"} if place == "table" else {"template": "orders.sql"}
    set_shop(
        monkeypatch,
        templates={"orders.sql": "select * from other.orders;  -- all of them"},
        sales_fact={"connection": "shop_postgres", **location},
    )
    first = loader.load("sales_fact", *DAYS)
    assert (first.rows_read, first.rows_loaded, first.rows_quarantined) == (3, 2, 1)
    assert raw_rows(loader) == LOADED
    assert loader.value("select payload ->> 'created_at' from ops.quarantine") == "2024-03-02 12:00:00"
    again = loader.load("sales_fact", *DAYS)
    assert (again.rows_unchanged, again.rows_loaded, again.rows_removed) == (3, 0, 0)
    other.execute(f"update {table} set {amount} = 21 where order_id = 'O2'".encode())
    changed = loader.load("sales_fact", *DAYS)
    assert (changed.rows_loaded, changed.rows_removed, changed.rows_unchanged) == (1, 1, 2)
    assert loader.value("select order_amount from raw.sales_fact where order_id = 'O2'") == 21


def test_foreign_table_loads_like_a_table(
    loader: Loader, other: psycopg.Connection, postgres: State, shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    available = other.execute("select from pg_available_extensions where name = 'postgres_fdw'").fetchone()
    if available is None:
        pytest.skip("this Postgres has no postgres_fdw")
    parts = psycopg.conninfo.conninfo_to_dict(shop_dsn)
    with psycopg.connect(postgres.dsn(str(parts["dbname"]), "postgres"), autocommit=True) as superuser:
        superuser.execute("create extension postgres_fdw; grant usage on foreign data wrapper postgres_fdw to public")
    other.execute(
        f"""
        create table other.kept ({PLAIN});
        insert into other.kept ({COLUMNS}) values {VALUES};
        create server itself foreign data wrapper postgres_fdw
            options (host '{parts["host"]}', port '{parts["port"]}', dbname '{parts["dbname"]}');
        create user mapping for current_user server itself
            options (user '{parts["user"]}', password '{parts["password"]}');
        create foreign table other.orders ({PLAIN}) server itself options (schema_name 'other', table_name 'kept')
        """.encode()
    )
    set_shop(monkeypatch, sales_fact={"connection": "shop_postgres", "table": "other.orders"})
    assert loader.load("sales_fact", *DAYS).rows_loaded == 2
    assert raw_rows(loader) == LOADED
    assert loader.load("sales_fact", *DAYS).rows_unchanged == 3


# -- templates ---------------------------------------------------------------------------------------------------------

GOOD = f"select * from (values {VALUES}) as orders ({COLUMNS})"


@pytest.fixture
def load_template(loader: Loader, other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Load a source by the text of a template."""

    def load(text: str, *days: str, source: str = "sales_fact") -> Any:
        location = {"connection": "shop_postgres", "template": "it.sql"}
        set_shop(monkeypatch, templates={"it.sql": text}, **{source: location})
        return loader.load(source, *(days or DAYS))

    return load


WRONG = {
    "syntax": ("selec 1", "it.sql at the connection 'shop_postgres': syntax error at or near \"selec\""),
    "two statements": (f"{GOOD}; {GOOD}", "cannot insert multiple commands into a prepared statement"),
    "left parenthesis": (f"{GOOD}) as it; select * from ({GOOD}", "syntax error at or near"),
    "no select": ("delete from other.orders returning order_id", "syntax error at or near"),
    "unknown table": ("select * from orders", 'relation "orders" does not exist'),
    "unknown column": (f"select customer from ({GOOD}) as it", 'column "customer" does not exist'),
    "column twice": (f"select it.*, order_id from ({GOOD}) as it", "gives the column order_id twice; name each once"),
    "key twice": (
        f"{GOOD} cross join (values (1), (2)) as two (n)",
        "gives more than one row for order_id O1, line_nu",
    ),
    "lines without a number": (
        f"{GOOD} cross join (values (1), (2)) as two (n)",
        "it has no column line_number: give one that tells these rows apart",
    ),
    "line twice": (
        f"select it.*, 1 as line_number from ({GOOD}) as it cross join (values (1), (2)) as two (n)",
        "gives more than one row for order_id O1, line_number 1; let it give one, for example by a join",
    ),
    "other days": (
        f"select * from ({GOOD}) as it where order_date >= %(start)s and order_date < %(end)s",
        "was asked for 2024-03-02, and gives a row whose created_at is 2024-03-01 23:00:00+00; compare %(start)s and "
        "%(end)s with what becomes created_at",
    ),
}


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG)
def test_wrong_template_fails_before_raw_is_touched(
    loader: Loader, load_template: Callable[..., Any], other: psycopg.Connection, text: str, says: str
) -> None:
    other.execute(f"create table other.orders ({PLAIN})".encode())
    load_template(GOOD, *DAYS)
    held = raw_rows(loader)
    days = ("2024-03-02",) if "%(start)s" in text else DAYS
    with pytest.raises(ShopError) as raised:
        load_template(text, *days)
    sentence = str(raised.value)
    assert sentence.startswith("sales_fact: ")
    assert "it.sql at the connection 'shop_postgres'" in sentence
    assert says in sentence
    assert raw_rows(loader) == held
    assert loader.rows("select error from ops.load_batch where status = 'failed'") == [(sentence,)]


def test_unknown_table_of_a_template_gets_a_hint(load_template: Callable[..., Any]) -> None:
    with pytest.raises(ShopError, match=r"name the schema of each table, as in shop\.orders$"):
        load_template("select * from orders")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("product_id, order_date, order_amount, created_at", "column order_id (text) is missing"),
        (f"{COLUMNS}, 'x' as line_number", "column line_number is text and should be integer"),
        (
            COLUMNS.replace("order_date", "order_amount as order_date"),
            "column order_date is numeric and should be date. Nothing was loaded. Correct, cast or rename it",
        ),
    ],
)
def test_missing_or_mistyped_column_of_a_template_is_named(
    loader: Loader, load_template: Callable[..., Any], columns: str, says: str
) -> None:
    with pytest.raises(SchemaDrift) as raised:
        load_template(f"select {columns} from ({GOOD}) as it")
    assert says in str(raised.value)
    assert "it.sql at the connection 'shop_postgres' is not what was expected" in str(raised.value)
    assert raw_rows(loader) == []


def test_slow_template_names_the_timeout(
    loader: Loader, load_template: Callable[..., Any], shop_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_POSTGRES", f"{shop_dsn}?options=-c%20statement_timeout%3D200ms")
    with pytest.raises(
        SourceError, match=r"it\.sql at .* was cancelled: .*statement timeout.* Raise the statement_tim"
    ):
        load_template(f"select it.* from ({GOOD}) as it cross join lateral (select pg_sleep(1)) as slow")


def test_template_that_writes_fails(load_template: Callable[..., Any], other: psycopg.Connection) -> None:
    other.execute("create sequence other.numbers")
    with pytest.raises(SourceError, match=r"cannot execute nextval.* in a read-only transaction"):
        load_template(f"select it.*, nextval('other.numbers') as line_number from ({GOOD}) as it")


def test_repeated_key_of_a_version_log_is_quarantined(loader: Loader, load_template: Callable[..., Any]) -> None:
    """Few rows of a table that is read whole do not stop the others, as in a table."""
    text = "select * from (values ('P1', 'Ball'), ('P1', 'Box'), ('P2', 'Cap')) as it (product_id, product_name)"
    result = load_template(text, source="product")
    assert (result.rows_loaded, result.rows_quarantined) == (2, 1)
    assert loader.value("select reason from ops.quarantine").startswith("product_id came more than once")


@pytest.mark.parametrize("blank", ["null", "''", "'  '"])
def test_rows_of_a_template_without_a_key_are_quarantined(
    loader: Loader, load_template: Callable[..., Any], blank: str
) -> None:
    """They repeat no key, however many they are."""
    text = f"{GOOD} union all select {blank}, 'P1', null, date '2024-03-01', n, timestamptz '2024-03-01 10:00Z'"
    result = load_template(f"{text} from generate_series(1, 3) as n")
    assert (result.rows_loaded, result.rows_quarantined) == (2, 4)
    assert loader.rows("select distinct reason from ops.quarantine where reason like 'order_id%'") == [
        ("order_id is missing",)
    ]
    assert raw_rows(loader) == LOADED


def test_template_gets_the_days_that_are_read(loader: Loader, load_template: Callable[..., Any]) -> None:
    """Also when a load reads only some days again: one order a day, from the days that the template is asked for."""
    text = """
        select
            'O' || day::date as order_id, 'P' as product_id, day::date as order_date,
            extract(day from day)::integer %(and)s as order_amount, day as created_at
        from generate_series(%(start)s::timestamp, %(end)s::timestamp - interval '1 second', interval '1 day') as day
    """.replace("%(and)s", "% 100")
    assert load_template(text, "2024-03-01", "2024-03-05").rows_loaded == 5
    loader.connection.execute("update raw.sales_fact set order_amount = 0 where order_date = '2024-03-03'")
    again = load_template(text, "2024-03-01", "2024-03-05")
    assert (again.rows_read, again.rows_loaded, again.rows_unchanged) == (5, 1, 4)
    assert [amount for _, _, amount, _ in raw_rows(loader)] == [1, 2, 3, 4, 5]


def test_window_reaches_the_index_below_a_template(other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The condition outside is moved inward, also through a join and for a timestamptz."""
    other.execute(
        f"""
        create table other.orders ({PLAIN});
        create index by_time on other.orders (created_at);
        create table other.names (customer_id text primary key, name text);
        insert into other.orders ({COLUMNS})
        select 'O' || n, 'P', 'C', '2024-01-01', 1, timestamptz '2024-01-01' + n * interval '1 minute'
        from generate_series(1, 20000) as n;
        analyze other.orders
        """.encode()
    )
    set_shop(
        monkeypatch,
        templates={"it.sql": "select orders.*, names.name from other.orders left join other.names using (customer_id)"},
        sales_fact={"connection": "shop_postgres", "template": "it.sql"},
    )
    window = Window.of_days(datetime(2024, 1, 3).date(), datetime(2024, 1, 3).date())
    reader = reader_of(SOURCES["sales_fact"], window)
    assert isinstance(reader, PostgresReader)
    with reader.snapshot():
        rows, inside = reader._relation.rows(None).as_string(), reader._inside(None).as_string()
        plan = reader._at_source.execute(f"explain select * from {rows} where {inside}".encode()).fetchall()
        assert any("by_time" in line for (line,) in plan), plan
        assert sum((reader.rows_by_day() or {}).values()) == 1440
        assert reader.is_large(10_000)
        assert not reader.is_large(30_000)
        assert reader.newest_day() == datetime(2024, 1, 14).date()


def test_missing_table_of_a_profile_is_named(loader: Loader, monkeypatch: pytest.MonkeyPatch, shop_dsn: str) -> None:
    set_shop(monkeypatch, sales_fact={"connection": "shop_postgres", "table": "Orders"})
    with pytest.raises(
        SourceError, match=r"sales_fact: there is no table public\.Orders at the connection 'shop_postgres'"
    ):
        loader.load("sales_fact", "2024-03-01")


@pytest.mark.usefixtures("other")
def test_many_connections_share_a_template(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    set_shop(monkeypatch, templates={"it.sql": GOOD}, sales_fact={"connection": "shop_postgres", "template": "it.sql"})
    # Divided by key, of which the template has only one part, and by days.
    assert loader.load("sales_fact", "2024-03-01", parallel_reads=2).rows_loaded == 2
    both = loader.load("sales_fact", *DAYS, parallel_reads=2)
    assert (both.rows_unchanged, both.rows_quarantined) == (2, 1)
