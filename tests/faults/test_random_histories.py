"""
Random changes of the sources, random loads, random faults: in the end the warehouse holds what it would without faults.
"""

import json
import os
import random
from collections.abc import Callable, Iterator

import psycopg
import pytest

from ecommerce.common.connections import postgres
from tests.faults.broker import Broker
from tests.faults.histories import Stage, play
from tests.faults.place import Place
from tests.faults.proxy import Proxy
from tests.faults.weather_api import CITIES
from tests.integration.support import Loader, set_topic

#: ECOMMERCE_TEST_SEED replays one history. Otherwise each run of the tests draws others; its workers draw the same.
_SEED = os.environ.get("ECOMMERCE_TEST_SEED")
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID")
_FIRST = int(_SEED) if _SEED else random.Random(_RUN).randrange(10**9)
_SHORT, _IN_CI, _LONG = 3, 10, 200


@pytest.fixture(scope="module")
def twin(
    new_database: Callable[[str], str], set_connection: Callable[[str, str], None]
) -> Iterator[psycopg.Connection]:
    """A second warehouse."""
    set_connection("twin", new_database("warehouse"))
    with postgres("twin") as connection:
        yield connection


@pytest.fixture
def stage(
    place: Place,
    twin: psycopg.Connection,
    proxy: Callable[[str], Proxy],
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> Stage:
    """The place and its twin, which is loaded by the tests' own process."""
    Loader(twin).empty()
    set_topic(monkeypatch, place.topic)
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_KAFKA", place.kafka_connection)
    monkeypatch.setenv("AIRFLOW_CONN_WEATHER_API", place.weather.url)
    monkeypatch.setenv("AIRFLOW_VAR_WEATHER_CITIES", json.dumps(CITIES))
    return Stage(place, twin, proxy(place.warehouse_dsn), proxy(place.shop_dsn), broker)


def _play(seed: int, stage: Stage) -> None:
    happened = [f"ECOMMERCE_TEST_SEED={seed} replays this history:"]
    try:
        for step in play(seed, stage):
            happened.append(step)
    except BaseException:
        print("\n".join(happened))
        raise


@pytest.mark.parametrize("seed", [_FIRST + n for n in range(1 if _SEED else _SHORT)])
def test_random_faults_leave_same_warehouse_as_no_faults(stage: Stage, seed: int) -> None:
    _play(seed, stage)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(_FIRST + n, marks=pytest.mark.slow if n < _IN_CI else pytest.mark.long_form)
        for n in range(_SHORT, _LONG)
    ],
)
def test_many_random_faults_leave_same_warehouse_as_no_faults(stage: Stage, seed: int) -> None:
    _play(seed, stage)
