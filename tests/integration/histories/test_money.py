"""The dbt tests on money: they pass on what dbt built and find each missing cent."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.integration.dbt_runs import Dbt
from tests.integration.histories.history import Build, Load, Place, Put
from tests.integration.histories.invent import invent_shop
from tests.integration.histories.shop import FIRST, LAST

pytestmark = pytest.mark.long_form

RAW_TO_FACTS = "orders_in_raw_are_in_the_facts"
FACTS_TO_MARTS = "revenue_in_the_marts_is_that_of_the_facts"
REFUNDS_TO_FACTS = "refunds_in_raw_are_in_the_facts"
REFUNDS_TO_MARTS = "refunds_in_the_marts_are_those_of_the_facts"
FEES = "subscription_fees_add_up"
ORDERS_TO_MARTS = "orders_in_the_marts_are_those_of_the_facts"
SHARES = "shares_add_up_to_100"

#: Of a shop.
SEED = 3
AT = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def tests(dbt: Dbt, warehouse_dsn: str) -> dict[str, str]:
    """Each test's query as dbt compiles it where no build is under way."""
    compiled = dbt.compiled("test_type:singular")
    assert compiled.keys() == {
        RAW_TO_FACTS, FACTS_TO_MARTS, REFUNDS_TO_FACTS, REFUNDS_TO_MARTS, ORDERS_TO_MARTS, FEES, SHARES
    }  # fmt: skip
    return compiled


@pytest.fixture
def place(connection: psycopg.Connection, dbt: Dbt) -> Place:
    """A random shop, loaded, built and published."""
    place = Place(connection, dbt)
    place.open()
    for step in invent_shop(SEED):
        step.happen(place)
    for source in place.shop.tables:
        Load(AT, source, FIRST, LAST).happen(place)
        held = connection.execute(f"select count(*) from raw.{source}".encode()).fetchone()
        assert held is not None
        assert held[0] > 0, f"no row of {source} was loaded: take another seed"
    Build(AT).happen(place)
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


#: A line that counts and is one of several, with an amount and a known cost; a fact table and a condition.
LINE = """
    ctid = (
        select min(ctid) from core.fact_sales as lines
        where
            order_amount > 0 and gross_profit <> 0 and tax_amount is not null and not is_cancelled
            and exists (
                select from core.fact_sales as others
                where others.order_id = lines.order_id and others.line_number <> lines.line_number
            )
    )
"""
#: Any row, in which the changed column has a value.
ROW = "ctid = (select min(ctid) from {table} where {column} is not null)"

#: Table, its column that is a cent off, the rows of which one is, and the test that must find it.
CENTS = (
    *(("core.fact_sales", column, LINE, RAW_TO_FACTS) for column in ("order_amount", "shipping_cost", "tax_amount")),
    ("core.fact_sales", "order_amount", LINE, FACTS_TO_MARTS),
    ("core.fact_sales", "gross_profit", LINE, FACTS_TO_MARTS),
    *(
        (table, column, ROW, FACTS_TO_MARTS)
        for table, column in (
            ("core.int_daily_sales", "revenue"),
            ("core.int_daily_sales", "guest_revenue"),
            ("core.int_daily_sales", "gross_profit"),
            ("marts_build.daily_revenue", "daily_revenue"),
            ("marts_build.daily_revenue", "daily_gross_profit"),
            ("marts_build.product_category_revenue_monthly", "total_revenue"),
            ("marts_build.product_category_revenue_monthly", "total_gross_profit"),
            ("marts_build.product_revenue_payment_analysis", "revenue"),
            ("marts_build.seasonal_sales_analysis", "monthly_revenue"),
            ("marts_build.payment_method_preference", "total_revenue"),
            ("marts_build.customer_segments", "lifetime_revenue"),
            ("marts_build.customer_cohorts_monthly", "revenue"),
            ("marts_build.order_profitability_monthly", "revenue"),
            ("marts_build.order_profitability_monthly", "gross_profit"),
            ("marts_build.product_performance_monthly", "revenue"),
            ("marts_build.product_performance_monthly", "gross_profit"),
            ("marts_build.revenue_trend", "revenue"),
            ("marts_build.revenue_trend", "gross_profit"),
        )
    ),
    ("core.fact_refunds", "refund_amount", ROW, REFUNDS_TO_FACTS),
    *(
        (table, column, ROW, REFUNDS_TO_MARTS)
        for table, column in (
            ("core.fact_refunds", "refund_amount"),
            ("core.int_daily_refunded_sales", "refunded_amount"),
            ("core.int_product_monthly_refunded_sales", "refunded_amount"),
            ("core.int_customer_yearly_refunded_sales", "refunded_amount"),
            ("marts_build.daily_revenue", "refunded_amount"),
            ("marts_build.daily_revenue", "net_revenue"),
            ("marts_build.product_category_revenue_monthly", "refunded_amount"),
            ("marts_build.product_category_revenue_monthly", "net_revenue"),
            ("marts_build.product_performance_monthly", "refunded_amount"),
            ("marts_build.product_performance_monthly", "net_revenue"),
            ("marts_build.revenue_trend", "refunded_amount"),
            ("marts_build.revenue_trend", "net_revenue"),
            ("marts_build.customer_segments", "refunded_amount"),
            ("marts_build.customer_segments", "lifetime_value"),
        )
    ),
    ("core.fact_subscriptions", "monthly_fee", ROW, FEES),
    ("core.int_subscription_fees", "monthly_fee", ROW, FEES),
    *(
        ("marts_build.subscription_performance_monthly", "closing_mrr", f"ctid = (select min(ctid) {of_january})", FEES)
        for of_january in (
            "from {table} where revenue_month = date '2024-01-01' and plan_type = 'All plans'",
            "from {table} where revenue_month = date '2024-01-01' and plan_type is distinct from 'All plans'",
        )
    ),
    ("marts_build.subscription_customers", "monthly_fee", ROW, FEES),
)

