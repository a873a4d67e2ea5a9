"""The dbt tests on money: they pass on what dbt built and find each missing cent."""

import re
from datetime import timedelta

import psycopg
import pytest

from tests.integration.dbt_runs import Dbt
from tests.integration.histories.history import Build, Load, Place, Put
from tests.integration.histories.invent import invent
from tests.integration.histories.shop import FIRST, LAST

RAW_TO_FACTS = "orders_in_raw_are_in_the_facts"
FACTS_TO_MARTS = "revenue_in_the_marts_is_that_of_the_facts"
REFUNDS_TO_FACTS = "refunds_in_raw_are_in_the_facts"
REFUNDS_TO_MARTS = "refunds_in_the_marts_are_those_of_the_facts"
FEES = "subscription_fees_add_up"
SHARES = "shares_add_up_to_100"


@pytest.fixture(scope="module")
def tests(dbt: Dbt, warehouse_dsn: str) -> dict[str, str]:
    """Each test's query as dbt compiles it where no build is under way."""
    compiled = dbt.compiled("test_type:singular")
    assert compiled.keys() == {RAW_TO_FACTS, FACTS_TO_MARTS, REFUNDS_TO_FACTS, REFUNDS_TO_MARTS, FEES, SHARES}
    return compiled


@pytest.fixture
def place(connection: psycopg.Connection, dbt: Dbt) -> Place:
    """A random shop, loaded, built and published."""
    place = Place(connection, dbt)
    place.open()
    for step in invent(3):
        if not isinstance(step, Load | Build):
            step.happen(place)
    loads = [step for step in invent(3) if isinstance(step, Load)]
    for source in place.shop.tables:
        Load(loads[-1].at, source, min(load.first for load in loads), max(load.last for load in loads)).happen(place)
    Build(loads[-1].at).happen(place)
    return place


@pytest.fixture
def built(place: Place) -> psycopg.Connection:
    return place.connection


def found(connection: psycopg.Connection, tests: dict[str, str]) -> dict[str, int]:
    """Test → rows that it finds, of those that find any."""
    counts = {
        name: connection.execute(f"select count(*) from ({query}) as found".encode()).fetchone()
        for name, query in tests.items()
    }
    return {name: count[0] for name, count in counts.items() if count and count[0]}


def test_money_tests_pass_and_find_every_missing_cent(built: psycopg.Connection, tests: dict[str, str], dbt: Dbt):
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
                ("customer_segments", "lifetime_revenue"),
                ("customer_cohorts_monthly", "revenue"),
                ("product_performance_monthly", "revenue"),
                ("product_performance_monthly", "gross_profit"),
            )
        ),
        *(
            (f"update marts_build.{mart} set refunded_amount = refunded_amount + 0.01 where ctid = {{row}}",
             REFUNDS_TO_MARTS)
            for mart in (
                "daily_revenue", "product_category_revenue_monthly", "product_performance_monthly", "customer_segments",
            )
        ),
        ("update core.fact_refunds set refund_amount = refund_amount + 0.01 where ctid = {row}", REFUNDS_TO_FACTS),
        ("delete from core.fact_refunds where ctid = {row}", REFUNDS_TO_FACTS),
        ("update core.int_daily_sales set revenue = revenue + 0.01 where ctid = {row}", FACTS_TO_MARTS),
        ("delete from marts_build.seasonal_sales_analysis where ctid = {row}", FACTS_TO_MARTS),
        ("update core.fact_subscriptions set monthly_fee = monthly_fee + 0.01 where ctid = {row}", FEES),
        ("update marts_build.subscription_performance_monthly set closing_mrr = closing_mrr + 0.01", FEES),
        ("update marts_build.payment_method_preference set order_percent = order_percent + 0.1", SHARES),
        ("update marts_build.payment_method_preference set revenue_percent = revenue_percent + 0.1", SHARES),
        (
            "update marts_build.product_revenue_payment_analysis set payment_method_percent = 0 where ctid = {row}",
            SHARES,
        ),
    ):  # fmt: skip
        words = change.split()
        table = words[1] if words[0] == "update" else words[2]
        profit = re.search(r"set (\w*gross_profit)", change)
        is_known = f"{profit[1]} is not null" if profit else "true"
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


def test_money_tests_ignore_day_loaded_after_claim(built: psycopg.Connection, tests: dict[str, str]) -> None:
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


def test_money_tests_check_only_rebuilt_days(place: Place, tests: dict[str, str]) -> None:
    """A day costs a day, and a cent is missed nowhere that this build has been, nor where its loads have."""
    connection = place.connection
    orders = connection.execute(
        "select min(order_id), date_key from core.fact_sales where order_amount > 0 and gross_profit <> 0"
        " group by date_key order by date_key desc"
    ).fetchall()
    (changed, day), (other, _) = orders[0], orders[-1]
    row = next(row for row in place.shop.tables["sales_fact"].values() if str(row["order_id"]).strip() == changed)
    Put("sales_fact", {**row, "order_amount": "77.77"}).happen(place)
    at = [step for step in invent(3) if isinstance(step, Load)][-1].at + timedelta(hours=1)
    Load(at, "sales_fact", FIRST, LAST + timedelta(days=30)).happen(place)
    Build(at, outcome="died before publishing").happen(place)
    claimed = place.dbt.compiled(RAW_TO_FACTS, FACTS_TO_MARTS)
    assert set(tests[RAW_TO_FACTS].split()) != set(claimed[RAW_TO_FACTS].split())

    def after(change: str, order: str) -> dict[str, int]:
        with connection.transaction(force_rollback=True):
            assert connection.execute(change.encode(), {"order": order, "day": day}).rowcount > 0, change
            return found(connection, claimed)

    assert found(connection, claimed) == {}
    more = "update core.fact_sales set order_amount = order_amount + 0.01 where order_id = %(order)s"
    both = {RAW_TO_FACTS: 1, FACTS_TO_MARTS: 1}
    assert after(more, changed) == both
    assert after("delete from core.fact_sales where order_id = %(order)s", changed) == both
    assert after("delete from raw.sales_fact where order_id = %(order)s", changed) == {RAW_TO_FACTS: 1}
    profit = "update core.fact_sales set gross_profit = gross_profit - 0.01 where order_id = %(order)s"
    assert after(profit, changed) == {FACTS_TO_MARTS: 1}
    sums = after("update core.int_daily_sales set revenue = revenue + 0.01 where date_key = %(day)s", changed)
    assert sums[FACTS_TO_MARTS] > 1
    # A mark that got lost: the build knows nothing of the day, but its load wrote there.
    lost = "delete from ops.dirty_date where dirty_date = %(day)s"
    assert after(lost, changed) == {}
    with connection.transaction(force_rollback=True):
        connection.execute(lost.encode(), {"day": day})
        assert after(more, changed) == {RAW_TO_FACTS: 1}
    # Where this build has not been its own build has looked, and what has changed since is the drift guard's to find.
    assert after(more, other) == {}
    with connection.transaction(force_rollback=True):
        connection.execute(more.encode(), {"order": other})
        assert found(connection, tests) == both
