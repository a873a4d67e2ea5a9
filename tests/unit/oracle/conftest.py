"""Write a shop of a few rows as its files; columns that a test does not set have ordinary values."""

import csv
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.compute import READS, UTC, TimeZones, compute
from tests.oracle.edge_case_shop import COLUMNS

Row = dict[str, Any]
Query = Callable[[str], list[tuple[Any, ...]]]

FIRST, LAST = date(2024, 1, 1), date(2024, 3, 31)

DEFAULTS: Mapping[str, dict[str, Any]] = {
    "product": {"product_id": "P1", "product_name": "Spade", "product_category_id": "C1"},
    "product_category": {
        "product_id": "P1", "category_id": "C1", "category_name": "Garden", "subcategory": "Tools", "brand": "Acme",
        "supplier_id": "SUP1",
        "cost_price": "4.00", "retail_price": "9.99", "stock_level": "10", "reorder_point": "2",
        "discontinued": "false", "launch_date": "2023-12-31", "last_updated": "2023-12-31",
    },
    "customer": {"customer_id": "CUST001", "customer_name": "Ada", "customer_email": "a@b.de"},
    "sales_fact": {
        "order_id": "O1", "product_id": "P1", "customer_id": "CUST001", "order_date": "2024-01-10",
        "order_amount": "10.00", "order_quantity": "1", "payment_method": "paypal", "discount_applied": "0",
        "shipping_cost": "0",
    },
    "refund": {"refund_id": "R1", "refund_date": "2024-01-20", "refund_amount": "1.00"},
    "subscription_data": {
        "customer_id": "1", "subscription_id": "S1", "plan_type": "Basic",
        "subscription_start_date": "2024-01-15", "monthly_fee": "10.00", "status": "Active",
    },
    "weather_data": {"date": "2024-01-10", "city": "Berlin", "temperature": "5", "precipitation": "0"},
    "kafka_stream": {
        "customer_id": "CUST001", "product_id": "P1", "interaction_type": "view",
        "timestamp": "2024-01-10T12:00:00",
    },
}  # fmt: skip

KEY_COLUMNS = {"product": "product_id", "product_category": "product_id", "customer": "customer_id",
            "sales_fact": "order_id", "refund": "refund_id", "subscription_data": "subscription_id"}  # fmt: skip

#: File → the column with the day on which a row is recorded, if a test does not say otherwise.
RECORDED_ON = {"sales_fact": "order_date", "refund": "refund_date"}


def write_files(folder: Path, files: Mapping[str, Sequence[Row]], names: Sequence[str]) -> None:
    """Write the files; keys count up (O1, O2 …), and a row is recorded on its own day."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        columns = COLUMNS[name].split(",")
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for number, row in enumerate(files.get(name, ()), start=1):
                defaults = dict(DEFAULTS[name])
                if key := KEY_COLUMNS.get(name):
                    defaults[key] = f"{defaults[key].rstrip('1')}{number}"
                if day := RECORDED_ON.get(name):
                    defaults["created_at"] = row.get(day, defaults[day])
                writer.writerow(defaults | row)


@pytest.fixture
def shop(tmp_path: Path) -> Callable[..., Query]:
    """
    Compute the marts of the rows of each file; the first product and customer are always there.

    `reads` has what was read of the subscriptions on days of the window.
    """

    def build(
        *,
        opening: Mapping[str, Sequence[Row]] | None = None,
        reads: Mapping[str, Sequence[Row]] | None = None,
        first: date = FIRST,
        last: date = LAST,
        zones: TimeZones = UTC,
        **files: Sequence[Row],
    ) -> Query:
        minimum: dict[str, Sequence[Row]] = {"product": [{}], "product_category": [{}], "customer": [{}]}
        write_files(tmp_path, minimum | files, list(COLUMNS))
        if opening is not None:
            write_files(tmp_path / "opening", opening, list(opening))
        for day, rows in (reads or {}).items():
            write_files(tmp_path / READS / day, {"subscription_data": rows}, ["subscription_data"])
        oracle = compute(tmp_path, first, last, zones)

        def query(select: str) -> list[tuple[Any, ...]]:
            """Fetch the rows; values except nulls and booleans as text, so that `5.00` is not `5.0`."""
            return [
                tuple(value if value is None or isinstance(value, bool) else str(value) for value in row)
                for row in oracle.execute(select).fetchall()
            ]

        return query

    return build
