"""A shop's database in another encoding than UTF-8: the same keys, blanks and limits as in one that is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from include.demo.state import State
from tests.integration.conftest import SHOP_TABLES
from tests.integration.support import ALL_COLUMNS, Loader

DAY = "2024-03-01"
#: Opens an empty shop whose database has this encoding.
OpenShop = Callable[[str], psycopg.Connection]


@pytest.fixture
def open_shop(postgres: State, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenShop]:
    @contextmanager
    def administrator() -> Iterator[psycopg.Connection]:
        with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
            yield connection

    def open_shop(encoding: str) -> psycopg.Connection:
        with administrator() as connection:
            connection.execute(
                sql.SQL(
                    "create database encoded template template0 encoding {} locale_provider libc locale 'C'"
                ).format(sql.Literal(encoding))
            )
        dsn = postgres.dsn("encoded", "postgres")
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_POSTGRES", dsn)
        shop = psycopg.connect(dsn, autocommit=True, client_encoding="UTF8")
        shop.execute(SHOP_TABLES.encode())
        shop.execute(ALL_COLUMNS.encode())
        return shop

    yield open_shop
    with administrator() as connection:
        connection.execute("drop database if exists encoded with (force)")


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "WIN1252", "EUC_JP", "SQL_ASCII"])
def test_blanks_of_keys_are_trimmed_in_each_encoding(loader: Loader, open_shop: OpenShop, encoding: str) -> None:
    blank = "\N{IDEOGRAPHIC SPACE}" if encoding == "EUC_JP" else "\N{NO-BREAK SPACE}"
    with open_shop(encoding) as shop:
        for order, product in (
            (f"O1{blank}", "P1"),
            ("\tO2 ", f"{blank}P2\t"),
            (f" {blank}", "P3"),
            ("O4", f"\r{blank}"),
        ):
            shop.execute(
                "insert into sales_fact (order_id, product_id, customer_id, order_date, order_amount, created_at)"
                " values (%s, %s, 'C1', %s, 10, %s)",
                [order, product, DAY, f"{DAY} 12:00"],
            )
        result = loader.load("sales_fact", DAY)
    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (4, 2, 2)
    assert loader.rows("select order_id, ops.clean_text(product_id) from raw.sales_fact order by 1") == [
        ("O1", "P1"),
        ("O2", "P2"),
    ]
    assert loader.rows("select reason from ops.quarantine order by 1") == [
        ("order_id is missing",),
        ("product_id is missing",),
    ]


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SQL_ASCII"])
def test_length_of_texts_is_that_in_utf8(loader: Loader, open_shop: OpenShop, encoding: str) -> None:
    """As raw stores them: in LATIN1 such a text has half as many bytes."""
    with open_shop(encoding) as shop:
        for length in (500, 501):
            shop.execute("insert into product values (%s, 'Name', null)", ["é" * length])
            shop.execute("insert into product values (%s, %s, null)", [f"N{length}", "é" * length])
        result = loader.load("product", DAY)
    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (4, 2, 2)
    assert loader.rows("select reason from ops.quarantine order by 1") == [
        (f"product_id is longer than 1,000 bytes: {'é' * 80}",),
        (f"product_name is longer than 1,000 bytes: {'é' * 80}",),
    ]
