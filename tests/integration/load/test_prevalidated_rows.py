"""A Postgres source judges its own rows: what comes of it is what comes of judging each as text, only sooner."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecommerce.common.errors import SourceError
from ecommerce.common.sources import SOURCES, Kind, Source
from ecommerce.extract import postgres_reader
from ecommerce.extract.postgres_reader import PostgresReader
from ecommerce.load import bulk_load, read_ahead, strategies
from ecommerce.load.staging import Staging
from tests.integration.support import Loader

pytestmark = pytest.mark.slow

Insert = Callable[..., None]

DAYS = ("2024-03-01", "2024-03-03")


@pytest.fixture
def order(insert: Insert) -> Insert:
    def order(order_id: str | None, day: str, created: str | None = None, **values: object) -> None:
        values = {"product_id": "P1", "customer_id": "C1", "order_amount": 10} | values
        insert("sales_fact", order_id=order_id, order_date=day, created_at=created or f"{day} 12:00", **values)

    return order


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked of `prevalidated`: the days of each read, or None for the whole window."""
    asked: list[Any] = []
    original = PostgresReader.prevalidated

    def prevalidated(self: PostgresReader, days: Any, lineage: Any) -> Iterator[bytes]:
        asked.append(None if days is None else [str(day) for day in days])
        return original(self, days, lineage)

    monkeypatch.setattr(PostgresReader, "prevalidated", prevalidated)
    return asked


def raw_and_quarantine(loader: Loader, source: str) -> tuple[list[tuple], list[tuple]]:
    columns = ", ".join(f'"{column.name}"::text' for column in SOURCES[source].columns)
    return (
        sorted(loader.rows(f"select {columns} from raw.{source}"), key=repr),
        sorted(loader.rows("select reason, payload::text from ops.quarantine"), key=repr),
    )


NUMBERS = st.sampled_from(
    ["0", "1", "0.004", "0.005", "-0.001", "-1", "1.0001", "NaN", "Infinity", "-Infinity", "9999999999999999.99",
     "9999999999999999.994", "9999999999999999.995", "9999999999999999", "-9999999999999999", "1e16",
     "-1e16", "1e40"]
)  # fmt: skip
DATES = st.sampled_from(
    ["2024-03-01", "1969-12-31", "1970-01-01", "2069-12-31", "2070-01-01", "infinity", "-infinity", "0001-01-01",
     "0044-03-15 BC", "9999-12-31", "10000-01-01", "1900-02-28"]
)  # fmt: skip
TEXTS = st.sampled_from(
    ["K", "K ", "K\t", "\u3000K\ufeff", "\u200bK", " ", "", "\t", "\u00a0\u2028", "ä\N{SNAKE}", "O'x\\N", "a\nb"]
)
VALUES = {
    Kind.TEXT: TEXTS,
    Kind.INTEGER: st.sampled_from(["0", "-1", "2147483647"]),
    Kind.COUNT: st.sampled_from(["0", "-1", "2147483647", "-2147483648"]),
    Kind.BOOLEAN: st.sampled_from(["true", "false"]),
    Kind.DATE: DATES,
    Kind.TIMESTAMP: st.sampled_from(["2024-03-01", "2024-03-02 23:59:59.999999", "2024-03-03 00:00:01"]),
    **dict.fromkeys((Kind.NUMBER, Kind.MONEY, Kind.POSITIVE_MONEY, Kind.FRACTION, Kind.AMOUNT), NUMBERS),
}
#: Of each column kind, types that the source may have instead, and take every value of `VALUES` that they hold.
OTHER_TYPES = {
    "order_id": ["text", "varchar(20)", "shade"],
    "order_amount": ["numeric", "double precision", "numeric(30,4)", "money_domain"],
    "line_number": ["integer", "bigint", "smallint"],
    "order_quantity": ["integer", "bigint", "smallint"],
    "discount_applied": ["numeric", "real", "integer"],
}


