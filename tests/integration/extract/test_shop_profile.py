"""The tables of `docs/your_shop.md`, loaded by the profile `example`; and the template of the default profile."""

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from ecommerce.common.database_schema import SQL_FOLDER
from ecommerce.common.errors import SchemaDrift, ShopError
from ecommerce.common.migrations import read_migrations
from ecommerce.common.shop import VARIABLE, shop
from tests.integration.support import Loader, acting_as

PAGE = Path(__file__).parents[3] / "docs" / "your_shop.md"
(TABLES,) = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)

ROWS = """
    insert into shop.customers values
        (7, 'Ada', 'ada@example.com', '2024-01-05 23:30:00+00', null),
        (8, 'Bo', null, '2024-01-06 10:00:00+02', '2024-02-01 00:00:00+00');
    insert into shop.products values
        (1, 'Ball', 'Sports', 'Acme', 4, 10, 5, 2, true, '2024-02-01 00:00:00+00'),
        (2, 'Lamp', 'Home', null, null, 30, 0, null, false, '2024-02-02 00:00:00+00');
    insert into shop.orders values
        (100, 7, '2024-03-01 10:00:00+00', 'paid', 'card', 4.90),
        (101, null, '2024-03-01 23:30:00-02', 'paid', 'PayPal', 0),
        (102, 8, '2024-03-01 12:00:00+00', 'cancelled', 'card', null);
    insert into shop.order_items values
        (100, 1, 1, 2, 10, 3.42, 18.00, null, '2024-03-01 10:00:00+00'),
        (100, 2, 2, 1, 0, 5.70, 30.00, null, '2024-03-01 10:00:00+00'),
        (101, 1, 2, 1, 0, null, 30.00, null, '2024-03-01 23:30:00-02'),
        (102, 1, 1, 1, 0, null, 10.00, null, '2024-03-01 12:00:00+00'),
        -- Order 100 gives one ball back.
        (100, 3, 1, -1, 10, -1.71, -9.00, 1, '2024-03-02 09:00:00+00');
    insert into shop.refunds values (1, 100, 2.50, 'late', '2024-03-02 10:00:00+00');
"""


