"""Read the files of a shop folder: which may be missing, and an error names file, line, column and the nearest name."""

from datetime import date
from pathlib import Path

import pytest

from ecommerce.common.sources import SOURCES
from include.demo.shop.shop_folder import (
    COLUMNS,
    REQUIRED_COLUMNS,
    ShopDataError,
    has_numbered_customers,
    has_numbered_subscribers,
    header,
    read_folder,
    rows,
)
from include.demo.state import ROOT

HEADER = "product_id,product_name,product_category_id\n"


def write(folder: Path, content: str | bytes) -> Path:
    (folder / "product.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def test_rows_have_line_numbers(tmp_path: Path) -> None:
    folder = write(tmp_path, HEADER + 'P1,"Pan, large",CAT01\nP2,,""\nP3,"two\nlines",CAT02\n')
    assert list(rows(folder, "product")) == [
        (2, {"product_id": "P1", "product_name": "Pan, large", "product_category_id": "CAT01"}),
        (3, {"product_id": "P2", "product_name": None, "product_category_id": None}),
        (5, {"product_id": "P3", "product_name": "two\nlines", "product_category_id": "CAT02"}),
    ]


def test_header_accepts_any_order_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    folder = write(tmp_path, "\ufeffproduct_category_id, product_id,product_name\r\nCAT01,P1,Pan\r\n")
    assert header(folder, "product") == ["product_category_id", "product_id", "product_name"]
    ((line, row),) = rows(folder, "product")
    assert (line, row["product_id"], row["product_category_id"]) == (2, "P1", "CAT01")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: column product_id is missing"),
        (
            "product_id,product_category_id\n",
            "line 1: column product_name is missing. Known: product_id, product_name, ",
        ),
        (HEADER.replace("\n", ",colour\n"), "line 1: column 'colour' is unknown. Known:"),
        (
            HEADER.replace("_id\n", "\n"),
            "line 1: column 'product_category' is unknown (did you mean product_category_id?)",
        ),
        (HEADER.replace("\n", ",product_id\n"), "line 1: column product_id is named twice"),
        ("Größe\n".encode("latin-1"), "line 1: cannot be read as a UTF-8 CSV header"),
        (HEADER + "P1,Pan\n", "line 2: 2 fields, expected 3"),
        (HEADER + "P1,Pan,CAT01,more\n", "line 2: 4 fields, expected 3"),
        (HEADER + "P1,Pan,CAT01\n\n", "line 3: 0 fields, expected 3"),
        (HEADER + 'P1,"Pan" x,CAT01\n', "after line 2: not UTF-8 CSV"),
        (HEADER.encode() + b"P1,Pan,CAT01\n" * 999 + b"P2,\xff,CAT01\n", "after line 1000: not UTF-8 CSV"),
    ],
)
def test_malformed_file_is_an_error_with_its_place(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ShopDataError) as raised:
        list(rows(write(tmp_path, content), "product"))
    assert f"product.csv, {message}" in str(raised.value)


def test_missing_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ShopDataError, match=r"product\.csv is missing"):
        header(tmp_path, "product")


def folder_with(folder: Path, **headers: str) -> Path:
    """Write files that have a header alone."""
    for name, columns in headers.items():
        path = folder / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(columns + "\n")
    return folder


REQUIRED = {name: ",".join(column for column in COLUMNS[name] if column in REQUIRED_COLUMNS[name]) for name in COLUMNS}


def test_orders_alone_are_a_shop(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, sales_fact="order_id,product_id,order_date,order_amount,created_at")
    assert read_folder(folder).sources == ("sales_fact",)


def test_folder_with_all_files_has_all_sources_of_the_registry(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, **REQUIRED, **{"opening/customer": REQUIRED["customer"]})
    (folder / "messages.jsonl").touch()
    shop = read_folder(folder)
    assert (shop.path, shop.sources, shop.opening) == (folder, tuple(SOURCES), ("customer",))


