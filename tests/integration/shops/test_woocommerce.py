"""The profile `woocommerce`: a shop of WooCommerce in MariaDB, from its own tables to net revenue."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from ecommerce.common.shop import VARIABLE, shop
from tests.integration.shops.loads import check, goods_and_tax, lines, load_shop, possible_keys, refunds, revenue_by_day
from tests.integration.support import Loader
from tests.mariadb_server import MariaDB

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def tables(mysql_tables: Callable[[str], None]) -> None:
    mysql_tables("woocommerce.sql")


@pytest.fixture(autouse=True)
def profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "woocommerce")


def test_woocommerce_order_lines_are_net_of_coupons_and_tax(loader: Loader) -> None:
    load_shop(loader)
    assert lines(loader) == [
        ("100", 1, "10", "5", "2024-03-01", "18.00", 2, "stripe", "0.1000", "4.90", "3.42", "processing"),
        # A variable product is the variation that was sold.
        ("100", 2, "12", "5", "2024-03-01", "18.00", 1, "stripe", "0.1000", None, "3.42", "processing"),
        ("100", 3, "fee", "5", "2024-03-01", "2.00", None, "stripe", None, None, "0.38", "processing"),
        # A guest; an order that waits for a bank transfer is an order.
        ("101", 7, "13", None, "2024-03-01", "20.00", 1, "bacs", "0.0000", "0.00", "3.80", "on-hold"),
        ("102", 8, "10", "6", "2024-03-01", "10.00", 1, "stripe", "0.0000", "0.00", "1.90", "cancelled"),
        ("103", 9, "10", "6", "2024-03-01", "10.00", 1, "stripe", "0.0000", "0.00", "1.90", "failed"),
        ("107", 13, "unknown", "6", "2024-03-02", "7.00", 1, "paypal", "0.0000", "0.00", "1.33", "completed"),
        ("109", 14, "10", "5", "2024-03-02", "10.00", 1, "stripe", "0.0000", "0.00", "1.90", "refunded"),
    ]


def test_woocommerce_totals_are_those_of_the_shop(loader: Loader, mariadb: MariaDB, mysql_database: str) -> None:
    """The total that WooCommerce shows is that of the lines with tax and shipping, and the tax of the shipping."""
    load_shop(loader)
    ours = goods_and_tax(loader)
    with mariadb.connect(mysql_database) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select orders.id, orders.total_amount - details.shipping_tax_amount from wp_wc_orders as orders"
            " inner join wp_wc_order_operational_data as details on orders.id = details.order_id"
            " where orders.id in (100, 101, 107, 109)"
        )
        totals = {str(order): total for order, total in cursor.fetchall()}
    assert totals["100"] == Decimal("50.12")
    assert {order: ours[order] for order in totals} == totals


def test_woocommerce_refunds_are_without_tax_and_shipping(loader: Loader) -> None:
    load_shop(loader)
    assert refunds(loader) == [
        # 16.54 less shipping (4.90 and 0.93 tax) and 1.71 tax.
        ("200-15", "100", 1, "10", "5", "2024-03-03", "9.00", 1, "damaged"),
        # The whole order, 11.90 with tax.
        ("201", "109", None, None, "5", "2024-03-03", "10.00", None, "Order fully refunded."),
        # 2.38 of an order of 23.80, of which 20.00 are goods.
        ("203", "101", None, None, None, "2024-03-03", "2.00", None, None),
    ]


def test_woocommerce_products_have_category_price_cost_and_stock(loader: Loader) -> None:
    load_shop(loader)
    assert loader.rows("select product_id, product_name, product_category_id from raw.product order by 1") == [
        ("10", "Ball", "20"),
        ("11", "T-Shirt", "22"),
        ("12", "T-Shirt - Red", "22"),
        ("13", "T-Shirt - Blue", "22"),
        ("14", "Lamp", "uncategorized"),
        ("fee", "Fees", "fee"),
    ]
    assert loader.rows(
        """
        select product_id, category_id, category_name, subcategory, cost_price::numeric(18, 2)::text,
            retail_price::numeric(18, 2)::text, stock_level, reorder_point, discontinued, launch_date::text,
            last_updated::text
        from raw.product_category
        order by 1
        """
    ) == [
        ("10", "20", "Sports", None, "4.00", "10.00", 5, 3, False, "2024-01-10", "2024-02-01"),
        ("11", "22", "Clothing", "Shirts", "8.00", "20.00", None, 2, False, "2024-01-11", "2024-02-02"),
        # 8.00 of the shirt and 1.50 of the colour.
        ("12", "22", "Clothing", "Shirts", "9.50", "20.00", 1, 2, False, "2024-01-11", "2024-02-02"),
        ("13", "22", "Clothing", "Shirts", "8.00", "22.00", None, 2, True, "2024-01-11", "2024-02-03"),
        ("14", "uncategorized", "Uncategorized", None, None, None, None, 2, True, None, "2024-02-04"),
        ("fee", "fee", "Fees", None, None, None, None, None, False, None, None),
    ]  # fmt: skip


def test_woocommerce_customers_are_users_who_buy(loader: Loader) -> None:
    load_shop(loader)
    assert loader.rows(
        "select customer_id, customer_name, customer_email, start_date::text, status from raw.customer order by 1"
    ) == [
        ("5", "Ada Lovelace", "ada@example.com", "2024-01-05", "active"),
        ("6", "Bo", "bo@example.com", "2024-01-06", "active"),
    ]


def test_woocommerce_shop_check_finds_no_problem(loader: Loader) -> None:
    report = check(loader)
    assert report.problems == []
    assert {found.source.name: (found.rows, list(found.rejections)) for found in report.sources} == {
        "sales_fact": (8, []),
        "refund": (3, []),
        "product": (6, []),
        "product_category": (6, []),
        "customer": (2, []),
    }


def test_woocommerce_net_revenue_counts_each_refund_on_its_day(
    loader: Loader, warehouse_dsn: str, tmp_path: Path
) -> None:
    load_shop(loader)
    assert revenue_by_day(loader, warehouse_dsn, tmp_path) == [
        ("2024-03-01", "58.00", "0.00", "58.00", 2, 1),
        ("2024-03-02", "17.00", "0.00", "17.00", 2, 0),
        ("2024-03-03", "0.00", "21.00", "-21.00", 0, 0),
    ]


def test_woocommerce_order_in_another_currency_is_quarantined(
    loader: Loader, mariadb: MariaDB, mysql_database: str
) -> None:
    with mariadb.connect(mysql_database) as connection, connection.cursor() as cursor:
        cursor.execute("update wp_wc_orders set currency = 'USD' where id in (101, 203)")
        try:
            loader.load("sales_fact", "2024-03-01")
            loader.load("refund", "2024-03-03")
        finally:
            cursor.execute("update wp_wc_orders set currency = 'EUR' where id in (101, 203)")
    assert loader.rows("select source, reason, payload ->> 'order_id' from ops.quarantine order by source") == [
        ("refund", "refund_amount is missing", "101"),
        ("sales_fact", "order_amount is missing", "101"),
    ]


@pytest.mark.parametrize(("source", "table"), [("sales_fact", "orders"), ("refund", "refunds")])
def test_woocommerce_window_is_read_by_index(source: str, table: str, mariadb: MariaDB, mysql_database: str) -> None:
    keys = possible_keys(mariadb, mysql_database, shop().location_of(source), table)
    assert keys
    assert all("date_created" in found for found in keys)
