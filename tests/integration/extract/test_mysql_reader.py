"""A shop in MariaDB, loaded by the real loader: every type is right in raw or rejected with its reason."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecommerce.common.days import midnight
from ecommerce.common.errors import SchemaDrift, ShopError, SourceError
from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import SOURCES, Kind, Source
from ecommerce.common.windows import Window
from ecommerce.extract import mysql_columns, mysql_connection
from ecommerce.extract.mysql_reader import MySQLReader
from ecommerce.load import read_ahead, strategies
from ecommerce.load.result import LoadResult
from ecommerce.load.shop_check import check_shop
from tests.integration.extract.conftest import CONN_ID
from tests.integration.support import Loader, set_shop
from tests.mariadb_server import MariaDB

pytestmark = pytest.mark.slow

DAY, NEXT_DAY = "2024-03-01", "2024-03-02"

#: Column → its type in the shop's table, where a test does not need another.
COLUMNS = {
    "order_id": "varchar(64) not null",
    "line_number": "int unsigned",
    "product_id": "varchar(64) not null",
    "customer_id": "varchar(64)",
    "order_date": "date not null",
    "order_amount": "decimal(18,2) not null",
    "order_quantity": "int",
    "payment_method": "varchar(2000)",
    "discount_applied": "decimal(5,4)",
    "shipping_cost": "decimal(18,2)",
    "tax_amount": "decimal(18,4)",
    "order_status": "enum('paid', 'Cancelled')",
    "created_at": "datetime(6)",
}
ORDER = {
    "order_id": "O1", "line_number": 1, "product_id": "P1", "customer_id": "C1", "order_date": DAY,
    "order_amount": "10.50", "created_at": f"{DAY} 12:00:00",
}  # fmt: skip


@dataclass
class Shop:
    """The shop's database, and the loads from it."""

    connection: pymysql.Connection
    loader: Loader

    def execute(self, statement: str, values: Any = None) -> tuple:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)
            return tuple(cursor.fetchall())

    def create(self, **types: str | None) -> None:
        """Create `sales_fact`, with other types of some columns; None: without the column."""
        columns = {**COLUMNS, **types}
        definition = ", ".join(f"`{name}` {kind}" for name, kind in columns.items() if kind)
        self.execute(f"create table sales_fact ({definition}, key (created_at)) character set utf8mb4")

    def insert(self, table: str = "sales_fact", **values: Any) -> None:
        row = values if table != "sales_fact" else {**ORDER, **values}
        row = {name: value for name, value in row.items() if value is not None}
        columns, places = ", ".join(f"`{name}`" for name in row), ", ".join(["%s"] * len(row))
        self.execute(f"insert into {table} ({columns}) values ({places})", list(row.values()))

    def reader(self, source: Source, first: str, last: str | None = None, **location: Any) -> MySQLReader:
        place = SourceLocation(source=source.name, connection=CONN_ID, **(location or {"table": source.name}))
        window = Window.of_days(date.fromisoformat(first), date.fromisoformat(last or first))
        return MySQLReader(source, place, window)

    def load(
        self,
        source: str = "sales_fact",
        first: str = DAY,
        last: str | None = None,
        location: dict[str, Any] | None = None,
        **changes: Any,
    ) -> LoadResult:
        entry = replace(SOURCES[source], **changes)
        reader = self.reader(entry, first, last, **(location or {}))
        return self.loader.load(entry, first, last, reader=reader)

    def raw(self, columns: str = "order_id, line_number", source: str = "sales_fact") -> list[tuple]:
        return self.loader.rows(f"select {columns} from raw.{source} order by {', '.join(SOURCES[source].key)}")

    def reasons(self) -> list[str]:
        return [reason for (reason,) in self.loader.rows("select reason from ops.quarantine order by quarantine_id")]

    def dirty_dates(self) -> set[str]:
        return {day for _, day in self.loader.pop_dirty_dates()}


@pytest.fixture
def mysql_shop(shop_in_mysql: pymysql.Connection, loader: Loader) -> Shop:
    return Shop(shop_in_mysql, loader)


def test_first_load_stores_each_value_exactly(mysql_shop: Shop) -> None:
    mysql_shop.create()
    mysql_shop.insert(
        order_quantity=3, payment_method='pay "pal", Zürich 😀\\', discount_applied="0.2500", shipping_cost="4.90",
        tax_amount="1.2345", order_status="Cancelled", created_at=f"{DAY} 23:59:59.120000",
    )  # fmt: skip
    mysql_shop.insert(order_id="O2", line_number=None, customer_id=None, created_at=f"{NEXT_DAY} 00:00:00")
    mysql_shop.insert(order_id="later", created_at="2024-03-03 00:00:00")
    result = mysql_shop.load(last=NEXT_DAY)
    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (2, 2, 0)
    columns = ", ".join(f"{name}::text" for name in COLUMNS)
    assert mysql_shop.raw(columns) == [
        ("O1", "1", "P1", "C1", DAY, "10.50", "3", 'pay "pal", Zürich 😀\\', "0.2500", "4.90", "1.2345", "Cancelled",
         f"{DAY} 23:59:59.12"),
        ("O2", "1", "P1", None, DAY, "10.50", None, None, None, None, None, None, f"{NEXT_DAY} 00:00:00"),
    ]  # fmt: skip
    assert mysql_shop.dirty_dates() == {DAY}


def test_first_load_into_empty_raw_is_in_bulk(mysql_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "BULK_ROWS", 1)
    mysql_shop.create()
    for n in range(3):
        mysql_shop.insert(order_id=f"O{n}")
    assert mysql_shop.load().rows_loaded == 3
    assert mysql_shop.raw("order_id, _batch_id > 0 and _loaded_at is not null") == [
        ("O0", True), ("O1", True), ("O2", True)
    ]  # fmt: skip


def test_unchanged_days_are_not_read_again(mysql_shop: Shop) -> None:
    mysql_shop.create(
        discount_applied="double", tax_amount="float", order_status="set('a', 'b')", created_at="timestamp(3) null"
    )
    mysql_shop.insert(payment_method='"quoted", é\n', discount_applied=0.1, tax_amount=2.25, order_status="a,b")
    mysql_shop.insert(order_id="O2", line_number=None, created_at=f"{NEXT_DAY} 08:00:00.250")
    mysql_shop.load(last=NEXT_DAY)
    held = mysql_shop.raw("*")
    mysql_shop.dirty_dates()
    result = mysql_shop.load(last=NEXT_DAY)
    assert (result.rows_read, result.rows_unchanged, result.bytes_read) == (2, 2, 0)
    assert mysql_shop.raw("*") == held
    assert mysql_shop.dirty_dates() == set()


