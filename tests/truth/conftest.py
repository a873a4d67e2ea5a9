"""A generated shop with its marts, built once for all tests of it; at the end, the table of effects."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecommerce.common.connections import postgres as connect
from tests.integration.dbt_runs import dbt_on
from tests.integration.histories.history import Place
from tests.truth.findings import FINDINGS, table
from tests.truth.warehouse import BuiltShop, ShopSize


@pytest.fixture(scope="module")
def place(warehouse_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with (
        dbt_on(os.environ["AIRFLOW_CONN_WAREHOUSE_TRANSFORMER"], tmp_path_factory.mktemp("dbt")) as dbt,
        connect("warehouse") as connection,
    ):
        dbt.run("--select", "staging")
        yield Place(connection, dbt)


@pytest.fixture(scope="module")
def shop(
    request: pytest.FixtureRequest, place: Place, shop_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> BuiltShop:
    """The shop of the size that the test's parameter names."""
    folder: Path = tmp_path_factory.mktemp("shop")
    return BuiltShop(request.param, folder, place, shop_dsn)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of one shop come one after the other, in their order in the file: a shop is built once."""
    own = [number for number, item in enumerate(items) if item.path.parent == Path(__file__).parent]

    def place(item: pytest.Item) -> tuple[int, int]:
        size: ShopSize = item.callspec.params["shop"]  # type: ignore[attr-defined]
        return size.days, item.location[1] or 0

    in_order = sorted((items[number] for number in own), key=place)
    for number, item in zip(own, in_order, strict=True):
        items[number] = item


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # With two processes the findings are in the other one.
    if FINDINGS:
        terminalreporter.section("effects of the generated shop")
        for line in table():
            terminalreporter.write_line(line)
