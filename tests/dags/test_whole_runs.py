"""
Whole runs through the scheduler, on the demo stack and by its command line.

The tests share one stack; each sets up the state that it starts from.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest

from include.demo import airflow_services
from include.demo.state import ROOT, STACK, WORKING_ROLES
from tests.oracle.compare import compare
from tests.running_stack import Demo

#: Days of the comparison between a range run, a backfill and scheduled runs; ECOMMERCE_TEST_DAYS=14 for the long form.
DAYS = int(os.environ.get("ECOMMERCE_TEST_DAYS", "4"))


def business_rows(demo: Demo) -> dict[str, tuple[int, str]]:
    """Marts and raw, without the columns that say when and by which batch a row was loaded."""
    raw = {
        f"raw.{table}": demo.query(
            "select count(*), md5(coalesce(string_agg(line, E'\\n' order by line), '')) from ("
            " select (to_jsonb(loaded) - '_batch_id' - '_loaded_at' - '_valid_from')::text as line"
            f" from raw.{table} as loaded) as lines"
        )[0]
        for (table,) in demo.query(
            "select relname from pg_class where relnamespace = 'raw'::regnamespace and relkind = 'r'"
        )
    }
    return {**demo.marts(), **raw}


def test_marts_equal_the_independent_computation(whole_range: Demo) -> None:
    assert compare(whole_range.folder, whole_range.first, whole_range.last, whole_range.warehouse) == []


def test_asset_event_of_an_extract_equals_the_load_ledger(whole_range: Demo) -> None:
    events = {
        (extra["source"], extra["batch_id"]): extra
        for (extra,) in whole_range.query(
            "select asset_event.extra from asset_event inner join asset on asset.id = asset_event.asset_id"
            " where asset.name like 'raw.%%'",
            database="airflow",
        )
    }
    batches = whole_range.query(
        "select source, batch_id, window_start::text, window_end::text, bytes_read, rows_read, rows_loaded,"
        " rows_unchanged, rows_quarantined, rows_removed from ops.load_batch where status = 'loaded'"
    )
    assert len(batches) >= 7
    names = (
        "window_start", "window_end", "bytes_read", "rows_read", "rows_loaded", "rows_unchanged", "rows_quarantined",
        "rows_removed",
    )  # fmt: skip
    for source, batch_id, *figures in batches:
        extra = events[source, batch_id]
        assert [extra[name] for name in names] == figures
        assert extra["rows_per_second"] == round(extra["rows_read"] / extra["seconds"])


def test_no_log_and_no_table_of_airflow_says_who_a_customer_is(whole_range: Demo) -> None:
    """Whoever may open Airflow's UI reads the logs, the notes and what tasks hand on."""
    people = whole_range.query(
        "select btrim(customer_name), customer_email from customer where customer_name like '%%,%%'", database="shop"
    )
    assert len(people) > 50
    known = {text for person in people for text in person if text and len(text) > 3 and text != "none"}
    logs = {path: path.read_text(errors="replace") for path in (STACK / "airflow" / "logs").rglob("*.log")}
    assert len(logs) > 50
    assert any("rows rejected" in text or "rows_quarantined" in text for text in logs.values())
    texts = {str(path): text for path, text in logs.items()}
    for table in ("dag_run_note", "task_instance_note", "xcom", "log", "rendered_task_instance_fields", "hitl_detail"):
        texts[table] = str(whole_range.query(f"select to_jsonb(row) from {table} as row", database="airflow"))
    assert len(texts["xcom"]) > 1_000
    for place, text in texts.items():
        assert {name for name in known if name in text} == set(), place


def test_second_demo_starts_no_run(whole_range: Demo) -> None:
    before = business_rows(whole_range)
    runs = whole_range.query("select count(*) from dag_run", database="airflow")
    again = whole_range.command(
        "demo", "--data", str(whole_range.folder), "--from", str(whole_range.first), "--to", str(whole_range.last)
    )
    assert again.returncode == 0, again.stderr
    assert whole_range.query("select count(*) from dag_run", database="airflow") == runs
    assert business_rows(whole_range) == before


@pytest.mark.slow
def test_second_run_changes_no_row(whole_range: Demo) -> None:
    before = business_rows(whole_range)
    outcome = whole_range.command("run", "--from", str(whole_range.first), "--to", str(whole_range.last))
    assert outcome.returncode == 0, outcome.stderr
    assert business_rows(whole_range) == before
    assert whole_range.query(
        "select sum(rows_inserted + rows_updated + rows_deleted) from ops.publication"
        " where publication_id = (select max(publication_id) from ops.publication)"
    ) == [(0,)]
    assert whole_range.query(
        "select count(*) from ops.load_batch where rows_read <> rows_loaded + rows_unchanged + rows_quarantined"
    ) == [(0,)]