@pytest.mark.parametrize("created_at", ["datetime", "timestamp null", "datetime(6)"])
def test_undated_rows_are_quarantined(mysql_shop: Shop, created_at: str) -> None:
    mysql_shop.create(created_at=created_at)
    mysql_shop.insert()
    mysql_shop.execute("set sql_mode = ''")
    mysql_shop.execute(
        "insert into sales_fact (order_id, product_id, order_date, order_amount, created_at) values"
        f" ('O2', 'P', '{DAY}', 1, null), ('O3', 'P', '{DAY}', 1, '0000-00-00')"
    )
    mysql_shop.execute("set sql_mode = default")
    zero = "created_at is not a timestamp such as 2024-01-31 23:59:59: 0000-00-00 00:00:00"
    expected = ["created_at is missing", zero]
    first = mysql_shop.load()
    assert (first.rows_read, first.rows_loaded, first.rows_quarantined) == (3, 1, 2)
    assert mysql_shop.reasons() == expected
    again = mysql_shop.load(last=NEXT_DAY)
    assert (again.rows_unchanged, again.rows_quarantined) == (3, 0)
    assert mysql_shop.reasons() == expected


@pytest.mark.parametrize("ahead", [0, 100_000, read_ahead.AHEAD])
def test_rejected_rows_are_all_stored_however_many_are_read_ahead(
    mysql_shop: Shop, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """Also those of no window. A question between two rows of an answer would lose the other rows."""
    monkeypatch.setattr(strategies, "BULK_ROWS", 10)
    monkeypatch.setattr(read_ahead, "AHEAD", ahead)
    mysql_shop.create()
    mysql_shop.execute(
        "insert into sales_fact (order_id, product_id, order_date, order_amount, payment_method, created_at)"
        f" select seq, 'P1', '{DAY}', if(seq % 3 = 0, 1, -1), repeat('x', 100),"
        f" if(seq % 1000 = 0, null, '{DAY}') from seq_1_to_3000"
    )
    result = mysql_shop.load(max_rejected_share=1.0)
    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (3000, 999, 2001)
    assert mysql_shop.loader.value("select count(distinct payload ->> 'order_id') from ops.quarantine") == 2001
    assert mysql_shop.load(max_rejected_share=1.0).rows_unchanged == 3000


def test_question_between_the_rows_of_an_answer_is_an_error(mysql_shop: Shop) -> None:
    mysql_shop.create()
    # More rows than are taken from the driver at a time.
    mysql_shop.execute(
        "insert into sales_fact (order_id, product_id, order_date, order_amount, created_at)"
        f" select seq, 'P1', '{DAY}', -1, '{DAY}' from seq_1_to_2000"
    )
    reader = mysql_shop.reader(SOURCES["sales_fact"], DAY)
    with reader.snapshot():
        rows = reader.suspect(None)
        next(rows)
        for ask in (reader.rows_by_day, lambda: list(reader.undated())):
            with pytest.raises(RuntimeError, match="has not read the result of its last statement"):
                ask()
        assert len(list(rows)) == 1999
        assert list(reader.undated()) == []


@pytest.mark.parametrize("zones", [("UTC", "UTC"), ("Europe/Berlin", "America/New_York")])
@pytest.mark.parametrize("place", ["table", "template", "template that chooses the window"])
def test_moved_order_stays_with_its_new_time(
    mysql_shop: Shop,
    set_time_zone: Callable[..., None],
    tmp_path: Path,
    zones: tuple[str, str],
    place: str,
) -> None:
    """In a month with another offset from UTC."""
    set_time_zone(*zones)
    mysql_shop.create()
    mysql_shop.insert()
    mysql_shop.insert(order_id="it's\\", line_number=None)
    mysql_shop.insert(order_id="gone")
    location: dict[str, Any] = {}
    if place != "table":
        condition = "" if place == "template" else " where created_at >= %(start_at)s and created_at < %(end_at)s"
        (tmp_path / "orders.sql").write_text(f"select * from sales_fact{condition}")
        location = {"template": tmp_path / "orders.sql"}
    mysql_shop.load(location=location)
    mysql_shop.execute("delete from sales_fact where order_id = 'gone'")
    mysql_shop.execute("update sales_fact set created_at = '2023-07-01 12:00:00'")
    # A row that the shop has under another spelling of a key is another row.
    mysql_shop.insert(order_id="GONE", created_at="2023-07-01 12:00:00")
    result = mysql_shop.load(location=location)
    assert (result.rows_read, result.rows_loaded, result.rows_removed) == (2, 2, 3)
    moved = "2023-07-01 12:00:00" if zones[1] == "UTC" else "2023-07-01 16:00:00"
    assert mysql_shop.raw("order_id, line_number, created_at::text") == [
        ("O1", 1, moved), ("it's\\", 1, moved),
    ]  # fmt: skip
    again = mysql_shop.load(first="2023-07-01", location=location)
    assert (again.rows_read, again.rows_loaded, again.rows_removed) == (3, 1, 0)


def test_changed_new_and_vanished_rows_are_loaded(mysql_shop: Shop) -> None:
    mysql_shop.create(order_amount="decimal(20,4) not null")
    for n, day in enumerate([DAY, DAY, DAY, NEXT_DAY]):
        mysql_shop.insert(order_id=f"O{n}", order_date=day, created_at=f"{day} 10:00")
    mysql_shop.load(last=NEXT_DAY)
    mysql_shop.dirty_dates()
    mysql_shop.execute("update sales_fact set order_amount = 10.5001 where order_id = 'O0'")
    mysql_shop.execute("delete from sales_fact where order_id = 'O1'")
    mysql_shop.insert(order_id="O4")
    result = mysql_shop.load(last=NEXT_DAY)
    assert (result.rows_read, result.rows_loaded, result.rows_removed) == (4, 2, 2)
    assert mysql_shop.raw("order_id, order_amount::text") == [
        ("O0", "10.5001"), ("O2", "10.5000"), ("O3", "10.5000"), ("O4", "10.5000")
    ]  # fmt: skip
    assert mysql_shop.dirty_dates() == {DAY}


@pytest.mark.parametrize(
    ("column", "before", "after"),
    [
        ("payment_method", "card", "CARD"),
        ("payment_method", "card", "cärd"),
        ("payment_method", "", None),
        ("payment_method", 'a","b', "a"),
        ("customer_id", "a", None),
        ("order_quantity", 0, None),
        ("shipping_cost", "1.00", None),
        ("created_at", f"{DAY} 10:00:00.1", f"{DAY} 10:00:00.11"),
    ],
)
def test_smallest_change_is_noticed(mysql_shop: Shop, column: str, before: Any, after: Any) -> None:
    mysql_shop.create()
    mysql_shop.insert(**{column: before})
    mysql_shop.load()
    mysql_shop.execute(f"update sales_fact set {column} = %s", [after])
    assert mysql_shop.load().rows_loaded == 1
    ((stored,),) = mysql_shop.raw(f"{column}::text")
    assert stored == (None if after is None else str(after))


@pytest.mark.parametrize(
    ("column", "kind", "value", "stored"),
    [
        ("order_amount", "decimal(30,12) not null", "12345678901234.123456789012", "12345678901234.123456789012"),
        ("order_amount", "double not null", "0.1", "0.1"),
        ("order_amount", "double not null", "1234567.0000000002", "1234567.0000000002"),
        ("order_amount", "float not null", "0.1", "0.1"),
        ("order_amount", "float not null", "12345.67", "12345.67"),
        ("order_amount", "float not null", "16777216", "16777216"),
        ("order_amount", "float(10,2) not null", "12345.67", "12345.67"),
        ("order_amount", "bigint unsigned not null", "42", "42"),
        ("order_amount", "decimal(8,2) unsigned zerofill not null", "12.5", "12.50"),
        ("line_number", "int(5) zerofill", "7", "7"),
        ("line_number", "tinyint(1)", "2", "2"),
        ("order_quantity", "mediumint unsigned", "16777215", "16777215"),
        ("payment_method", "char(10)", "card ", "card"),
        ("payment_method", "longtext", "x" * 1000, "x" * 1000),
        ("payment_method", "set('a', 'b', 'c')", "a,c", "a,c"),
        ("payment_method", "varchar(20) character set latin1", "Zürich €", "Zürich €"),
        ("payment_method", "varchar(20) character set utf8mb3", "Größe 한글", "Größe 한글"),
        ("payment_method", "varchar(20) character set utf16", "Größe 😀", "Größe 😀"),
        ("payment_method", "varbinary(20)", "Größe".encode(), "Größe"),
        ("payment_method", "blob", "línea\n2".encode(), "línea\n2"),
        ("payment_method", "json", '{"by": "card\\n"}', '{"by": "card\\n"}'),
        ("payment_method", "varchar(20) collate utf8mb4_bin", "\\N", "\\N"),
        ("payment_method", "varchar(20)", "", ""),
        ("payment_method", "varchar(20)", "\\.\n\\.\r\n,", "\\.\n\\.\r\n,"),
        ("payment_method", "varchar(20)", " blank at both ends\u3000", " blank at both ends\u3000"),
        ("order_id", "varchar(20) not null", "  O7 ", "O7"),
        ("order_date", "datetime not null", f"{DAY} 23:59:59", DAY),
        ("order_date", "timestamp(6) null", f"{DAY} 00:00:00.000001", DAY),
        ("created_at", "date", DAY, f"{DAY} 00:00:00"),
        ("created_at", "datetime", f"{DAY} 01:02:03", f"{DAY} 01:02:03"),
        ("created_at", "datetime(6)", f"{DAY} 01:02:03.000001", f"{DAY} 01:02:03.000001"),
        ("created_at", "timestamp null", f"{DAY} 00:00:00", f"{DAY} 00:00:00"),
        ("created_at", "timestamp(6) null", f"{DAY} 23:59:59.999999", f"{DAY} 23:59:59.999999"),
    ],
)
def test_value_of_each_type_is_stored_exactly(
    mysql_shop: Shop, column: str, kind: str, value: Any, stored: str
) -> None:
    mysql_shop.create(**{column: kind})
    mysql_shop.insert(**{column: value})
    assert mysql_shop.load().rows_quarantined == 0, mysql_shop.reasons()
    assert mysql_shop.raw(f"{column}::text") == [(stored,)]
    # And once more, when its day can be compared.
    mysql_shop.load()
    assert mysql_shop.raw(f"{column}::text") == [(stored,)]


@pytest.mark.parametrize(
    ("column", "kind", "value", "reason"),
    [
        ("order_date", "date not null", "0000-00-00", "order_date is not a date such as 2024-01-31: 0000-00-00"),
        ("order_date", "date not null", "2024-00-00", "order_date is not a date such as 2024-01-31: 2024-00-00"),
        ("order_date", "date not null", "2024-02-31", "order_date is not a date such as 2024-01-31: 2024-02-31"),
        ("order_date", "datetime not null", "2070-01-01 00:00:00", "order_date is outside the calendar 1970"),
        ("order_date", "datetime", "0000-00-00 00:00:00", "order_date is not a date such as 2024-01-31: 00"),
        ("order_date", "date not null", "2070-01-01", "order_date is outside the calendar 1970-01-01 to 2069-12-31: "),
        ("order_amount", "decimal(30,2) not null", "10000000000000000", "order_amount is not an amount of money"),
        ("order_amount", "decimal(30,2) not null", "-1", "order_amount is negative: -1.00"),
        ("order_amount", "float not null", "-1.5", "order_amount is negative: -1.5"),
        ("order_amount", "decimal(30,2)", None, "order_amount is missing"),
        ("order_quantity", "bigint unsigned", "18446744073709551615", "order_quantity is outside -2,147,483,648 to 2"),
        ("discount_applied", "double", "1.5", "discount_applied is outside 0 to 1: 1.5"),
        ("payment_method", "varchar(2000)", "é" * 501, "payment_method is longer than 1,000 bytes: é"),
        ("payment_method", "varchar(20)", "a\0b", r"payment_method has a NUL, which Postgres cannot store: a\x00b"),
        ("payment_method", "blob", b"\xffabc", r"payment_method has bytes that are not UTF-8: \xffabc"),
        ("payment_method", "varbinary(20)", b"\xed\xa0\x80", r"payment_method has bytes that are not UTF-8: \xed"),
        ("order_id", "varchar(20) not null", "   ", "order_id is missing"),
        ("order_id", "varchar(20) not null", "", "order_id is missing"),
        ("created_at", "datetime", "2024-03-00 10:00:00", "created_at is not a timestamp such as 2024-01-31"),
        ("created_at", "date", "2024-03-00", "created_at is not a timestamp such as 2024-01-31"),
    ],
)  # fmt: skip
def test_value_that_raw_cannot_store_is_rejected_with_reason(
    mysql_shop: Shop, column: str, kind: str, value: Any, reason: str
) -> None:
    mysql_shop.execute("set sql_mode = 'ALLOW_INVALID_DATES'")
    mysql_shop.create(**{column: kind})
    mysql_shop.insert(order_id="good")
    row = {**ORDER, column: value}
    columns = ", ".join(row)
    values = ", ".join(["%s"] * len(row))
    mysql_shop.execute(f"insert into sales_fact ({columns}) values ({values})", list(row.values()))
    for rejected in (1, 0):
        result = mysql_shop.load(first="2024-02-28", last=DAY)
        # A row that is rejected again is already in the quarantine.
        assert (result.rows_read, result.rows_quarantined) == (2, rejected)
        (found,) = mysql_shop.reasons()
        assert found.startswith(reason)
        assert mysql_shop.raw("order_id, line_number") == [("good", 1)]


def test_rejected_bytes_are_kept_readable(mysql_shop: Shop) -> None:
    mysql_shop.create(payment_method="blob")
    mysql_shop.insert(payment_method=b"\xffabc")
    mysql_shop.load()
    payload = mysql_shop.loader.value("select payload from ops.quarantine")
    assert payload["payment_method"] == {"base64": "/2FiYw=="}
    assert payload["order_id"] == "O1"


def test_zero_date_in_nullable_column_is_rejected_and_not_null(mysql_shop: Shop) -> None:
    mysql_shop.execute("set sql_mode = ''")
    mysql_shop.execute("create table customer (customer_id varchar(9), start_date date, End_Date date null)")
    mysql_shop.execute("insert into customer values ('C1', '2024-01-01', '0000-00-00'), ('C2', null, null)")
    mysql_shop.load("customer")
    assert mysql_shop.raw("customer_id, end_date", "customer") == [("C2", None)]
    assert mysql_shop.reasons() == ["end_date is not a date such as 2024-01-31: 0000-00-00"]


@pytest.mark.parametrize("kind", ["tinyint(1)", "bit(1)", "boolean"])
def test_boolean_is_read_from_each_of_its_types(mysql_shop: Shop, kind: str) -> None:
    mysql_shop.execute(
        f"""
        create table product_category (
            product_id varchar(9), category_id varchar(9), category_name varchar(9), discontinued {kind}
        )
        """
    )
    mysql_shop.execute(
        "insert into product_category values ('P1', 'a', 'A', 0), ('P2', 'a', 'A', 1), ('P3', 'a', 'A', null)"
    )
    mysql_shop.load("product_category")
    assert mysql_shop.raw("product_id, discontinued", "product_category") == [("P1", False), ("P2", True), ("P3", None)]


def test_number_that_is_no_boolean_is_rejected(mysql_shop: Shop) -> None:
    mysql_shop.execute(
        """
        create table product_category (
            product_id varchar(9), category_id varchar(9), category_name varchar(9), discontinued tinyint(1)
        )
        """
    )
    mysql_shop.execute("insert into product_category values ('P1', 'a', 'A', 2), ('P2', 'a', 'A', 1)")
    mysql_shop.load("product_category")
    assert mysql_shop.reasons() == ["discontinued is neither true nor false: 2"]


@pytest.mark.parametrize(
    ("column", "kind", "says"),
    [
        ("order_date", "year", "column order_date is year and no longer date"),
        ("order_date", "varchar(10)", "column order_date is varchar and no longer date"),
        ("created_at", "varchar(19)", "column created_at is varchar and no longer timestamp"),
        ("order_quantity", "time", "column order_quantity is time and no longer integer"),
        ("order_quantity", "bit(8)", "column order_quantity is bit(8) and no longer integer"),
        ("order_quantity", "decimal(9,0)", "column order_quantity is decimal and no longer integer"),
        ("order_amount", "varbinary(9)", "column order_amount is varbinary and no longer numeric"),
        ("order_amount", "year", "column order_amount is year and no longer numeric"),
        ("customer_id", "int", "column customer_id is int and no longer text"),
        ("customer_id", "point", "column customer_id is geometry and no longer text"),
        ("order_id", None, "column order_id (text) is missing"),
        ("created_at", None, "column created_at (timestamp) is missing"),
    ],
)
def test_wrong_type_or_missing_column_fails_before_raw_changes(
    mysql_shop: Shop, column: str, kind: str | None, says: str
) -> None:
    mysql_shop.create()
    mysql_shop.insert()
    mysql_shop.load()
    held = mysql_shop.raw("*")
    mysql_shop.execute("drop table sales_fact")
    types = {**COLUMNS, column: kind}
    mysql_shop.execute(
        f"create table sales_fact ({', '.join(f'{name} {kind}' for name, kind in types.items() if kind)})"
    )
    with pytest.raises(SchemaDrift) as caught:
        mysql_shop.load()
    assert says in str(caught.value)
    assert mysql_shop.raw("*") == held


def test_columns_that_are_not_required_may_be_missing(mysql_shop: Shop) -> None:
    mysql_shop.create(
        line_number=None, customer_id=None, order_quantity=None, payment_method=None, discount_applied=None,
        shipping_cost=None, tax_amount=None, order_status=None,
    )  # fmt: skip
    row = {name: ORDER[name] for name in ("order_id", "product_id", "order_date", "order_amount", "created_at")}
    mysql_shop.execute(f"insert into sales_fact ({', '.join(row)}) values (%s, %s, %s, %s, %s)", list(row.values()))
    for _ in range(2):
        assert mysql_shop.load().rows_read == 1
        assert mysql_shop.raw("order_id, line_number, customer_id, tax_amount") == [("O1", 1, None, None)]


def test_view_generated_columns_and_other_letter_case_are_read(mysql_shop: Shop) -> None:
    mysql_shop.execute(
        """
        create table orders (
            Id int, Day date, Net decimal(9,2), created_at datetime,
            ORDER_ID varchar(20) as (concat('ORD', Id)) stored,
            Order_Amount decimal(9,2) as (Net * 1.19) virtual
        )
        """
    )
    mysql_shop.execute(f"insert into orders (Id, Day, Net, created_at) values (7, '{DAY}', 100, '{DAY}')")
    mysql_shop.execute(
        """
        create view `Sales Fact` as
        select ORDER_ID, 'P1' as `Product_ID`, Day as ORDER_DATE, Order_Amount, created_at as CREATED_AT
        from orders
        """
    )
    mysql_shop.load(location={"table": "Sales Fact"})
    assert mysql_shop.raw("order_id, product_id, order_amount::text") == [("ORD7", "P1", "119.00")]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Havana"])
def test_day_where_a_time_is_expected_is_the_shops_midnight(
    mysql_shop: Shop, set_time_zone: Callable[..., None], zone: str
) -> None:
    """In Havana clocks skip midnight of the second day, and strike that of the fourth twice."""
    set_time_zone(zone, "Asia/Kolkata")
    mysql_shop.create(created_at="date")
    days = ["2024-03-09", "2024-03-10", "2024-11-02", "2024-11-03", "2024-11-04"]
    for day in days:
        mysql_shop.insert(order_id=day, order_date=day, created_at=day)
    mysql_shop.insert(order_id="bad", order_amount="-1", created_at=days[1])
    for day in days:
        result = mysql_shop.load(first=day, lookback_days=0)
        assert (result.rows_loaded, result.rows_quarantined) == (1, day == days[1])
    expected = {day: midnight(date.fromisoformat(day)).replace(tzinfo=None) for day in days}
    assert dict(mysql_shop.raw("order_id, created_at")) == expected
    held = mysql_shop.raw("*")
    result = mysql_shop.load(first=days[0], last=days[-1])
    assert (result.rows_read, result.rows_unchanged) == (6, 6)
    assert mysql_shop.raw("*") == held
    mysql_shop.execute("update sales_fact set created_at = '2024-11-04' where order_id = '2024-11-03'")
    assert mysql_shop.load(first=days[0], last=days[-1]).rows_loaded == 1
    assert dict(mysql_shop.raw("order_id, created_at")) == expected | {"2024-11-03": expected["2024-11-04"]}


def test_two_rows_of_one_key_leave_the_latest(mysql_shop: Shop) -> None:
    mysql_shop.create()
    mysql_shop.insert(order_amount="1.00")
    mysql_shop.insert(order_amount="2.00", created_at=f"{DAY} 13:00")
    for rejected in (1, 0):
        result = mysql_shop.load()
        assert (result.rows_read, result.rows_quarantined) == (2, rejected)
        assert mysql_shop.raw("order_id, order_amount::text") == [("O1", "2.00")]
    (reason,) = mysql_shop.reasons()
    assert reason.startswith("order_id, line_number came more than once; another row with this key was taken")


def test_version_log_follows_changes_and_deletions(mysql_shop: Shop) -> None:
    mysql_shop.execute("create table product (product_id varchar(9) primary key, product_name varchar(50))")
    mysql_shop.execute("insert into product values ('P1', 'Cup '), ('P2', 'Pot'), ('P3', 'Jar')")
    mysql_shop.load("product")
    mysql_shop.execute("update product set product_name = 'pot' where product_id = 'P2'")
    mysql_shop.execute("delete from product where product_id = 'P3'")
    result = mysql_shop.load("product")
    assert (result.rows_read, result.rows_loaded, result.rows_removed) == (2, 1, 1)
    assert mysql_shop.loader.rows(
        "select product_id, product_name, _is_deleted from raw.product order by product_id, _batch_id"
    ) == [("P1", "Cup ", False), ("P2", "Pot", False), ("P2", "pot", False), ("P3", "Jar", False), ("P3", None, True)]


TEMPLATE = """
select
    concat('ORD', orders.id) as order_id,
    items.position as line_number,
    items.sku as product_id,
    null as customer_id,
    date(orders.created) as order_date,
    items.price * items.quantity as order_amount,
    orders.created as created_at -- "it's" 100 %
from orders
inner join items
    on items.order_id = orders.id
where orders.state <> "draft"{bounds}
-- the end"""


@pytest.fixture
def orders_with_items(mysql_shop: Shop) -> Shop:
    mysql_shop.execute("create table orders (id int primary key, created datetime, state varchar(9), key (created))")
    mysql_shop.execute(
        "create table items (order_id int, position smallint, sku varchar(9), price decimal(9,2), quantity int)"
    )
    mysql_shop.execute(
        f"insert into orders values (1, '{DAY} 08:00', 'paid'), (2, '{NEXT_DAY} 08:00', 'paid'), (3, '{DAY}', 'draft')"
    )
    mysql_shop.execute(
        "insert into items values (1, 1, 'A', 2.50, 2), (1, 2, 'B', 1, 1), (2, 1, 'A', 2.5, 1), (3, 1, 'A', 1, 1)"
    )
    return mysql_shop


@pytest.mark.parametrize(
    "bounds", ["", "\n    and orders.created >= %(start)s and orders.created < %(end)s"], ids=["plain", "bound"]
)
def test_template_gives_the_rows_of_the_window(orders_with_items: Shop, tmp_path: Path, bounds: str) -> None:
    shop = orders_with_items
    path = tmp_path / "sales_fact.sql"
    path.write_text(TEMPLATE.format(bounds=bounds))
    expected = [("ORD1", 1, "5.00", None), ("ORD1", 2, "1.00", None)]
    for _ in range(2):
        assert shop.load(location={"template": path}).rows_read == 2
        assert shop.raw("order_id, line_number, order_amount::text, customer_id") == expected
    shop.execute("update items set quantity = 9 where order_id = 2")
    assert shop.load(last=NEXT_DAY, location={"template": path}).rows_loaded == 1
    assert shop.raw("order_id, line_number, order_amount::text, customer_id")[2:] == [("ORD2", 1, "22.50", None)]
    shop.execute("update items set quantity = 3 where order_id = 2")
    result = shop.load(last=NEXT_DAY, location={"template": path})
    assert (result.rows_read, result.rows_loaded) == (3, 1)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (
            ("orders.id) as", "7) as"),
            ShopError,
            "gives more than one row for order_id ORD7, line_number 1; let it give",
        ),
        (("items.sku as", "items.skew as"), ShopError, "MySQL does not accept the template "),
        (
            ("    orders.created as", "    orders.created + interval 1 year as"),
            ShopError,
            "was asked for 2024-03-01 to ",
        ),
        (("    items.sku as product_id,\n", ""), SchemaDrift, "column product_id (text) is missing"),
    ],
    ids=["repeated key", "unknown column", "outside", "missing column"],
)
def test_wrong_template_fails_with_what_to_correct(
    orders_with_items: Shop, tmp_path: Path, change: tuple[str, str], error: type[Exception], says: str
) -> None:
    path = tmp_path / "sales_fact.sql"
    bounds = "\n    and orders.created >= %(start)s and orders.created < %(end)s"
    path.write_text(TEMPLATE.format(bounds=bounds).replace(*change))
    with pytest.raises(error) as caught:
        orders_with_items.load(last=NEXT_DAY, location={"template": path})
    assert says in str(caught.value)
    assert orders_with_items.raw() == []


