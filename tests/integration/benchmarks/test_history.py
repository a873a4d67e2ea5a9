"""The history that the benchmark makes fits the tables of raw, and its new days are loaded."""

import os
from datetime import timedelta
from unittest.mock import patch

import psycopg
import pytest
from psycopg import sql

from ecommerce.common.sources import SOURCES

FEW_LINES = 60


def test_history_has_rows_of_each_source_and_its_new_days_are_loaded(
    warehouse_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its import makes a folder beside the data of the running services, and sets variables for services of its own.
    with patch.dict(os.environ):
        from benchmarks import history

    monkeypatch.setattr(history, "LINES", FEW_LINES)
    shop = history.Shop(1, warehouse_dsn)
    shop.fill()
    before = rows_by_source(warehouse_dsn)
    assert all(before.values()), before
    assert before["sales_fact"] == 365 * FEW_LINES
    shop.receive(history.LAST_DAY + timedelta(days=1))
    after = rows_by_source(warehouse_dsn)
    with_new_rows = {source for source in SOURCES if after[source] > before[source]}
    assert with_new_rows == {
        "sales_fact", "refund", "kafka_stream", "customer", "product_category", "weather_data"
    }  # fmt: skip


def rows_by_source(dsn: str) -> dict[str, int]:
    with psycopg.connect(dsn) as connection:
        return {
            source: connection.execute(
                sql.SQL("select count(*) from {}").format(sql.Identifier("raw", source))
            ).fetchall()[0][0]
            for source in SOURCES
        }
