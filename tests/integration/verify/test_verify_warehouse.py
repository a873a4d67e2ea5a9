"""Verifying the warehouse: rows that no longer follow from raw are named, rows that loads have just changed are not."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dbt_triggerer import BuildError
from ecommerce.build import lease
from ecommerce.verify import comparison, verify_warehouse
from ecommerce.verify.verify_warehouse import VerifyWarehouse
from tests.integration.dbt_runs import Dbt
from tests.integration.histories.history import Build, Load, Place, Put, Remove
from tests.integration.histories.invent import invent
from tests.integration.histories.shop import FIRST, LAST
from tests.integration.support import Loader

Guard = Callable[..., bool]

DAG = "verify_warehouse"
LOADED = datetime(2024, 1, 21, tzinfo=UTC)
EARLIER = FIRST - timedelta(days=400)


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Guard:
    """A function that runs the task with params; ``alive`` are the runs that are still running."""
    monkeypatch.setattr(verify_warehouse, "project_digest", lambda: "p")

    def guard(*, alive: tuple[str, ...] = (), **params: Any) -> bool:
        run = SimpleNamespace(run_id="a_check", dag_id=DAG, run_after=datetime(2026, 1, 4, 6, tzinfo=UTC))
        ti = SimpleNamespace(get_dr_count=lambda *, run_ids, **_: len(set(run_ids) & set(alive)))
        defaults = {"days": 7, "seed": None, "full": False}
        return VerifyWarehouse(task_id="verify").poke(
            {"params": defaults | params, "dag_run": run, "ti": ti}  # type: ignore[typeddict-item]
        )

    return guard


@pytest.fixture
def published(connection: psycopg.Connection, dbt: Dbt) -> Place:
    """A random shop that is loaded, built and published."""
    place = Place(connection, dbt)
    place.open()
    for step in invent(3):
        if not isinstance(step, Load | Build):
            step.happen(place)
    place.shop.put("customer", {"customer_id": "CUST950", "customer_name": "Buys nothing"})
    # Of a day that no later change touches.
    place.shop.put(
        "sales_fact",
        {
            "order_id": "O999", "line_number": "1", "product_id": "P99", "customer_id": "CUST951",
            "order_date": "2023-06-01", "order_amount": "10", "created_at": f"{FIRST} 09:00:00",
        },
    )  # fmt: skip
    load_everything(place, LOADED)
    Build(LOADED + timedelta(hours=1)).happen(place)
    return place


def load_everything(place: Place, at: datetime) -> None:
    for source in place.shop.tables:
        Load(at, source, FIRST, LAST).happen(place)


def schemas(connection: psycopg.Connection) -> list[tuple]:
    return connection.execute("select nspname from pg_namespace where nspname like 'verify%'").fetchall()


@pytest.mark.slow
def test_verification_finds_drift_and_full_refresh_repairs_it(published: Place, guard: Guard) -> None:
    connection = published.connection
    # Changes of every kind, loaded since the publication: none of them is drift.
    for step in (
        Put("customer", {"customer_id": "CUST001", "customer_name": "Changed"}),
        Put("customer", {"customer_id": "CUST900", "customer_name": "New"}),
        Remove("customer", ("CUST002",)),
        Put("product", {"product_id": "P01", "product_name": "Changed"}),
        Put("product_category", {"product_id": "P02", "category_id": "K9", "category_name": "New"}),
        Put(
            "subscription_data",
            {"subscription_id": "S1", "customer_id": "CUST901", "subscription_start_date": "2024-01-02"},
        ),
        Put("weather_data", {"city": "Bonn", "date": "2024-01-02", "temperature": "40", "precipitation": "0"}),
        *(Remove("sales_fact", (f"O{n:03}", "1")) for n in range(1, 4)),
        *[step for step in invent(5) if isinstance(step, Put) and step.table == "sales_fact"][:4],
    ):
        step.happen(published)
    load_everything(published, LOADED + timedelta(hours=2))
    # A window without rows, before all others: more days are covered from the next build on.
    Load(LOADED + timedelta(hours=2), "sales_fact", EARLIER, EARLIER).happen(published)
    changed = connection.execute(
        "update core.fact_sales set is_quantity_imputed = not is_quantity_imputed where order_id ="
        " (select max(order_id) from core.fact_sales where date_key not in (select dirty_date from ops.dirty_date))"
        " returning order_id"
    ).fetchone()
    assert changed is not None
    connection.execute("update core.dim_customer set customer_status = 'gone' where customer_id = 'CUST950'")
    # No model reads the owner: the seed alone differs.
    connection.execute("update core.review_rules set owner = 'Nobody' where rule = 'dated_back'")
    connection.execute(
        "update core.int_category_monthly_sales set units = units + 1 where ctid ="
        " (select min(ctid) from core.int_category_monthly_sales)"
    )
    connection.execute(
        "delete from core.int_customer_yearly_sales where ctid = (select min(ctid) from core.int_customer_yearly_sales)"
    )
    connection.execute("delete from marts.customer_segments where customer_id = 'CUST950'")
    connection.execute(
        "insert into marts_build.payment_method_preference select 'barter', total_orders, total_revenue,"
        " avg_order_value, min_order_value, max_order_value, order_percent, revenue_percent"
        " from marts_build.payment_method_preference limit 1"
    )
    before = Loader(connection).everything()
    with pytest.raises(AirflowFailException) as failure:
        guard(full=True)
    text = str(failure.value)
    assert "Trigger ecommerce_warehouse with full_refresh" in text
    by_whom = r"\(loaded by run a_run in batch \d+, built by run run 1\)"
    published_by = r"; last changed by the publication of run run 1 at 2024-01-21 01:00 UTC"
    assert re.search(
        rf'core.fact_sales: 1 rows differ: {{"order_id": "{changed[0]}", "line_number": 1}} has other values {by_whom}',
        text,
    )
    assert re.search(
        r'core.dim_customer: 1 rows differ: {"customer_id": "CUST950", "valid_from": "-infinity"} has other values '
        + by_whom,
        text,
    )
    assert f'marts.customer_segments: 1 rows differ: {{"customer_id": "CUST950"}} is missing{published_by}' in text
    assert '"payment_method": "barter"} should not be there' in text
    results = connection.execute(
        "select subject, status, observed from ops.check_result where check_name = 'drift' and run_id = 'a_check'"
    ).fetchall()
    # Each mart as built and as published, dimensions, facts and seeds, and the models of core that are made of them.
    tables = connection.execute(
        """
        select relnamespace::regnamespace || '.' || relname
        from pg_class
        where relkind = 'r' and relnamespace::regnamespace::text in ('core', 'marts', 'marts_build')
        """
    )
    assert {subject for subject, _, _ in results} == {table for (table,) in tables}
    assert {(subject, observed) for subject, status, observed in results if status == "fail"} == {
        ("core.fact_sales", 1),
        ("core.dim_customer", 1),
        # A seed has no key: a changed row is one too many and one too few.
        ("core.review_rules", 2),
        ("core.int_category_monthly_sales", 1),
        ("core.int_customer_yearly_sales", 1),
        ("marts.customer_segments", 1),
        ("marts_build.payment_method_preference", 1),
    }
    # Claims, dirty dates, builds and raw are unchanged, and no schema is left.
    after = Loader(connection).everything()
    assert {name for name, rows in after.items() if rows != before[name]} == {"ops.check_result"}
    assert schemas(connection) == []

    Build(LOADED + timedelta(hours=3), full_refresh=True).happen(published)
    assert guard(days=3, seed=1)
    assert lease.holder(connection) is None


def test_failed_dbt_run_leaves_no_schema_and_no_lease(
    published: Place, guard: Guard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(comparison, "DBT_PROJECT", tmp_path)
    before = Loader(published.connection).everything()
    with pytest.raises(BuildError, match="dbt build broke off"):
        guard()
    assert Loader(published.connection).everything() == before
    assert schemas(published.connection) == []


def test_verification_waits_for_a_build_and_skips_without_a_comparable_one(
    connection: psycopg.Connection, guard: Guard
) -> None:
    with pytest.raises(AirflowSkipException, match="nothing was built yet"):
        guard()

    def take(run_id: str, project: str = "p") -> None:
        lease.take(connection, "ecommerce_warehouse", run_id, project=project, full_refresh=False)

    take("builds")
    assert guard(alive=("builds",)) is False
    with pytest.raises(AirflowSkipException, match="run builds of ecommerce_warehouse has not published"):
        guard()
    lease.release(connection, "builds")
    take("other", project="other")
    lease.release(connection, "other")
    with pytest.raises(AirflowSkipException, match="the last build was of other models"):
        guard()
    assert lease.holder(connection) is None
    # The lease of a verification that was killed does not stop the next one.
    lease.lock_for_verification(connection, DAG, "killed")
    assert guard(alive=("killed",)) is False
    with pytest.raises(AirflowSkipException, match="the last build was of other models"):
        guard()
    assert lease.holder(connection) is None


def test_lock_for_verification_keeps_others_from_building(connection: psycopg.Connection) -> None:
    lease.take(connection, "a_dag", "run", project="p", full_refresh=False)
    assert lease.lock_for_verification(connection, DAG, "check") is None
    lease.release(connection, "run")
    last_build = lease.lock_for_verification(connection, DAG, "check")
    assert last_build == lease.LastBuild(
        is_published=True, is_complete=True, as_of_date=None, first_covered_date=None, project="p", time_zone="UTC",
        country="DE",
    )  # fmt: skip
    assert lease.take(connection, "a_dag", "next", project="p", full_refresh=False) is None
    lease.unlock_after_verification(connection, "check")
    claim = lease.take(connection, "a_dag", "next", project="p", full_refresh=False)
    assert claim is not None
    assert not claim.is_build_needed
