"""Counts and amounts agree from the source to the marts, and a fault anywhere on the way is found."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from ecommerce.audit import reconciliation
from ecommerce.build import lease
from tests.integration.support import Loader

FIRST, LAST = "2024-03-01", "2024-03-02"


@pytest.fixture
def loaded(loader: Loader, insert: Callable[..., None]) -> Loader:
    """Orders of two days, one of them refused, as the source has them."""
    for number in range(6):
        day = FIRST if number < 3 else LAST
        insert(
            "sales_fact",
            # Blanks around a key are not part of it.
            order_id=f" O{number}" if number % 2 else f"O{number} ",
            product_id="P",
            customer_id="C",
            order_date=day,
            order_amount="1234.50" if number else "-1",
            created_at=f"{day} 10:00",
        )
    loader.load("sales_fact", FIRST, LAST)
    return loader


def test_the_source_and_raw_agree(judge, loaded: Loader) -> None:
    message = "6 orders at the source = 5 in raw (6,172.50) + 1 in quarantine"
    assert judge("reconciliation_source", FIRST, LAST) == [("raw.sales_fact", "pass", message)]


def test_of_a_day_only_its_own_orders_are_compared(judge, loaded: Loader, shop: psycopg.Connection) -> None:
    shop.execute("delete from sales_fact where order_id = ' O1'")
    assert judge("reconciliation_source", LAST)[0][1] == "pass"


@pytest.mark.parametrize(
    ("where", "fault", "says"),
    [
        pytest.param(
            "raw",
            "delete from raw.sales_fact where order_id = 'O2'",
            "1 orders of the source are neither in raw nor in quarantine with their amount (e.g. O2), 0 in raw",
            id="lost",
        ),
        pytest.param(
            "raw",
            "update raw.sales_fact set order_amount = order_amount + 0.01 where order_id = 'O2'",
            "(e.g. O2), 1 in raw are not at the source (e.g. O2)",
            id="a cent",
        ),
        pytest.param(
            "raw",
            "update raw.sales_fact set order_id = 'OX' where order_id = 'O2'",
            "(e.g. O2), 1 in raw are not at the source (e.g. OX)",
            id="renamed",
        ),
        pytest.param(
            "raw", "delete from ops.quarantine", "1 orders of the source are neither", id="refused and forgotten"
        ),
        pytest.param(
            "shop",
            "delete from sales_fact where order_id = 'O2 '",
            "0 orders of the source are neither in raw nor in quarantine with their amount,"
            " 1 in raw are not at the source (e.g. O2)",
            id="surplus",
        ),
        pytest.param(
            "shop",
            "insert into sales_fact select * from sales_fact where order_id = 'O2 '",
            "1 orders of the source are neither",
            id="twice",
        ),
        pytest.param(
            "shop",
            "update sales_fact set order_amount = -2 where order_id = 'O0 '",
            "(e.g. O0), 0 in raw",
            id="another bad amount",
        ),
    ],
)
def test_a_fault_between_the_source_and_raw(
    judge, loaded: Loader, shop: psycopg.Connection, where: str, fault: str, says: str
) -> None:
    (loaded.connection if where == "raw" else shop).execute(fault.encode())
    ((subject, status, message),) = judge("reconciliation_source", FIRST, LAST)
    assert (subject, status) == ("raw.sales_fact", "fail")
    assert says in message
    assert message.endswith(f"run {FIRST} to {LAST} again")
    # And that mends it.
    loaded.load("sales_fact", FIRST, LAST)
    assert judge("reconciliation_source", FIRST, LAST)[0][1] == "pass"


def test_one_order_of_many_is_found_without_fetching_all(
    judge, loader: Loader, shop: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.execute(
        "insert into sales_fact (order_id, product_id, customer_id, order_date, order_amount, created_at)"
        " select 'O' || n, 'P', 'C', %(day)s::date, n / 100.0, %(day)s::date from generate_series(1, 2000) as n",
        {"day": FIRST},
    )
    loader.load("sales_fact", FIRST)
    fetched: list[int] = []
    keys = reconciliation._Side.keys

    async def counted(*given: Any) -> list[tuple[str, str]]:
        fetched.append(len(found := await keys(*given)))
        return found

    monkeypatch.setattr(reconciliation._Side, "keys", counted)
    assert judge("reconciliation_source", FIRST)[0][1:] == (
        "pass",
        "2,000 orders at the source = 2,000 in raw (20,010.00) + 0 in quarantine",
    )
    assert fetched == [0, 0]
    loader.connection.execute("update raw.sales_fact set order_amount = order_amount + 0.01 where order_id = 'O77'")
    assert "(e.g. O77), 1 in raw are not at the source (e.g. O77)" in judge("reconciliation_source", FIRST)[0][2]
    assert max(fetched) < 60
    kept = loader.rows("select bad_row ->> 'where', (bad_row ->> 'order_amount')::float from ops.check_failure")
    assert sorted(kept) == [("only at the source", 0.77), ("only in raw", 0.78)]


def test_a_run_that_did_not_read_sales_is_not_compared(judge, loaded: Loader, shop: psycopg.Connection) -> None:
    shop.execute("delete from sales_fact")
    assert judge("reconciliation_source", FIRST, LAST, sources=["product"]) == [
        ("raw.sales_fact", "warn", "this run did not read sales_fact; not compared")
    ]


def test_the_comparison_leaves_no_table_behind(judge, loaded: Loader) -> None:
    before = loaded.everything()
    judge("reconciliation_source", FIRST, LAST)
    after = loaded.everything()
    assert {name for name in after if after[name] != before[name]} == {"ops.check_result"}


#: Mart → its count, its amount, the column with its day or month.
MARTS = {
    "daily_revenue": ("daily_orders", "daily_revenue", "order_date"),
    "product_category_revenue_monthly": ("order_count", "total_revenue", "revenue_month"),
    "product_revenue_payment_analysis": ("order_count", "revenue", "revenue_month"),
    "seasonal_sales_analysis": ("monthly_orders", "monthly_revenue", "sales_month"),
    "product_performance_monthly": ("order_count", "revenue", "revenue_month"),
    "customer_cohorts_monthly": ("active_customers", "revenue", "order_month"),
    "payment_method_preference": ("total_orders", "total_revenue", None),
    "customer_segments": ("total_orders", "lifetime_value", None),
}

SUBJECTS = {
    "core.fact_sales rows",
    "core.fact_sales amount",
    "core.fact_customer_events rows",
    "core.int_daily_sales rows",
    "core.int_daily_sales amount",
    "marts_build.conversion_funnel_daily rows",
    "marts_build.inventory_status rows",
    *(f"marts_build.{mart} {what}" for mart in MARTS for what in ("rows", "amount")),
}


@pytest.fixture
def built(loader: Loader) -> Loader:
    """Raw, facts and marts that agree: orders of 10.005, 0 and 20, and three events of which two are one."""
    orders = [("O1", FIRST, "10.005"), ("O2", FIRST, "0"), ("O3", LAST, "20")]
    loader.load(
        "sales_fact",
        FIRST,
        LAST,
        rows=[
            {
                "order_id": order,
                "product_id": "P",
                "customer_id": "C",
                "order_date": day,
                "order_amount": amount,
                "created_at": f"{day} 10:00",
            }
            for order, day, amount in orders
        ],
    )
    loader.connection.execute(
        'insert into raw.kafka_stream (customer_id, product_id, interaction_type, "timestamp", _topic, _partition,'
        " _offset, _batch_id, _loaded_at) select 'C' || repeat(' ', n), 'P', 'view', timestamptz '2024-03-01 10:00Z'"
        " + greatest(n - 1, 0) * interval '1 hour', 't', 0, n, 0, now() from generate_series(0, 2) as n"
    )
    statements = [
        "set role transformer",
        *(
            f"do $$ declare held regclass; begin for held in select oid from pg_class where relkind = 'r'"
            f" and relnamespace = '{schema}'::regnamespace loop execute format('drop table %s', held); end loop; end $$"
            for schema in ("core", "marts_build")
        ),
        "create table core.fact_sales as select order_id, customer_id, order_date as date_key,"
        " order_amount::numeric(18, 2) as order_amount from raw.sales_fact",
        'create table core.fact_customer_events as select distinct on ("timestamp") _offset::text as event_id,'
        " (\"timestamp\" at time zone 'UTC')::date as date_key from raw.kafka_stream",
        "alter table core.fact_customer_events add interaction_type text default 'view'",
        "create table core.int_daily_sales as select date_key, count(*) as orders, sum(order_amount) as revenue"
        " from core.fact_sales where order_amount > 0 group by date_key",
        "create table core.dim_products as select 'P' as product_id, true as is_current",
        "create table marts_build.inventory_status as select product_id from core.dim_products",
        "create table marts_build.conversion_funnel_daily as select date_key as event_date, count(*) as views,"
        " 0 as add_to_carts, 0 as purchases from core.fact_customer_events group by 1",
        *(
            f"create table marts_build.{mart} as select {_period(day)} as {day or 'whole'}, {_rows(n)} as {n},"
            f" sum(order_amount) as {amount} from core.fact_sales where order_amount > 0 group by 1"
            for mart, (n, amount, day) in MARTS.items()
        ),
        "reset role",
        "delete from ops.dirty_date",
    ]
    for statement in statements:
        loader.connection.execute(statement.encode())
    return loader


def _period(day: str | None) -> str:
    if day == "order_date":
        return "date_key"
    return "date_trunc('month', date_key)::date" if day else "1"


def _rows(name: str) -> str:
    return "count(distinct customer_id)" if name == "active_customers" else "count(*)"


def test_raw_facts_and_marts_agree(judge, built: Loader) -> None:
    judged = judge("reconciliation_core", FIRST, LAST)
    assert {(subject, status) for subject, status, _ in judged} == {(subject, "pass") for subject in SUBJECTS}
    assert {"2 as expected", "30.01 as expected"} <= {message for *_, message in judged}, "of all that was compared"


#: What misses an event of the facts, or has one too many.
EVENTS = {"core.fact_customer_events rows", "marts_build.conversion_funnel_daily rows"}

FAULTS = [
    # What two days lose and gain is not lost in their sum.
    (
        f"update marts_build.daily_revenue set daily_revenue = daily_revenue + case when order_date = '{LAST}'"
        " then 1 else -1 end",
        {"marts_build.daily_revenue amount"},
    ),
    ("delete from core.int_daily_sales", None),
    ("delete from marts_build.inventory_status", {"marts_build.inventory_status rows"}),
    ("update marts_build.conversion_funnel_daily set purchases = 1", {"marts_build.conversion_funnel_daily rows"}),
    ("delete from core.fact_sales where order_id = 'O2'", {"core.fact_sales rows"}),
    ("update core.fact_sales set order_amount = order_amount + 0.01 where order_id = 'O2'", None),
    ("delete from core.fact_customer_events where event_id = '2'", EVENTS),
    ("insert into core.fact_customer_events values ('9', '2024-03-01')", EVENTS),
    *(
        fault
        for mart, (n, amount, _) in MARTS.items()
        for fault in (
            (f"update marts_build.{mart} set {amount} = {amount} - 0.01", {f"marts_build.{mart} amount"}),
            (f"update marts_build.{mart} set {n} = {n} + 1", {f"marts_build.{mart} rows"}),
            (f"delete from marts_build.{mart}", {f"marts_build.{mart} rows", f"marts_build.{mart} amount"}),
        )
    ),
]


@pytest.mark.parametrize(("fault", "found"), FAULTS)
def test_a_fault_between_raw_and_the_marts(judge, built: Loader, fault: str, found: set[str] | None) -> None:
    built.connection.execute(fault.encode())
    failed = {subject for subject, status, _ in judge("reconciliation_core", FIRST, LAST) if status == "fail"}
    if found is None:
        # Many marts are held against what was broken here.
        assert len(failed) > 3
    else:
        assert failed == found


def test_the_message_has_both_figures(judge, built: Loader) -> None:
    built.connection.execute("update marts_build.daily_revenue set daily_revenue = daily_revenue + 5000")
    messages = {subject: message for subject, _, message in judge("reconciliation_core", FIRST, LAST)}
    assert messages["marts_build.daily_revenue amount"] == (
        "10,030.01, expected 30.01; 2 of 2 periods differ: 2024-03-01 (5,010.01, not 10.01),"
        " 2024-03-02 (5,020.00, not 20.00)"
    )
    assert built.rows("select bad_row from ops.check_failure order by bad_row ->> 'period'") == [
        ({"period": "2024-03-01", "observed": "5010.01", "expected": "10.01"},),
        ({"period": "2024-03-02", "observed": "5020.00", "expected": "20.00"},),
    ]


def test_days_and_months_that_the_run_is_not_about_are_not_compared(judge, built: Loader) -> None:
    built.connection.execute("update marts_build.daily_revenue set daily_revenue = 0 where order_date = %s", [LAST])
    assert {status for _, status, _ in judge("reconciliation_core", FIRST)} == {"pass"}
    # A day that it has claimed is one of them.
    built.connection.execute("insert into ops.claimed_date values ('a_run', 'customer', %s, 0, now())", [LAST])
    failed = [subject for subject, status, _ in judge("reconciliation_core", FIRST) if status == "fail"]
    assert failed == ["marts_build.daily_revenue amount"]


def test_days_that_were_loaded_after_the_claim_are_left_out(judge, built: Loader) -> None:
    row: dict[str, str | None] = {
        "order_id": "O9",
        "product_id": "P",
        "customer_id": "C",
        "order_date": FIRST,
        "order_amount": "5",
        "created_at": "2024-03-05 10:00",
    }
    built.load("sales_fact", "2024-03-05", rows=[row])
    assert {status for _, status, _ in judge("reconciliation_core", FIRST, LAST)} == {"pass"}
    # Claimed by this run, the day should have been built.
    built.connection.execute("update ops.dirty_date set claimed_by = 'a_run'")
    failed = {subject for subject, status, _ in judge("reconciliation_core", FIRST, LAST) if status == "fail"}
    assert failed == {"core.fact_sales rows", "core.fact_sales amount"}


def test_no_orders_at_all(judge, built: Loader) -> None:
    tables = ("raw.sales_fact", "core.fact_sales", "core.int_daily_sales", *(f"marts_build.{mart}" for mart in MARTS))
    for table in tables:
        built.connection.execute(f"delete from {table}".encode())
    assert {status for _, status, _ in judge("reconciliation_core", FIRST, LAST)} == {"pass"}


def test_what_was_not_built_is_not_judged(judge, built: Loader) -> None:
    """Not even looked at: a first run may never have made it."""
    models = {"fact_customer_events", "conversion_funnel_daily", "daily_revenue"}
    for table in ("core.fact_customer_events", "marts_build.conversion_funnel_daily", "marts_build.daily_revenue"):
        built.connection.execute(f"drop table {table}".encode())
    without = lease.Exclusions(frozenset({"kafka_stream"}), frozenset(models))
    lease.take(built.connection, "a_dag", "a_run", project="p", full_refresh=False, exclusions=without)
    judged = {(subject, status) for subject, status, _ in judge("reconciliation_core", FIRST, LAST)}
    assert judged == {(subject, "pass") for subject in SUBJECTS if not any(model in subject for model in models)}
