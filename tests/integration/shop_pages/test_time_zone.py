"""The pages of a shop in New York, over the days around the night when its clocks go back."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg.conninfo import conninfo_to_dict

from ecommerce.build import lease
from ecommerce.common.connections import PUBLISHER, warehouse
from ecommerce.common.version import version
from ecommerce.publish.publication import publish
from include.demo import airflow_services, database
from include.demo.state import State
from shop_pages import status, trigger_form
from shop_pages.airflow_access import DagParam
from shop_pages.drill import FACTS
from tests.integration.dbt_runs import dbt_on
from tests.integration.shop_pages.conftest import categories, client_of, event_columns, products
from tests.integration.support import Loader, Row, checks_passed, set_shop

pytestmark = pytest.mark.usefixtures("patient")

ZONE = "America/New_York"
#: The day of 25 hours, the one before, and the one 30 days before.
LONG_DAY, DAY_BEFORE, MONTH_BEFORE = "2024-11-03", "2024-11-02", "2024-10-04"
#: Times in UTC → as the shop's clock shows them.
CLOCK = {
    "2024-11-03T03:30:00Z": "2024-11-02 23:30 EDT (UTC−4)",
    "2024-11-03T05:30:00Z": "2024-11-03 01:30 EDT (UTC−4)",
    "2024-11-03T06:30:00Z": "2024-11-03 01:30 EST (UTC−5)",
    "2024-11-04T04:30:00Z": "2024-11-03 23:30 EST (UTC−5)",
}
LATE_ON_DAY_BEFORE, FIRST_HALF_PAST_ONE, SECOND_HALF_PAST_ONE, LATE_ON_LONG_DAY = CLOCK


def events() -> list[Row]:
    """A view at each time; the last one is sent twice."""
    return [
        {
            "customer_id": "CUST001",
            "product_id": "P1",
            "interaction_type": "view",
            "timestamp": at,
            "_topic": "customer_interactions",
            "_partition": "0",
            "_offset": str(n),
            "_published_at": at,
        }
        for n, at in enumerate([*CLOCK, LATE_ON_LONG_DAY])
    ]


def order(order_id: str, created_at: str, **other: str) -> Row:
    """An order of the long day; `created_at` as raw has it, in UTC."""
    return {
        "order_id": order_id,
        "product_id": "P1",
        "customer_id": "CUST001",
        "order_date": LONG_DAY,
        "order_amount": "100",
        "created_at": created_at,
        **other,
    }


@pytest.fixture(scope="module", autouse=True)
def shop_in_new_york(warehouse_dsn: str, postgres: State) -> Iterator[None]:
    """The shop's profile and the functions of the warehouse have this time zone."""
    with pytest.MonkeyPatch.context() as patch:
        set_shop(patch, settings={"time_zone": ZONE})
        database.make_tables(postgres.dsn(str(conninfo_to_dict(warehouse_dsn)["dbname"]), "postgres"))
        yield


@pytest.fixture(scope="module")
def filled(
    shop_in_new_york: None,
    warehouse_dsn: str,
    dsn_of: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], str]:
    """A warehouse that is loaded, built by dbt and published; returns the DSN of a role."""
    with psycopg.connect(warehouse_dsn, autocommit=True) as connection:
        loader = Loader(connection)
        loader.load("product", LONG_DAY, rows=products())
        loader.load("product_category", LONG_DAY, rows=categories())
        loader.load("customer", LONG_DAY, rows=[{"customer_id": "CUST001", "customer_name": "Customer 1"}])
        good = [order("O1", "2024-11-04 04:30:00"), order("O2", "2024-11-03 03:30:00", order_date=DAY_BEFORE)]
        bad = order("BAD", "2024-11-04 04:30:00", order_amount="-1")
        loader.load("sales_fact", DAY_BEFORE, LONG_DAY, rows=[*good, bad])
        loader.load("kafka_stream", DAY_BEFORE, LONG_DAY, rows=events(), columns=event_columns(), lineage=())
        weather = [{"city": "Albany", "date": DAY_BEFORE, "precipitation": "-1"}]
        loader.load("weather_data", DAY_BEFORE, LONG_DAY, rows=weather)
        with dbt_on(dsn_of("transformer"), Path(tmp_path_factory.mktemp("dbt"))) as project:
            project.run()
        lease.take(connection, "a_dag", "a_run", project="p", full_refresh=False)
        with checks_passed(connection, "a_run"), warehouse(PUBLISHER) as publisher:
            publish(publisher, "a_run")
        for checked_at, result in (
            (f"{MONTH_BEFORE} 12:00Z", "fail"),
            ("2024-10-05 12:00Z", "pass"),
            (FIRST_HALF_PAST_ONE, "warn"),
            (SECOND_HALF_PAST_ONE, "fail"),
            (LATE_ON_LONG_DAY, "pass"),
        ):
            connection.execute(
                """
                insert into ops.check_result (checked_at, run_id, check_name, subject, status, message)
                values (%s, 'a_run', 'volume', 'raw.sales_fact', %s, '')
                """,
                [checked_at, result],
            )
    return dsn_of