@pytest.mark.parametrize("table", COLUMNS)
def test_only_columns_that_the_registry_requires_must_be_there(tmp_path: Path, table: str) -> None:
    folder = folder_with(tmp_path, **{"sales_fact": REQUIRED["sales_fact"], table: REQUIRED[table]})
    assert table in read_folder(folder).sources
    for column in REQUIRED_COLUMNS[table]:
        others = ",".join(name for name in COLUMNS[table] if name != column)
        with pytest.raises(ShopDataError, match=rf"{table}\.csv, line 1: column {column} is missing"):
            read_folder(folder_with(tmp_path, **{table: others}))


def test_files_of_other_kinds_are_ignored(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, sales_fact=REQUIRED["sales_fact"])
    for name in ("README.md", "notes.txt", ".~lock.sales_fact.csv", "sales_fact.xlsx"):
        (folder / name).touch()
    (folder / "old.csv").mkdir()
    assert read_folder(folder).sources == ("sales_fact",)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sale_fact.csv", "did you mean sales_fact.csv?"),
        ("customers.csv", "did you mean customer.csv?"),
        ("Refund.csv", "did you mean refund.csv?"),
        ("product.CSV", "did you mean product.csv?"),
        ("subscriptions.csv", "did you mean subscription_data.csv?"),
        ("weather.csv", "did you mean weather_data.csv?"),
        ("message.jsonl", "did you mean messages.jsonl?"),
        ("budget.csv", "is no file of a shop. Known here: kafka_stream.csv, product.csv,"),
        ("opening/customers.csv", "did you mean customer.csv?"),
        ("opening/weather_data.csv", "is no file of a shop. Known here: sales_fact.csv, customer.csv"),
        ("opening/product.csv", "is no file of a shop. Known here: sales_fact.csv, customer.csv"),
    ],
)
def test_unknown_file_is_an_error_with_the_nearest_name(tmp_path: Path, name: str, hint: str) -> None:
    present = ["sales_fact", "customer"] if name.startswith("opening/") else []
    folder = folder_with(tmp_path, **{table: REQUIRED[table] for table in present})
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    with pytest.raises(ShopDataError) as raised:
        read_folder(folder)
    assert str(folder / name) in str(raised.value)
    assert hint in str(raised.value)


def test_name_of_a_file_that_is_there_is_not_suggested(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, sales_fact=REQUIRED["sales_fact"], sales_facts=REQUIRED["sales_fact"])
    with pytest.raises(ShopDataError) as raised:
        read_folder(folder)
    assert "sales_facts.csv is no file of a shop. Known here" in str(raised.value)


def test_all_mistakes_of_a_folder_are_named_at_once(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, customers="id", product="product_id", **{"opening/product": "name"})
    (folder / "messages.jsonl").touch()
    with pytest.raises(ShopDataError) as raised:
        read_folder(folder)
    for part in (
        "customers.csv is no file of a shop (did you mean customer.csv?)",
        "sales_fact.csv is missing",
        "messages.jsonl needs kafka_stream.csv",
        f"{tmp_path / 'product.csv'}, line 1: column product_name is missing",
        f"{tmp_path / 'opening' / 'product.csv'}, line 1: column product_id is missing",
    ):
        assert part in str(raised.value)


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ShopDataError, match="nowhere is not a folder"):
        read_folder(tmp_path / "nowhere")


def test_documented_files_and_columns_are_those_that_are_read() -> None:
    lines = (ROOT / "docs" / "production.md").read_text().splitlines()
    documented = {}
    for line in lines[lines.index("| File | Columns that must be there | Other columns |") + 2 :]:
        if not line.startswith("| "):
            break
        file, required, others = (cell.strip() for cell in line.strip("|").split("|"))
        documented[file.strip("`")] = [set(filter(None, cell.split(", "))) for cell in (required, others)]
    assert documented == {
        f"{table}.csv": [REQUIRED_COLUMNS[table], set(COLUMNS[table]) - REQUIRED_COLUMNS[table]] for table in COLUMNS
    }


