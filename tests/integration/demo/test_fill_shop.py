"""Fill the shop's Postgres from a shop folder: the tables of its files, or none if a file is wrong."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from include.demo import processes, stack
from include.demo.shop.fill_sources import fill_shop
from include.demo.shop.shop_folder import COLUMNS, REQUIRED_COLUMNS, SHOP_TABLES, ShopDataError, read_folder
from include.demo.state import State


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
    fill_shop(shop_dsn, generated / "opening", read_folder(generated).opening)
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
        (lambda folder: (folder / "sales_fact.csv").unlink(), ["sales_fact.csv is missing"]),
        (lambda folder: (folder / "refund.csv").rename(folder / "refunds.csv"), ["did you mean refund.csv?"]),
        (
            lambda folder: (folder / "customer.csv").write_text(""),
            ["customer.csv, line 1", "customer_id is missing"],
        ),
        (
            lambda folder: replace_line(folder / "customer.csv", 1, lambda line: line.replace("status", "state")),
            ["customer.csv, line 1", "column 'state' is unknown (did you mean status?)"],
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
            set_field("refund", 2, "line_number", "first"),
            ["refund.csv, line 2, column line_number: found 'first', expected a whole number"],
        ),
        (
            set_field("subscription_data", 4, "monthly_fee", "free"),
            ["subscription_data.csv, line 4, column monthly_fee: found 'free', expected a number"],
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


# Folders with some of the files and columns


def tables(dsn: str) -> set[str]:
    return {name for (name,) in fetch(dsn, "select tablename from pg_tables where schemaname = 'public'")}


def keep_columns(path: Path, names: set[str]) -> None:
    """Write a file anew with some of its columns."""
    kept = csv_rows(path)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [name for name in kept[0] if name in names], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)


def test_source_without_a_file_has_no_table(shop_dsn: str, generated: Path, folder: Path) -> None:
    fill_shop(shop_dsn, generated)
    assert tables(shop_dsn) == set(SHOP_TABLES)
    for table in SHOP_TABLES:
        if table != "sales_fact":
            (folder / f"{table}.csv").unlink()
    shutil.rmtree(folder / "opening")
    counts = fill_shop(shop_dsn, folder)
    assert counts == {"sales_fact": len(csv_rows(folder / "sales_fact.csv"))}
    assert tables(shop_dsn) == {"sales_fact"}
    assert fill_shop(shop_dsn, generated).keys() == set(SHOP_TABLES)
    assert tables(shop_dsn) == set(SHOP_TABLES)


def test_column_that_a_file_lacks_is_null(shop_dsn: str, folder: Path) -> None:
    expected = {}
    for table in SHOP_TABLES:
        keep_columns(folder / f"{table}.csv", REQUIRED_COLUMNS[table])
        expected[table] = len(csv_rows(folder / f"{table}.csv"))
    assert fill_shop(shop_dsn, folder) == expected
    for table in SHOP_TABLES:
        absent = [name for name in COLUMNS[table] if name not in REQUIRED_COLUMNS[table]]
        counts = ", ".join(f"count({name})" for name in absent)
        assert fetch(shop_dsn, f"select {counts} from {table}") == [(0,) * len(absent)]


def test_order_lines_and_refunds_have_their_values(shop_dsn: str, generated: Path) -> None:
    fill_shop(shop_dsn, generated)
    lines = csv_rows(generated / "sales_fact.csv")
    found = fetch(
        shop_dsn,
        """
        select max(line_number), count(*) filter (where customer_id is null), sum(tax_amount), max(order_status)
        from sales_fact
        """,
    )
    assert found == [
        (
            max(int(row["line_number"] or 0) for row in lines),
            sum(row["customer_id"] == "" for row in lines),
            sum(Decimal(row["tax_amount"] or 0) for row in lines),
            max(row["order_status"] for row in lines),
        )
    ]
    refunds = csv_rows(generated / "refund.csv")
    assert fetch(shop_dsn, "select count(*), sum(refund_amount), min(created_at) from refund") == [
        (
            len(refunds),
            sum(Decimal(row["refund_amount"] or 0) for row in refunds),
            min(datetime.fromisoformat(row["created_at"]) for row in refunds),
        )
    ]


@pytest.mark.parametrize(("value", "kind", "found"), [("12", "integer", 12), ("CUST012", "text", "CUST012")])
def test_subscribers_keep_the_type_that_the_file_has(
    shop_dsn: str, folder: Path, value: str, kind: str, found: object
) -> None:
    set_field("subscription_data", 4, "customer_id", value)(folder)
    key = csv_rows(folder / "subscription_data.csv")[2]["subscription_id"]
    fill_shop(shop_dsn, folder)
    fill_shop(shop_dsn, folder / "opening", read_folder(folder).opening)
    columns = """
        select data_type
        from information_schema.columns
        where table_name = 'subscription_data' and column_name = 'customer_id'
    """
    assert fetch(shop_dsn, columns) == [(kind,)]
    fill_shop(shop_dsn, folder)
    assert fetch(shop_dsn, f"select customer_id from subscription_data where subscription_id = '{key}'") == [(found,)]


def test_tables_of_an_earlier_form_are_made_new(shop_dsn: str, generated: Path) -> None:
    with psycopg.connect(shop_dsn) as connection:
        connection.execute("create table sales_fact (order_id text, created_at timestamp)")
    assert fill_shop(shop_dsn, generated)["sales_fact"] == len(csv_rows(generated / "sales_fact.csv"))


def test_stack_is_filled_with_orders_alone_without_broker_and_weather(
    postgres: State, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (*folder.glob("*.csv"), *folder.glob("*.jsonl")):
        if path.name != "sales_fact.csv":
            path.unlink()
    shutil.rmtree(folder / "opening")
    monkeypatch.setattr(processes, "start", lambda name, *_: pytest.fail(f"{name} is not needed"))
    monkeypatch.setattr(stack, "produce_events", lambda *_: pytest.fail("there are no events"))
    before = State.load()
    assert before is not None
    state = replace(postgres, shop={})
    stack._choose_shop(state, folder)
    try:
        stack.fill(state, opening=lambda: pytest.fail("the folder has no opening state"))
    finally:
        before.save()
    assert state.shop["is_filled"] == "yes"
    assert "cities" not in state.shop
    assert tables(state.dsn("shop")) == {"sales_fact"}


def test_mistake_in_events_is_found_before_the_warehouse_reads_the_opening_state(
    postgres: State, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "start", lambda name, *_: pytest.fail(f"{name} is not needed"))
    before = State.load()
    assert before is not None
    state = replace(postgres, shop={})
    stack._choose_shop(state, folder)
    (folder / "messages.jsonl").write_text("no JSON\n")
    try:
        with pytest.raises(ShopDataError, match=r"messages\.jsonl, line 1"):
            stack.fill(state, opening=lambda: pytest.fail("the files have a mistake"))
        # So the folder may be corrected, and chosen again.
        assert "is_read" not in state.shop
        (folder / "messages.jsonl").unlink()
        stack._choose_shop(state, folder)
    finally:
        before.save()


def test_opening_state_is_read_before_the_present_one_replaces_it(
    postgres: State, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "produce_events", lambda *_: 0)
    monkeypatch.setattr(stack, "_serve_weather", lambda state: None)
    before = State.load()
    assert before is not None
    state = replace(postgres, shop={})
    stack._choose_shop(state, folder)
    names = "select customer_id, customer_name from customer"
    seen: list[list[tuple]] = []
    try:
        stack.fill(state, opening=lambda: seen.append(fetch(state.dsn("shop"), names)))
    finally:
        before.save()
    opening, present = (
        {(row["customer_id"] or None, row["customer_name"] or None) for row in csv_rows(place / "customer.csv")}
        for place in (folder / "opening", folder)
    )
    assert opening != present
    assert [set(rows) for rows in seen] == [opening]
    assert set(fetch(state.dsn("shop"), names)) == present
