"""The views in the schema `quality`: pass rates and times to repair, from recorded check results."""

import os
from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.integration.dbt_runs import Dbt, dbt_on
from tests.integration.support import Loader


@pytest.fixture(scope="module")
def views(warehouse_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dbt]:
    """The views, over no results yet."""
    with dbt_on(os.environ["AIRFLOW_CONN_WAREHOUSE_TRANSFORMER"], tmp_path_factory.mktemp("dbt")) as dbt:
        dbt.run("--select", "quality")
        yield dbt


#: Check, subject, status, and when it was evaluated.
RESULTS = [
    ("freshness", "sales_fact", "pass", "2024-03-01 00:10"),
    ("volume", "raw.sales_fact", "fail", "2024-03-01 00:10"),
    ("volume", "raw.sales_fact last days", "fail", "2024-03-01 00:10"),
    ("dbt_test", "core.fact_sales not_null_order_id", "pass", "2024-03-01 00:08"),
    ("reconciliation", "marts_build.daily_revenue rows", "pass", "2024-03-01 00:10"),
    ("drift", "marts.daily_revenue", "fail", "2024-03-01 06:00"),
    # The same day, cleared: still wrong, and the outage is over.
    ("volume", "raw.sales_fact", "fail", "2024-03-01 03:10"),
    ("volume", "raw.sales_fact last days", "pass", "2024-03-01 03:10"),
    # The next day: 30 hours after the first failure it passes, by way of a warning.
    ("volume", "raw.sales_fact", "warn", "2024-03-02 00:10"),
    ("volume", "raw.sales_fact", "pass", "2024-03-02 06:10"),
    ("freshness", "sales_fact", "pass", "2024-03-02 00:10"),
    # Another check of the same subject passes in between, and another failure takes a minute.
    ("schema_drift", "raw.sales_fact", "pass", "2024-03-01 02:00"),
    ("volume", "raw.sales_fact lines", "fail", "2024-03-01 00:10"),
    ("volume", "raw.sales_fact lines", "pass", "2024-03-01 00:11"),
    # A warning is no failure yet. A table of the same name in another schema is another subject.
    ("volume", "raw.customer", "warn", "2024-03-01 00:00"),
    ("volume", "raw.customer", "fail", "2024-03-01 00:10"),
    ("volume", "raw.customer", "pass", "2024-03-01 00:30"),
    ("dbt_test", "core.customer not_null_customer_id", "pass", "2024-03-01 00:08"),
    ("dbt_test", "staging.stg_customer not_null_customer_id", "pass", "2024-03-01 00:08"),
    # Without a table.
    ("dbt_test", "orders_in_raw_are_in_the_facts", "pass", "2024-03-01 00:08"),
]


@pytest.mark.usefixtures("views")
def test_quality_views_have_pass_rates_and_times_to_repair(loader: Loader) -> None:
    # A subject without a schema is a source if it was ever loaded.
    for day in ("2024-03-01", "2024-03-02"):
        loader.load("sales_fact", day, rows=[])
    for check, subject, status, at in RESULTS:
        loader.connection.execute(
            """
            insert into ops.check_result (checked_at, run_id, check_name, subject, status, message)
            values (%s::timestamp at time zone 'UTC', 'a_run', %s, %s, %s, '')
            """,
            [at, check, subject, status],
        )
    assert loader.rows(
        """
        select
            checked_on::text, subject_kind, subject_name, checks, passed, warned, failed, pass_percent,
            failures_opened, failures_repaired, avg_hours_to_repair, median_hours_to_repair
        from quality.quality_daily
        order by checked_on, subject_kind, subject_name
        """
    ) == [
        ("2024-03-01", "core", "customer", 1, 1, 0, 0, Decimal("100.00"), 0, 0, None, None),
        ("2024-03-01", "core", "fact_sales", 1, 1, 0, 0, Decimal("100.00"), 0, 0, None, None),
        # Not repaired yet.
        ("2024-03-01", "mart", "daily_revenue", 2, 1, 0, 1, Decimal("50.00"), 1, 0, None, None),
        ("2024-03-01", "other", "orders_in_raw_are_in_the_facts", 1, 1, 0, 0, Decimal("100.00"), 0, 0, None, None),
        ("2024-03-01", "source", "customer", 3, 1, 1, 1, Decimal("33.33"), 1, 1, Decimal("0.33"), Decimal("0.33")),
        # Eight results, of which four pass. Two failures in a row count as one: 30 hours; 3 hours of the outage, and a
        # minute.
        ("2024-03-01", "source", "sales_fact", 8, 4, 0, 4, Decimal("50.00"), 3, 3, Decimal("11.01"), Decimal("3.00")),
        ("2024-03-01", "staging", "stg_customer", 1, 1, 0, 0, Decimal("100.00"), 0, 0, None, None),
        ("2024-03-02", "source", "sales_fact", 3, 2, 1, 0, Decimal("66.67"), 0, 0, None, None),
    ]
    assert loader.rows(
        "select check_name, subject, hours_to_repair from quality.quality_repairs order by failed_at, subject"
    ) == [
        ("volume", "raw.customer", Decimal("0.33")),
        ("volume", "raw.sales_fact", Decimal("30.00")),
        ("volume", "raw.sales_fact last days", Decimal("3.00")),
        ("volume", "raw.sales_fact lines", Decimal("0.02")),
        ("drift", "marts.daily_revenue", None),
    ]
