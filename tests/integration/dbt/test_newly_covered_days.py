"""A load without rows moves "today": the next incremental build gives what a full refresh gives all the same."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from ecommerce.build import lease
from ecommerce.common.connections import postgres
from ecommerce.publish.publication import publish
from tests.integration.dbt.test_rebuild import category, column, order
from tests.integration.dbt_runs import Dbt, dbt_on
from tests.integration.support import Loader, Row, checks_passed

pytestmark = pytest.mark.long_form

#: Loaded first, with "today" in the middle of January; A1 is dated ahead.
HISTORY: list[Row] = [
    order("D1", "2023-12-20", "C1", amount="30"), order("J1", "2024-01-05", "C1", amount="10"),
    order("J2", "2024-01-06", "C2", "P2", amount="20"), order("J3", "2024-01-15", "C2", amount="40"),
    order("A1", "2024-02-03", "C3", amount="50", created="2024-01-15"),
]  # fmt: skip

PRODUCTS = "marts_build.product_performance_monthly"


@pytest.fixture
def connection(warehouse_dsn: str) -> Iterator[psycopg.Connection]:
    with postgres("warehouse") as connection:
        Loader(connection).empty()
        yield connection


@pytest.fixture(scope="module")
def dbt(warehouse_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dbt]:
    with dbt_on(warehouse_dsn, Path(tmp_path_factory.mktemp("dbt"))) as dbt:
        yield dbt


def build(connection: psycopg.Connection, dbt: Dbt, run_id: str, *, full_refresh: bool = False) -> None:
    claim = lease.take(connection, "a_dag", run_id, project="p", full_refresh=full_refresh)
    assert claim is not None
    assert claim.is_build_needed
    assert claim.is_full_refresh is full_refresh
    dbt.run()
    with checks_passed(connection, run_id):
        publish(connection, run_id)


def rows(connection: psycopg.Connection, dbt: Dbt) -> dict[str, set[str]]:
    return {
        str(table): {row for (row,) in connection.execute(f"select to_jsonb(held)::text from {table} as held".encode())}
        for table in dbt.tables
    }


def empty_load_after(load: Callable[..., object]) -> None:
    load("sales_fact", "2024-01-16", "2024-02-02", rows=[])


def empty_load_on_a_day_with_an_order_ahead(load: Callable[..., object]) -> None:
    load("sales_fact", "2024-01-16", "2024-02-03", rows=[])


def empty_load_before(load: Callable[..., object]) -> None:
    load("sales_fact", "2023-11-01", "2023-12-14", rows=[])


@pytest.mark.parametrize(
    ("move", "is_complete"),
    [
        (empty_load_after, {"2023-12-01 False", "2024-01-01 True", "2024-02-01 False"}),
        (empty_load_on_a_day_with_an_order_ahead, {"2023-12-01 False", "2024-01-01 True", "2024-02-01 False"}),
        (empty_load_before, {"2023-12-01 True", "2024-01-01 False", "2024-02-01 False"}),
    ],
)
def test_incremental_build_after_an_empty_load_equals_a_full_refresh(
    connection: psycopg.Connection, dbt: Dbt, move: Callable[[Callable[..., object]], None], is_complete: set[str]
) -> None:
    load = Loader(connection).load
    load("sales_fact", "2023-12-15", "2024-01-15", rows=HISTORY)
    load("product", "2024-01-15", rows=[{"product_id": p, "product_name": p} for p in ("P1", "P2")])
    load("product_category", "2024-01-15", rows=[category(p, "5", "2023-01-01") for p in ("P1", "P2")])
    build(connection, dbt, "history", full_refresh=True)
    before = rows(connection, dbt)
    move(load)
    assert connection.execute("select count(*) from ops.dirty_date").fetchone() == (0,)
    build(connection, dbt, "empty load")
    incremental = rows(connection, dbt)
    build(connection, dbt, "whole", full_refresh=True)
    assert incremental == rows(connection, dbt)
    months = {column("revenue_month", "is_complete")(row) for row in incremental[PRODUCTS]}
    assert months == is_complete
    assert incremental[PRODUCTS] != before[PRODUCTS]
