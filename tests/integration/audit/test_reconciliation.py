"""Kinds `reconciliation_source` and `reconciliation`: any fault between the source and the marts is found."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from ecommerce.audit import reconciliation
from ecommerce.build import lease
from ecommerce.load.batches import RunIdentity
from tests.integration.support import ALL_COLUMNS, Loader, set_shop

FIRST, LAST = "2024-03-01", "2024-03-02"
#: A day without orders, of the month before.
BEFORE = "2024-02-28"


@pytest.fixture
def loaded(loader: Loader, insert: Callable[..., None]) -> Loader:
    """Orders of two days, loaded from the source; one of them is in quarantine."""
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


def test_source_reconciliation_passes_after_a_load(evaluate, loaded: Loader) -> None:
    message = "6 rows in the shop = 5 in raw (6,172.50) + 1 in quarantine"
    assert evaluate("reconciliation_source", FIRST, LAST) == [("raw.sales_fact", "pass", message)]


def test_source_reconciliation_compares_only_the_window(evaluate, loaded: Loader, shop: psycopg.Connection) -> None:
    shop.execute("delete from sales_fact where order_id = ' O1'")
    assert evaluate("reconciliation_source", LAST)[0][1] == "pass"


@pytest.mark.parametrize(
    ("where", "fault", "difference"),
    [
        pytest.param(
            "raw",
            "delete from raw.sales_fact where order_id = 'O2'",
            "1 row differs between shop and warehouse: "
            "1 missing in the warehouse (example order_id O2, line_number 1).",
            id="lost",
        ),
        pytest.param(
            "raw",
            "update raw.sales_fact set order_amount = order_amount + 0.01 where order_id = 'O2'",
            "1 row differs between shop and warehouse: 1 with another amount (example order_id O2, line_number 1).",
            id="a cent",
        ),
        pytest.param(
            "raw",
            "update raw.sales_fact set order_id = 'OX' where order_id = 'O2'",
            "2 rows differ between shop and warehouse: 1 missing in the warehouse (example order_id O2, line_number 1),"
            " 1 only in the warehouse (example order_id OX, line_number 1).",
            id="renamed",
        ),
        pytest.param(
            "raw",
            "delete from ops.quarantine",
            "1 row differs between shop and warehouse: "
            "1 missing in the warehouse (example order_id O0, line_number 1).",
            id="deleted from quarantine",
        ),
        pytest.param(
            "shop",
            "delete from sales_fact where order_id = 'O2 '",
            "1 row differs between shop and warehouse: 1 only in the warehouse (example order_id O2, line_number 1).",
            id="surplus",
        ),
        pytest.param(
            "shop",
            "insert into sales_fact select * from sales_fact where order_id = 'O2 '",
            "1 row differs between shop and warehouse: "
            "1 missing in the warehouse (example order_id O2, line_number 1).",
            id="twice",
        ),
        pytest.param(
            "shop",
            "update sales_fact set order_amount = -2 where order_id = 'O0 '",
            "1 row differs between shop and warehouse: "
            "1 missing in the warehouse (example order_id O0, line_number 1).",
            id="another bad amount",
        ),
    ],
)
def test_source_reconciliation_fails_until_the_window_is_loaded_again(
    evaluate, loaded: Loader, shop: psycopg.Connection, where: str, fault: str, difference: str
) -> None:
    (loaded.connection if where == "raw" else shop).execute(fault.encode())
    ((subject, status, message),) = evaluate("reconciliation_source", FIRST, LAST)
    assert (subject, status) == ("raw.sales_fact", "fail")
    assert message == f"{difference} Probably the shop changed after the load: load {FIRST} to {LAST} again"
    loaded.load("sales_fact", FIRST, LAST)
    assert evaluate("reconciliation_source", FIRST, LAST)[0][1] == "pass"


@pytest.fixture
def with_lines(loader: Loader, shop: psycopg.Connection, insert: Callable[..., None]) -> Loader:
    """Orders of two lines, of which the first has no number; one line of each kind is in quarantine."""
    shop.execute("alter table sales_fact add column if not exists line_number integer")
    for number in range(4):
        for line in (None, 2):
            amount = -1 if (number, line) in ((0, None), (1, 2)) else number
            insert("sales_fact", order_id=f"O{number}", line_number=line, product_id="P", order_date=FIRST,
                   order_amount=amount, created_at=f"{FIRST} 10:00")  # fmt: skip
    loader.load("sales_fact", FIRST)
    return loader


@pytest.mark.parametrize(
    ("fault", "difference"),
    [
        ("select 1", None),
        ("delete from raw.sales_fact where order_id = 'O2' and line_number = 2", "1 missing in the warehouse"),
        ("update raw.sales_fact set line_number = 3 where order_id = 'O2' and line_number = 2", "1 only in the"),
        # A rejected line is no excuse for another line of its order.
        (
            "delete from raw.sales_fact where order_id = 'O0'",
            "1 missing in the warehouse (example order_id O0, line_nu",
        ),
        ("delete from ops.quarantine where payload ->> 'line_number' is null", "(example order_id O0, line_number 1)"),
    ],
)
def test_source_reconciliation_compares_lines(evaluate, with_lines: Loader, fault: str, difference: str | None) -> None:
    with_lines.connection.execute(fault.encode())
    ((_, status, message),) = evaluate("reconciliation_source", FIRST)
    if difference is None:
        assert (status, message) == ("pass", "8 rows in the shop = 6 in raw (11.00) + 2 in quarantine")
    else:
        assert status == "fail"
        assert difference in message
        with_lines.load("sales_fact", FIRST)
        assert evaluate("reconciliation_source", FIRST)[0][1] == "pass"


@pytest.mark.parametrize("has_column", [True, False])
def test_source_reconciliation_passes_where_source_has_no_line_numbers(
    evaluate, loaded: Loader, shop: psycopg.Connection, insert: Callable[..., None], has_column: bool
) -> None:
    shop.execute("alter table sales_fact drop column if exists line_number")
    if has_column:
        shop.execute("alter table sales_fact add line_number smallint")
    else:
        # The second row of an order is in quarantine, as its line 1.
        insert(
            "sales_fact", order_id="O1", product_id="P", order_date=FIRST, order_amount=7, created_at=f"{FIRST} 09:00"
        )
        loaded.connection.execute("delete from ops.source_column")
    loaded.load("sales_fact", FIRST, LAST)
    assert evaluate("reconciliation_source", FIRST, LAST)[0][1] == "pass"
    # A row without any key is in quarantine, too.
    insert("sales_fact", product_id="P", order_date=FIRST, order_amount=7, created_at=f"{FIRST} 09:00")
    assert evaluate("reconciliation_source", FIRST, LAST)[0][1] == "fail"
    loaded.load("sales_fact", FIRST, LAST)
    assert evaluate("reconciliation_source", FIRST, LAST)[0][1] == "pass"


def test_source_reconciliation_compares_refunds(
    evaluate, loader: Loader, shop: psycopg.Connection, insert: Callable[..., None]
) -> None:
    shop.execute(ALL_COLUMNS.encode())
    for number in range(3):
        insert("refund", refund_id=f"R{number}", refund_date=FIRST, refund_amount=number, created_at=f"{FIRST} 10:00")
    loader.load("refund", FIRST)
    check = "reconciliation_refund"
    assert evaluate(check, FIRST) == [("raw.refund", "pass", "3 rows in the shop = 2 in raw (3.00) + 1 in quarantine")]
    shop.execute("delete from refund where refund_id = 'R1'")
    assert "1 only in the warehouse (example refund_id R1)" in evaluate(check, FIRST)[0][2]


def test_source_reconciliation_fetches_only_buckets_that_differ(
    evaluate, loader: Loader, shop: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.execute(
        """
        insert into sales_fact (order_id, product_id, customer_id, order_date, order_amount, created_at)
        select 'O' || n, 'P', 'C', %(day)s::date, n / 100.0, %(day)s::date
        from generate_series(1, 2000) as n
        """,
        {"day": FIRST},
    )
    loader.load("sales_fact", FIRST)
    fetched: list[int] = []
    keys = reconciliation._SourceTable.keys

    async def counted_keys(*arguments: Any) -> list[tuple[str | None, ...]]:
        rows = await keys(*arguments)
        fetched.append(len(rows))
        return rows

    monkeypatch.setattr(reconciliation._SourceTable, "keys", counted_keys)
    assert evaluate("reconciliation_source", FIRST)[0][1:] == (
        "pass",
        "2,000 rows in the shop = 2,000 in raw (20,010.00) + 0 in quarantine",
    )
    assert fetched == [0, 0]
    loader.connection.execute("update raw.sales_fact set order_amount = order_amount + 0.01 where order_id = 'O77'")
    assert (
        "1 with another amount (example order_id O77, line_number 1)" in evaluate("reconciliation_source", FIRST)[0][2]
    )
    assert max(fetched) < 60
    kept = loader.rows("select bad_row ->> 'where', (bad_row ->> 'order_amount')::float from ops.check_failure")
    assert sorted(kept) == [("only at the source", 0.77), ("only in raw", 0.78)]


def test_source_reconciliation_says_nothing_of_a_source_that_was_not_requested(
    evaluate, loaded: Loader, shop: psycopg.Connection
) -> None:
    shop.execute("delete from sales_fact")
    assert evaluate("reconciliation_source", FIRST, LAST, sources=["product"]) == [
        ("reconciliation_source", "pass", "nothing to check")
    ]


def test_source_reconciliation_does_not_ask_a_source_that_could_not_be_loaded(
    evaluate, loaded: Loader, shop: psycopg.Connection
) -> None:
    """A column that is gone fails the load; the marts of the other sources are published all the same."""
    exclusions = lease.Exclusions(frozenset({"sales_fact"}), frozenset({"fact_sales"}))
    lease.take(loaded.connection, "a_dag", "a_run", project="p", full_refresh=False, exclusions=exclusions)
    shop.execute("alter table sales_fact rename column order_amount to amount")
    message = "not compared: sales_fact could not be loaded"
    assert evaluate("reconciliation_source", FIRST, LAST) == [("raw.sales_fact", "warn", message)]


@pytest.mark.parametrize("sources", [["sales_fact"], ["product"]])
def test_source_reconciliation_compares_windows_of_all_claimed_loads(
    evaluate, loaded: Loader, shop: psycopg.Connection, insert: Callable[..., None], sources: list[str]
) -> None:
    """Whichever run has loaded them, and whatever this run was to load."""
    later, last = "2024-03-09", "2024-03-20"
    insert("sales_fact", order_id="O9", product_id="P", order_date=BEFORE, order_amount=1, created_at=f"{later} 10:00")
    loaded.load("sales_fact", later, run=RunIdentity("extract_sales_fact", "another_run"))
    assert lease.take(loaded.connection, "a_dag", "a_run", project="p", full_refresh=False)
    compared = "7 rows in the shop = 6 in raw (6,173.50) + 1 in quarantine"
    assert evaluate("reconciliation_source", last, sources=sources) == [("raw.sales_fact", "pass", compared)]
    shop.execute(
        "update sales_fact set order_amount = 2 where order_id = 'O9'; delete from sales_fact where order_id = ' O3'"
    )
    ((_, status, message),) = evaluate("reconciliation_source", last, sources=sources)
    assert status == "fail"
    assert message.startswith("2 rows differ between shop and warehouse: 1 only in the warehouse (example order_id O3,")
    assert message.endswith(f"load {FIRST} to {LAST}, {later} again")


@pytest.mark.parametrize("check", ["reconciliation_source", "reconciliation_refund"])
def test_source_reconciliation_checks_nothing_of_a_source_in_mysql(
    evaluate, loaded: Loader, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    # Nothing listens there: the source is not even asked.
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_MYSQL", "mysql://reader@127.0.0.1:9/shop")
    in_mysql = {"connection": "shop_mysql", "table": "anything"}
    set_shop(monkeypatch, sales_fact=in_mysql, refund=in_mysql)
    loaded.connection.execute("delete from raw.sales_fact")
    assert evaluate(check, FIRST, LAST) == [(check, "pass", "nothing to check")]


def test_source_reconciliation_changes_no_table_but_check_result(evaluate, loaded: Loader) -> None:
    before = loaded.everything()
    evaluate("reconciliation_source", FIRST, LAST)
    after = loaded.everything()
    assert {name for name in after if after[name] != before[name]} == {"ops.check_result"}


#: Mart → its count, its amount, the column with its day or month.
MARTS = {
    "daily_revenue": ("daily_orders", "daily_revenue", "order_date"),
    "product_category_revenue_monthly": ("units_sold", "total_revenue", "revenue_month"),
    "product_revenue_payment_analysis": ("order_count", "revenue", "revenue_month"),
    "seasonal_sales_analysis": ("monthly_orders", "monthly_revenue", "sales_month"),
    "product_performance_monthly": ("units_sold", "revenue", "revenue_month"),
    "revenue_trend": ("units", "revenue", "period_start"),
    "customer_cohorts_monthly": ("active_customers", "revenue", "order_month"),
    "payment_method_preference": ("total_orders", "total_revenue", None),
    "customer_segments": ("total_orders", "lifetime_revenue", None),
}

#: Mart with refunds → its net amount.
NET = {
    "daily_revenue": "net_revenue",
    "product_category_revenue_monthly": "net_revenue",
    "product_performance_monthly": "net_revenue",
    "customer_segments": "lifetime_value",
}

#: Marts whose count is compared. In the others, an order may be in several groups of a period.
COUNTED = (
    "daily_revenue", "product_category_revenue_monthly", "product_performance_monthly", "revenue_trend",
    "customer_cohorts_monthly",
)  # fmt: skip

#: Mart → what is compared of it.
FIGURES = {
    mart: {
        f"marts_build.{mart} amount",
        *([f"marts_build.{mart} rows"] if mart in COUNTED else []),
        *([f"marts_build.{mart} refunds amount"] if mart in NET else []),
    }
    for mart in MARTS
}

SUBJECTS = {
    "core.fact_sales rows",
    "core.fact_sales amount",
    "core.fact_refunds rows",
    "core.fact_refunds amount",
    "core.fact_customer_events rows",
    "core.int_daily_sales rows",
    "core.int_daily_sales amount",
    "marts_build.conversion_funnel_daily rows",
    "marts_build.inventory_status rows",
    *(figure for figures in FIGURES.values() for figure in figures),
}


@pytest.fixture
def built(loader: Loader) -> Loader:
    """
    Raw, facts and marts that agree.

    An order of two lines, one of nothing, a guest's, and a cancelled one; a refund before the first order, one of a
    line, and one of no product; three events, of which two are one.
    """
    lines = [
        ("O1", "1", "C", FIRST, "10.005", None),
        ("O1", "2", "C", FIRST, "1", None),
        ("O2", "1", "C", FIRST, "0", None),
        ("O3", "1", None, LAST, "20", None),
        ("O4", "1", "C", LAST, "7", "Cancelled"),
    ]
    line_columns = ("order_id", "line_number", "customer_id", "order_date", "order_amount", "order_status")
    loader.load(
        "sales_fact",
        FIRST,
        LAST,
        rows=[
            {**dict(zip(line_columns, line, strict=True)), "product_id": "P", "created_at": f"{line[3]} 10:00"}
            for line in lines
        ],
    )
    refunds = [("R1", BEFORE, "2", "C", "P"), ("R2", FIRST, "3.005", "C", "P"), ("R3", LAST, "1", None, None)]
    refund_columns = ("refund_id", "refund_date", "refund_amount", "customer_id", "product_id")
    loader.load(
        "refund",
        BEFORE,
        LAST,
        rows=[
            {**dict(zip(refund_columns, refund, strict=True)), "created_at": f"{refund[1]} 10:00"} for refund in refunds
        ],
    )
    loader.connection.execute(
        """
        insert into raw.kafka_stream (
            customer_id, product_id, interaction_type, "timestamp", _topic, _partition, _offset, _batch_id, _loaded_at
        )
        select
            'C' || repeat(' ', n), 'P', 'view',
            timestamptz '2024-03-01 10:00Z' + greatest(n - 1, 0) * interval '1 hour',
            't', 0, n, 0, now()
        from generate_series(0, 2) as n
        """
    )
    marts = "".join(map(_mart, MARTS))
    drops = " ".join(statement for (statement,) in loader.rows(MODELS))
    loader.connection.execute(f"set role transformer; {drops} {FACTS} {marts} reset role".encode())
    loader.connection.execute("delete from ops.dirty_date")
    return loader


MODELS = """
select format('drop table %s;', oid::regclass)
from pg_class
where relkind = 'r' and relnamespace in ('core'::regnamespace, 'marts_build'::regnamespace)
"""

FACTS = """
create table core.fact_sales as
select
    order_id,
    customer_id,
    customer_id is null as is_guest,
    order_status is not null as is_cancelled,
    order_date as date_key,
    order_amount::numeric(18, 2) as order_amount,
    2 as order_quantity
