"""A place where loads are broken: sources, a warehouse, and processes that tries are forked from."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from include.demo.state import State
from tests.apache_kafka import server
from tests.faults.broker import AnyBroker, ApacheBroker, Broker
from tests.faults.place import Place
from tests.faults.proxy import Proxy
from tests.faults.tries import warm_up
from tests.faults.weather_api import WeatherApi
from tests.integration.support import ALL_COLUMNS

SHOP_TABLES = (Path(__file__).parents[2] / "include" / "demo" / "shop" / "shop.sql").read_text()


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    warm_up()


@pytest.fixture(scope="module")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyBroker]:
    """The broker of the place: noida-db, unless the test says by a parameter that it is `Apache Kafka`."""
    if getattr(request, "param", None) == "Apache Kafka":
        request.getfixturevalue("apache_kafka_can_run")
        with server.apache_kafka() as kafka:
            yield ApacheBroker(kafka)
        return
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.kill()


@pytest.fixture(scope="module")
def _module_place(
    postgres: State,
    warehouse_dsn: str,
    shop_dsn: str,
    broker: AnyBroker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    weather = WeatherApi()
    with (
        psycopg.connect(warehouse_dsn, autocommit=True) as connection,
        psycopg.connect(shop_dsn, autocommit=True) as shop,
        psycopg.connect(postgres.dsn("postgres"), autocommit=True) as admin,
    ):
        shop.execute(SHOP_TABLES.encode())
        shop.execute(ALL_COLUMNS.encode())
        folder = tmp_path_factory.mktemp("tries")
        yield Place(
            os.environ["AIRFLOW_CONN_WAREHOUSE_LOADER"],
            shop_dsn,
            broker.bootstrap,
            weather,
            folder,
            connection,
            shop,
            admin,
        )
    weather.close()


@pytest.fixture
def place(_module_place: Place) -> Place:
    """The module's place, emptied, and filled with a shop of four days."""
    _module_place.empty()
    _module_place.fill()
    return _module_place


@pytest.fixture
def proxy(postgres: State) -> Iterator[Callable[[str], Proxy]]:
    """Make a proxy in front of a database server, by its DSN."""
    made: list[Proxy] = []

    def make(dsn: str) -> Proxy:
        parts = urlsplit(dsn)
        made.append(Proxy((str(parts.hostname), int(parts.port or 5432))))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()
