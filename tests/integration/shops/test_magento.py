"""The profile `magento`: a shop of Magento in MariaDB, from its own tables to net revenue."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ecommerce.common.shop import VARIABLE, shop
from tests.integration.shops.loads import (
    check,
    goods_and_tax,
    lines,
    load_shop,
    possible_keys,
    refunds,
    revenue_by_day,
)
from tests.integration.support import Loader
from tests.mariadb_server import MariaDB

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def tables(mysql_tables: Callable[[str], None]) -> None:
    mysql_tables("magento.sql")


@pytest.fixture(autouse=True)
def profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "magento")


def test_magento_order_lines_count_configurables_and_bundles_once(loader: Loader) -> None:
    load_shop(loader)
    assert lines(loader) == [
        ("1", 11, "1", "7", "2024-03-01", "18.00", 2, "stripe_payments", "0.1000", "4.90", "3.42", "complete"),
        # A configurable product is the variant that was sold.
        ("1", 12, "3", "7", "2024-03-01", "18.00", 1, "stripe_payments", "0.1000", None, "3.42", "complete"),
        # A guest's bundle, in the base currency; its discount of 3.00 is noted at its parts.
        ("2", 21, "4", None, "2024-03-01", "27.00", 1, "paypal_express", "0.1000", "0.00", "5.13", "processing"),
        ("3", 31, "1", "8", "2024-03-01", "10.00", 1, "banktransfer", "0.0000", "0.00", "1.90", "canceled"),
        # Three of the four; 10 % of prices with tax are 10 % without.
        ("5", 51, "1", "8", "2024-03-02", "27.00", 3, "stripe_payments", "0.1000", "0.00", "5.13", "complete"),
        ("6", 61, "99", "7", "2024-03-02", "10.00", 1, "stripe_payments", "0.0000", "0.00", "1.90", "closed"),
    ]


def test_magento_totals_are_those_of_the_shop(loader: Loader, mariadb: MariaDB, mysql_database: str) -> None:
    """The grand total, less what was cancelled, is that of the lines with tax and shipping, and its tax."""
    load_shop(loader)
    ours = goods_and_tax(loader)
    with mariadb.connect(mysql_database) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select entity_id, base_grand_total - coalesce(base_total_canceled, 0) - base_shipping_tax_amount"
            " from sales_order where entity_id in (1, 2, 5, 6)"
        )
        totals = {str(order): total for order, total in cursor.fetchall()}
    assert len(totals) == 4
    assert {order: ours[order] for order in totals} == totals


def test_magento_refunds_are_credit_memos_by_line(loader: Loader) -> None:
    load_shop(loader)
    assert refunds(loader) == [
        # The adjustment, then the line of the same memo.
        ("1", "1", None, None, "7", "2024-03-03", "2.50", None, "damaged"),
        ("1-11", "1", 11, None, "7", "2024-03-03", "9.00", 1, "damaged"),
        # 10.00 less the fee of 3.00.
        ("2", "6", None, None, "7", "2024-03-03", "7.00", None, None),
        # A bundle: the money of its parts, at its line.
        ("4-21", "2", 21, None, None, "2024-03-03", "27.00", 1, None),
    ]


def test_magento_products_have_category_price_cost_and_stock(loader: Loader) -> None:
    load_shop(loader)
    assert loader.rows("select product_id, product_name, product_category_id from raw.product order by 1") == [
        ("1", "Ball", "10"),
        ("2", "Shirt", "12"),
        ("3", "Shirt-Red", "12"),
        ("4", "Set", "10"),
        ("5", "lamp", "none"),
    ]
    assert loader.rows(
        """
        select product_id, category_id, category_name, subcategory, brand, cost_price::numeric(18, 2)::text,
            retail_price::numeric(18, 2)::text, stock_level, reorder_point, discontinued, launch_date::text,
            last_updated::text
        from raw.product_category
        order by 1
        """
    ) == [
        ("1", "10", "Sports", None, "Acme", "4.00", "10.00", 5, 2, False, "2024-01-10", "2024-02-01"),
        ("2", "12", "Clothing", "Shirts", None, None, None, None, None, False, "2024-01-11", "2024-02-02"),
        # The categories are those of the configurable product.
        ("3", "12", "Clothing", "Shirts", None, "8.50", "20.00", 3, None, False, "2024-01-11", "2024-02-02"),
        ("4", "10", "Sports", None, None, None, None, None, None, False, "2024-01-12", "2024-02-03"),
        ("5", "none", "Without category", None, None, None, "30.00", None, None, True, "2024-01-13", "2024-02-04"),
    ]  # fmt: skip


def test_magento_customers_have_name_and_status(loader: Loader) -> None:
    load_shop(loader)
    assert loader.rows(
        "select customer_id, customer_name, customer_email, start_date::text, status from raw.customer order by 1"
    ) == [
        ("7", "Ada Lovelace", "ada@example.com", "2024-01-05", "active"),
        ("8", "Bo", "bo@example.com", "2024-01-06", "inactive"),
    ]


def test_magento_shop_check_finds_no_problem(loader: Loader) -> None:
    report = check(loader)
    assert report.problems == []
    assert {found.source.name: (found.rows, list(found.rejections)) for found in report.sources} == {
        "sales_fact": (6, []),
        "refund": (4, []),
        "product": (5, []),
        "product_category": (5, []),
        "customer": (2, []),
    }


def test_magento_net_revenue_counts_each_refund_on_its_day(loader: Loader, warehouse_dsn: str, tmp_path: Path) -> None:
    load_shop(loader)
    assert revenue_by_day(loader, warehouse_dsn, tmp_path) == [
        ("2024-03-01", "63.00", "0.00", "63.00", 2, 1),
        ("2024-03-02", "37.00", "0.00", "37.00", 2, 0),
        ("2024-03-03", "0.00", "45.50", "-45.50", 0, 0),
    ]


def test_magento_window_is_read_by_index(mariadb: MariaDB, mysql_database: str) -> None:
    keys = possible_keys(mariadb, mysql_database, shop().location_of("sales_fact"), "orders")
    assert keys
    assert all("SALES_ORDER_CREATED_AT" in found for found in keys)
    keys = possible_keys(mariadb, mysql_database, shop().location_of("refund"), "memos")
    assert keys
    assert all("SALES_CREDITMEMO_CREATED_AT" in found for found in keys)