def test_dry_run_changes_nothing(whole_range: Demo) -> None:
    before = business_rows(whole_range)
    batches = whole_range.query("select max(batch_id) from ops.load_batch")
    outcome = whole_range.command("run", "--from", str(whole_range.first), "--to", str(whole_range.last), "--dry-run")
    assert outcome.returncode == 0, outcome.stderr
    assert business_rows(whole_range) == before
    assert whole_range.query("select max(batch_id) from ops.load_batch") == batches
    assert whole_range.query("select count(*) from ops.dirty_date") == [(0,)]


def test_reversed_range_is_rejected(whole_range: Demo) -> None:
    outcome = whole_range.command("run", "--from", "2024-01-02", "--to", "2024-01-01")
    assert outcome.returncode == 1
    assert "start_date 2024-01-02 is after end_date 2024-01-01" in outcome.stderr


def test_run_of_one_source_reads_only_that_source(whole_range: Demo) -> None:
    day = whole_range.last - timedelta(days=1)
    whole_range.query(
        "update sales_fact set order_amount = order_amount + 1 where order_id = %s",
        whole_range.orders_of_one_line(day)[0],
        database="shop",
    )
    revenue = "select sum(daily_revenue) from marts.daily_revenue"
    before = whole_range.query(revenue)[0][0]
    outcome = whole_range.command("run", "--from", str(day), "--to", str(day), "--sources", "sales_fact")
    assert outcome.returncode == 0, outcome.stderr
    assert whole_range.query(revenue) == [(before + 1,)]
    read = whole_range.query(
        "select distinct source from ops.load_batch where run_id ="
        " (select run_id from ops.build order by claimed_at desc limit 1)"
    )
    assert read == [("sales_fact",)]


def test_failed_check_publishes_nothing_and_next_run_repairs(whole_range: Demo) -> None:
    before = whole_range.marts()
    # A row that the source does not have: the reconciliation between source and raw must find it.
    whole_range.query(
        "insert into raw.sales_fact (order_id, line_number, product_id, customer_id, order_date, order_amount,"
        " order_quantity, created_at, _batch_id, _loaded_at) select 'ORDER-NOBODY-SENT', 1, product_id, customer_id,"
        " order_date, 5000, 1, created_at, _batch_id, _loaded_at from raw.sales_fact"
        " where created_at::date = %s limit 1",
        whole_range.last,
    )
    whole_range.query(
        "insert into ops.dirty_date select 'sales_fact', order_date, _batch_id, now() from raw.sales_fact"
        " where order_id = 'ORDER-NOBODY-SENT'"
    )
    # A run that does not read sales builds the day all the same: it is compared with the shop, and raw with its loads.
    outcome = whole_range.command(
        "run", "--from", str(whole_range.last), "--to", str(whole_range.last), "--sources", "weather_data"
    )
    assert outcome.returncode == 1
    assert "reconciliation_source failed" in outcome.stderr
    assert "ORDER-NOBODY-SENT" in outcome.stderr
    assert "rows_of_loads failed" in outcome.stderr
    assert whole_range.marts() == before
    note = whole_range.query(
        "select note.content from dag_run_note as note inner join dag_run on dag_run.id = note.dag_run_id"
        " where dag_run.state = 'failed' order by dag_run.queued_at desc limit 1",
        database="airflow",
    )
    assert "ORDER-NOBODY-SENT" in note[0][0]
    assert whole_range.query("select count(*) from ops.check_result where status = 'fail'") != [(0,)]
    # The load of the day removes the row.
    outcome = whole_range.command("run", "--from", str(whole_range.last), "--to", str(whole_range.last))
    assert outcome.returncode == 0, outcome.stderr
    assert whole_range.marts() == before


@pytest.mark.slow
def test_unreadable_source_fails_the_run_with_its_reason(whole_range: Demo) -> None:
    before = business_rows(whole_range)
    whole_range.query("alter table customer rename column status to state", database="shop")
    try:
        outcome = whole_range.command("run", "--from", str(whole_range.last), "--to", str(whole_range.last))
    finally:
        whole_range.query("alter table customer rename column state to status", database="shop")
    assert outcome.returncode == 1
    assert "customer: the table public.customer at the connection" in outcome.stderr
    assert "column status (text) is missing" in outcome.stderr
    assert business_rows(whole_range) == before


@dataclass
class FewDays:
    """Some days of the range, the rows after one run over them, and a warehouse that is empty again."""

    demo: Demo
    first: date
    last: date
    by_range: dict[str, tuple[int, str]]


