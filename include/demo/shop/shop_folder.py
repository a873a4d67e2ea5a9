"""
Read a shop folder: seven CSV files in UTF-8, named like the raw tables, each with a header line.

The header names each column exactly once, in any order. An empty field is null. Two parts are optional:
``messages.jsonl`` (Kafka messages that four columns cannot hold) and ``opening/`` (some of the same files as they were
before the shop's first day).
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# Column -> Postgres type, in the order in which the generator writes them.
COLUMNS: dict[str, dict[str, str]] = {
    "kafka_stream": {
        "customer_id": "text",
        "product_id": "text",
        "interaction_type": "text",
        "timestamp": "text",
    },
    "product": {"product_id": "text", "product_name": "text", "product_category_id": "text"},
    "product_category": {
        "product_id": "text",
        "category_id": "text",
        "category_name": "text",
        "subcategory": "text",
        "brand": "text",
        "supplier_id": "text",
        "cost_price": "numeric",
        "retail_price": "numeric",
        "margin_percent": "numeric",
        "stock_level": "integer",
        "reorder_point": "integer",
        "discontinued": "boolean",
        "launch_date": "date",
        "last_updated": "date",
    },
    "sales_fact": {
        "order_id": "text",
        "product_id": "text",
        "customer_id": "text",
        "order_date": "date",
        "order_amount": "numeric",
        "order_quantity": "integer",
        "payment_method": "text",
        "discount_applied": "numeric",
        "shipping_cost": "numeric",
        "created_at": "timestamp",
    },
    "customer": {
        "customer_id": "text",
        "customer_name": "text",
        "customer_email": "text",
        "start_date": "date",
        "end_date": "date",
        "status": "text",
    },
    "subscription_data": {
        "customer_id": "integer",
        "subscription_id": "text",
        "plan_type": "text",
        "subscription_start_date": "date",
        "subscription_end_date": "date",
        "monthly_fee": "numeric",
        "status": "text",
    },
    "weather_data": {"date": "date", "temperature": "numeric", "precipitation": "numeric", "city": "text"},
}


class ShopDataError(ValueError):
    """A file of a shop folder is wrong; the message names the file, the place and the expected value."""


def csv_file(folder: Path, table: str) -> Path:
    """
    Find the file of a table.

    :raises ShopDataError: there is no such file
    """
    path = folder / f"{table}.csv"
    if not path.is_file():
        raise ShopDataError(f"{path} is missing: a shop folder holds one CSV file for each table")
    return path


def header(folder: Path, table: str) -> list[str]:
    """
    Read and check the header of a table's file.

    :return: the columns in the file's order
    :raises ShopDataError: no file, no header, or a column that is missing, unknown or named twice
    """
    path = csv_file(folder, table)
    try:
        with path.open("rb") as file:
            names = [name.strip() for name in next(csv.reader(_decoded(file)), [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ShopDataError(f"{path}, line 1: cannot be read as a UTF-8 CSV header ({error})") from error
    expected = COLUMNS[table]
    errors = [
        *(f"column {name} is missing" for name in expected if name not in names),
        *(f"column {name!r} is unknown" for name in dict.fromkeys(names) if name not in expected),
        *(f"column {name} is named twice" for name in expected if names.count(name) > 1),
    ]
    if errors:
        raise ShopDataError(f"{path}, line 1: {'; '.join(errors)}. Expected: {', '.join(expected)}")
    return names


def rows(folder: Path, table: str) -> Iterator[tuple[int, dict[str, str | None]]]:
    """
    Read the rows of a table's file one after the other.

    :return: (line number, column -> text or null); for a row of several lines, the number of the last one
    :raises ShopDataError: the header is wrong, a row has too many or too few fields, or the file is not UTF-8 CSV
    """
    names = header(folder, table)
    path = csv_file(folder, table)
    with path.open("rb") as file:
        reader = csv.reader(_decoded(file), strict=True)
        try:
            next(reader)
            for fields in reader:
                if len(fields) != len(names):
                    raise ShopDataError(
                        f"{path}, line {reader.line_num}: {len(fields)} fields, expected {len(names)}"
                        f" ({', '.join(names)})"
                    )
                yield reader.line_num, {name: text or None for name, text in zip(names, fields, strict=True)}
        except (UnicodeDecodeError, csv.Error) as error:
            raise ShopDataError(f"{path}, after line {reader.line_num}: not UTF-8 CSV ({error})") from error


def _decoded(file: BinaryIO) -> Iterator[str]:
    """Decode line by line, so that an error names the right line; Python's text files decode in blocks."""
    for number, line in enumerate(file):
        yield line.decode("utf-8" if number else "utf-8-sig")
