"""The shops of the profiles: tables as the shop systems make them, in a real MariaDB or Postgres."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.integration.extract.conftest import mariadb, mysql_database
from tests.mariadb_server import MariaDB

__all__ = ["mariadb", "mysql_database"]

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def mysql_tables(mariadb: MariaDB, mysql_database: str) -> Callable[[str], None]:
    """Run the statements of a file in the shop's database; the Airflow connection `shop_mysql` leads to it."""

    def create(name: str) -> None:
        # The tables' defaults have zero dates, which a shop's server allows.
        with mariadb.connect(mysql_database, sql_mode="") as connection, connection.cursor() as cursor:
            for statement in (FOLDER / name).read_text().split(";\n"):
                if statement.strip():
                    cursor.execute(statement)

    return create


@pytest.fixture(scope="module")
def postgres_tables(shop_dsn: str) -> Callable[[str], None]:
    """Run the statements of a file in the shop's database; the Airflow connection `shop_postgres` leads to it."""

    def create(name: str) -> None:
        with psycopg.connect(shop_dsn, autocommit=True) as connection:
            connection.execute((FOLDER / name).read_bytes())

    return create
