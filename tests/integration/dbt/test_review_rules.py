"""The rules for orders are rows of a seed and expressions of a macro: one is added without touching a model."""

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from ecommerce.build.dbt_project import DBT_PROJECT
from tests.integration.dbt_runs import dbt_on
from tests.integration.support import Loader

pytestmark = pytest.mark.slow

SEED, MACRO = Path("seeds/review_rules.csv"), Path("macros/review_rules.sql")
ROW = "paid_in_cash,Paid in cash at the door,2,15,Sales,2024-01-02,\n"
CONDITION = "    'paid_in_cash': 'lines_paid_in_cash >= threshold',\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, in which the order knows how many of its lines were paid in cash."""
    copy = tmp_path_factory.mktemp("project") / "dbt"
    shutil.copytree(DBT_PROJECT, copy, ignore=shutil.ignore_patterns("target", "logs"))
    model = copy / "models/core/int_reviewed_sales.sql"
    known = "        max(lines.discount_rate) as highest_discount_rate,\n"
    text = model.read_text()
    assert known in text
    counted = "        count(*) filter (where lines.payment_method = 'cash') as lines_paid_in_cash,\n"
    model.write_text(text.replace(known, known + counted))
    with (copy / SEED).open("a") as seed:
        seed.write(ROW)
    return copy


def line(order_id: str, number: int, day: str, paid_by: str) -> dict[str, str | None]:
    return {
        "order_id": order_id, "line_number": str(number), "product_id": "P1", "customer_id": "C1", "order_date": day,
        "order_amount": "10.00", "payment_method": paid_by, "created_at": f"{day} 10:00:00",
    }  # fmt: skip


def test_rule_is_added_by_a_row_and_an_expression(warehouse_dsn: str, project: Path, tmp_path: Path) -> None:
    """A row alone is an error of the build, which names the rule."""
    dsn = os.environ["AIRFLOW_CONN_WAREHOUSE_TRANSFORMER"]
    with psycopg.connect(warehouse_dsn, autocommit=True) as connection:
        loader = Loader(connection)
        rows = [
            line("before", 1, "2024-01-01", "cash"),
            line("before", 2, "2024-01-01", "cash"),
            line("from_then", 1, "2024-01-02", "cash"),
            line("from_then", 2, "2024-01-02", "cash"),
            line("half", 1, "2024-01-02", "cash"),
            line("half", 2, "2024-01-02", "card"),
        ]
        loader.load("sales_fact", "2024-01-01", "2024-01-02", rows=rows)
        with dbt_on(dsn, tmp_path, project=project) as dbt:
            messages = dbt.errors_of_build("+order_for_reviews")
        assert len(messages) == 1
        assert "has no condition for paid_in_cash" in messages[0]

        macro = project / MACRO
        first = "    'high_discount': 'highest_discount_rate > threshold',\n"
        assert first in macro.read_text()
        macro.write_text(macro.read_text().replace(first, first + CONDITION))
        with dbt_on(dsn, tmp_path, project=project) as dbt:
            dbt.run("--full-refresh", "--select", "+order_for_reviews", "rule_compliance_daily")
        orders = loader.rows("select order_id, broken_rules, reasons, risk_score from marts_build.order_for_reviews")
        assert orders == [("from_then", ["paid_in_cash"], ["Paid in cash at the door"], 15)]
        days = loader.rows(
            "select order_date::text, orders_checked, violations from marts_build.rule_compliance_daily"
            " where rule = 'paid_in_cash'"
        )
        assert days == [("2024-01-02", 2, 1)]
