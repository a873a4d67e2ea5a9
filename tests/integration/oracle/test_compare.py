"""Compare marts on a real Postgres: no difference for right marts, and each wrong row or column by name."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import psycopg
import pytest

from tests.oracle.compare import MartComparison, compare, compare_mart
from tests.oracle.compute import MARTS, compute
from tests.oracle.edge_case_shop import FIRST, LAST, write_edge_case_shop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("edge_case_shop")
    write_edge_case_shop(path)
    return path


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with compute(folder, FIRST, LAST) as connection:
        yield connection


@pytest.fixture(scope="module")
def warehouse_dsn(oracle: duckdb.DuckDBPyConnection, new_database: Callable[[str], str], tmp_path_factory) -> str:
    """A warehouse with the expected marts, in the column types of a warehouse."""
    types = {"VARCHAR": "text", "HUGEINT": "bigint"}
    folder = tmp_path_factory.mktemp("marts")
    dsn = new_database("warehouse")
    with psycopg.connect(dsn) as warehouse:
        for mart in MARTS:
            described = oracle.execute(f"describe marts.{mart}").fetchall()
            columns = ", ".join(f"{name} {types.get(kind, kind)}" for name, kind, *_ in described)
            warehouse.execute(f"create table marts.{mart} ({columns})")
            oracle.execute(f"copy marts.{mart} to '{folder / mart}.csv' (header false)")
            with warehouse.cursor().copy(f"copy marts.{mart} from stdin (format csv)") as target:
                target.write((folder / f"{mart}.csv").read_bytes())
    return dsn


def comparison_after(oracle: duckdb.DuckDBPyConnection, dsn: str, mart: str, change: str) -> MartComparison:
    """Compare a mart after a change, and undo the change."""
    with psycopg.connect(dsn) as warehouse:
        warehouse.execute(change)
        comparison = compare_mart(oracle, warehouse, mart)
        warehouse.rollback()
    return comparison


def test_right_marts_have_no_differences(folder: Path, warehouse_dsn: str) -> None:
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
            "is_high_shipping = null where order_id = 'DISCOUNT'",
            1,
            ("is_high_shipping",),
        ),
        (
            "seasonal_sales_analysis",
            "coefficient_of_variation_percent = coefficient_of_variation_percent + 0.02"
            " where category_name = 'At Mean'",
            3,
            ("coefficient_of_variation_percent",),
        ),
        (
            "weather_correlation",
            "raw_correlation = 'NaN' where city = 'Hamburg' and factor = 'temperature' and lag_days < 3",
            3,
            ("raw_correlation",),
        ),
    ],
)
def test_changed_value_is_reported_with_its_column(
    oracle, warehouse_dsn: str, mart: str, change: str, rows: int, columns: tuple[str, ...]
) -> None:
    nan_fits = f"alter table marts.{mart} alter raw_correlation type numeric; "
    prepare = nan_fits if "NaN" in change else ""
    comparison = comparison_after(oracle, warehouse_dsn, mart, f"{prepare}update marts.{mart} set {change}")
    assert comparison.rows_different == rows
    assert len(comparison.differences) == min(rows, 5)
    for difference in comparison.differences:
        assert difference.columns == columns
        assert difference.expected is not None
        assert difference.found is not None
        assert f"{columns[0]} {difference.expected[columns[0]]} → {difference.found[columns[0]]}" in str(difference)


def test_value_that_is_not_rounded_differs(oracle, warehouse_dsn: str) -> None:
    change = """
        alter table marts.conversion_funnel_daily alter view_to_cart_percent type numeric;
        update marts.conversion_funnel_daily set view_to_cart_percent = 3.125 where view_to_cart_percent = 3.13
    """
    comparison = comparison_after(oracle, warehouse_dsn, "conversion_funnel_daily", change)
    assert [difference.columns for difference in comparison.differences] == [("view_to_cart_percent",)]


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
def test_last_place_of_a_root_and_scale_of_a_number_are_ignored(oracle, warehouse_dsn: str, change: str) -> None:
    comparison = comparison_after(oracle, warehouse_dsn, "seasonal_sales_analysis", change)
    assert comparison.is_equal
    assert comparison.rows_found == comparison.rows_expected > 0


def test_missing_and_unexpected_rows_are_reported(oracle, warehouse_dsn: str) -> None:
    change = """
        delete from marts.payment_method_preference where payment_method = 'debit_card';
        insert into marts.payment_method_preference (payment_method) values ('barter'), (null);
        insert into marts.payment_method_preference
            select * from marts.payment_method_preference where payment_method = 'paypal'
    """
    comparison = comparison_after(oracle, warehouse_dsn, "payment_method_preference", change)
    assert (comparison.rows_expected, comparison.rows_found, comparison.rows_different) == (5, 7, 4)
    missing = {row["payment_method"] for each in comparison.differences if (row := each.expected)}
    unexpected = {row["payment_method"] for each in comparison.differences if (row := each.found)}
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
        (
            "alter table marts.inventory_status add extra text default 'more', add shelf integer",
            "has a column that is not expected: extra, shelf",
        ),
        ("alter table marts.inventory_status drop product_id", "has no column product_id"),
    ],
)
def test_mart_or_column_of_one_side_only_is_reported(oracle, warehouse_dsn: str, change: str, note: str) -> None:
    comparison = comparison_after(oracle, warehouse_dsn, "inventory_status", change)
    assert not comparison.is_equal
    assert [str(difference) for difference in comparison.differences] == [f"inventory_status: {note}"]


def test_columns_of_both_sides_are_compared_beside_those_of_one(oracle, warehouse_dsn: str) -> None:
    change = """
        alter table marts.inventory_status drop stock_value, add shelf integer;
        update marts.inventory_status set stock_level = 99 where product_id = 'PROD001'
    """
    comparison = comparison_after(oracle, warehouse_dsn, "inventory_status", change)
    missing, unexpected, row = comparison.differences
    assert (missing.note, unexpected.note) == ("has no column stock_value", "has a column that is not expected: shelf")
    assert row.columns == ("stock_level",)
    assert (comparison.rows_different, comparison.rows_found) == (1, comparison.rows_expected)
    assert comparison.problems == f"1 rows differ; {missing.note}; {unexpected.note}"


def test_last_place_of_a_percentage_of_quotients_is_ignored(oracle, warehouse_dsn: str) -> None:
    for distance, rows in (("0.01", 0), ("0.02", 1)):
        change = f"""
            update marts.order_for_reviews set discount_percent = discount_percent + {distance}
            where order_id = 'DISCOUNT'
        """
        assert comparison_after(oracle, warehouse_dsn, "order_for_reviews", change).rows_different == rows


def run_command(folder: Path, dsn: str, *options: str, last: date = LAST) -> subprocess.CompletedProcess[str]:
    window = ("--from", f"{FIRST}", "--to", f"{last}")
    return subprocess.run(
        [sys.executable, "-m", "tests.oracle", f"{folder}", *window, "--dsn", dsn, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )


def test_command_prints_a_table_and_fails_on_a_difference(folder: Path, warehouse_dsn: str) -> None:
    right = run_command(folder, warehouse_dsn)
    wrong = run_command(folder, warehouse_dsn, last=LAST - timedelta(days=1))
    assert right.returncode == 0, right.stderr
    assert right.stdout.count(" yes\n") == len(MARTS)
    assert wrong.returncode == 1, wrong.stderr
    assert "conversion_funnel_daily: not expected {'event_date': '2024-02-02'" in wrong.stdout


@pytest.mark.parametrize(
    ("option", "mart"), [("--time-zone", "conversion_funnel_daily"), ("--source-time-zone", "daily_revenue")]
)
def test_command_computes_days_of_the_time_zones_it_is_told(
    folder: Path, warehouse_dsn: str, option: str, mart: str
) -> None:
    other = run_command(folder, warehouse_dsn, option, "America/New_York")
    assert other.returncode == 1, other.stderr
    assert f"\n{mart}: " in other.stdout
    unknown = run_command(folder, warehouse_dsn, option, "America/Nowhere")
    assert unknown.returncode == 2
    assert "'America/Nowhere' is no time zone such as Europe/Berlin" in unknown.stderr