@pytest.mark.parametrize("blank", ["''", "'  '", "null"])
def test_rows_of_a_template_without_a_key_are_quarantined(orders_with_items: Shop, tmp_path: Path, blank: str) -> None:
    """They repeat no key, however many they are."""
    orders_with_items.execute("update items set position = 1")
    path = tmp_path / "sales_fact.sql"
    path.write_text(TEMPLATE.format(bounds="").replace("concat('ORD', orders.id)", f"if(orders.id = 1, {blank}, 'O')"))
    result = orders_with_items.load(last=NEXT_DAY, location={"template": path})
    assert (result.rows_loaded, result.rows_quarantined) == (1, 2)
    assert orders_with_items.reasons() == ["order_id is missing"] * 2
    assert orders_with_items.raw() == [("O", 1)]


def test_template_may_give_a_day_where_a_time_is_expected(
    orders_with_items: Shop, tmp_path: Path, set_time_zone: Callable[..., None]
) -> None:
    set_time_zone("Europe/Berlin")
    path = tmp_path / "sales_fact.sql"
    path.write_text(
        TEMPLATE.format(bounds="\n    and orders.created >= %(start)s and orders.created < %(end)s").replace(
            "orders.created as created_at", "date(orders.created) as created_at"
        )
    )
    for day, loaded in ((DAY, 2), (NEXT_DAY, 1)):
        assert orders_with_items.load(first=day, location={"template": path}).rows_loaded == loaded
    assert orders_with_items.raw("order_id, created_at::text") == [
        ("ORD1", "2024-02-29 23:00:00"), ("ORD1", "2024-02-29 23:00:00"), ("ORD2", "2024-03-01 23:00:00")
    ]  # fmt: skip


