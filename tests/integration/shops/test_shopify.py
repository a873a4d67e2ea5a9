"""The profile `shopify`: a shop of Shopify in Postgres as Fivetran writes it, from its tables to net revenue."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from ecommerce.common.shop import VARIABLE
from tests.integration.shops.loads import check, goods_and_tax, lines, load_shop, refunds, revenue_by_day
from tests.integration.support import Loader

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def tables(postgres_tables: Callable[[str], None]) -> None:
    postgres_tables("shopify.sql")


@pytest.fixture(autouse=True)
def profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "shopify")


def test_shopify_order_lines_are_net_of_discounts_and_tax(loader: Loader) -> None:
    load_shop(loader)
    one, till, cancelled, voided, with_gift_card, custom = (f"555000000000{n}" for n in (1, 2, 3, 5, 6, 8))
    ball, red, blue = (f"45000000000{n}" for n in (1, 2, 3))
    card = "shopify_payments"
    assert lines(loader) == [
        (one, 1, ball, "3001", "2024-03-01", "18.00", 2, card, "0.1000", "4.90", "1.44", "partially_refunded"),
        (one, 2, red, "3001", "2024-03-01", "18.00", 1, card, "0.1000", None, "1.44", "partially_refunded"),
        # Nobody named, on the next day in UTC; 24.00 and 6.00 with 20 % tax.
        (till, 1, blue, None, "2024-03-02", "20.00", 1, "cash", "0.0000", "5.00", "4.00", "partially_refunded"),
        (cancelled, 1, ball, "3002", "2024-03-01", "10.00", 1, card, "0.0000", None, "0.80", "cancelled"),
        (voided, 1, ball, "3002", "2024-03-01", "10.00", 1, None, "0.0000", None, "0.80", "voided"),
        # The ball beside the gift card carries the shipping.
        (with_gift_card, 2, ball, "3002", "2024-03-02", "10.00", 1, card, "0.0000", "3.00", "0.80", "paid"),
        (custom, 1, "custom", "3001", "2024-03-02", "12.00", 1, None, "0.0000", None, "0.00", "pending"),
    ]


def test_shopify_totals_are_those_of_the_shop(loader: Loader) -> None:
    """The total of an order is that of its lines with tax and shipping, the tax of the shipping, and gift cards."""
    load_shop(loader)
    ours = goods_and_tax(loader)
    assert {order[-1]: ours[order] for order in ours if order[-1] in "1268"} == {
        "1": Decimal("44.17") - Decimal("0.39"),
        "2": Decimal("30.00") - Decimal("1.00"),
        "6": Decimal("63.80") - Decimal("50.00"),
        "8": Decimal("12.00"),
    }


def test_shopify_refunds_are_without_tax_and_shipping(loader: Loader) -> None:
    load_shop(loader)
    assert refunds(loader) == [
        ("6001-6101", "5550000000001", 1, "450000000001", "3001", "2024-03-03", "9.00", 1, "damaged"),
        # A shirt of 20.00 without tax, less 5.00 that were kept.
        ("6002", "5550000000002", None, None, None, "2024-03-03", "15.00", None, "worn"),
        ("6003", "5550000000006", None, None, "3002", "2024-03-03", "2.50", None, "late"),
    ]


def test_shopify_variants_have_category_price_cost_and_stock(loader: Loader) -> None:
    load_shop(loader)
    assert loader.rows("select product_id, product_name, product_category_id from raw.product order by 1") == [
        ("450000000001", "Ball", "Sports"),
        ("450000000002", "Shirt - Red", "Without type"),
        ("450000000003", "Shirt - Blue", "Without type"),
    ]
    assert loader.rows(
        """
        select right(product_id, 1), category_name, brand, cost_price::numeric(18, 2)::text,
            retail_price::numeric(18, 2)::text, stock_level, discontinued, launch_date::text, last_updated::text
        from raw.product_category
        order by 1
        """
    ) == [
        ("1", "Sports", "Acme", "4.00", "10.00", 5, False, "2024-01-12", "2024-02-05"),
        ("2", "Without type", "Weaver", "8.50", "20.00", 3, True, "2024-01-11", "2024-02-02"),
        # Its stock is not tracked.
        ("3", "Without type", "Weaver", None, "24.00", None, True, "2024-01-11", "2024-02-02"),
    ]


def test_shopify_customers_have_name_and_state(loader: Loader) -> None:
    load_shop(loader)
    assert loader.rows(
        "select customer_id, customer_name, customer_email, start_date::text, status from raw.customer order by 1"
    ) == [
        ("3001", "Ada Lovelace", "ada@example.com", "2024-01-05", "enabled"),
        ("3002", "Bo", "bo@example.com", "2024-01-06", "disabled"),
    ]


def test_shopify_shop_check_finds_no_problem(loader: Loader) -> None:
    report = check(loader)
    assert report.problems == []
    assert {found.source.name: (found.rows, list(found.rejections)) for found in report.sources} == {
        "sales_fact": (7, []),
        "refund": (3, []),
        "product": (3, []),
        "product_category": (3, []),
        "customer": (2, []),
    }


def test_shopify_net_revenue_counts_each_refund_on_its_day(loader: Loader, warehouse_dsn: str, tmp_path: Path) -> None:
    load_shop(loader)
    assert revenue_by_day(loader, warehouse_dsn, tmp_path) == [
        ("2024-03-01", "36.00", "0.00", "36.00", 1, 0),
        ("2024-03-02", "42.00", "0.00", "42.00", 3, 1),
        ("2024-03-03", "0.00", "26.50", "-26.50", 0, 0),
    ]


def test_shopify_day_loaded_alone_equals_the_range(loader: Loader) -> None:
    """The template chooses its days itself: each day has its own orders, with the same numbers of their lines."""
    load_shop(loader)
    sales, back = lines(loader), refunds(loader)
    loader.empty()
    for day in ("2024-03-01", "2024-03-02", "2024-03-03"):
        loader.load("sales_fact", day)
        loader.load("refund", day)
    assert (lines(loader), refunds(loader)) == (sales, back)
