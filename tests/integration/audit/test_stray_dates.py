"""Facts with a date that is most likely a mistake: the checks warn, and name the rows and their pages."""

from collections.abc import Callable

import pytest
from psycopg import sql

from ecommerce.audit.check_results import KEPT_ROWS
from ecommerce.audit.checks_file import read_checks
from ecommerce.audit.stray_dates import OutsideCoveredDays, stray_rows
from tests.integration.audit.conftest import Evaluate
from tests.integration.support import Loader

DAY = "2024-03-01"
NEXT = "2024-03-02"


@pytest.fixture(autouse=True)
def covered(loader: Loader) -> None:
    """Sales are loaded for January to 2 March 2024."""
    loader.connection.execute(
        """
        insert into ops.load_batch (source, window_start, window_end, status, started_at)
        values ('sales_fact', '2024-01-01', '2024-03-03', 'loaded', now())
        """
    )


def order(loader: Loader, order_id: str, dated: str, recorded: str = f"{DAY} 10:00", line: int = 1) -> None:
    loader.connection.execute(
        """
        insert into raw.sales_fact (
            order_id, line_number, product_id, customer_id, order_date, order_amount, created_at, _batch_id, _loaded_at
        )
        values (%s, %s, 'P', 'C', %s, 1, %s, 0, now())
        """,
        [order_id, line, dated, recorded],
    )


def refund(loader: Loader, refund_id: str, dated: str) -> None:
    loader.connection.execute(
        """
        insert into raw.refund (refund_id, refund_date, refund_amount, created_at, _batch_id, _loaded_at)
        values (%s, %s, 1, %s, 0, now())
        """,
        [refund_id, dated, f"{DAY} 10:00"],
    )


def event(loader: Loader, offset: int, at: str, published: str | None = f"{DAY} 10:00Z") -> None:
    loader.connection.execute(
        """
        insert into raw.kafka_stream (
            customer_id, product_id, interaction_type, "timestamp", _topic, _partition, _offset, _published_at,
            _batch_id, _loaded_at
        )
        values ('C', 'P', 'view', %s, 'clicks', 0, %s, %s, 0, now())
        """,
        [at, offset, published],
    )


def test_dated_back_warns_with_an_example_and_its_page(evaluate: Evaluate, loader: Loader) -> None:
    order(loader, "as usual", "2024-02-29")
    order(loader, "400 days", "2023-01-26")
    order(loader, "401 days", "2023-01-25")
    order(loader, "A & B", "2019-03-01")
    order(loader, "recorded on another day", "2019-03-01", recorded=f"{NEXT} 10:00")
    assert evaluate("dated_back", DAY) == [
        (
            "raw.sales_fact dates",
            "warn",
            "2 order lines are dated more than 400 days before the day of recording, e.g. A & B, dated 2019-03-01 and"
            " recorded on 2024-03-01: see /shop/facts/fact_sales?key=A+%26+B",
        )
    ]
    assert loader.rows("select bad_row ->> 'key', bad_row ->> 'page' from ops.check_failure order by 1 desc") == [
        ("A & B", "/shop/facts/fact_sales?key=A+%26+B"),
        ("401 days", "/shop/facts/fact_sales?key=401+days"),
    ]


def test_dated_back_passes_without_such_an_order(evaluate: Evaluate, loader: Loader) -> None:
    order(loader, "400 days", "2023-01-26")
    message = "no order line is dated more than 400 days before the day of recording"
    assert evaluate("dated_back", DAY) == [("raw.sales_fact dates", "pass", message)]