@pytest.fixture(scope="module")
def client(filled: Callable[[str], str], tokens: dict[str, str]) -> Iterator[TestClient]:
    """A viewer of the pages over this warehouse."""
    with pytest.MonkeyPatch.context() as patch, client_of(tokens["viewer"]) as client:
        patch.setattr(status, "run_steps", lambda dag_id, run_ids: {})
        patch.setattr("shop_pages.airflow_access.dag_exists", lambda dag_id: False)
        yield client


def times(html: str) -> list[str]:
    """All times of a page."""
    return re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d [A-Z]*[^<\"]*", html)


def test_inspector_can_call_the_functions_of_days_and_reader_cannot(filled: Callable[[str], str]) -> None:
    calls = "select ops.shop_day(%s), ops.shop_midnight(%s), ops.shop_time_zone()"
    with psycopg.connect(filled("inspector"), options="-c timezone=UTC") as inspector:
        row = inspector.execute(calls, [LATE_ON_LONG_DAY, LONG_DAY]).fetchone()
        assert row is not None
        assert [str(value) for value in row] == [LONG_DAY, f"{LONG_DAY} 04:00:00+00:00", ZONE]
    with psycopg.connect(filled("reader")) as reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(calls, [LATE_ON_LONG_DAY, LONG_DAY])


@pytest.mark.parametrize(
    "path", ["/today", "/revenue", "/customers", "/status", f"/rows/daily_revenue?order_date={LONG_DAY}"]
)
def test_every_footer_names_the_time_zone_of_the_shop_and_the_version(client: TestClient, path: str) -> None:
    footer = re.search(r"<footer>(.*?)</footer>", client.get(path).text, re.S)
    assert footer is not None
    assert "Days, months and times are those of the shop’s time zone, America/New_York." in footer[1]
    assert f"Version {version()}." in footer[1]


def test_events_are_on_the_day_of_the_shop_with_times_of_its_clock(client: TestClient) -> None:
    before, long = (
        client.get(f"/rows/conversion_funnel_daily?event_date={day}").text for day in (DAY_BEFORE, LONG_DAY)
    )
    assert [time for time in times(before) if time in CLOCK.values()] == [CLOCK[LATE_ON_DAY_BEFORE]]
    assert [time for time in times(long) if time in CLOCK.values()] == list(CLOCK.values())[1:]


def test_event_leads_to_its_repetition_by_the_index_of_days(client: TestClient, filled: Callable[[str], str]) -> None:
    key = "customer_interactions-0-3"
    raw = client.get(f"/facts/fact_customer_events?key={key}").text.split('id="raw-title"')[1]
    assert times(raw).count(CLOCK[LATE_ON_LONG_DAY]) == 4, "two messages: their own time, and the broker's"
    with psycopg.connect(filled("inspector")) as inspector:
        inspector.execute("set enable_seqscan = off")
        query = FACTS["fact_customer_events"].raw_query
        plan = inspector.execute(f"explain {query}".encode(), {"key": key}).fetchall()
    assert any("kafka_stream_event_date" in line for (line,) in plan), plan


