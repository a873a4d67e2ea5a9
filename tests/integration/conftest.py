"""The warehouse as the tests of the loader, the lease, the publication and the sensors see it: empty each time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from ecommerce.common.connections import postgres as connect
from include.demo import database
from include.demo.state import State
from tests.integration.support import Loader, set_shop

SHOP_TABLES = (Path(__file__).parents[2] / "include" / "demo" / "shop" / "shop.sql").read_text()


@pytest.fixture
def connection(warehouse_dsn: str) -> Iterator[psycopg.Connection]:
    """The warehouse, by its Airflow connection, without a row."""
    with connect("warehouse") as connection:
        Loader(connection).empty()
        yield connection


@pytest.fixture
def loader(connection: psycopg.Connection) -> Loader:
    return Loader(connection)


@pytest.fixture
def set_time_zone(
    postgres: State, warehouse_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Choose a shop with this time zone, and that of its source; the warehouse follows, until the end of the test."""
    name = conninfo_to_dict(warehouse_dsn)["dbname"]

    def choose(zone: str, source_zone: str = "UTC") -> None:
        set_shop(monkeypatch, settings={"time_zone": zone, "source_time_zone": source_zone})
        database.make_tables(postgres.dsn(str(name), "postgres"))

    yield choose
    monkeypatch.undo()
    database.make_tables(postgres.dsn(str(name), "postgres"))


@pytest.fixture
def set_country(
    postgres: State, warehouse_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str | None], None]]:
    """Choose a shop of this country, or of none; the warehouse follows, until the end of the test."""
    name = conninfo_to_dict(warehouse_dsn)["dbname"]

    def choose(country: str | None) -> None:
        set_shop(monkeypatch, settings={"country": country})
        database.make_tables(postgres.dsn(str(name), "postgres"))

    yield choose
    monkeypatch.undo()
    database.make_tables(postgres.dsn(str(name), "postgres"))


@pytest.fixture
def other_connection(connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A second session in the same warehouse."""
    with connect("warehouse") as other:
        yield other


@pytest.fixture
def shop(shop_dsn: str) -> Iterator[psycopg.Connection]:
    """The shop's database with its tables, empty."""
    with psycopg.connect(shop_dsn, autocommit=True) as connection:
        connection.execute("drop schema public cascade; create schema public")
        connection.execute(SHOP_TABLES.encode())
        yield connection


@pytest.fixture
def insert(shop: psycopg.Connection) -> Callable[..., None]:
    """Insert a row into a table of the shop: `insert("product", product_id="P1", ...)`."""

    def insert(table: str, **values: Any) -> None:
        columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
        shop.execute(f"insert into {table} ({columns}) values ({places})".encode(), list(values.values()))

    return insert