def test_lock_timeout_while_a_template_is_described_may_be_tried_again(
    orders_with_items: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ShopError would not be retried, and nothing is wrong with the template."""
    shop = orders_with_items
    path = tmp_path / "sales_fact.sql"
    path.write_text(TEMPLATE.format(bounds=""))
    original = mysql_connection.describe

    def impatient(connection: pymysql.Connection, statement: str) -> Any:
        mysql_connection.execute(connection, "set session lock_wait_timeout = 1")
        return original(connection, statement)

    monkeypatch.setattr("ecommerce.extract.mysql_reader.describe", impatient)
    shop.execute("lock tables orders write")
    try:
        with pytest.raises(SourceError, match=r"sales_fact: reading .* failed: Lock wait timeout exceeded"):
            shop.load(location={"template": path})
    finally:
        shop.execute("unlock tables")
    assert shop.load(location={"template": path}).rows_loaded == 2


def test_column_of_a_template_that_begins_with_an_underscore_is_its_own(
    orders_with_items: Shop, tmp_path: Path
) -> None:
    path = tmp_path / "sales_fact.sql"
    path.write_text(TEMPLATE.format(bounds="").replace("null as customer_id", "1 as _raw_id, 2 as extra"))
    assert orders_with_items.load(location={"template": path}).rows_loaded == 2
    assert orders_with_items.loader.rows("select column_name from ops.schema_change") == [("extra",)]


def test_texts_of_different_collations_are_read_together(mysql_shop: Shop, tmp_path: Path) -> None:
    mysql_shop.create(
        order_id="varchar(20) character set ascii not null",
        product_id="varchar(20) collate utf8mb4_bin not null",
        customer_id="varchar(20) character set utf8mb3",
        payment_method="varchar(20) character set latin1",
    )
    mysql_shop.insert(payment_method='"é"', order_status="paid")
    mysql_shop.insert(order_id="O2", product_id=" ", created_at=f"{DAY} 13:00")
    path = tmp_path / "sales_fact.sql"
    # Two collations that a template chooses cannot be compared or joined as they are.
    path.write_text(
        """
        select
            order_id collate ascii_bin as order_id, line_number, product_id collate utf8mb4_unicode_ci as product_id,
            convert(customer_id using utf8mb4) collate utf8mb4_bin as customer_id, order_date, order_amount,
            payment_method, order_status, created_at
        from sales_fact
        """
    )
    for location in ({"table": "sales_fact"}, {"template": path}):
        mysql_shop.loader.empty()
        for read in range(2):
            result = mysql_shop.load(location=location)
            assert (result.rows_read, result.rows_loaded) == (2, 1 - read)
            assert mysql_shop.raw("order_id, product_id, customer_id, payment_method, order_status") == [
                ("O1", "P1", "C1", '"é"', "paid")
            ]
            assert mysql_shop.reasons() == ["product_id is missing"]


@pytest.mark.parametrize("buffer", [2**10, 2**16, 2**20])
def test_lines_of_any_length_come_whole(mysql_shop: Shop, monkeypatch: pytest.MonkeyPatch, buffer: int) -> None:
    monkeypatch.setattr(mysql_connection, "BUFFER", buffer)
    lengths = [*range(4), *range(245, 260), 3_000, *range(65_525, 65_545), 2**20, *[90] * 2_000]
    statement = " union all ".join(f"select repeat('{n % 10}', {length})" for n, length in enumerate(lengths))
    with mysql_connection.mysql(CONN_ID) as connection:
        for _ in range(2):
            lines = list(itertools.chain.from_iterable(mysql_connection.stream_lines(connection, statement, print)))
            assert lines == [str(n % 10).encode() * length for n, length in enumerate(lengths)]


def test_newest_day_is_known(mysql_shop: Shop) -> None:
    mysql_shop.create()
    mysql_shop.insert()
    mysql_shop.insert(order_id="ahead", created_at="2999-01-01")
    reader = mysql_shop.reader(SOURCES["sales_fact"], NEXT_DAY)
    with reader.snapshot():
        assert reader.newest_day() == date(2024, 3, 1)


def test_profile_with_a_connection_to_mysql_is_read_and_checked(
    mysql_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = {name: "absent" for name in SOURCES if name != "sales_fact"}
    set_shop(monkeypatch, **absent, sales_fact={"connection": CONN_ID, "table": "sales_fact"})
    mysql_shop.create()
    mysql_shop.insert(order_status="paid")
    mysql_shop.insert(order_id="O2", order_amount="-1")
    (report,) = check_shop(mysql_shop.loader.connection).sources
    assert report.problem is None
    assert (report.rows, report.checked, report.types["order_amount"]) == (2, 2, "decimal")
    assert [rejection.rows for rejection in report.rejections] == [1]
    assert mysql_shop.loader.load("sales_fact", DAY).rows_loaded == 1


def test_window_uses_the_index_of_its_column(mysql_shop: Shop) -> None:
    mysql_shop.create()
    for n in range(200):
        mysql_shop.insert(order_id=f"O{n}", created_at=f"2024-01-{n % 28 + 1:02} 10:00")
    mysql_shop.insert()
    reader = mysql_shop.reader(SOURCES["sales_fact"], DAY)
    with reader.snapshot():
        (plan,) = mysql_shop.execute(f"explain select * from {reader._rows(None)} where {reader._inside(None)}")
    assert plan[3] == "range"


def test_day_that_is_no_column_is_left_to_raw(mysql_shop: Shop) -> None:
    mysql_shop.create()
    mysql_shop.insert()
    mysql_shop.load(day="order_date + 1")
    assert mysql_shop.dirty_dates() == {NEXT_DAY}


def test_all_reads_see_one_moment(mysql_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    mysql_shop.create()
    mysql_shop.insert()
    original = MySQLReader._find_columns

    def then_another_order(self: MySQLReader) -> Any:
        found = original(self)
        mysql_shop.insert(order_id="too late")
        return found

    monkeypatch.setattr(MySQLReader, "_find_columns", then_another_order)
    assert mysql_shop.load().rows_read == 1
    assert mysql_shop.raw("order_id") == [("O1",)]


@pytest.fixture
def many_orders(mysql_shop: Shop) -> Shop:
    mysql_shop.create()
    mysql_shop.execute(
        f"""
        insert into sales_fact (order_id, line_number, product_id, order_date, order_amount, payment_method, created_at)
        select concat('O', seq), 1, 'P1', '{DAY}', seq, repeat('x', 500), '{DAY} 10:00'
        from seq_1_to_60000
        """
    )
    return mysql_shop


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("kill query", "Query execution was interrupted (error 1317); someone ended the statement (KILL QUERY); run"),
        ("kill connection", "Lost connection to MySQL server during query"),
    ],
)
def test_read_that_is_ended_changes_nothing(
    many_orders: Shop, monkeypatch: pytest.MonkeyPatch, statement: str, says: str
) -> None:
    original = mysql_connection.stream_lines

    def end_after_some_rows(connection: Any, *arguments: Any) -> Iterator[Any]:
        blocks = original(connection, *arguments)
        yield next(blocks)
        many_orders.execute(f"{statement} {connection.thread_id()}")
        yield from blocks

    monkeypatch.setattr("ecommerce.extract.mysql_reader.stream_lines", end_after_some_rows)
    with pytest.raises(SourceError) as caught:
        many_orders.load()
    assert str(caught.value).startswith(
        f"sales_fact: reading {DAY} from the table sales_fact at the connection 'shop_mysql' failed: {says}"
    )
    assert str(caught.value).endswith("run the task again")
    assert many_orders.raw() == []
    monkeypatch.undo()
    assert many_orders.load().rows_loaded == 60_000


def test_server_that_sends_nothing_is_given_up(mysql_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECOMMERCE_ANSWER_TIMEOUT", "0.5")
    mysql_shop.create()
    mysql_shop.insert()
    mysql_shop.execute("create view slow as select * from sales_fact where sleep(5) = 0")
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"timed out\) \(error 2013\)"):
        mysql_shop.load(location={"table": "slow"})
    assert time.monotonic() - started < 4


def test_cancel_ends_the_statement_of_another_thread(mysql_shop: Shop) -> None:
    mysql_shop.create()
    reader = mysql_shop.reader(SOURCES["sales_fact"], DAY)
    failures: list[Exception] = []

    def sleep() -> None:
        try:
            reader._execute("select sleep(20) from (select 1) as one_row")
        except SourceError as error:
            failures.append(error)

    with reader.snapshot():
        thread = threading.Thread(target=sleep)
        thread.start()
        time.sleep(0.3)
        started = time.monotonic()
        reader.cancel()
        thread.join()
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "wrong"}, "Access denied for user 'shop'"),
        ({"schema": "nothing"}, "Unknown database 'nothing' (error 1049); correct the schema of the connection"),
        ({"port": 1}, "Can't connect to MySQL server on '127.0.0.1'"),
        ({"extra": json.dumps({"charset": "latin1"})}, "its extra has the charset latin1; remove it"),
        (
            {"extra": json.dumps({"ssl_mode": "sometimes"})},
            "its extra has the ssl_mode sometimes; there are disabled, ",
        ),
        ({"extra": json.dumps({"ssl_mode": "REQUIRED"})}, "SSL"),
    ],
    ids=["password", "database", "server", "charset", "ssl_mode", "no TLS"],
)
def test_connection_that_fails_is_named(
    mysql_shop: Shop, mariadb: MariaDB, mysql_database: str, monkeypatch: pytest.MonkeyPatch, change: dict, says: str
) -> None:
    account = {**mariadb.airflow_connection(mysql_database), **change}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(account))
    with pytest.raises(SourceError) as caught:
        mysql_shop.load()
    sentence = str(caught.value)
    assert sentence.startswith("cannot connect to MySQL by the connection 'shop_mysql': ")
    assert says in sentence
    assert sentence.endswith("see Admin → Connections → shop_mysql")
    assert "wrong" not in sentence


def test_missing_connection_and_missing_table_are_named(mysql_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        SourceError, match="there is no table sales_fact at the connection 'shop_mysql'; expected one with"
    ):
        mysql_shop.load()
    monkeypatch.delenv(f"AIRFLOW_CONN_{CONN_ID.upper()}")
    with pytest.raises(SourceError, match="there is no connection 'shop_mysql'; add it under Admin → Connections"):
        mysql_shop.load()


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from([*"\\\t\n\r\"',N.{} ", "\u00a0", "\ufeff", "\u200b", "\ud7ff", "\U0001f600"]),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=1, max_size=20))
def test_any_text_comes_through_unchanged(mysql_shop: Shop, texts: list[str]) -> None:
    mysql_shop.loader.empty()
    mysql_shop.execute("drop table if exists sales_fact")
    mysql_shop.create()
    for n, text in enumerate(texts):
        mysql_shop.insert(order_id=f"O{n:02}", payment_method=text)
    mysql_shop.load()
    assert [text for _, text in mysql_shop.raw("order_id, payment_method")] == texts
    result = mysql_shop.load()
    assert (result.rows_unchanged, result.rows_quarantined) == (len(texts), 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # Of a subnormal number MySQL writes more digits than are needed.
    doubles=st.lists(st.floats(0, 2**53, allow_nan=False, allow_subnormal=False), min_size=1, max_size=20),
    floats=st.lists(st.floats(0, 2**53, allow_nan=False, allow_subnormal=False, width=32), min_size=1, max_size=20),
)
def test_any_float_is_its_shortest_exact_decimal(mysql_shop: Shop, doubles: list[float], floats: list[float]) -> None:
    mysql_shop.loader.empty()
    mysql_shop.execute("drop table if exists sales_fact")
    mysql_shop.create(order_amount="double not null", tax_amount="float")
    expected = {}
    for n in range(max(len(doubles), len(floats))):
        double, single = doubles[n % len(doubles)], floats[n % len(floats)]
        mysql_shop.insert(order_id=f"O{n:02}", order_amount=repr(double), tax_amount=repr(single))
        expected[f"O{n:02}"] = (Decimal(repr(double)), Decimal(mysql_columns.shortest_float(repr(single))))
    mysql_shop.load()
    stored = mysql_shop.raw("order_id, order_amount, tax_amount")
    assert {key: (double, single) for key, double, single in stored} == expected


#: A column, its type, and values that a careless comparison would take for each other.
NEIGHBOURS: list[tuple[str, str, list[Any]]] = [
    ("payment_method", "varchar(20)", ["a", "A", "ä", "a ", "a\u00a0", "", None, "NULL", "\\N", '"', "a\0", "\0"]),
    ("payment_method", "varchar(20) character set latin1", ["?", "\u20ac", "\u0081", "A", None]),
    ("payment_method", "blob", [b"a?", b"a\xff", b"a", "a\u00ff".encode(), b"\xed\xa0\x80", b"61FF", b"", None]),
    ("tax_amount", "decimal(20,6)", ["0", "0.1", "-0.1", "1", "9999999999999.5", None]),
    ("tax_amount", "double", ["0", "-0", "0.1", "0.30000000000000004", "1e-7", "1e15", "1e20", None]),
    ("tax_amount", "float", ["0.1", "12345.7", "12345.67", "12345.699219", "16777216", "16777200", None]),
    ("order_quantity", "bigint unsigned", ["0", "1", "2147483647", "2147483648", "18446744073709551615", None]),
    ("order_date", "date", [DAY, NEXT_DAY, "2024-03-00", "0000-00-00", "1969-12-31", None]),
    ("created_at", "datetime(6)", [f"{DAY} 10:00:00", f"{DAY} 10:00:00.1", f"{DAY} 10:00:00.000001", f"{DAY} 01:00"]),
    ("line_number", "int", ["1", "0", "2", "-1", None]),
]


@pytest.mark.parametrize(
    ("column", "kind", "values"), NEIGHBOURS, ids=[f"{column} {kind}" for column, kind, _ in NEIGHBOURS]
)
def test_changed_value_is_loaded_as_if_it_were_the_first(
    mysql_shop: Shop, column: str, kind: str, values: list[Any]
) -> None:
    mysql_shop.execute("set sql_mode = 'ALLOW_INVALID_DATES'")
    mysql_shop.create(**{column: kind})
    mysql_shop.insert(order_id="other")
    mysql_shop.insert()
    outcome = f"order_id, {column}::text"
    fresh = {}
    for value in values:
        mysql_shop.execute(f"update sales_fact set {column} = %s where order_id = 'O1'", [value])
        mysql_shop.loader.empty()
        mysql_shop.load()
        fresh[value] = mysql_shop.raw(outcome)
    for before, after in itertools.pairwise([*values, *reversed(values), *values[::2], *values[1::2]]):
        mysql_shop.execute(f"update sales_fact set {column} = %s where order_id = 'O1'", [after])
        assert mysql_shop.load().rows_read == 2
        assert mysql_shop.raw(outcome) == fresh[after], (before, after)


def test_every_kind_has_tests_for_mysql() -> None:
    assert set(mysql_columns._TESTS) == set(Kind)


@pytest.mark.parametrize(
    ("value", "shortest"),
    [(0.10000000149011612, "0.1"), (16777216.0, "16777216"), (3.4028234663852886e38, "3.4028235e+38"), (0.0, "0")],
)
def test_shortest_text_of_a_float(value: float, shortest: str) -> None:
    assert Decimal(mysql_columns.shortest_float(repr(value))) == Decimal(shortest)