#: Other changes, and the test that must find each.
CHANGES = (
    (f"delete from core.fact_sales where {LINE}", RAW_TO_FACTS),
    (f"delete from core.fact_sales where {LINE}", FACTS_TO_MARTS),
    (f"update core.fact_sales set date_key = date_key + 1 where {LINE}", RAW_TO_FACTS),
    (f"update core.fact_sales set is_cancelled = true where {LINE}", FACTS_TO_MARTS),
    ("delete from raw.sales_fact where ctid = (select min(ctid) from raw.sales_fact)", RAW_TO_FACTS),
    ("delete from core.fact_refunds where ctid = (select min(ctid) from core.fact_refunds)", REFUNDS_TO_FACTS),
    ("delete from core.fact_refunds where ctid = (select min(ctid) from core.fact_refunds)", REFUNDS_TO_MARTS),
    ("update core.fact_refunds set date_key = date_key + 1", REFUNDS_TO_FACTS),
    ("delete from raw.refund where ctid = (select min(ctid) from raw.refund)", REFUNDS_TO_FACTS),
    (
        "delete from marts_build.seasonal_sales_analysis"
        " where ctid = (select min(ctid) from marts_build.seasonal_sales_analysis)",
        FACTS_TO_MARTS,
    ),
    (
        "with gone as ("
        " delete from core.int_customer_yearly_refunded_sales where refunded_amount > 0 returning customer_id)"
        " update marts_build.customer_segments set"
        " refunded_amount = 0, lifetime_value = lifetime_revenue where customer_id in (select customer_id from gone)",
        REFUNDS_TO_MARTS,
    ),
    # Lines, as if each were an order.
    ("update core.fact_sales set order_id = order_id || '/' || line_number", ORDERS_TO_MARTS),
    ("update marts_build.payment_method_preference set order_percent = order_percent - 50", SHARES),
    ("update marts_build.payment_method_preference set revenue_percent = revenue_percent + 0.1", SHARES),
    (
        "update marts_build.product_revenue_payment_analysis set payment_method_percent = 0"
        " where payment_method_percent > 0",
        SHARES,
    ),
)


def test_money_tests_pass_and_find_every_missing_cent(built: psycopg.Connection, tests: dict[str, str], dbt: Dbt):
    assert set(dbt.test("--select", "test_type:singular").values()) == {"pass"}
    cents = (
        (f"update {table} set {column} = {column} + 0.01 where {rows.format(table=table, column=column)}", finding)
        for table, column, rows, finding in CENTS
    )
    for change, finding in (*cents, *CHANGES):
        with built.transaction(force_rollback=True):
            assert found(built, tests) == {}
            assert built.execute(change.encode()).rowcount > 0, change
            assert finding in found(built, tests), change


@pytest.mark.parametrize(
    ("source", "amount", "day", "finding"),
    [
        ("sales_fact", "order_amount", "order_date", RAW_TO_FACTS),
        ("refund", "refund_amount", "refund_date", REFUNDS_TO_FACTS),
    ],
)
def test_money_tests_ignore_day_loaded_after_claim(
    built: psycopg.Connection, tests: dict[str, str], source: str, amount: str, day: str, finding: str
) -> None:
    with built.transaction(force_rollback=True):
        [(changed,)] = built.execute(
            f"update raw.{source} set {amount} = {amount} + 5 where ctid = (select min(ctid) from raw.{source})"
            f" returning {day}".encode()
        ).fetchall()
        assert found(built, tests) == {finding: 1}
        built.execute(
            "insert into ops.dirty_date (source, dirty_date, batch_id, marked_at)"
            f" select %s, %s, min(_batch_id), now() from raw.{source}".encode(),
            [source, changed],
        )
        assert found(built, tests) == {}