def test_raw_row_shows_time_of_recording_by_the_clock_of_the_shop(client: TestClient) -> None:
    raw = client.get("/facts/fact_sales?key=O1").text.split('id="raw-title"')[1]
    assert CLOCK[LATE_ON_LONG_DAY] in raw


def test_rejected_rows_are_on_the_day_of_the_shop(client: TestClient) -> None:
    html = client.get("/status?first=2024-11-01&last=2024-11-04").text
    assert "1 Nov 2024 to 4 Nov 2024 (America/New_York)" in html
    rejected = re.findall(r'data-tip="([\w ]+, [\d-]+): [^"]* 1 of [^"]* rejected \(', html)
    # The order was recorded at 23:30 of the shop's clock; the weather's day is no time.
    assert sorted(rejected) == [f"Sales fact, {LONG_DAY}", f"Weather data, {DAY_BEFORE}"]


def test_bars_of_check_tell_the_two_hours_of_the_same_time_apart(client: TestClient) -> None:
    titles = re.findall(r'<a data-airflow class="\w+" data-tip="([^"]*)"', client.get("/status").text)
    assert titles[-3:] == [
        f"warn {CLOCK[FIRST_HALF_PAST_ONE]}",
        f"fail {CLOCK[SECOND_HALF_PAST_ONE]}",
        f"pass {CLOCK[LATE_ON_LONG_DAY]}",
    ]


def test_quality_of_last_30_days_counts_days_of_the_shop(client: TestClient) -> None:
    html = client.get("/status").text
    row = re.search(r"<td>Sales fact</td>\s*<td>source</td>(.*?)</tr>", html.split('id="quality"')[1], re.S)
    assert row is not None
    # Four results from 5 October on: the last one is on 3 November of the shop, which is the 4th in UTC.
    assert re.findall(r"<td[^>]*>([^<]*)</td>", row[1])[:4] == ["50.00 %", "4", "1", "1"]


def test_trigger_form_says_whose_days_it_takes(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [DagParam("start_date", None, None, {"type": "string", "format": "date"})]
    monkeypatch.setattr(trigger_form, "dag_params", lambda dag_id: (fields, False))
    html = client.get("/trigger/ecommerce_warehouse").text
    assert "Days are those of the shop’s time zone, America/New_York; first and last day included." in html


def test_dbt_docs_show_when_the_project_was_parsed_by_the_clock_of_the_shop(client: TestClient) -> None:
    airflow_services.build_manifest()
    assert re.search(r"parsed \d{4}-\d\d-\d\d \d\d:\d\d E[SD]T \(UTC−[45]\),", client.get("/models").text)


def test_pages_name_utc_only_in_offsets(client: TestClient) -> None:
    for path in ("/today", "/revenue", "/status", "/models", "/facts/fact_sales?key=O1", "/batches/4"):
        assert re.findall(r".*UTC(?!−[45]\)).*", client.get(path).text) == [], path


def test_change_of_time_zone_renders_cached_pages_again(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ("/today", "/revenue", "/status", "/models")
    for path in paths:
        assert "shop’s time zone, America/New_York." in client.get(path).text
    set_shop(monkeypatch, settings={"time_zone": "Asia/Kolkata"})
    for path in paths:
        assert "shop’s time zone, Asia/Kolkata." in client.get(path).text, path


@pytest.mark.parametrize(
    "at", ["4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59+00", "infinity", "-infinity", "now"]
)
def test_rejected_row_of_a_time_without_a_day_does_not_break_the_status(
    filled: Callable[[str], str], client: TestClient, at: str
) -> None:
    with psycopg.connect(filled("publisher"), autocommit=True) as connection:
        row = connection.execute(
            """
            insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)
            select max(batch_id), 'sales_fact', 'a reason', jsonb_build_object('created_at', %s::text), now()
            from ops.load_batch
            where source = 'sales_fact'
            returning quarantine_id
            """,
            [at],
        ).fetchone()
        try:
            answer = client.get(f"/status?first=2024-10-20&last={LONG_DAY}")
        finally:
            connection.execute("delete from ops.quarantine where quarantine_id = %s", row)
    assert answer.status_code == 200
