"""`ops.holiday` follows the country of the shop's profile."""

from collections.abc import Callable

import psycopg

from ecommerce.common import database_schema
from ecommerce.common.public_holidays import public_holidays
from tests.integration.support import Loader, acting_as

HOLIDAYS = "select holiday_date, holiday_name from ops.holiday order by 1"


def test_holidays_of_the_warehouse_are_those_of_the_country(
    loader: Loader, set_country: Callable[[str | None], None]
) -> None:
    assert loader.rows(HOLIDAYS) == list(public_holidays("DE"))
    set_country("FR")
    assert loader.rows(HOLIDAYS) == list(public_holidays("FR"))
    assert loader.value("select ops.shop_country()") == "FR"
    set_country(None)
    assert loader.rows(HOLIDAYS) == []
    assert loader.value("select ops.shop_country()") is None


def test_holidays_are_written_again_for_another_version_of_the_package(
    connection: psycopg.Connection, loader: Loader, monkeypatch
) -> None:
    connection.execute("delete from ops.holiday where holiday_date > '2020-01-01'")
    with acting_as(connection, "publisher"):
        database_schema.ensure_schema(connection)
        assert loader.rows(HOLIDAYS) != list(public_holidays("DE"))
        monkeypatch.setattr(database_schema, "version", lambda package: "another")
        database_schema._scripts.cache_clear()
        database_schema.ensure_schema(connection)
    assert loader.rows(HOLIDAYS) == list(public_holidays("DE"))
    database_schema._scripts.cache_clear()