@pytest.mark.parametrize("source", ["sales_fact", "refund", "product_category", "customer", "subscription_data"])
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_source_validation_agrees_with_text_validation(
    loader: Loader, shop: psycopg.Connection, source: str, data: st.DataObject
) -> None:
    entry = replace(SOURCES[source], max_rejected_rows=100)
    shop.execute(f"truncate {source}".encode())
    if source == "subscription_data":
        shop.execute("alter table subscription_data alter customer_id type text")
    for number in range(data.draw(st.integers(1, 6))):
        row = {}
        for column in entry.columns:
            value = data.draw(VALUES[column.kind] if column.required else st.one_of(st.none(), VALUES[column.kind]))
            row[column.name] = value if column.name != entry.key[0] else f"{value}{number}"
        names = ", ".join(f'"{name}"' for name in row)
        shop.execute(
            f"insert into {source} ({names}) values ({', '.join(['%s'] * len(row))})".encode(), list(row.values())
        )
    texts = shop.execute(
        f"select {', '.join(f'{chr(34)}{c.name}{chr(34)}::text' for c in entry.columns)} from {source}".encode()
    ).fetchall()
    loader.empty()
    loader.load(entry, *DAYS, rows=[dict(zip([c.name for c in entry.columns], row, strict=True)) for row in texts])
    as_texts = raw_and_quarantine(loader, source)
    loader.empty()
    result = loader.load(entry, *DAYS)
    assert raw_and_quarantine(loader, source) == as_texts
    assert result.rows_read == len(texts)
    assert result.rows_read == result.rows_loaded + result.rows_quarantined + result.rows_unchanged
    again = loader.load(entry, *DAYS)
    assert (again.rows_read, again.rows_unchanged, again.days_marked) == (len(texts), len(texts), 0)
    assert raw_and_quarantine(loader, source) == as_texts


@pytest.mark.parametrize(("column", "kind"), [(name, kind) for name, kinds in OTHER_TYPES.items() for kind in kinds])
def test_equivalent_source_types_load_the_same(
    loader: Loader, shop: psycopg.Connection, order: Insert, column: str, kind: str
) -> None:
    shop.execute(
        "create type shade as enum ('O1', 'O2'); create domain money_domain as numeric(20,2) check (value < 1000000)"
    )
    order("O1", "2024-03-01", order_quantity=3, discount_applied=1, order_amount="12.25")
    order("O2", "2024-03-01", order_quantity=None, discount_applied=None, order_amount=-1)
    shop.execute(f"alter table sales_fact alter {column} type {kind} using {column}::text::{kind}".encode())
    result = loader.load("sales_fact", "2024-03-01")
    assert (result.rows_loaded, result.rows_quarantined) == (1, 1)
    assert loader.rows("select order_id, order_amount, order_quantity, discount_applied from raw.sales_fact") == [
        ("O1", Decimal("12.25"), 3, Decimal(1))
    ]


def test_integer_out_of_range_is_rejected(loader: Loader, shop: psycopg.Connection, order: Insert) -> None:
    shop.execute("alter table sales_fact alter order_quantity type bigint")
    order("O1", "2024-03-01", order_quantity=2**31)
    order("O2", "2024-03-01", order_quantity=2**31 - 1)
    assert loader.load("sales_fact", "2024-03-01").rows_quarantined == 1
    assert loader.value("select reason from ops.quarantine") == (
        "order_quantity is outside -2,147,483,648 to 2,147,483,647: 2147483648"
    )


def test_first_load_of_window_is_copied_into_raw(loader: Loader, order: Insert, reads: list) -> None:
    order("O1", "2024-03-01")
    order("O2", "2024-03-02", order_amount=-1)
    result = loader.load("sales_fact", *DAYS)
    assert (result.rows_loaded, result.rows_quarantined, result.days_marked) == (1, 1, 1)
    assert loader.pop_dirty_dates() == {("sales_fact", "2024-03-01")}
    assert loader.rows("select _batch_id, _loaded_at is not null from raw.sales_fact") == [(result.batch_id, True)]
    assert reads == [None]


