"""dbt on the module's warehouse, its views in place, and a shop."""

import os
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.integration.dbt_runs import Dbt, dbt_on
from tests.integration.histories.history import Place


@pytest.fixture(scope="module")
def dbt(warehouse_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dbt]:
    with dbt_on(os.environ["AIRFLOW_CONN_WAREHOUSE_TRANSFORMER"], tmp_path_factory.mktemp("dbt")) as dbt:
        dbt.run("--select", "staging")
        yield dbt


@pytest.fixture
def place(connection: psycopg.Connection, dbt: Dbt, set_time_zone: Callable[..., None]) -> Place:
    return Place(connection, dbt, set_time_zone)