def test_order_tests_check_only_rebuilt_days(place: Place, tests: dict[str, str]) -> None:
    """A day costs a day, and a cent is missed nowhere that this build has been, nor where its loads have."""
    connection = place.connection
    lines = connection.execute(
        "select distinct on (date_key) (order_id, line_number::text), date_key from core.fact_sales"
        " where order_amount > 0 and gross_profit <> 0 and not is_cancelled"
        " order by date_key desc, order_id, line_number"
    ).fetchall()
    (changed, day), (other, _) = lines[0], lines[-1]
    Put("sales_fact", {**place.shop.tables["sales_fact"][changed], "order_amount": "77.77"}).happen(place)
    Load(AT + HOUR, "sales_fact", FIRST, LAST).happen(place)
    Build(AT + HOUR, outcome="died before publishing").happen(place)
    claimed = place.dbt.compiled(RAW_TO_FACTS, FACTS_TO_MARTS)
    assert set(tests[RAW_TO_FACTS].split()) != set(claimed[RAW_TO_FACTS].split())

    def after(change: str, line: tuple[str, str]) -> dict[str, int]:
        with connection.transaction(force_rollback=True):
            assert connection.execute(change.encode(), {"order": line[0], "line": line[1], "day": day}).rowcount > 0
            return found(connection, claimed)

    assert found(connection, claimed) == {}
    of_line = "where order_id = %(order)s and line_number = %(line)s::integer"
    more = f"update core.fact_sales set order_amount = order_amount + 0.01 {of_line}"
    both = {RAW_TO_FACTS: 1, FACTS_TO_MARTS: 1}
    assert after(more, changed) == both
    assert after(f"delete from core.fact_sales {of_line}", changed) == both
    assert after(f"delete from raw.sales_fact {of_line}", changed) == {RAW_TO_FACTS: 1}
    profit = f"update core.fact_sales set gross_profit = gross_profit - 0.01 {of_line}"
    assert after(profit, changed) == {FACTS_TO_MARTS: 1}
    sums = after("update core.int_daily_sales set revenue = revenue + 0.01 where date_key = %(day)s", changed)
    assert sums[FACTS_TO_MARTS] > 1
    # A mark that got lost: the build knows nothing of the day, but its load wrote there.
    lost = "delete from ops.dirty_date where dirty_date = %(day)s and source = 'sales_fact'"
    assert after(lost, changed) == {}
    with connection.transaction(force_rollback=True):
        connection.execute(lost.encode(), {"day": day})
        assert after(more, changed) == {RAW_TO_FACTS: 1}
    # Where this build has not been its own build has looked, and what has changed since is the drift guard's to find.
    assert after(more, other) == {}
    with connection.transaction(force_rollback=True):
        connection.execute(more.encode(), {"order": other[0], "line": other[1]})
        assert found(connection, {name: tests[name] for name in both}) == both


def test_refund_tests_check_only_rebuilt_days(place: Place, tests: dict[str, str]) -> None:
    """As those of orders do; the sums by month and year are those of the months and years that are rebuilt."""
    connection = place.connection
    refunds = connection.execute(
        "select distinct on (date_key) refund_id, date_key from core.fact_refunds order by date_key desc, refund_id"
    ).fetchall()
    (changed, day), (other, other_day) = refunds[0], refunds[-1]
    assert day.year != other_day.year
    Put("refund", {**place.shop.tables["refund"][(changed,)], "refund_amount": "77.77"}).happen(place)
    Load(AT + HOUR, "refund", FIRST, LAST).happen(place)
    Build(AT + HOUR, outcome="died before publishing").happen(place)
    claimed = place.dbt.compiled(REFUNDS_TO_FACTS, REFUNDS_TO_MARTS)
    assert set(tests[REFUNDS_TO_FACTS].split()) != set(claimed[REFUNDS_TO_FACTS].split())

    def after(change: str, queries: dict[str, str], refund: str) -> set[str]:
        with connection.transaction(force_rollback=True):
            assert connection.execute(change.encode(), {"refund": refund, "day": day}).rowcount > 0, change
            return set(found(connection, queries))

    assert found(connection, claimed) == {}
    more = "update core.fact_refunds set refund_amount = refund_amount + 0.01 where refund_id = %(refund)s"
    gone = "delete from core.fact_refunds where refund_id = %(refund)s"
    both = {REFUNDS_TO_FACTS, REFUNDS_TO_MARTS}
    assert after(more, claimed, changed) == both
    assert after(gone, claimed, changed) == both
    assert after("delete from raw.refund where refund_id = %(refund)s", claimed, changed) == {REFUNDS_TO_FACTS}
    for sums, first_day in (
        ("int_daily_refunded_sales", "date_key = %(day)s"),
        ("int_customer_yearly_refunded_sales", "refund_year = date_trunc('year', %(day)s::timestamp)"),
    ):
        cent = f"update core.{sums} set refunded_amount = refunded_amount + 0.01 where {first_day}"
        assert after(cent, claimed, changed) == {REFUNDS_TO_MARTS}
    assert after(more, claimed, other) == set()
    assert after(more, tests, other) == both
