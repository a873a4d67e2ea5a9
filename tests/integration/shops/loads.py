"""What the tests of all profiles do: load each source of the shop, read raw, check the shop, build the marts."""

from datetime import date
from decimal import Decimal
from pathlib import Path

from ecommerce.common.shop import SourceLocation, shop
from ecommerce.common.windows import Window
from ecommerce.load.shop_check import ShopReport, check_shop
from tests.integration.dbt_runs import dbt_on
from tests.integration.support import Loader
from tests.mariadb_server import MariaDB

FIRST, LAST = "2024-03-01", "2024-03-03"

#: An order line: order, line, product, customer, day, amount, quantity, payment, discount, shipping, tax, status.
Line = tuple[
    str, int, str, str | None, str, str, int | None, str | None, str | None, str | None, str | None, str | None
]
#: A refund: its id, order, line, product, customer, day, amount, quantity, reason.
Refund = tuple[str, str, int | None, str | None, str | None, str, str, int | None, str | None]


def load_shop(loader: Loader) -> None:
    """Load all sources of the chosen profile; no row may be rejected."""
    for source in shop().sources:
        loader.load(source, FIRST, LAST)
    assert loader.rows("select source, reason, payload from ops.quarantine") == []


def lines(loader: Loader) -> list[Line]:
    """The order lines of raw; numbers without zeros at their end."""
    return loader.rows(
        """
        select
            order_id,
            line_number,
            product_id,
            customer_id,
            order_date::text,
            order_amount::numeric(18, 2)::text,
            order_quantity,
            payment_method,
            round(discount_applied, 4)::text,
            shipping_cost::numeric(18, 2)::text,
            tax_amount::numeric(18, 2)::text,
            order_status
        from raw.sales_fact
        order by order_id, line_number
        """
    )


def refunds(loader: Loader) -> list[Refund]:
    """The refunds of raw."""
    return loader.rows(
        """
        select
            refund_id,
            order_id,
            line_number,
            product_id,
            customer_id,
            refund_date::text,
            refund_amount::numeric(18, 2)::text,
            refund_quantity,
            reason
        from raw.refund
        order by refund_id
        """
    )


def goods_and_tax(loader: Loader) -> dict[str, Decimal]:
    """Order → the sum of its lines with their tax, and its shipping without tax."""
    return dict(
        loader.rows(
            """
            select order_id, sum(order_amount + coalesce(tax_amount, 0) + coalesce(shipping_cost, 0))
            from raw.sales_fact
            group by order_id
            """
        )
    )


def check(loader: Loader) -> ShopReport:
    """The report of `make shop-check` on the days of the shop."""
    return check_shop(loader.connection, Window.of_days(date.fromisoformat(FIRST), date.fromisoformat(LAST)))


def revenue_by_day(loader: Loader, dsn: str, folder: Path) -> list[tuple[str, str, str, str, int, int]]:
    """Build `daily_revenue`: day, revenue, refunded amount, net revenue, orders, orders of guests."""
    with dbt_on(dsn, folder) as dbt:
        dbt.run("--full-refresh", "--select", "+daily_revenue")
    return loader.rows(
        """
        select
            order_date::text,
            daily_revenue::text,
            refunded_amount::text,
            net_revenue::text,
            daily_orders,
            guest_orders
        from marts_build.daily_revenue
        order by order_date
        """
    )


def possible_keys(mariadb: MariaDB, database: str, location: SourceLocation, table: str) -> list[list[str]]:
    """The indexes that MariaDB could use for a table, each time that it reads the table for a day of a template."""
    statement = location.statement(date.fromisoformat(FIRST), date.fromisoformat("2024-03-02"))
    with mariadb.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"explain select * from ({statement}) as shop_rows"
            " where created_at >= '2024-03-01' and created_at < '2024-03-02'"
        )
        names = [str(name) for name, *_ in cursor.description]
        plan = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [str(row["possible_keys"]).split(",") for row in plan if row["table"] == table]
