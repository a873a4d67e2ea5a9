"""The dbt tests on money and orders: they pass on lines, guests and refunds, and find each missing cent and order."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ecommerce.common.connections import postgres
from tests.integration.dbt.test_rebuild import category, order, refund
from tests.integration.dbt_runs import dbt_on
from tests.integration.support import Loader

pytestmark = pytest.mark.long_form

RAW_TO_FACTS = "orders_in_raw_are_in_the_facts"
FACTS_TO_MARTS = "revenue_in_the_marts_is_that_of_the_facts"
REFUNDS_TO_FACTS = "refunds_in_raw_are_in_the_facts"
REFUNDS_TO_MARTS = "refunds_in_the_marts_are_those_of_the_facts"
ORDERS_TO_MARTS = "orders_in_the_marts_are_those_of_the_facts"
FACTS_IN_RANGE = "expression_is_true_fact_sales"
GROUPS_OF_A_DAY = "expression_is_true_daily_revenue"

A_LINE = "order_id = 'O1' and line_number = 2"


@pytest.fixture(scope="module")
def connection(warehouse_dsn: str) -> Iterator[psycopg.Connection]:
    """A warehouse with lines, guests, a cancelled order and refunds, built by hand."""
    with postgres("warehouse") as connection:
        load = Loader(connection).load
        load("sales_fact", "2024-01-01", "2024-02-10", rows=[
            order("O1", "2024-01-05", "C1"), order("O1", "2024-01-05", "C1", "P2", line=2, paid_by="cash"),
            order("G1", "2024-01-05", None), order("X1", "2024-01-06", "C1", status="voided"),
            order("O2", "2024-01-31", "C2"), order("O2", "2024-02-01", "C2", line=2, created="2024-01-31"),
        ])  # fmt: skip
        load("refund", "2024-01-01", "2024-02-10", rows=[
            refund("R1", "2024-01-07", "O1", 2), refund("R2", "2024-02-03", "G1", 1), refund("R3", "2024-02-03", "O1"),
            refund("R4", "2024-02-04", "U1", 1, product="P9", customer="C9"),
        ])  # fmt: skip
        load("customer", "2024-02-10", rows=[{"customer_id": n, "customer_name": n} for n in ("C1", "C2")])
        load("product", "2024-02-10", rows=[{"product_id": p, "product_name": p} for p in ("P1", "P2")])
        load("product_category", "2024-02-10", rows=[category(p, "5", "2023-01-01") for p in ("P1", "P2")])
        yield connection


@pytest.fixture(scope="module")
def tests(
    connection: psycopg.Connection, warehouse_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The query of each test, after a build."""
    with dbt_on(warehouse_dsn, Path(tmp_path_factory.mktemp("dbt"))) as dbt:
        dbt.run("--full-refresh")
        # As a publication does: a day that is dirty and not claimed is left to the next build.
        connection.execute("delete from ops.dirty_date")
        assert set(dbt.test().values()) == {"pass"}
        compiled = dbt.compiled("test_type:singular", "test_name:expression_is_true")
        # Those of an expression have it, or a digest of it, in their name.
        short = {
            name: next((part for part in (FACTS_IN_RANGE, GROUPS_OF_A_DAY) if part in name), name) for name in compiled
        }
        return {short[name]: query for name, query in compiled.items()}


