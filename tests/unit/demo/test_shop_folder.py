"""Read the files of a shop folder; an error names file, line and column."""

from pathlib import Path

import pytest

from include.demo.shop.shop_folder import ShopDataError, header, rows

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
        ("product_id,product_name\n", "line 1: column product_category_id is missing"),
        (HEADER.replace("\n", ",colour\n"), "line 1: column 'colour' is unknown"),
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
