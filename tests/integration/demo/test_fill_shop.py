"""Fill the shop's Postgres from a shop folder: all tables, or none if a file is wrong."""

import csv
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from include.demo.shop.fill_sources import SHOP_TABLES, fill_shop
from include.demo.shop.shop_folder import ShopDataError


@pytest.fixture
def folder(generated: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(generated, tmp_path / "shop"))


def fetch(dsn: str, query: str) -> list[tuple]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def replace_line(path: Path, number: int, change: Callable[[str], str]) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[number - 1] = change(lines[number - 1])
    path.write_text("\n".join(lines), encoding="utf-8")


def test_tables_have_the_rows_of_the_files(shop_dsn: str, generated: Path) -> None:
    counts = fill_shop(shop_dsn, generated)
    assert counts == {table: len(csv_rows(generated / f"{table}.csv")) for table in SHOP_TABLES}
    for table in SHOP_TABLES:
        assert fetch(shop_dsn, f"select count(*) from {table}") == [(counts[table],)]
    quantities = fetch(shop_dsn, "select count(*) from sales_fact where order_quantity is null")
    assert quantities == [(sum(row["order_quantity"] == "" for row in csv_rows(generated / "sales_fact.csv")),)]
    assert fetch(shop_dsn, "select 1 from pg_indexes where indexname = 'sales_fact_created_at'") == [(1,)]


def test_filling_twice_gives_the_same_rows(shop_dsn: str, generated: Path) -> None:
    assert fill_shop(shop_dsn, generated) == fill_shop(shop_dsn, generated)
    assert fetch(shop_dsn, "select count(*) from customer") == [(len(csv_rows(generated / "customer.csv")),)]


def test_opening_state_leaves_other_tables_alone(shop_dsn: str, generated: Path) -> None:
    fill_shop(shop_dsn, generated)
    orders = fetch(shop_dsn, "select count(*) from sales_fact")
    changing = [table for table in SHOP_TABLES if table != "sales_fact"]
    fill_shop(shop_dsn, generated / "opening", changing)
    opened = len(csv_rows(generated / "opening" / "customer.csv"))
    assert fetch(shop_dsn, "select count(*) from customer") == [(opened,)]
    assert fetch(shop_dsn, "select count(*) from sales_fact") == orders


def test_columns_follow_the_header(shop_dsn: str, folder: Path) -> None:
    path = folder / "product.csv"
    path.write_text('\ufeffproduct_category_id,product_id,product_name\r\nCAT01,P1,""\r\n', encoding="utf-8")
    fill_shop(shop_dsn, folder, ["product"])
    assert fetch(shop_dsn, "select * from product") == [("P1", None, "CAT01")]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2024-01-31 01:30:00", datetime(2024, 1, 31, 1, 30)),
        ("2024-01-31T01:30:00Z", datetime(2024, 1, 31, 1, 30)),
        ("2024-01-31T01:30:00+02:00", datetime(2024, 1, 30, 23, 30)),
    ],
)
def test_times_are_converted_to_utc(shop_dsn: str, folder: Path, text: str, utc: datetime) -> None:
    path = folder / "sales_fact.csv"
    replace_line(path, 2, lambda line: ",".join([*line.split(",")[:-1], text]))
    path.write_text("\n".join(path.read_text(encoding="utf-8").split("\n")[:2]), encoding="utf-8")
    fill_shop(shop_dsn, folder, ["sales_fact"])
    assert fetch(shop_dsn, "select created_at from sales_fact") == [(utc,)]


def set_field(table: str, line: int, column: str, value: str) -> Callable[[Path], None]:
    def change_file(folder: Path) -> None:
        path = folder / f"{table}.csv"
        place = path.read_text(encoding="utf-8").split("\n")[0].split(",").index(column)

        def change(text: str) -> str:
            fields = text.split(",")
            return ",".join([*fields[:place], value, *fields[place + 1 :]])

        replace_line(path, line, change)

    return change_file


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda folder: (folder / "customer.csv").unlink(), ["customer.csv is missing"]),
        (
            lambda folder: (folder / "customer.csv").write_text(""),
            ["customer.csv, line 1", "customer_id is missing"],
        ),
        (
            lambda folder: replace_line(folder / "customer.csv", 1, lambda line: line.replace("status", "state")),
            ["customer.csv, line 1", "column status is missing", "column 'state' is unknown"],
        ),
        (
            lambda folder: replace_line(folder / "customer.csv", 1, lambda line: line + ",status"),
            ["customer.csv, line 1", "column status is named twice"],
        ),
        (
            lambda folder: replace_line(folder / "product.csv", 3, lambda line: line + ",more"),
            ["product.csv, line 3", "extra data", "expected 3 fields"],
        ),
        (
            lambda folder: replace_line(folder / "product.csv", 3, lambda line: line.split(",")[0]),
            ["product.csv, line 3", "missing data"],
        ),
        (
            lambda folder: replace_line(folder / "product.csv", 5, lambda line: '"' + line),
            ["product.csv, line", "unterminated"],
        ),
        (
            lambda folder: (folder / "product.csv").write_bytes(
                (folder / "product.csv").read_bytes() + "P9,Gr\u00f6\u00dfe,CAT01\n".encode("latin-1")
            ),
            ["product.csv, line 50", "UTF8"],
        ),
        (
            set_field("sales_fact", 7, "order_quantity", "2.5"),
            ["sales_fact.csv, line 7, column order_quantity: found '2.5', expected a whole number"],
        ),
        (
            set_field("sales_fact", 8, "order_amount", "12 EUR"),
            ["sales_fact.csv, line 8, column order_amount: found '12 EUR', expected a number"],
        ),
        (
            set_field("sales_fact", 9, "order_date", "01/02/2024"),
            ["sales_fact.csv, line 9, column order_date: found '01/02/2024', expected a date"],
        ),
        (
            set_field("sales_fact", 9, "order_date", "2024-02-30"),
            ["sales_fact.csv, line 9, column order_date: found '2024-02-30', expected a date"],
        ),
        (
            set_field("sales_fact", 10, "created_at", ""),
            ["sales_fact.csv, line 10, column created_at: found nothing, expected a time"],
        ),
        (
            set_field("subscription_data", 4, "customer_id", "CUST001"),
            ["subscription_data.csv, line 4, column customer_id: found 'CUST001', expected a whole number"],
        ),
        (
            set_field("product_category", 4, "discontinued", "perhaps"),
            ["product_category.csv, line 4, column discontinued: found 'perhaps', expected true or false"],
        ),
    ],
)
def test_wrong_file_is_an_error_with_its_place_and_changes_nothing(
    shop_dsn: str, generated: Path, folder: Path, change: Callable[[Path], None], parts: list[str]
) -> None:
    before = fill_shop(shop_dsn, generated)
    change(folder)
    with pytest.raises(ShopDataError) as raised:
        fill_shop(shop_dsn, folder)
    for part in parts:
        assert part in str(raised.value)
    for table, count in before.items():
        assert fetch(shop_dsn, f"select count(*) from {table}") == [(count,)]
    kinds = fetch(
        shop_dsn,
        """
        select data_type
        from information_schema.columns
        where table_name = 'sales_fact' and column_name = 'created_at'
        """,
    )
    assert kinds == [("timestamp without time zone",)]


def test_wrong_file_leaves_an_empty_database_empty(shop_dsn: str, folder: Path) -> None:
    set_field("sales_fact", 7, "order_quantity", "many")(folder)
    with pytest.raises(ShopDataError):
        fill_shop(shop_dsn, folder)
    assert fetch(shop_dsn, "select count(*) from pg_tables where schemaname = 'public'") == [(0,)]