from raw.sales_fact;

create table core.fact_refunds as
select refund_id, customer_id, product_id, refund_date as date_key, refund_amount::numeric(18, 2) as refund_amount
from raw.refund;

create table core.fact_customer_events as
select distinct on ("timestamp")
    _offset::text as event_id,
    ("timestamp" at time zone 'UTC')::date as date_key
from raw.kafka_stream;

alter table core.fact_customer_events add interaction_type text default 'view';

create table core.int_daily_sales as
select
    date_key,
    count(distinct order_id) as orders,
    sum(order_amount) as revenue,
    coalesce(sum(order_amount) filter (where is_guest), 0) as guest_revenue
from core.fact_sales
where order_amount > 0 and not is_cancelled
group by date_key;

create table core.int_customer_yearly_refunded_sales as
select date_trunc('year', date_key)::date as refund_year, customer_id, sum(refund_amount) as refunded_amount
from core.fact_refunds
where customer_id is not null
group by 1, 2;

create table core.dim_products as
select 'P' as product_id, true as is_current;

create table marts_build.inventory_status as
select product_id
from core.dim_products;

create table marts_build.conversion_funnel_daily as
select date_key as event_date, count(*) as views, 0 as add_to_carts, 0 as purchases
from core.fact_customer_events
group by 1;
"""


def _mart(mart: str) -> str:
    """The statements that make a mart; one with refunds has a row also for a month with refunds alone."""
    count, amount, day = MARTS[mart]
    units = "sum(order_quantity)"
    counted = {"active_customers": "count(distinct customer_id)", "units_sold": units, "units": units}
    period = "0" if day is None else "date_key" if day == "order_date" else "date_trunc('month', date_key)::date"
    without_guests = "and not is_guest" if mart in ("customer_cohorts_monthly", "customer_segments") else ""
    conditions = {
        "product_performance_monthly": "product_id is not null",
        "customer_segments": "customer_id is not null",
    }
    statement = f"""
        create table marts_build.{mart} as
        select
            period as {day or "whole"},
            coalesce(sales.count, 0) as {count},
            coalesce(sales.amount, 0) as {amount},
            coalesce(refunds.amount, 0) as refunded_amount
        from (
            select
                {period} as period,
                {counted.get(count, "count(distinct order_id)")} as count,
                sum(order_amount) as amount
            from core.fact_sales
            where order_amount > 0 and not is_cancelled {without_guests}
            group by 1
        ) as sales
        {"full" if "month" in (day or "") and mart in NET else "left"} join (
            select {period} as period, sum(refund_amount) as amount
            from core.fact_refunds
            where {conditions.get(mart, "true")}
            group by 1
        ) as refunds using (period);
    """
    if mart == "revenue_trend":
        statement += "alter table marts_build.revenue_trend add grain text default 'month',"
        statement += " add category_name text default 'All categories';"
    if mart not in NET:
        return statement
    return f"""
        {statement}
        alter table marts_build.{mart}
        add {NET[mart]} numeric generated always as ({amount} - refunded_amount) stored;
    """


@pytest.mark.parametrize(("first", "refunded"), [(FIRST, "4.01"), (BEFORE, "6.01")])
def test_reconciliation_passes_where_raw_facts_and_marts_agree(
    evaluate, built: Loader, first: str, refunded: str
) -> None:
    results = evaluate("reconciliation_core", first, LAST)
    assert {(subject, status) for subject, status, _ in results} == {(subject, "pass") for subject in SUBJECTS}
    messages = {subject: message.removesuffix(" as expected") for subject, _, message in results}
    assert {
        "core.fact_sales rows": "5",
        "core.fact_sales amount": "38.01",
        "core.fact_refunds amount": refunded,
        "core.int_daily_sales rows": "2",
        "marts_build.daily_revenue amount": "31.01",
        # The mart begins with the first order.
        "marts_build.daily_revenue refunds amount": "4.01",
        "marts_build.product_category_revenue_monthly rows": "6",
        "marts_build.product_category_revenue_monthly refunds amount": refunded,
        "marts_build.customer_cohorts_monthly amount": "11.01",
        "marts_build.customer_segments refunds amount": "5.01",
    }.items() <= messages.items()


#: Subjects that fail if the facts lack an event, or have one too many.
EVENTS = {"core.fact_customer_events rows", "marts_build.conversion_funnel_daily rows"}

FAULTS = [
    # Two days whose differences add up to nothing.
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
    # Of a line that no mart counts.
    ("update core.fact_sales set order_amount = 8 where is_cancelled", {"core.fact_sales amount"}),
    ("update core.fact_refunds set refund_amount = refund_amount + 0.01 where refund_id = 'R2'", None),
    (
        "delete from core.int_customer_yearly_refunded_sales",
        {"marts_build.customer_segments refunds amount"},
    ),
    ("delete from core.fact_customer_events where event_id = '2'", EVENTS),
    ("insert into core.fact_customer_events values ('9', '2024-03-01')", EVENTS),
    *(
        fault
        for mart, (_, amount, _) in MARTS.items()
        for fault in (
            (f"update marts_build.{mart} set {amount} = {amount} - 0.01", {f"marts_build.{mart} amount"}),
            (f"delete from marts_build.{mart}", FIGURES[mart]),
        )
    ),
    *(
        (f"update marts_build.{mart} set {MARTS[mart][0]} = {MARTS[mart][0]} + 1", {f"marts_build.{mart} rows"})
        for mart in COUNTED
    ),
    *(
        (
            f"update marts_build.{mart} set refunded_amount = refunded_amount + 0.01",
            {f"marts_build.{mart} refunds amount"},
        )
        for mart in NET
    ),
]


@pytest.mark.parametrize(("fault", "subjects"), FAULTS)
def test_reconciliation_fails_for_the_tables_at_fault(
    evaluate, built: Loader, fault: str, subjects: set[str] | None
) -> None:
    built.connection.execute(fault.encode())
    failed = {subject for subject, status, _ in evaluate("reconciliation_core", FIRST, LAST) if status == "fail"}
    if subjects is None:
        # Many marts are compared with this table.
        assert len(failed) > 3
    else:
        assert failed == subjects


def test_reconciliation_names_both_figures_of_each_period(evaluate, built: Loader) -> None:
    built.connection.execute("update marts_build.daily_revenue set daily_revenue = daily_revenue + 5000")
    messages = {subject: message for subject, _, message in evaluate("reconciliation_core", FIRST, LAST)}
    assert messages["marts_build.daily_revenue amount"] == (
        "10,031.01, expected 31.01; 2 of 2 periods differ: 2024-03-01 has 5,011.01, not 11.01,"
        " 2024-03-02 has 5,020.00, not 20.00"
    )
    assert built.rows("select bad_row from ops.check_failure order by bad_row ->> 'period'") == [
        ({"period": "2024-03-01", "observed": "5011.01", "expected": "11.01"},),
        ({"period": "2024-03-02", "observed": "5020.00", "expected": "20.00"},),
    ]


def test_reconciliation_compares_only_periods_of_the_run(evaluate, built: Loader) -> None:
    built.connection.execute("update marts_build.daily_revenue set daily_revenue = 0 where order_date = %s", [LAST])
    assert {status for _, status, _ in evaluate("reconciliation_core", FIRST)} == {"pass"}
    # A claimed day belongs to the run.
    built.connection.execute("insert into ops.claimed_date values ('a_run', 'customer', %s, 0, now())", [LAST])
    failed = [subject for subject, status, _ in evaluate("reconciliation_core", FIRST) if status == "fail"]
    assert failed == ["marts_build.daily_revenue amount"]


def test_reconciliation_ignores_days_that_were_loaded_after_the_claim(evaluate, built: Loader) -> None:
    row: dict[str, str | None] = {
        "order_id": "O9",
        "product_id": "P",
        "customer_id": "C",
        "order_date": FIRST,
        "order_amount": "5",
        "created_at": "2024-03-05 10:00",
    }
    built.load("sales_fact", "2024-03-05", rows=[row])
    assert {status for _, status, _ in evaluate("reconciliation_core", FIRST, LAST)} == {"pass"}
    # Claimed by this run, the day should have been built.
    built.connection.execute("update ops.dirty_date set claimed_by = 'a_run'")
    failed = {subject for subject, status, _ in evaluate("reconciliation_core", FIRST, LAST) if status == "fail"}
    assert failed == {"core.fact_sales rows", "core.fact_sales amount"}


def test_reconciliation_passes_with_empty_tables(evaluate, built: Loader) -> None:
    sources = ("raw.sales_fact", "raw.refund", "core.fact_sales", "core.fact_refunds")
    models = ("core.int_daily_sales", "core.int_customer_yearly_refunded_sales")
    for table in (*sources, *models, *(f"marts_build.{mart}" for mart in MARTS)):
        built.connection.execute(f"delete from {table}".encode())
    assert {status for _, status, _ in evaluate("reconciliation_core", FIRST, LAST)} == {"pass"}


def test_reconciliation_skips_excluded_models(evaluate, built: Loader) -> None:
    """Not even queried: before the first build their tables do not exist."""
    models = {"fact_customer_events", "conversion_funnel_daily", "daily_revenue"}
    for table in ("core.fact_customer_events", "marts_build.conversion_funnel_daily", "marts_build.daily_revenue"):
        built.connection.execute(f"drop table {table}".encode())
    exclusions = lease.Exclusions(frozenset({"kafka_stream"}), frozenset(models))
    lease.take(built.connection, "a_dag", "a_run", project="p", full_refresh=False, exclusions=exclusions)
    results = {(subject, status) for subject, status, _ in evaluate("reconciliation_core", FIRST, LAST)}
    assert results == {(subject, "pass") for subject in SUBJECTS if not any(model in subject for model in models)}