# Facts of the rows


def orders(folder: Path, *rows: tuple[str, str]) -> Path:
    """Write orders with these customers and times of recording."""
    lines = [f"{number},P1,{customer},2024-01-01,1.00,{at}" for number, (customer, at) in enumerate(rows)]
    header = "order_id,product_id,customer_id,order_date,order_amount,created_at"
    (folder / "sales_fact.csv").write_text("\n".join(["\ufeff" + header, *lines, ""]), encoding="utf-8")
    return folder


def test_recorded_days_are_those_of_created_at_in_utc(tmp_path: Path) -> None:
    folder = orders(
        tmp_path, ("C1", "2024-01-31T01:30:00+02:00"), ("C1", "2024-02-03 23:59:59"), ("C1", ""), ("C1", "2024-02-01")
    )
    assert read_folder(folder).recorded_days == (date(2024, 1, 30), date(2024, 2, 3))
    assert read_folder(orders(tmp_path)).recorded_days is None


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-1-31 9:30", date(2024, 1, 31)),
        ("2024/01/31 09:30:00", date(2024, 1, 31)),
        ("2024-01-31 09:30:00 UTC", date(2024, 1, 31)),
        ("2024-01-31 23:30:00 -02", date(2024, 2, 1)),
        ("20240131 093000", date(2024, 1, 31)),
    ],
)
def test_recorded_days_are_read_from_every_form_that_postgres_reads(tmp_path: Path, text: str, day: date) -> None:
    assert read_folder(orders(tmp_path, ("C1", text))).recorded_days == (day, day)


@pytest.mark.parametrize("text", ["31/01/2024", "2024-13-45", "soon", "2024-01-31 nine"])
def test_recorded_day_that_is_no_time_is_an_error_with_its_place(tmp_path: Path, text: str) -> None:
    folder = orders(tmp_path, ("C1", "2024-01-31 10:00:00"), ("C1", text))
    with pytest.raises(ShopDataError, match=rf"sales_fact\.csv, line 3, column created_at: found '{text}'"):
        _ = read_folder(folder).recorded_days


@pytest.mark.parametrize(
    ("customers", "subscribers", "are_numbers"),
    [
        (["CUST001"], ["1", "20", ""], True),
        (["", "  ", "CUST001"], ["1"], True),
        (["CUST001"], ["CUST001"], False),
        (["CUST001"], ["1", "CUST002"], False),
        (["CUST001"], ["001"], False),
        (["CUST001"], ["99999999999"], False),
        (["17"], ["17"], False),
    ],
)
def test_subscribers_are_numbers_where_customers_have_other_names(
    tmp_path: Path, customers: list[str], subscribers: list[str], are_numbers: bool
) -> None:
    folder = orders(tmp_path, *((name, "2024-01-01") for name in customers))
    lines = [f"{name},S{number},2024-01-01" for number, name in enumerate(subscribers)]
    text = "\n".join(["customer_id,subscription_id,subscription_start_date", *lines, ""])
    (folder / "subscription_data.csv").write_text(text)
    assert has_numbered_subscribers(folder) is are_numbers
    assert has_numbered_customers(folder) is (customers == ["17"])


def test_subscribers_of_the_opening_state_count_too(tmp_path: Path) -> None:
    folder = orders(tmp_path, ("CUST001", "2024-01-01"))
    (folder / "opening").mkdir()
    header = "customer_id,subscription_id,subscription_start_date\n"
    (folder / "subscription_data.csv").write_text(header + "1,S1,2024-01-01\n")
    assert has_numbered_subscribers(folder)
    (folder / "opening" / "subscription_data.csv").write_text(header + "CUST001,S1,2024-01-01\n")
    assert not has_numbered_subscribers(folder)
