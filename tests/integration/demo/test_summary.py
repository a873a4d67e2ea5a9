"""What the demo says at its end about the orders that a warehouse has."""

from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from include.demo.__main__ import orders_in_words
from include.demo.state import State
from tests.integration.dbt_runs import dbt_on
from tests.integration.support import Loader

DAY = "2024-01-05"


def test_summary_counts_guests_and_cancelled_orders_as_the_facts_do(
    warehouse_dsn: str, postgres: State, tmp_path: Path
) -> None:
    lines = [
        ("O1", "1", "C1", "paid"),
        ("O1", "2", "C1", "paid"),
        ("O2", "1", None, None),
        ("O3", "1", "  ", " Voided "),
        ("O4", "1", "C2", "CANCELLED"),
        ("O4", "2", "C2", "CANCELLED"),
    ]
    names = ("order_id", "line_number", "customer_id", "order_status")
    rest = {"product_id": "P1", "order_date": DAY, "order_amount": "1", "created_at": f"{DAY} 10:00:00"}
    refund = {"refund_id": "R1", "refund_date": DAY, "refund_amount": "1", "created_at": f"{DAY} 10:00:00"}
    with psycopg.connect(warehouse_dsn, autocommit=True) as connection:
        loader = Loader(connection)
        loader.load("sales_fact", DAY, rows=[{**rest, **dict(zip(names, line, strict=True))} for line in lines])
        loader.load("refund", DAY, rows=[refund])
    role = {"user": "transformer", "password": postgres.passwords["transformer"]}
    with dbt_on(make_conninfo("", **conninfo_to_dict(warehouse_dsn) | role), tmp_path) as project:
        project.run("--select", "+fact_sales", "+fact_refunds")
    assert orders_in_words(warehouse_dsn) == "6 order lines of 4 orders (2 by guests, 2 cancelled), 1 refunds"
