"""The dbt tests on money: silent about what dbt built, and each finds the cent that is missing."""

import psycopg
import pytest

from tests.integration.dbt_runs import Dbt
from tests.integration.histories.history import Build, Load, Place
from tests.integration.histories.invent import invent

RAW_TO_FACTS = "orders_in_raw_are_in_the_facts"
FACTS_TO_MARTS = "revenue_in_the_marts_is_that_of_the_facts"
FEES = "subscription_fees_add_up"
SHARES = "shares_add_up_to_100"


@pytest.fixture(scope="module")
def tests(dbt: Dbt, warehouse_dsn: str) -> dict[str, str]:
    """Each test's query as dbt compiles it."""
    compiled = dbt.compiled("test_type:singular")
    assert compiled.keys() == {RAW_TO_FACTS, FACTS_TO_MARTS, FEES, SHARES}
    return compiled


@pytest.fixture
def built(connection: psycopg.Connection, dbt: Dbt) -> psycopg.Connection:
    """A random shop, loaded and built."""
    place = Place(connection, dbt)
    place.open()
    for step in invent(3):
        if not isinstance(step, Load | Build):
            step.happen(place)
    loads = [step for step in invent(3) if isinstance(step, Load)]
    for source in place.shop.tables:
        Load(loads[-1].at, source, min(load.first for load in loads), max(load.last for load in loads)).happen(place)
    Build(loads[-1].at).happen(place)
    return connection


def found(connection: psycopg.Connection, tests: dict[str, str]) -> dict[str, int]:
    """Test → rows that it finds, of those that find any."""
    counts = {
        name: connection.execute(f"select count(*) from ({query}) as found".encode()).fetchone()
        for name, query in tests.items()
    }
    return {name: count[0] for name, count in counts.items() if count and count[0]}


def test_money_adds_up_and_every_missing_cent_is_found(built: psycopg.Connection, tests: dict[str, str], dbt: Dbt):
    assert set(dbt.test("--select", "test_type:singular").values()) == {"pass"}
    for change, finding in (
        ("update core.fact_sales set order_amount = order_amount + 0.01 where order_id = {order}", RAW_TO_FACTS),
        ("update core.fact_sales set shipping_cost = shipping_cost - 0.01 where order_id = {order}", RAW_TO_FACTS),
        ("delete from core.fact_sales where order_id = {order}", RAW_TO_FACTS),
        ("update core.fact_sales set date_key = date_key + 1 where order_id = {order}", RAW_TO_FACTS),
        ("delete from raw.sales_fact where order_id = {order}", RAW_TO_FACTS),
        ("update core.fact_sales set gross_profit = gross_profit - 0.01 where order_id = {order}", FACTS_TO_MARTS),
        *(
            (f"update marts_build.{mart} set {column} = {column} + 0.01 where ctid = {{row}}", FACTS_TO_MARTS)
            for mart, column in (
                ("daily_revenue", "daily_revenue"),
                ("daily_revenue", "daily_gross_profit"),
                ("product_category_revenue_monthly", "total_revenue"),
                ("product_category_revenue_monthly", "total_gross_profit"),
                ("product_revenue_payment_analysis", "revenue"),
                ("seasonal_sales_analysis", "monthly_revenue"),
                ("payment_method_preference", "total_revenue"),
                ("customer_segments", "lifetime_value"),
            )
        ),
        ("delete from marts_build.seasonal_sales_analysis where ctid = {row}", FACTS_TO_MARTS),
        ("update core.fact_subscriptions set monthly_fee = monthly_fee + 0.01 where ctid = {row}", FEES),
        ("update marts_build.subscription_performance_monthly set closing_mrr = closing_mrr + 0.01", FEES),
        ("update marts_build.payment_method_preference set order_percent = order_percent + 0.1", SHARES),
        ("update marts_build.payment_method_preference set revenue_percent = revenue_percent + 0.1", SHARES),
        (
            "update marts_build.product_revenue_payment_analysis set payment_method_percent = 0 where ctid = {row}",
            SHARES,
        ),
    ):
        words = change.split()
        table = words[1] if words[0] == "update" else words[2]
        is_known = "total_gross_profit is not null" if "total_gross" in change else "true"
        is_known = "daily_gross_profit is not null" if "daily_gross" in change else is_known
        with built.transaction(force_rollback=True):
            assert found(built, tests) == {}
            changed = built.execute(
                change.format(
                    # An order with an amount and a known cost.
                    order="(select min(order_id) from core.fact_sales where order_amount > 0 and gross_profit <> 0)",
                    row=f"(select min(ctid) from {table} where {is_known})",
                ).encode()
            )
            assert changed.rowcount > 0, change
            assert finding in found(built, tests), change


def test_a_day_that_was_loaded_after_the_claim_is_not_missed(built: psycopg.Connection, tests: dict[str, str]) -> None:
    with built.transaction(force_rollback=True):
        built.execute(
            "update raw.sales_fact set order_amount = 5 where order_id = (select min(order_id) from raw.sales_fact)"
        )
        assert found(built, tests) == {RAW_TO_FACTS: 1}
        built.execute(
            "insert into ops.dirty_date (source, dirty_date, batch_id, marked_at)"
            " select 'sales_fact', order_date, _batch_id, now() from raw.sales_fact order by order_id limit 1"
        )
        assert found(built, tests) == {}
