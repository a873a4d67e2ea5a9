"""What a source's values look like does not depend on how its server, database, role or pooler is set."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ecommerce.common import connections
from ecommerce.common.connections import LOADER, PINNED, connect_arguments, warehouse
from ecommerce.common.errors import SourceError
from tests.integration.support import Loader

DAY = "2024-03-01"

#: Of each pinned setting, a value that would change what is read.
OTHER = {
    "TimeZone": "Asia/Tokyo",
    "DateStyle": "German",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "0",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "search_path": "hidden",
}


@pytest.fixture
def drop_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a connection pooler may: no start-up option arrives."""

    def without_options(*arguments: Any) -> dict[str, Any]:
        return connect_arguments(*arguments) | {"options": ""}

    monkeypatch.setattr(connections, "connect_arguments", without_options)


@pytest.fixture
def reset(shop: psycopg.Connection, shop_dsn: str) -> Any:
    """The database's settings are as before at the end."""
    yield
    name = sql.Identifier(str(conninfo_to_dict(shop_dsn)["dbname"]))
    shop.execute(sql.SQL("alter database {} reset all").format(name))


@pytest.mark.parametrize("parallel_reads", [1, 2])
@pytest.mark.usefixtures("drop_options", "reset")
def test_rows_are_the_same_with_any_settings_of_the_database(
    loader: Loader, shop: psycopg.Connection, shop_dsn: str, insert: Callable[..., None], parallel_reads: int
) -> None:
    shop.execute("alter table sales_fact alter order_amount type real, alter created_at type timestamptz")
    for name, value in OTHER.items():
        shop.execute(
            sql.SQL("alter database {} set {} = {}").format(
                sql.Identifier(str(conninfo_to_dict(shop_dsn)["dbname"])), sql.Identifier(name), sql.Literal(value)
            )
        )
    for order, amount in (("O1", 12345.67), ("O2", 0.1), ("O3", 16777217)):
        insert(
            "sales_fact", order_id=order, product_id="P1", customer_id="C1", order_date=DAY, order_amount=amount,
            created_at=f"{DAY} 23:30:00+00",
        )  # fmt: skip
    assert loader.load("sales_fact", DAY, parallel_reads=parallel_reads).rows_loaded == 3
    assert loader.rows("select order_id, order_amount, created_at::text from raw.sales_fact order by 1") == [
        ("O1", Decimal("12345.67"), f"{DAY} 23:30:00"),
        ("O2", Decimal("0.1"), f"{DAY} 23:30:00"),
        ("O3", Decimal(16777216), f"{DAY} 23:30:00"),
    ]


def test_rows_that_row_level_security_hides_fail_the_load(
    loader: Loader, shop: psycopg.Connection, insert: Callable[..., None]
) -> None:
    insert("product", product_id="P1", product_name="Cup")
    shop.execute(
        """
        create policy own_rows on product using (product_id = 'P2');
        alter table product enable row level security;
        alter table product force row level security;
        """
    )
    with pytest.raises(SourceError, match="query would be affected by row-level security policy"):
        loader.load("product", DAY)
    assert loader.value("select count(*) from raw.product") == 0


@pytest.mark.usefixtures("drop_options")
def test_warehouse_behind_a_pooler_that_drops_options_is_an_error(warehouse_dsn: str) -> None:
    with (
        pytest.raises(
            SourceError, match=r"is not as its values are read: .*extra_float_digits is .* see docs/pgbouncer.md"
        ),
        warehouse(LOADER),
    ):
        pass


def test_settings_that_these_tests_change_are_pinned() -> None:
    assert OTHER.keys() < PINNED.keys()
