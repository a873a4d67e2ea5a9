"""
Fixtures of the warehouse of the pages' tests, loaded, built and published, for tests that go on from there.

A folder's `conftest.py` imports them, or a module alone where others of its folder begin without a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from ecommerce.build import lease
from ecommerce.common.connections import PUBLISHER, warehouse
from ecommerce.publish.publication import publish
from tests.integration.dbt_runs import Dbt, dbt_on
from tests.integration.shop_pages.conftest import dsn_of, filled
from tests.integration.support import Loader, checks_passed

__all__ = ["connection", "dbt", "dsn_of", "filled", "loader", "publish_run"]


@pytest.fixture(scope="module")
def connection(filled: Callable[[str], str]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(filled("warehouse"), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def loader(connection: psycopg.Connection) -> Loader:
    return Loader(connection)


@pytest.fixture(scope="module")
def dbt(filled: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dbt]:
    with dbt_on(filled("transformer"), tmp_path_factory.mktemp("dbt")) as project:
        yield project


def publish_run(connection: psycopg.Connection, run_id: str) -> None:
    """Take the lease as a run, and publish what was built."""
    lease.take(connection, "a_dag", run_id, project="p", full_refresh=False)
    with checks_passed(connection, run_id), warehouse(PUBLISHER) as publisher:
        publish(publisher, run_id)
