"""The tables of `raw` against the registry of sources."""

import importlib

import pytest

from ecommerce.common.connections import LOADER, warehouse
from ecommerce.common.sources import SOURCES, WriteDisposition
from ecommerce.common.value_rules import SQL_TYPES
from tests.integration.support import Loader

LOADED = {"_batch_id": ("bigint", True), "_loaded_at": ("timestamp with time zone", True)}
VERSION = {"_valid_from": ("timestamp with time zone", True), "_is_deleted": ("boolean", True)}
SPELLED_OUT = {"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone"}


@pytest.mark.parametrize("name", SOURCES)
def test_raw_table_matches_registry(loader: Loader, name: str) -> None:
    source = SOURCES[name]
    is_log = source.write_disposition is WriteDisposition.VERSION_LOG
    expected = {
        column.name: (
            SPELLED_OUT.get(SQL_TYPES[column.kind], SQL_TYPES[column.kind]),
            # A tombstone has nothing but its key.
            column.name in source.key or (column.required and not is_log),
        )
        for column in source.loaded_columns
    }
    columns = loader.rows(
        "select attname::text, format_type(atttypid, atttypmod), attnotnull from pg_attribute"
        " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
        [f"raw.{name}"],
    )
    assert {column: (kind, fixed) for column, kind, fixed in columns} == expected | LOADED | (VERSION if is_log else {})
    primary = loader.rows(
        "select attname::text from pg_index cross join unnest(indkey) with ordinality as place(attnum, n)"
        " inner join pg_attribute on attrelid = indrelid and pg_attribute.attnum = place.attnum"
        " where indrelid = to_regclass(%s) and indisprimary order by n",
        [f"raw.{name}"],
    )
    # A load of changes may bring several versions of a key.
    version = [*(["_batch_id"] if is_log else []), *(["_valid_from"] if source.takes_changes else [])]
    assert [column for (column,) in primary] == [*source.key, *version]


@pytest.mark.parametrize(
    "sought",
    [
        "created_at >= '2024-03-01' and created_at < '2024-03-02'",
        "order_date = any(array(select date '2024-03-01' + generate_series(0, 3)))",
    ],
)
def test_brin_index_finds_window_and_day_of_orders(loader: Loader, sought: str) -> None:
    with loader.connection.transaction():
        loader.connection.execute("set local enable_seqscan = off")
        plan = "\n".join(line for (line,) in loader.rows(f"explain select from raw.sales_fact where {sought}"))
    assert "Bitmap Index Scan on sales_fact_days" in plan


def test_older_warehouse_gets_brin_index(loader: Loader) -> None:
    loader.connection.execute("drop index raw.sales_fact_days")
    loader.connection.execute("create index sales_fact_order_date on raw.sales_fact (order_date)")
    loader.connection.execute("create index sales_fact_created_at on raw.sales_fact (created_at)")
    loader.connection.execute("comment on schema raw is 'include/sql of before'")
    # It had none of the migrations since.
    loader.connection.execute("delete from ops.migration where number >= 2")
    with warehouse(LOADER):
        # Connecting is enough.
        pass
    assert loader.rows(
        "select indexrelid::regclass::text from pg_index where indrelid = 'raw.sales_fact'::regclass order by 1"
    ) == [("raw.sales_fact_days",), ("raw.sales_fact_pkey",)]


def test_large_load_is_analyzed_at_once(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("ecommerce.load.loader"), "ANALYZE_ROWS", 10)

    def known_after(rows: int) -> list[tuple]:
        days = [
            {"date": f"2024-03-{day:02}", "temperature": str(day), "precipitation": "0", "city": "Oslo"}
            for day in range(1, rows + 1)
        ]
        loader.load("weather_data", "2024-03-01", "2024-03-31", rows=days)
        return loader.rows(
            "select attname::text, n_distinct from pg_stats"
            " where schemaname = 'raw' and tablename = 'weather_data' and attname in ('date', 'city') order by 1"
        )

    assert known_after(9) == []
    loader.empty()
    assert known_after(10) == [("city", 1), ("date", -1)]


def test_quarantine_is_analyzed_after_many_rejected_rows(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without statistics, the next load would compare each rejected row with each."""
    monkeypatch.setattr(importlib.import_module("ecommerce.load.loader"), "ANALYZE_ROWS", 10)

    def is_known_after(rows: int) -> bool:
        loader.empty()
        bad = [{"product_id": f"P{number}"} for number in range(rows)]
        loader.load("product", "2024-03-01", rows=bad, max_rejected_rows=rows)
        return loader.value(
            "select exists ("
            " select from pg_stats where schemaname = 'ops' and tablename = 'quarantine' and attname = 'source')"
        )

    assert not is_known_after(9)
    assert is_known_after(10)