@pytest.fixture
def example(shop_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """The shop of the page, with its profile chosen."""
    monkeypatch.setenv(VARIABLE, "example")
    with psycopg.connect(shop_dsn, autocommit=True) as connection:
        connection.execute(TABLES.encode())
        connection.execute(ROWS.encode())
        yield connection
        connection.execute("drop schema shop cascade")


def test_example_shop_loads_its_orders(loader: Loader, example: psycopg.Connection) -> None:
    result = loader.load("sales_fact", "2024-03-01", "2024-03-02")
    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (4, 4, 0)
    assert loader.rows(
        "select order_id, line_number, product_id, customer_id, order_date, order_amount, order_quantity,"
        " payment_method, discount_applied, shipping_cost, tax_amount, order_status, created_at"
        " from raw.sales_fact order by order_id, line_number"
    ) == [
        ("100", 1, "1", "7", date(2024, 3, 1), Decimal("18.00"), 2, "card", Decimal("0.1"), Decimal("4.90"),
         Decimal("3.42"), "paid", datetime(2024, 3, 1, 10)),
        ("100", 2, "2", "7", date(2024, 3, 1), Decimal("30.00"), 1, "card", 0, None, Decimal("5.70"), "paid",
         datetime(2024, 3, 1, 10)),
        # The order of a guest, on the next day in UTC.
        ("101", 1, "2", None, date(2024, 3, 2), Decimal("30.00"), 1, "PayPal", 0, 0, None, "paid",
         datetime(2024, 3, 2, 1, 30)),
        ("102", 1, "1", "8", date(2024, 3, 1), Decimal("10.00"), 1, "card", 0, None, None, "cancelled",
         datetime(2024, 3, 1, 12)),
    ]  # fmt: skip
    again = loader.load("sales_fact", "2024-03-01", "2024-03-02")
    assert (again.rows_unchanged, again.rows_loaded, again.rows_removed) == (4, 0, 0)


def test_example_shop_loads_returns_as_refunds(loader: Loader, example: psycopg.Connection) -> None:
    assert loader.load("refund", "2024-03-01").rows_loaded == 0
    assert loader.load("refund", "2024-03-02").rows_loaded == 2
    assert loader.rows(
        "select refund_id, order_id, line_number, product_id, customer_id, refund_amount, refund_quantity, reason"
        " from raw.refund order by 1"
    ) == [
        ("refund-1", "100", None, None, None, Decimal("2.50"), None, "late"),
        ("return-100-3", "100", 1, "1", "7", Decimal("9.00"), 1, "returned"),
    ]


def test_changed_row_of_a_template_is_loaded_again(loader: Loader, example: psycopg.Connection) -> None:
    """By fingerprints: only the day that differs is read, and its row is replaced."""
    loader.load("sales_fact", "2024-03-01", "2024-03-02")
    loader.pop_dirty_dates()
    example.execute("update shop.order_items set total = 19 where order_id = 100 and position = 1")
    result = loader.load("sales_fact", "2024-03-01", "2024-03-02")
    assert (result.rows_read, result.rows_loaded, result.rows_unchanged) == (4, 1, 3)
    assert loader.pop_dirty_dates() == {("sales_fact", "2024-03-01")}
    assert loader.value("select order_amount from raw.sales_fact where order_id = '100' and line_number = 1") == 19


def test_example_shop_loads_products_and_customers(loader: Loader, example: psycopg.Connection) -> None:
    for source in ("product", "product_category", "customer"):
        assert loader.load(source, "2024-03-01").rows_loaded == 2
        assert loader.load(source, "2024-03-02").rows_unchanged == 2
    assert loader.rows("select product_id, product_name, product_category_id from raw.product order by 1") == [
        ("1", "Ball", "Sports"),
        ("2", "Lamp", "Home"),
    ]
    assert loader.rows(
        "select product_id, category_name, cost_price, reorder_point, discontinued, last_updated"
        " from raw.product_category order by 1"
    ) == [
        ("1", "Sports", Decimal("4.00"), 2, False, date(2024, 2, 1)),
        ("2", "Home", None, None, True, date(2024, 2, 2)),
    ]
    assert loader.rows("select customer_id, customer_email, start_date, status from raw.customer order by 1") == [
        ("7", "ada@example.com", date(2024, 1, 5), "active"),
        ("8", None, date(2024, 1, 6), "closed"),
    ]


def test_absent_source_cannot_be_read(loader: Loader, example: psycopg.Connection) -> None:
    assert shop().absent == ["kafka_stream", "subscription_data", "weather_data"]
    with pytest.raises(ShopError, match=r"the shop example has no weather_data; .* include/shops/example/shop\.yml"):
        shop().location_of("weather_data")


@pytest.mark.parametrize("kind", ["integer", "text"])
def test_default_shop_has_numbers_of_customers(
    loader: Loader, shop: psycopg.Connection, insert: Callable[..., None], kind: str
) -> None:
    """1 means CUST001; a number keeps all its digits; another text is an id."""
    shop.execute(f"alter table subscription_data alter customer_id type {kind} using customer_id::{kind}".encode())
    numbers = ["0", "1", "12", "999", "1000", "-5"] + (["CUST007", "ada"] if kind == "text" else [])
    for place, number in enumerate(numbers):
        insert(
            "subscription_data",
            subscription_id=f"S{place}",
            customer_id=number,
            subscription_start_date="2024-01-01",
        )
    result = loader.load("subscription_data", "2024-03-01")
    assert result.rows_quarantined == 1
    assert loader.value("select reason from ops.quarantine") == "customer_id is missing"
    customers = loader.rows("select customer_id from raw.subscription_data order by subscription_id")
    assert [customer for (customer,) in customers] == [
        "CUST000", "CUST001", "CUST012", "CUST999", "CUST1000", *(["CUST007", "ada"] if kind == "text" else []),
    ]  # fmt: skip


def test_default_shop_takes_the_columns_that_subscriptions_have(
    loader: Loader, shop: psycopg.Connection, insert: Callable[..., None]
) -> None:
    """Optional ones may be missing, in any order, and new ones are noted; one that vanishes fails the load."""
    shop.execute(
        """
        drop table subscription_data;
        create table subscription_data (
            tier text, subscription_start_date date, subscription_id text, customer_id integer, status text
        )
        """
    )
    insert("subscription_data", subscription_id="S1", customer_id=1, subscription_start_date="2024-01-01", status="on")
    assert loader.load("subscription_data", "2024-03-01").rows_loaded == 1
    assert loader.rows("select subscription_id, customer_id, status, monthly_fee from raw.subscription_data") == [
        ("S1", "CUST001", "on", None)
    ]
    assert loader.rows("select column_name, change, found from ops.schema_change") == [("tier", "new", "text")]
    shop.execute("alter table subscription_data drop status")
    with pytest.raises(SchemaDrift, match=r"column status \(text\) is missing, and earlier loads had it"):
        loader.load("subscription_data", "2024-03-02")


def test_older_warehouse_gets_texts_of_customers(loader: Loader) -> None:
    """Rows of a warehouse that had the numbers become the ids of the template; a view on the table is in no way."""
    with acting_as(loader.connection, "loader"):
        loader.connection.execute(
            "alter table raw.subscription_data drop column customer_id;"
            " alter table raw.subscription_data add column customer_id integer;"
            " insert into raw.subscription_data (customer_id, subscription_id, _valid_from, _is_deleted, _batch_id,"
            "  _loaded_at) values (1, 'a', now(), false, 1, now()), (1000, 'b', now(), false, 1, now()),"
            "  (null, 'b', now(), true, 2, now())"
        )
    loader.connection.execute(
        "set role transformer; create view staging.old_view as select customer_id from raw.subscription_data;"
        " reset role"
    )
    with acting_as(loader.connection, "loader"):
        for _ in range(2):
            loader.connection.execute(read_migrations(SQL_FOLDER / "migrations")[2].script.encode())
    assert loader.rows("select subscription_id, customer_id from raw.subscription_data order by _batch_id, 1") == [
        ("a", "CUST001"),
        ("b", "CUST1000"),
        ("b", None),
    ]
