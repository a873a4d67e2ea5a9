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
]


@pytest.mark.usefixtures("views")
def test_quality_views_have_pass_rates_and_times_to_repair(loader: Loader) -> None:
    # A subject without a schema is a source if it was ever loaded.
    loader.load("sales_fact", "2024-03-01", rows=[])
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
        ("2024-03-01", "core", "fact_sales", 1, 1, 0, 0, Decimal("100.00"), 0, 0, None, None),
        # Not repaired yet.
        ("2024-03-01", "mart", "daily_revenue", 2, 1, 0, 1, Decimal("50.00"), 1, 0, None, None),
        # Five results, of which two pass. Two failures in a row count as one: 30 hours, and 3 hours of the outage.
        ("2024-03-01", "source", "sales_fact", 5, 2, 0, 3, Decimal("40.00"), 2, 2, Decimal("16.50"), Decimal("16.50")),
        ("2024-03-02", "source", "sales_fact", 3, 2, 1, 0, Decimal("66.67"), 0, 0, None, None),
    ]
    assert loader.rows(
        "select check_name, subject, hours_to_repair from quality.quality_repairs order by failed_at, subject"
    ) == [
        ("volume", "raw.sales_fact", Decimal("30.00")),
        ("volume", "raw.sales_fact last days", Decimal("3.00")),
        ("drift", "marts.daily_revenue", None),
    ]