@pytest.fixture(scope="module")
def range_run(whole_range: Demo) -> FewDays:
    first = whole_range.first + timedelta(days=30)
    last = first + timedelta(days=DAYS - 1)
    whole_range.empty_warehouse()
    outcome = whole_range.command("run", "--from", str(first), "--to", str(last))
    assert outcome.returncode == 0, outcome.stderr
    by_range = business_rows(whole_range)
    assert by_range["daily_revenue"][0] > 0
    return FewDays(whole_range, first, last, by_range)


@pytest.fixture
def few_days(range_run: FewDays) -> FewDays:
    range_run.demo.empty_warehouse()
    return range_run


@pytest.mark.slow
def test_backfill_equals_one_range_run(few_days: FewDays) -> None:
    outcome = few_days.demo.command("backfill", "--from", str(few_days.first), "--to", str(few_days.last))
    assert outcome.returncode == 0, outcome.stderr
    assert f"{DAYS} of {DAYS} runs done" in outcome.stderr
    assert few_days.demo.query("select count(*) from ops.build") == [(1,)], "the last run builds for all"
    assert business_rows(few_days.demo) == few_days.by_range


@pytest.mark.long_form
def test_scheduled_runs_equal_one_range_run(few_days: FewDays) -> None:
    outcome = run_script(few_days, "scheduled_runs.py", airflow_services.environment(few_days.demo.state))
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    assert business_rows(few_days.demo) == few_days.by_range


# A command of dbt a node, one after the other: some five minutes.
@pytest.mark.long_form
def test_dag_test_in_local_mode_equals_one_range_run(few_days: FewDays, tmp_path: Path) -> None:
    """`dag.test()` runs one task after the other, so the nodes run their own dbt commands (Cosmos' LOCAL mode)."""
    state = few_days.demo.state
    env = airflow_services.environment(state)
    # A metadata database of its own, because the stack's scheduler would also run the tasks of this run.
    del env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    env |= {
        "AIRFLOW_HOME": str(tmp_path),
        "ECOMMERCE_DBT_EXECUTION_MODE": "local",
        **{f"AIRFLOW_CONN_WAREHOUSE_{role.upper()}": state.dsn(role=role) for role in WORKING_ROLES},
        "AIRFLOW_CONN_SHOP_POSTGRES": state.dsn("shop"),
        "AIRFLOW_CONN_SHOP_KAFKA": json.dumps({"conn_type": "kafka", "extra": {"bootstrap.servers": state.bootstrap}}),
        "AIRFLOW_CONN_WEATHER_API": f"http://127.0.0.1:{state.ports['WEATHER_PORT']}",
        "AIRFLOW_VAR_WEATHER_CITIES": state.shop["cities"],
    }
    outcome = run_script(few_days, "dag_test_run.py", env)
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    assert business_rows(few_days.demo) == few_days.by_range


def run_script(few_days: FewDays, name: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script of this folder in a process of its own, for the few days."""
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name(name)), str(few_days.first), str(few_days.last)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_reader_sees_marts_and_nothing_else(whole_range: Demo) -> None:
    with psycopg.connect(whole_range.state.dsn("warehouse", "reader"), autocommit=True) as reader:
        assert reader.execute("select count(*) from marts.daily_revenue").fetchone() is not None
        for table in ("raw.customer", "ops.load_batch", "core.dim_customer", "marts_build.daily_revenue"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(f"select * from {table}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("delete from marts.daily_revenue")
        columns = reader.execute(
            "select count(*) from information_schema.columns"
            " where table_schema = 'marts' and column_name like '%email%'"
        ).fetchone()
    assert columns == (0,)


def test_dsn_prints_only_the_uri(whole_range: Demo) -> None:
    outcome = whole_range.command("dsn", "--db", "shop")
    assert outcome.stdout == whole_range.state.dsn_by_file("shop") + "\n"
    assert outcome.stderr == ""
    with psycopg.connect(outcome.stdout.strip()) as connection:
        assert connection.execute("select current_user").fetchone() == ("shop",)
    outcome = whole_range.command("dsn", "--role", "reader", "--with-password")
    assert outcome.stdout == whole_range.state.dsn("warehouse", "reader") + "\n"


def test_taken_port_is_a_clear_error(whole_range: Demo, tmp_path: Path) -> None:
    taken = str(whole_range.state.ports["POSTGRES_PORT"])
    outcome = subprocess.run(
        [sys.executable, "-m", "include.demo", "up"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "plugins", "STACK_DIR": str(tmp_path / "other"), "POSTGRES_PORT": taken},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert outcome.returncode == 1
    assert f"port {taken} (POSTGRES_PORT) is taken" in outcome.stderr
    assert "Traceback" not in outcome.stderr