def test_outside_covered_days_warns_of_orders_refunds_and_events(evaluate: Evaluate, loader: Loader) -> None:
    for order_id, dated in (("first", "2024-01-01"), ("last", NEXT), ("before", "2023-12-31"), ("after", "2024-03-03")):
        order(loader, order_id, dated)
    refund(loader, "R1", "2024-01-01")
    refund(loader, "R2", "2023-06-01")
    for offset, at in enumerate(("2024-01-01 00:00Z", "2024-03-02 23:59:59Z", "2024-03-03 00:00Z")):
        event(loader, offset, at)
    event(loader, 3, "2031-01-01 00:00Z", published=f"{NEXT} 00:00Z")
    covered = "dated outside the covered days, 2024-01-01 to 2024-03-02"
    assert evaluate("outside_covered_days", DAY) == [
        (
            "raw.sales_fact dates",
            "warn",
            f"2 order lines are {covered} (1 before and 1 after), e.g. before, dated 2023-12-31 and recorded on"
            " 2024-03-01: see /shop/facts/fact_sales?key=before",
        ),
        (
            "raw.refund dates",
            "warn",
            f"1 refund is {covered} (1 before), e.g. R2, dated 2023-06-01 and recorded on 2024-03-01: see"
            " /shop/facts/fact_refunds?key=R2",
        ),
        (
            "raw.kafka_stream dates",
            "warn",
            f"1 event is {covered} (1 after), e.g. clicks-0-2, dated 2024-03-03 and recorded on 2024-03-01: see"
            " /shop/facts/fact_customer_events?key=clicks-0-2",
        ),
    ]
    assert [row[1:] for row in evaluate("outside_covered_days", "2024-02-01")] == [
        ("pass", f"no {row} is {covered}") for row in ("order line", "refund", "event")
    ]


def test_days_of_a_window_without_sales_are_no_stray_dates(evaluate: Evaluate, loader: Loader) -> None:
    """The sales of 5 March could not be loaded: its events are not stray, and neither are they reported."""
    event(loader, 1, "2024-03-05 12:00Z", published="2024-03-05 12:00Z")
    event(loader, 2, "2024-03-06 12:00Z", published="2024-03-05 12:00Z")
    message = evaluate("outside_covered_days", "2024-03-05")[-1][2]
    assert message.startswith("1 event is dated outside the covered days, 2024-01-01 to 2024-03-05 (1 after)")


@pytest.mark.parametrize("table", ["raw.sales_fact", "raw.refund", "raw.kafka_stream"])
def test_rows_of_the_window_are_found_by_an_index(loader: Loader, table: str) -> None:
    """The check does not read all of raw, which grows with the age of the warehouse."""
    check = read_checks().checks["outside_covered_days"]
    assert isinstance(check, OutsideCoveredDays)
    (fact,) = [fact for fact in check.facts if fact.table == table]
    query = stray_rows(fact, sql.SQL("true"))
    with loader.connection.transaction():
        loader.connection.execute("set local enable_seqscan = off")
        plan = loader.connection.execute(sql.SQL("explain {}").format(query), {"start": DAY, "end": NEXT}).fetchall()
    assert any("Index Cond" in line for (line,) in plan), plan


def test_outside_covered_days_says_nothing_before_sales_were_loaded(evaluate: Evaluate, loader: Loader) -> None:
    loader.connection.execute("delete from ops.load_batch")
    order(loader, "O1", "2024-03-01")
    assert evaluate("outside_covered_days", DAY) == [("outside_covered_days", "pass", "nothing to check")]


def test_days_of_recording_are_those_of_the_shop(
    evaluate: Evaluate, loader: Loader, set_time_zone: Callable[..., None]
) -> None:
    """At 03:00 in UTC it is still the evening before in New York."""
    set_time_zone("America/New_York")
    order(loader, "evening", "2023-01-25", recorded=f"{NEXT} 03:00")
    order(loader, "night", "2019-01-01", recorded=f"{DAY} 03:00")
    event(loader, 1, f"{NEXT} 04:59Z", published=f"{NEXT} 04:59Z")
    message = evaluate("dated_back", DAY)[0][2]
    assert message.startswith("1 order line is dated")
    assert "evening, dated 2023-01-25 and recorded on 2024-03-01" in message
    assert evaluate("outside_covered_days", DAY)[-1][1] == "pass"


def test_stray_dates_keep_at_most_a_hundred_rows(evaluate: Evaluate, loader: Loader) -> None:
    for line in range(KEPT_ROWS + 5):
        order(loader, "many", "2019-03-01", line=line)
    assert evaluate("dated_back", DAY)[0][2].startswith("105 order lines are dated")
    assert loader.value("select count(*) from ops.check_failure") == KEPT_ROWS
