"""The comparison on a real Postgres: silent about right marts, and it names each thing that is wrong."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import psycopg
import pytest

from tests.oracle.compare import Verdict, compare, judge_mart
from tests.oracle.compute import MARTS, compute
from tests.oracle.slice import FIRST, LAST, write_slice


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slice")
    write_slice(path)
    return path


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with compute(folder, FIRST, LAST) as connection:
        yield connection


@pytest.fixture(scope="module")
def warehouse_dsn(oracle: duckdb.DuckDBPyConnection, new_database: Callable[[str], str], tmp_path_factory) -> str:
    """A warehouse whose marts are right, in types like those of a warehouse."""
    types = {"VARCHAR": "text", "HUGEINT": "bigint"}
    folder = tmp_path_factory.mktemp("marts")
    dsn = new_database("warehouse")
    with psycopg.connect(dsn) as warehouse:
        for mart in MARTS:
            described = oracle.execute(f"describe marts.{mart}").fetchall()
            columns = ", ".join(f"{name} {types.get(kind, kind)}" for name, kind, *_ in described)
            warehouse.execute(f"create table marts.{mart} ({columns}, extra text)")
            oracle.execute(f"copy (select *, 'more' from marts.{mart}) to '{folder / mart}.csv' (header false)")
            with warehouse.cursor().copy(f"copy marts.{mart} from stdin (format csv)") as target:
                target.write((folder / f"{mart}.csv").read_bytes())
    return dsn


def judged(oracle: duckdb.DuckDBPyConnection, dsn: str, mart: str, change: str) -> Verdict:
    """The verdict on a mart after a change that is then undone."""
    with psycopg.connect(dsn) as warehouse:
        warehouse.execute(change)
        verdict = judge_mart(oracle, warehouse, mart)
        warehouse.rollback()
    return verdict


def test_right_marts_do_not_differ(folder: Path, warehouse_dsn: str) -> None:
    assert compare(folder, FIRST, LAST, warehouse_dsn) == []


@pytest.mark.parametrize(
    ("mart", "change", "rows", "columns"),
    [
        ("daily_revenue", "daily_revenue = 9.99 where order_date = '2023-12-25'", 1, ("daily_revenue",)),
        ("daily_revenue", "daily_gross_profit = 0 where daily_gross_profit is null", 1, ("daily_gross_profit",)),
        ("daily_revenue", "avg_order_value = null where order_date = '2024-01-05'", 1, ("avg_order_value",)),
        (
            "customer_segments",
            "customer_tier = 'Low value', total_orders = 3 where customer_id = 'CUST001'",
            1,
            ("total_orders", "customer_tier"),
        ),
        ("customer_segments", "customer_name = '' where customer_id = 'CUST900'", 1, ("customer_name",)),
        (
            "order_for_reviews",
            "is_high_shipping = null where review_priority = 'High' and customer_id = 'CUST048'",
            1,
            ("is_high_shipping",),
        ),
        (
            "seasonal_sales_analysis",
            "coefficient_of_variation_percent = coefficient_of_variation_percent + 0.02 where category_name = 'Gaps'",
            5,
            ("coefficient_of_variation_percent",),
        ),
        (
            "weather_sales_impact",
            "correlation_precipitation_revenue = 'NaN' where city = 'Hamburg'",
            3,
            ("correlation_precipitation_revenue",),
        ),
    ],
)
def test_a_changed_value_is_named(
    oracle, warehouse_dsn: str, mart: str, change: str, rows: int, columns: tuple[str, ...]
) -> None:
    nan_fits = f"alter table marts.{mart} alter correlation_precipitation_revenue type numeric; "
    prepare = nan_fits if "NaN" in change else ""
    verdict = judged(oracle, warehouse_dsn, mart, f"{prepare}update marts.{mart} set {change}")
    assert verdict.rows_different == rows
    assert len(verdict.differences) == min(rows, 5)
    for difference in verdict.differences:
        assert difference.columns == columns
        assert difference.expected is not None
        assert difference.found is not None
        assert f"{columns[0]} {difference.expected[columns[0]]} → {difference.found[columns[0]]}" in str(difference)


def test_a_value_that_is_not_rounded_differs(oracle, warehouse_dsn: str) -> None:
    change = """
        alter table marts.conversion_funnel_daily alter view_to_cart_percent type numeric;
        update marts.conversion_funnel_daily set view_to_cart_percent = 3.125 where view_to_cart_percent = 3.13
    """
    verdict = judged(oracle, warehouse_dsn, "conversion_funnel_daily", change)
    assert [difference.columns for difference in verdict.differences] == [("view_to_cart_percent",)]


@pytest.mark.parametrize(
    "change",
    [
        """
        update marts.seasonal_sales_analysis
        set coefficient_of_variation_percent = coefficient_of_variation_percent + 0.01
        """,
        "alter table marts.seasonal_sales_analysis alter monthly_revenue type numeric(20, 6), alter year type integer",
    ],
)
def test_the_last_place_of_a_root_and_the_scale_of_a_number_do_not_matter(
    oracle, warehouse_dsn: str, change: str
) -> None:
    verdict = judged(oracle, warehouse_dsn, "seasonal_sales_analysis", change)
    assert verdict.is_equal
    assert verdict.rows_found == verdict.rows_expected > 0


def test_rows_too_few_and_too_many_are_named(oracle, warehouse_dsn: str) -> None:
    change = """
        delete from marts.payment_method_preference where payment_method = 'debit_card';
        insert into marts.payment_method_preference (payment_method) values ('barter'), (null);
        insert into marts.payment_method_preference
            select * from marts.payment_method_preference where payment_method = 'paypal'
    """
    verdict = judged(oracle, warehouse_dsn, "payment_method_preference", change)
    assert (verdict.rows_expected, verdict.rows_found, verdict.rows_different) == (5, 7, 4)
    missing = {row["payment_method"] for each in verdict.differences if (row := each.expected)}
    unexpected = {row["payment_method"] for each in verdict.differences if (row := each.found)}
    assert missing == {"debit_card"}
    assert unexpected == {"barter", None, "paypal"}


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ("drop table marts.inventory_status", "does not exist"),
        (
            "alter table marts.inventory_status drop product_status, drop days_of_stock",
            "has no column product_status, days_of_stock",
        ),
    ],
)
def test_an_absent_mart_or_column_is_named(oracle, warehouse_dsn: str, change: str, note: str) -> None:
    verdict = judged(oracle, warehouse_dsn, "inventory_status", change)
    assert not verdict.is_equal
    assert [str(difference) for difference in verdict.differences] == [f"inventory_status: {note}"]


def test_the_command_prints_a_table_and_fails_on_a_difference(folder: Path, warehouse_dsn: str) -> None:
    def run(last: date) -> subprocess.CompletedProcess[str]:
        window = ("--from", f"{FIRST}", "--to", f"{last}")
        return subprocess.run(
            [sys.executable, "-m", "tests.oracle", f"{folder}", *window, "--dsn", warehouse_dsn],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[3],
        )

    right, wrong = run(LAST), run(LAST - timedelta(days=1))
    assert right.returncode == 0, right.stderr
    assert right.stdout.count(" yes\n") == len(MARTS)
    assert wrong.returncode == 1, wrong.stderr
    assert "conversion_funnel_daily: not expected {'event_date': '2024-02-02'" in wrong.stdout