def found(connection: psycopg.Connection, tests: dict[str, str]) -> set[str]:
    """The tests that find a row."""
    return {
        name
        for name, query in tests.items()
        if connection.execute(f"select exists (select from ({query}) as found)".encode()).fetchone() == (True,)
    }


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (f"delete from core.fact_sales where {A_LINE}", RAW_TO_FACTS),
        (f"update core.fact_sales set order_amount = order_amount + 0.01 where {A_LINE}", RAW_TO_FACTS),
        (f"update core.fact_sales set tax_amount = tax_amount + 0.01 where {A_LINE}", RAW_TO_FACTS),
        # Two lines become two orders: no row and no cent is missing.
        (f"update core.fact_sales set order_id = 'O9' where {A_LINE}", RAW_TO_FACTS),
        ("update core.fact_sales set is_cancelled = false where order_id = 'X1'", FACTS_TO_MARTS),
        (f"update core.fact_sales set is_cancelled = true where {A_LINE}", FACTS_TO_MARTS),
        ("update core.int_daily_sales set orders = orders + 1 where date_key = '2024-01-05'", FACTS_TO_MARTS),
        ("update core.int_daily_sales set guest_revenue = guest_revenue + 0.01", FACTS_TO_MARTS),
        ("update marts_build.customer_segments set lifetime_revenue = lifetime_revenue + 0.01", FACTS_TO_MARTS),
        ("update marts_build.payment_method_preference set total_revenue = total_revenue + 0.01", FACTS_TO_MARTS),
        ("delete from core.fact_refunds where refund_id = 'R1'", REFUNDS_TO_FACTS),
        ("update core.fact_refunds set refund_amount = 9.99 where refund_id = 'R2'", REFUNDS_TO_FACTS),
        ("update core.fact_refunds set date_key = date_key + 1 where refund_id = 'R4'", REFUNDS_TO_FACTS),
        ("delete from raw.refund where refund_id = 'R4'", REFUNDS_TO_FACTS),
        ("update core.fact_refunds set product_id = 'P1' where refund_id = 'R3'", REFUNDS_TO_MARTS),
        ("delete from core.int_daily_refunded_sales where date_key = '2024-01-07'", REFUNDS_TO_MARTS),
        ("delete from core.int_product_monthly_refunded_sales where product_id = 'P9'", REFUNDS_TO_MARTS),
        *(
            (f"update marts_build.{mart} set {column} = {column} + 0.01 where refunded_amount > 0", REFUNDS_TO_MARTS)
            for mart, columns in {
                "daily_revenue": ("refunded_amount", "net_revenue"),
                "product_category_revenue_monthly": ("refunded_amount", "net_revenue"),
                "product_performance_monthly": ("refunded_amount", "net_revenue"),
                "revenue_trend": ("refunded_amount", "net_revenue"),
                "customer_segments": ("refunded_amount", "lifetime_value"),
            }.items()
            for column in columns
        ),
        ("delete from marts_build.product_category_revenue_monthly where order_count = 0", REFUNDS_TO_MARTS),
        ("delete from marts_build.daily_revenue where order_date = '2024-01-07'", REFUNDS_TO_MARTS),
        *(
            (f"update marts_build.{mart} set {orders} = {orders} + 1 where {orders} > 0", ORDERS_TO_MARTS)
            for mart, orders in {
                "customer_segments": "total_orders",
                "daily_revenue": "daily_orders",
                "order_profitability_monthly": "orders",
                "payment_method_preference": "total_orders",
                "product_category_revenue_monthly": "order_count",
                "product_performance_monthly": "order_count",
                "product_revenue_payment_analysis": "order_count",
                "revenue_trend": "orders",
                "seasonal_sales_analysis": "monthly_orders",
            }.items()
        ),
        *(
            (f"update core.fact_sales set {change} where {A_LINE}", FACTS_IN_RANGE)
            for change in (
                "order_amount = -0.01",
                "order_quantity = 0",
                "discount_rate = 1.1",
                "discount_amount = -0.01",
                "shipping_cost = -0.01",
                "tax_amount = -0.01",
            )
        ),
        *(
            (f"update marts_build.daily_revenue set {change} where order_date = '2024-01-05'", GROUPS_OF_A_DAY)
            for change in (
                "returning_customer_revenue = -0.01",
                "new_customers = 2",
                "guest_orders = 3",
                "new_customers = 0",
            )
        ),
    ],
)
def test_dbt_test_finds_the_change(
    connection: psycopg.Connection, tests: dict[str, str], change: str, finding: str
) -> None:
    assert found(connection, tests) == set()
    with connection.transaction(force_rollback=True):
        assert connection.execute(change.encode()).rowcount > 0
        assert finding in found(connection, tests)