def test_unchanged_day_is_not_read_again(loader: Loader, shop: psycopg.Connection, order: Insert, reads: list) -> None:
    for day in (1, 2, 3):
        order(f"O{day}", f"2024-03-0{day}")
        order(f"bad{day}", f"2024-03-0{day}", order_amount=-1)
    loader.load("sales_fact", *DAYS)
    loader.pop_dirty_dates()
    before = loader.everything()
    again = loader.load("sales_fact", *DAYS)
    after = loader.everything()
    assert (again.rows_read, again.rows_unchanged, again.days_marked) == (6, 6, 0)
    assert {name for name in after if after[name] != before[name]} == {"ops.load_batch"}
    shop.execute("update sales_fact set shipping_cost = 0 where order_id = 'O2'")
    shop.execute("update sales_fact set created_at = '2024-03-01 00:00' where order_id = 'O3'")
    changed = loader.load("sales_fact", *DAYS)
    assert (changed.rows_read, changed.rows_loaded, changed.rows_removed) == (6, 2, 2)
    assert loader.pop_dirty_dates() == {("sales_fact", "2024-03-02"), ("sales_fact", "2024-03-03")}
    # The first whole, the second not at all, the third three days: that of O2, and both of O3.
    assert reads == [None, ["2024-03-01", "2024-03-02", "2024-03-03"]]


def test_only_changed_days_are_read(loader: Loader, shop: psycopg.Connection, order: Insert, reads: list) -> None:
    for day in range(1, 10):
        order(f"O{day}", f"2024-03-0{day}")
    loader.load("sales_fact", "2024-03-01", "2024-03-09")
    shop.execute("delete from sales_fact where order_id in ('O2', 'O7')")
    result = loader.load("sales_fact", "2024-03-01", "2024-03-09")
    assert (result.rows_read, result.rows_unchanged, result.rows_removed) == (7, 7, 2)
    assert reads[-1] == ["2024-03-02", "2024-03-07"]
    # What raw has lost is brought back as well.
    loader.rows("delete from raw.sales_fact where order_id = 'O5' returning 1")
    assert loader.load("sales_fact", "2024-03-01", "2024-03-09").rows_loaded == 1


def test_duplicate_key_falls_back_to_row_by_row(loader: Loader, order: Insert, reads: list) -> None:
    order("O1", "2024-03-01", order_amount=1)
    order("O1", "2024-03-02", order_amount=2)
    for number in range(5):
        order(f"other{number}", "2024-03-02")
    result = loader.load("sales_fact", *DAYS)
    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (7, 6, 1)
    assert loader.value("select order_amount from raw.sales_fact where order_id = 'O1'") == 2
    assert reads == [None, None]
    assert loader.load("sales_fact", *DAYS).rows_unchanged == 7


