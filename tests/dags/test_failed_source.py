"""
A source that cannot be read, or has lost a column: all other marts are published, the run fails, and the pages say so.

The next run repairs it. In between the publication is rolled back, which the next run repairs as well.
"""

import html
import re
import time
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from include.demo import processes, stack
from include.demo.airflow_api import AirflowApi
from include.demo.runs import run_dag
from tests.running_stack import Demo

pytestmark = pytest.mark.long_form

CORE, MARTS = "warehouse.models.core", "warehouse.models.marts"
IMPACT, CORRELATION = "weather_sales_impact", "weather_correlation"
#: The incident.
FAILED = "ecommerce_warehouse.extract.weather_data"
SKIPPED = {
    "warehouse.models.staging.stg_weather_data_run",
    f"{CORE}.fact_weather.run",
    f"{CORE}.fact_weather.test",
    f"{CORE}.relationships_fact_weather_date_key__date_key__ref_dim_date__test",
    f"{MARTS}.analytics.{IMPACT}_run",
    f"{MARTS}.analytics.{CORRELATION}_run",
}


@pytest.fixture
def no_weather(whole_range: Demo) -> Iterator[Demo]:
    """The weather API is unavailable."""
    processes.stop("weather")
    yield whole_range
    stack.start_weather(whole_range.state)


def last_run(demo: Demo) -> tuple[str, dict[str, str]]:
    """The last run of the warehouse: its id, and the states of its tasks."""
    last = "select run_id from ops.build where dag_id = %s order by claimed_at desc limit 1"
    ((run_id,),) = demo.query(last, stack.WAREHOUSE_DAG)
    states = demo.query("select task_id, state from task_instance where run_id = %s", run_id, database="airflow")
    return run_id, dict(states)


def closed_by(demo: Demo, incident: str) -> str | None:
    """The run that closed an incident; Airflow settles incidents a moment after it has recorded the end of a run."""
    last = "select closed_by from ops.alert where incident = %s order by alert_id desc limit 1"
    deadline = time.monotonic() + 30
    while (run_id := demo.query(last, incident)[0][0]) is None and time.monotonic() < deadline:
        time.sleep(0.3)
    return run_id


def add_to_an_order(demo: Demo, amount: int) -> None:
    demo.query(
        "update sales_fact set order_amount = order_amount + %s where order_id = %s",
        amount,
        demo.orders_of_one_line(demo.last - timedelta(days=1))[0],
        database="shop",
    )


def test_failed_source_publishes_all_other_marts_and_next_run_repairs(no_weather: Demo) -> None:
    demo = no_weather
    before = demo.marts()
    day = str(demo.last - timedelta(days=1))
    add_to_an_order(demo, 1)
    # Readers keep the rows that were published last, even if they are wrong.
    demo.query(f"update marts.{IMPACT} set days = 0")
    stale = demo.marts()[IMPACT]
    try:
        outcome = demo.command("run", "--from", day, "--to", day, "--sources", "sales_fact,weather_data")
        run_id, states = last_run(demo)
        assert outcome.returncode == 1
        assert "extract.weather_data: " in outcome.stderr
        assert (
            "claim: weather_data could not be loaded; "
            f"left as before: fact_weather, stg_weather_data, {CORRELATION}, {IMPACT}" in outcome.stderr
        )
        assert {task for task, state in states.items() if state == "failed"} == {"extract.weather_data"}
        assert {task for task, state in states.items() if state == "upstream_failed"} == {"all_sources_loaded"}
        skipped = {task for task, state in states.items() if state == "skipped"}
        assert {task for task in skipped if not task.startswith("extract.")} == SKIPPED

        published = demo.marts()
        assert published[IMPACT] == stale
        assert {mart for mart in before if published[mart] != before[mart]} >= {IMPACT, "daily_revenue"}
        assert demo.query("select mart from ops.publication where run_id = %s and mart = %s", run_id, IMPACT) == []
        stale_marts = "select subject from ops.check_result where run_id = %s and check_name = 'stale' order by 1"
        assert demo.query(stale_marts, run_id) == [(f"marts.{CORRELATION}",), (f"marts.{IMPACT}",)]

        # Taken back by its DAG: the marts are as before, and that one as it was left.
        api = AirflowApi(demo.state.airflow_url, "admin", demo.state.passwords["admin"])
        assert run_dag(api, "rollback_publication", {})
        assert demo.marts() == before | {IMPACT: stale}
        assert len(demo.query("select distinct restores from marts.published where restores is not null")) == 1

        # One incident, for all that follows from it. Airflow settles a run's incidents after it has recorded the end of
        # the run: by now, a run of another DAG later, it has.
        seen = "select incident, severity, window_end from ops.alert where last_run_id = %s and severity = 'fail'"
        assert demo.query(seen, run_id) == [(FAILED, "fail", demo.last)]
    finally:
        add_to_an_order(demo, -1)
        stack.start_weather(demo.state)

    outcome = demo.command("run", "--from", day, "--to", day, "--sources", "sales_fact,weather_data")
    assert outcome.returncode == 0, outcome.stderr
    run_id, states = last_run(demo)
    assert {states[task] for task in SKIPPED} == {"success"}
    assert closed_by(demo, FAILED) == run_id
    assert demo.query("select model from ops.rebuild where run_id = %s and model = %s", run_id, IMPACT) == [(IMPACT,)]
    assert demo.marts() == before


def raw_page(demo: Demo, path: str) -> str:
    """A page of the shop, as the admin sees it."""
    with httpx.Client(base_url=demo.state.airflow_url, timeout=60) as client:
        login = {"username": "admin", "password": demo.state.passwords["admin"]}
        token = client.post("/auth/token", json=login).json()["access_token"]
        answer = client.get(f"/shop{path}", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text[:500]
    return answer.text


def page(demo: Demo, path: str) -> str:
    """The text of a page, without markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", raw_page(demo, path))).split())


def test_column_dropped_at_the_source_is_shown_on_the_pages_until_it_is_back(whole_range: Demo) -> None:
    demo = whole_range
    day = demo.last - timedelta(days=1)
    rename = "alter table refund rename column {} to {}"
    demo.query(rename.format("reason", "why"), database="shop")
    try:
        outcome = demo.command("run", "--from", str(day), "--to", str(day), "--sources", "sales_fact,refund")
        assert outcome.returncode == 1
        assert re.search(r"refund +failed: .*reason", outcome.stderr)
        assert re.search(r"Marts: \d+ of \d+ changed by publication", outcome.stderr)
        status = page(demo, "/status")
        assert "failed, published without refund" in status
        assert f'data-tip="refund, {day}: last load failed, ' in raw_page(demo, "/status")
        assert "The last load of refund failed" in page(demo, "/today")
        detail = page(demo, f"/status/refund/{day}")
        assert "Last load failed" in detail
        assert "failed and has changed nothing" in detail
        assert "daily_revenue" in detail
    finally:
        demo.query(rename.format("why", "reason"), database="shop")
    outcome = demo.command("run", "--from", str(day), "--to", str(day), "--sources", "sales_fact,refund")
    assert outcome.returncode == 0, outcome.stderr
    assert "The last load of refund failed" not in page(demo, "/today")
