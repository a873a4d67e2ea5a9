"""The marts of subscriptions on random version logs, compared with the contract in plain Python."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.dbt_runs import Dbt
from tests.integration.histories.recurring_revenue import (
    ALL_PLANS,
    Month,
    Read,
    Subscriber,
    Subscription,
    months_of,
    subscribers_of,
)

pytestmark = pytest.mark.slow

#: Examples of one to six subscriptions with their logs; ECOMMERCE_TEST_HISTORIES=100 for the long form.
EXAMPLES = 8 * int(os.environ.get("ECOMMERCE_TEST_HISTORIES", "10"))

FIRST, AS_OF = date(2024, 1, 1), date(2024, 4, 20)
DAY = timedelta(days=1)

#: In the order in which they read each other.
MODELS = ("int_unknown_keys", "dim_customer", "fact_subscriptions", "int_subscription_fees",
          "subscription_performance_monthly", "subscription_customers")  # fmt: skip
SCHEMAS = {"subscription_performance_monthly": "marts_build", "subscription_customers": "marts_build"}


@dataclass
class Marts:
    """The models' queries as dbt compiled them, on a warehouse whose sales are loaded up to a day."""

    connection: psycopg.Connection
    queries: dict[str, str]

    def load_sales_until(self, as_of: date) -> None:
        self.connection.execute(
            """
            insert into ops.load_batch (source, window_start, window_end, status, started_at)
            values ('sales_fact', %s, %s, 'loaded', now())
            """,
            [FIRST, as_of + DAY],
        )
        self.connection.execute(
            "update core.dim_date set is_as_of = date_key = %(as_of)s where is_as_of or date_key = %(as_of)s",
            {"as_of": as_of},
        )
        self.fill("int_periods")

    def build(self, subscriptions: Sequence[Subscription], until: date = date.max) -> None:
        """Fill raw with what was read by a day, and do what dbt does, inside the caller's transaction."""
        self.connection.execute("truncate raw.subscription_data")
        for number, each in enumerate(subscriptions):
            for batch, read in enumerate(each.reads, start=1):
                if read.read_on <= until:
                    self._append(f"S{number}", each.customer_id, batch, read)
        for name in MODELS:
            self.fill(name)

    def fill(self, model: str) -> None:
        table = f"{SCHEMAS.get(model, 'core')}.{model}"
        self.connection.execute(f"truncate {table}; insert into {table} {self.queries[model]}".encode())

    def _append(self, subscription_id: str, customer_id: str, batch: int, read: Read) -> None:
        values = None if read.is_deleted else (customer_id, read.plan, read.start, read.end, read.fee)
        self.connection.execute(
            """
            insert into raw.subscription_data (
                subscription_id, customer_id, plan_type, subscription_start_date, subscription_end_date, monthly_fee,
                _valid_from, _is_deleted, _batch_id, _loaded_at
            )
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s, now())
            """,
            [
                subscription_id, *(values or [None] * 5),
                datetime.combine(read.read_on, time(23, 59), UTC), read.is_deleted, batch,
            ],
        )  # fmt: skip

    def rows(self, columns: str, mart: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(f"select {columns} from marts_build.{mart} order by 1, 2".encode()).fetchall()

    def months(self) -> dict[tuple[date, str | None], Month]:
        columns = (
            "revenue_month, plan_type, opening_mrr, new_mrr, reactivated_mrr, expansion_mrr, contraction_mrr,"
            " churned_mrr, closing_mrr, active_subscriptions, new_subscriptions, churned_subscriptions"
        )
        found = {}
        for month, plan, *amounts, active, new, churned in self.rows(columns, "subscription_performance_monthly"):
            found[month, plan] = Month(*amounts)
            found[month, plan].numbers.update(active=active, new=new, churned=churned)
        return found

    def subscribers(self) -> dict[str, Subscriber]:
        columns = "customer_id, monthly_fee, active_subscriptions, lifetime_fees, months_active, first_start_date"
        return {row[0]: Subscriber(*row[1:]) for row in self.rows(columns, "subscription_customers")}


@pytest.fixture(scope="module")
def session(warehouse_dsn: str, dbt: Dbt) -> Iterator[psycopg.Connection]:
    """An empty, built warehouse."""
    dbt.run("--select", "dim_date", "int_periods", *MODELS, "--full-refresh")
    with psycopg.connect(warehouse_dsn, autocommit=True) as session:
        yield session


@pytest.fixture(scope="module")
def compiled(dbt: Dbt) -> dict[str, str]:
    return dbt.compiled("int_periods", *MODELS)


@pytest.fixture
def marts(connection: psycopg.Connection, session: psycopg.Connection, compiled: dict[str, str]) -> Marts:
    """In a warehouse that `connection` has emptied."""
    return Marts(session, compiled)


STARTS = st.sampled_from([date(2023, 11, 30), *(date(2024, month, day) for month in (1, 2, 3) for day in (1, 15, 29)),
                          date(2024, 1, 31), AS_OF, AS_OF + DAY])  # fmt: skip
#: Days from the start to the end.
LENGTHS = st.sampled_from((None, None, None, -20, 0, 1, 30, 45, 400))
FEES = st.sampled_from((None, Decimal(0), Decimal("9.99"), Decimal(10), Decimal("25.50")))
PLANS = st.sampled_from((None, "Basic", "Plus"))
#: Days from one read to the next.
GAPS = st.sampled_from((0, 1, 1, 16, 30))
FIRST_READS = st.sampled_from((date(2023, 12, 1), date(2024, 1, 1), date(2024, 1, 29), date(2024, 3, 1)))


@st.composite
def subscriptions(draw: st.DrawFn, *, only_fees_change: bool = False) -> Subscription:
    """A log as the loader writes it: reads in order, no tombstone first, none after another."""
    start, days = draw(STARTS), draw(LENGTHS)
    end = None if days is None else start + days * DAY
    read = Read(draw(FIRST_READS), draw(PLANS), start, end, draw(FEES))
    reads = [read]
    for _ in range(draw(st.integers(0, 4))):
        read_on = reads[-1].read_on + draw(GAPS) * DAY
        is_deleted = draw(st.sampled_from((False, False, False, True)))
        if is_deleted and not reads[-1].is_deleted:
            reads.append(Read(read_on, is_deleted=True))
            if only_fees_change:
                break
            continue
        if not only_fees_change:
            start, days = draw(STARTS), draw(LENGTHS)
            read = replace(read, plan=draw(PLANS), start=start, end=None if days is None else start + days * DAY)
        reads.append(replace(read, read_on=read_on, fee=draw(FEES)))
    return Subscription(draw(st.sampled_from(("C1", "C2", "C3"))), reads)


MANY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_recurring_revenue_is_that_of_each_day_with_its_fee(marts: Marts) -> None:
    marts.load_sales_until(AS_OF)

    @MANY
    @given(st.lists(subscriptions(), min_size=1, max_size=6))
    def law(drawn: list[Subscription]) -> None:
        with marts.connection.transaction(force_rollback=True):
            marts.build(drawn)
            assert marts.months() == months_of(drawn, AS_OF)
            assert marts.subscribers() == subscribers_of(drawn, AS_OF)

    law()


def test_opening_and_movements_make_closing_of_each_plan_and_of_all(marts: Marts) -> None:
    marts.load_sales_until(AS_OF)

    @MANY
    @given(st.lists(subscriptions(), min_size=1, max_size=6))
    def law(drawn: list[Subscription]) -> None:
        with marts.connection.transaction(force_rollback=True):
            marts.build(drawn)
            months = marts.months()
        for (opens, plan), month in months.items():
            gained = month.new + month.reactivated + month.expansion
            assert month.opening + gained - month.contraction - month.churned == month.closing
            before = months.get(((opens - DAY).replace(day=1), plan))
            assert month.opening == (before.closing if before else 0)
            of_plans = [each.closing for (day, name), each in months.items() if day == opens and name != ALL_PLANS]
            assert plan != ALL_PLANS or month.closing == sum(of_plans)

    law()


def test_closed_months_do_not_move_with_later_fees_and_deletions(marts: Marts) -> None:
    """Months that ended by a day are the same when everything that was read later is known."""
    earlier = date(2024, 3, 10)
    columns = "revenue_month, plan_type, to_jsonb(built) - 'is_complete'"

    def closed() -> list[tuple[Any, ...]]:
        rows = marts.rows(columns, "subscription_performance_monthly as built")
        return [row for row in rows if row[0] < earlier.replace(day=1)]

    @MANY
    @given(st.lists(subscriptions(only_fees_change=True), min_size=1, max_size=6))
    def law(drawn: list[Subscription]) -> None:
        # What was first read later would be new to months that are closed.
        known = [each for each in drawn if each.reads[0].read_on <= earlier]
        with marts.connection.transaction(force_rollback=True):
            marts.load_sales_until(earlier)
            marts.build(known, until=earlier)
            before = closed()
            marts.load_sales_until(AS_OF)
            marts.build(known)
            plans = {row[1] for row in before}
            assert [row for row in closed() if row[1] in plans] == before

    law()


def test_fee_raised_today_leaves_january_as_it_was(marts: Marts) -> None:
    first = Read(date(2024, 1, 1), "Basic", date(2024, 1, 10), None, Decimal(10))
    raised = Subscription("C1", [first, replace(first, read_on=AS_OF, fee=Decimal(15))])
    with marts.connection.transaction(force_rollback=True):
        marts.load_sales_until(AS_OF)
        marts.build([raised])
        closing = {opens: month.closing for (opens, plan), month in marts.months().items() if plan == "Basic"}
        assert list(closing.values()) == [10, 10, 10, 15]
        assert marts.months()[AS_OF.replace(day=1), ALL_PLANS].expansion == 5
