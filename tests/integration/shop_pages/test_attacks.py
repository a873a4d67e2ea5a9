"""What people may ask of the pages, and what a source may have in a row, neither breaks nor stops the server."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

import psycopg
import pytest
from fastapi.testclient import TestClient

from shop_pages import limits, trigger_form
from shop_pages.airflow_access import DagParam
from shop_pages.pool import ConnectionPool
from shop_pages.queries import Warehouse
from tests.integration.shop_pages.conftest import AS_OF

pytestmark = pytest.mark.usefixtures("patient")

#: Texts that are no day, no number, or none that Postgres stores, compares or computes with.
HOSTILE = [
    "\0", "a\0b", "0001-01-01", "0001-01-31", "9999-12-31", "99999-01-01", "infinity", "-infinity", "epoch", "now",
    "5874897-12-31", "4713-01-01 BC", "2024-02-30", "9" * 30, "-" + "9" * 30, "9" * 3_000, "1e999", "NaN", "%s",
    "%(x)s", "'; drop table marts.daily_revenue; --", "\ud7ff\uffff\U0010ffff", "x" * 3_000,
]  # fmt: skip
ADDRESSES = [
    "/revenue?first={}", "/revenue?last={}", "/revenue?first={0}&last={0}", "/revenue?category={}",
    "/trends?grain={}", "/revenue/trend.csv?first={}", "/revenue/trend.csv?category={}", "/customers?last={}",
    "/status?first={}", "/status?last={}", "/status?first={0}&last={0}",
    "/rows/daily_revenue?order_date={}", "/rows/revenue_trend?grain=year&period_start={}&category_name=x",
    "/rows/revenue_trend?grain={0}&period_start=2024-01-01&category_name={0}",
    "/rows/product_performance_monthly?revenue_month={}&product_id={}",
    "/rows/weather_sales_impact?city={}&temperature_category={}&precipitation_category={}",
    "/facts/fact_sales?key={}", "/facts/fact_sales?key=x&line={}", "/facts/fact_refunds?key={}",
    "/facts/fact_customer_events?key={}", "/facts/fact_customer_events?key=customer_interactions-{0}-{0}",
    "/facts/fact_subscriptions?key={}", "/facts/fact_weather?key=Berlin%20{}", "/facts/{}?key=x", "/rows/{}",
    "/status/{0}/{0}", "/status/sales_fact/{}", "/undo/{}", "/incidents/{}",
    "/batches/{}", "/models/{}", "/trigger/ecommerce_warehouse?start_date={}", "/started/ecommerce_warehouse?run_id={}",
    "/static/{}/{}", "/{}", "/today?{}={}",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_address_that_no_page_has_is_no_error_of_the_server(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    # Airflow's own database is empty here.
    day = DagParam("start_date", None, None, {"type": ["null", "string"], "format": "date"})
    monkeypatch.setattr(trigger_form, "dag_params", lambda dag_id: ([day], False))
    for text in HOSTILE:
        sent = quote(text, safe="", errors="surrogatepass")
        answer = client.get(address.format(*[sent] * 3))
        assert answer.status_code < 500, (text, answer.status_code, answer.text[-400:])


def test_day_outside_the_calendar_is_refused_in_words(client: TestClient) -> None:
    for address in (
        "/status?last=9999-12-31",
        "/revenue?first=0001-01-01",
        "/rows/daily_revenue?order_date=0001-01-01",
    ):
        answer = client.get(address)
        assert answer.status_code == 400
        assert "outside the calendar, 1970-01-01 to 2069-12-31" in answer.text


def test_long_address_is_refused(client: TestClient) -> None:
    for length, status in ((3_900, 404), (4_100, 414)):
        assert client.get(f"/facts/fact_sales?key={'x' * length}").status_code == status


def test_many_addresses_do_not_fill_the_memory(filled: object) -> None:
    async def ask() -> Warehouse:
        warehouse = Warehouse(ConnectionPool(limits.INSPECTOR))
        try:
            for n in range(300):
                await warehouse.rows("select 1 where %(key)s::text is null", key=f"{n}" + "x" * 1_000_000)
        finally:
            await warehouse.close()
        return warehouse

    cache = asyncio.run(ask())._cache
    kept = sum(len(part) for key in cache for pair in key[2:] for part in pair)
    assert 0 < kept <= limits.CACHED_ROWS_BYTES


# -- a row of a source that is as large as its database allows ---------------------------------------------------------


@pytest.fixture
def huge_rows(filled: Callable[[str], str], client: TestClient) -> Iterator[int]:
    """Rows in quarantine as an earlier version has stored them: 40 of 5 MB in one batch, and one of 40 MB."""
    with psycopg.connect(filled("publisher"), autocommit=True) as connection:
        batch = connection.execute(
            """
            insert into ops.load_batch (source, window_start, window_end, status, started_at, finished_at)
            values ('sales_fact', %(day)s, %(day)s::date + 1, 'failed', now(), now())
            returning batch_id
            """,
            {"day": AS_OF},
        ).fetchone()
        assert batch is not None
        # Of random digits, which do not become small by compression; and of one, which do.
        connection.execute(
            """
            with noise as materialized (
                select string_agg(md5(n::text), '') as text from generate_series(1, 160000) as n
            )
            insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)
            select
                %(batch)s, 'sales_fact', 'product_id is longer than 1,000 bytes: x',
                jsonb_build_object('order_id', 'HUGE' || n, 'product_id', noise.text), now()
            from noise
            cross join generate_series(1, 40) as n
            union all
            select
                %(batch)s, 'sales_fact', 'product_id is longer than 1,000 bytes: y' || repeat('y', 5000000),
                jsonb_build_object('order_id', 'HUGE0', 'product_id', repeat('x', 40000000)), now()
            """,
            {"batch": batch[0]},
        )
        yield batch[0]
        connection.execute("delete from ops.quarantine where batch_id = %s", [batch[0]])
        connection.execute("delete from ops.load_batch where batch_id = %s", [batch[0]])


def test_huge_rejected_rows_neither_fill_the_page_nor_stop_the_others(huge_rows: int, client: TestClient) -> None:
    pauses: list[float] = []
    statuses: set[int] = set()
    stop = threading.Event()

    def ask_others() -> None:
        while not stop.is_set():
            started = time.monotonic()
            statuses.add(client.get("/today").status_code)
            pauses.append(time.monotonic() - started)

    others = threading.Thread(target=ask_others)
    others.start()
    try:
        started = time.monotonic()
        answers = [client.get(path) for path in (f"/batches/{huge_rows}", "/status", f"/status?last={AS_OF}")]
        took = time.monotonic() - started
    finally:
        stop.set()
        others.join()
    for answer in answers:
        assert answer.status_code == 200
        assert len(answer.content) < 500_000
    assert "it is in ops.quarantine, quarantine_id" in answers[0].text
    assert took < 5
    assert statuses == {200}
    assert max(pauses) < 3


def test_text_that_is_short_enough_to_be_read_is_cut_on_the_page(
    filled: Callable[[str], str], client: TestClient
) -> None:
    with psycopg.connect(filled("publisher"), autocommit=True) as connection:
        row = connection.execute(
            """
            insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)
            select min(batch_id), 'sales_fact', 'a reason', jsonb_build_object('product_id', repeat('x', 3000)), now()
            from ops.load_batch
            returning batch_id, quarantine_id
            """
        ).fetchone()
        assert row is not None
        try:
            page = client.get(f"/batches/{row[0]}").text
        finally:
            connection.execute("delete from ops.quarantine where quarantine_id = %s", [row[1]])
    assert "x" * 1_900 in page
    assert "x" * 2_001 not in page