def test_raw_is_not_read_for_each_row_where_statistics_say_that_it_is_empty(
    loader: Loader, shop: psycopg.Connection, order: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a first load that failed, autovacuum may have noted an empty table; the second strategy then fills it."""
    monkeypatch.setattr(strategies, "BULK_ROWS", 10)
    loader.connection.execute("analyze raw.sales_fact")
    shop.execute(
        "insert into sales_fact (order_id, customer_id, product_id, order_date, created_at, order_amount)"
        " select 'O' || n, 'C1', 'P1', '2024-03-01', '2024-03-01 12:00', 10 from generate_series(1, 3000) as n"
    )
    order("O1", "2024-03-01", "2024-03-01 13:00")
    shop.execute("analyze sales_fact")

    def scans() -> int:
        loader.connection.execute("select pg_stat_force_next_flush()")
        return loader.value("select seq_scan from pg_stat_user_tables where relname = 'sales_fact'")

    before = scans()
    assert loader.load("sales_fact", "2024-03-01").rows_loaded == 3000
    assert scans() - before < 100


def test_order_moved_into_other_window_is_superseded(loader: Loader, shop: psycopg.Connection, order: Insert) -> None:
    order("O1", "2024-03-01")
    loader.load("sales_fact", "2024-03-01")
    loader.pop_dirty_dates()
    shop.execute("update sales_fact set created_at = '2024-03-05 10:00'")
    assert loader.load("sales_fact", "2024-03-05").rows_loaded == 1
    assert loader.rows("select created_at from raw.sales_fact") == [(datetime(2024, 3, 5, 10),)]


@pytest.mark.parametrize(
    ("odd", "in_bulk"),
    [
        pytest.param(None, True, id="all pass"),
        pytest.param({"order_id": "O20", "order_amount": -1}, True, id="one is refused"),
        pytest.param({"order_id": "O7", "order_amount": 7}, False, id="a key comes twice"),
    ],
)
def test_empty_raw_table_is_indexed_after_first_load(
    loader: Loader,
    shop: psycopg.Connection,
    order: Insert,
    monkeypatch: pytest.MonkeyPatch,
    odd: dict[str, Any] | None,
    in_bulk: bool,
) -> None:
    monkeypatch.setattr(strategies, "BULK_ROWS", 10)
    for number in range(18):
        order(f"O{number}", "2024-03-01")
    order("behind ", "2024-03-01")
    order(" before", "2024-02-20", "2024-03-01 23:00")
    if odd:
        order(**odd, day="2024-03-02")
    shop.execute("analyze sales_fact")
    shape = (
        "select conname::text, pg_get_constraintdef(oid) from pg_constraint where conrelid = 'raw.sales_fact'::regclass"
        " union all select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index"
        " where indrelid = 'raw.sales_fact'::regclass"
        " union all select attname::text, concat_ws(' ', atttypid::regtype, attnotnull, atthasdef) from pg_attribute"
        " where attrelid = 'raw.sales_fact'::regclass and attnum > 0 order by 1, 2"
    )
    before, filled = loader.rows(shape), loader.value("select pg_relation_filenode('raw.sales_fact')")
    result = loader.load("sales_fact", *DAYS)
    assert (result.rows_loaded, result.rows_quarantined) == (20, int(odd is not None))
    assert loader.rows(
        "select order_id, order_date::text from raw.sales_fact where order_id like '%be%' order by 1"
    ) == [
        ("before", "2024-02-20"),
        ("behind", "2024-03-01"),
    ]
    assert loader.rows(
        "select distinct _batch_id, batch.started_at <= _loaded_at and _loaded_at <= batch.finished_at"
        " from raw.sales_fact left join ops.load_batch as batch on batch.batch_id = _batch_id"
    ) == [(result.batch_id, True)]
    twin = {("sales_fact", "2024-03-02")} if not in_bulk else set()
    assert loader.pop_dirty_dates() == {("sales_fact", "2024-03-01"), ("sales_fact", "2024-02-20")} | twin
    assert loader.rows(shape) == before
    # Filled was a file of its own, its rows frozen; the twins needed a second way.
    assert (loader.value("select pg_relation_filenode('raw.sales_fact')") != filled) is in_bulk
    loader.connection.execute("analyze raw.sales_fact")
    assert loader.rows("select relallvisible = relpages from pg_class where oid = 'raw.sales_fact'::regclass") == [
        (in_bulk,)
    ]
    with pytest.raises(psycopg.errors.UniqueViolation):
        loader.rows("insert into raw.sales_fact select * from raw.sales_fact returning 1")


@pytest.mark.parametrize("ahead", [0, 100_000, read_ahead.AHEAD])
@pytest.mark.parametrize("has_twin", [False, True], ids=["keys differ", "a key comes twice"])
def test_rejected_rows_are_all_stored_however_many_are_read_ahead(
    loader: Loader,
    shop: psycopg.Connection,
    order: Insert,
    monkeypatch: pytest.MonkeyPatch,
    ahead: int,
    has_twin: bool,
) -> None:
    """Also those of no window: the source answers one question at a time, so they are asked for before."""
    monkeypatch.setattr(strategies, "BULK_ROWS", 10)
    monkeypatch.setattr(read_ahead, "AHEAD", ahead)
    shop.execute(
        """
        alter table sales_fact alter created_at drop not null;
        insert into sales_fact (order_id, product_id, order_date, order_amount)
        select 'undated ' || n, 'P1', '2024-03-03', 1
        from generate_series(1, 3) as n;
        insert into sales_fact (order_id, product_id, order_date, order_amount, payment_method, created_at)
        select
            n, 'P1', date '2024-03-01' + n % 3, case when n % 3 = 2 or n % 2 = 1 then -1 else 1 end,
            repeat('x', 100), date '2024-03-01' + n % 3
        from generate_series(1, 6000) as n
        """
    )
    if has_twin:
        order("6", "2024-03-01", order_amount=2)
    shop.execute("analyze sales_fact")
    rejected = 4003 + has_twin
    result = loader.load("sales_fact", *DAYS, max_rejected_share=1.0)
    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (2000 + rejected, 2000, rejected)
    assert loader.value("select count(distinct payload ->> 'order_id') from ops.quarantine") == rejected
    # The third day has no good row.
    assert loader.pop_dirty_dates() == {("sales_fact", "2024-03-01"), ("sales_fact", "2024-03-02")}
    assert loader.load("sales_fact", *DAYS, max_rejected_share=1.0).rows_unchanged == 2000 + rejected


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """With what options rows were copied; ten rows are many."""
    monkeypatch.setattr(strategies, "BULK_ROWS", 10)
    options: list[str] = []
    original = Staging.copy

    def copy(self: Any, table: Any, columns: Any, chunks: Any, how: str) -> int:
        options.append(how)
        return original(self, table, columns, chunks, how)

    monkeypatch.setattr(Staging, "copy", copy)
    return options


def many_orders(shop: psycopg.Connection, order: Insert) -> None:
    for number in range(20):
        order(f"O{number}", "2024-03-01")
    shop.execute("analyze sales_fact")


def test_reader_of_empty_raw_table_does_not_block_first_load(
    loader: Loader, shop: psycopg.Connection, order: Insert, copied: list[str], warehouse_dsn: str
) -> None:
    many_orders(shop, order)
    with psycopg.connect(warehouse_dsn) as reader:
        reader.execute("select count(*) from raw.sales_fact")
        assert loader.load("sales_fact", *DAYS).rows_loaded == 20
    assert copied[0] == "format binary"


def test_raw_table_that_was_loaded_before_is_not_locked(
    loader: Loader, shop: psycopg.Connection, order: Insert, copied: list[str]
) -> None:
    loader.load("sales_fact", "2024-02-01")
    many_orders(shop, order)
    copied.clear()
    loader.load("sales_fact", *DAYS)
    assert copied[0] == "format binary"


def test_dry_run_takes_no_exclusive_lock(
    loader: Loader, shop: psycopg.Connection, order: Insert, copied: list[str]
) -> None:
    many_orders(shop, order)
    assert loader.load("sales_fact", *DAYS, dry_run=True).rows_loaded == 20
    assert copied[0] == "format binary"
    copied.clear()
    assert loader.load("sales_fact", *DAYS).rows_loaded == 20
    assert copied[0] == "format binary, freeze"


def test_failed_load_does_not_wait_for_source(
    loader: Loader, shop: psycopg.Connection, order: Insert, copied: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that comes twice cannot be indexed, while the source is still counting."""
    many_orders(shop, order)
    order("O1", "2024-03-02")
    is_counting = threading.Event()
    original = PostgresReader.rows_by_day

    def slowly(self: PostgresReader) -> dict[str | None, int] | None:
        is_counting.set()
        self._at_source.execute("select pg_sleep(60)")
        return original(self)

    @contextmanager
    def without_indexes(*arguments: Any) -> Iterator[None]:
        with original_without_indexes(*arguments):
            yield
            assert is_counting.wait(10)
            time.sleep(0.2)

    original_without_indexes = bulk_load.without_indexes
    monkeypatch.setattr(bulk_load, "without_indexes", without_indexes)
    monkeypatch.setattr(PostgresReader, "rows_by_day", slowly)
    started = time.monotonic()
    assert loader.load("sales_fact", *DAYS).rows_loaded == 20
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("refused", [0, 1])
def test_rows_without_day_mark_nothing_dirty(
    loader: Loader, shop: psycopg.Connection, order: Insert, copied: list[str], refused: int
) -> None:
    """By what the source says, and by what raw says where the source has also counted a row that was refused."""
    many_orders(shop, order)
    order("elsewhere", "2024-03-02")
    for _ in range(refused):
        order("bad", "2024-03-03", order_amount=-1)
    source = replace(SOURCES["sales_fact"], day="nullif(order_date, date '2024-03-01')")
    assert loader.load(source, *DAYS).rows_loaded == 21
    assert copied[0] == "format binary, freeze"
    assert loader.pop_dirty_dates() == {("sales_fact", "2024-03-02")}


@pytest.mark.parametrize("last", ["2024-03-01", "2024-03-03"])
def test_short_window_is_split_among_connections(
    loader: Loader, order: Insert, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    for number in range(60):
        order(f"O{number}", f"2024-03-0{number % 3 + 1}")
    original = postgres_reader._rows
    shares: list[int] = []

    def counted(connection: psycopg.Connection, query: Any) -> Iterator[bytes]:
        shares.append(0)
        for block in original(connection, query):
            shares.append(len(block))
            yield block

    monkeypatch.setattr(postgres_reader, "_rows", counted)
    result = loader.load(replace(SOURCES["sales_fact"], parallel_reads=3), "2024-03-01", last)
    assert result.rows_loaded == loader.value("select count(*) from raw.sales_fact")
    assert result.rows_loaded == (20 if last == "2024-03-01" else 60)
    # Three connections, and something by each.
    assert (shares.count(0), sum(share > 0 for share in shares)) == (3, 3)


@pytest.mark.parametrize("name", ["sales_fact", "customer"])
@pytest.mark.parametrize("connections", [2, 3])
def test_parallel_connections_read_one_snapshot(
    loader: Loader, shop: psycopg.Connection, order: Insert, insert: Insert, shop_dsn: str, name: str, connections: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """While it is read, an order moves from the first to the last day, and a customer comes: neither is seen."""
    for number in range(300):
        order(f"O{number}", f"2024-03-0{number % 3 + 1}")
        insert("customer", customer_id=f"C{number}", customer_name="x" * 1000)
    original = postgres_reader._rows
    is_changed = threading.Lock()

    def change_first(connection: psycopg.Connection, query: Any) -> Any:
        with is_changed:
            if shop.execute("select count(*) from customer").fetchone() == (300,):
                shop.execute("update sales_fact set created_at = '2024-03-03 23:00', order_date = '2024-03-03'")
                shop.execute("insert into customer (customer_id) values ('new')")
        return original(connection, query)

    monkeypatch.setattr(postgres_reader, "_rows", change_first)
    source: Source = replace(SOURCES[name], parallel_reads=connections)
    assert loader.load(source, *DAYS).rows_loaded == 300
    if name == "sales_fact":
        assert loader.value("select count(distinct created_at::date) from raw.sales_fact") == 3


def test_lost_parallel_connection_fails_read(
    loader: Loader, shop: psycopg.Connection, insert: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        insert("customer", customer_id=f"C{number}")
    original = postgres_reader._rows
    calls: list[int] = []

    def lose_the_second(connection: psycopg.Connection, query: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            shop.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
        return original(connection, query)

    monkeypatch.setattr(postgres_reader, "_rows", lose_the_second)
    with pytest.raises(SourceError, match=r"terminating connection|server closed the connection"):
        loader.load(replace(SOURCES["customer"], parallel_reads=3), "2024-03-01")
    assert loader.value("select count(*) from raw.customer") == 0
    assert threading.active_count() < 10
