"""Fixtures of the tests with a shop in MySQL: a real MariaDB, a database in it, and its Airflow connection."""

import json
import os
from collections.abc import Callable, Iterator

import pymysql
import pytest

from tests.mariadb_server import MISSING, MariaDB, mariadb_server

CONN_ID = "shop_mysql"


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A running MariaDB; without its programs the tests are skipped, but never in CI."""
    if MISSING:
        reason = f"no {', '.join(MISSING)} found (Debian: apt-get install mariadb-server-core mariadb-client-core)"
        if os.environ.get("CI") or os.environ.get("ECOMMERCE_CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with mariadb_server() as server:
        yield server


@pytest.fixture(scope="module")
def mysql_database(mariadb: MariaDB, set_connection: Callable[[str, str], None]) -> Iterator[str]:
    """The name of an empty database; the Airflow connection `shop_mysql` leads to it."""
    name = f"shop_{os.urandom(3).hex()}"
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"create database {name}")
    set_connection(CONN_ID, json.dumps(mariadb.airflow_connection(name)))
    yield name
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"drop database {name}")


@pytest.fixture
def shop_in_mysql(mariadb: MariaDB, mysql_database: str) -> Iterator[pymysql.Connection]:
    """A session in the shop's database, which has no table."""
    with mariadb.connect(mysql_database) as connection:
        with connection.cursor() as cursor:
            cursor.execute("show full tables")
            for name, kind in cursor.fetchall():
                cursor.execute(f"drop {'view' if kind == 'VIEW' else 'table'} `{name}`")
        yield connection
