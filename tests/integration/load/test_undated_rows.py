"""Rows that no window has (their time is null, infinite or outside of the calendar) are in quarantine."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from ecommerce.common.days import TimeColumn
from ecommerce.common.windows import CALENDAR_WINDOW
from tests.integration.support import Loader, set_shop

Insert = Callable[..., None]

DAY = "2024-03-01"
#: Time of a row → the reason to reject it.
UNDATED = {
    None: "created_at is missing",
    "infinity": "created_at is not a timestamp such as 2024-01-31 23:59:59: infinity",
    "-infinity": "created_at is not a timestamp such as 2024-01-31 23:59:59: -infinity",
    "1969-12-31 23:59:59": "created_at is outside the calendar 1970-01-01 to 2069-12-31: 1969-12-31 23:59:59",
    "2204-01-01 00:00:00": "created_at is outside the calendar 1970-01-01 to 2069-12-31: 2204-01-01 00:00:00",
}


@pytest.fixture
def shop(shop: psycopg.Connection) -> psycopg.Connection:
    """A shop whose times may be null."""
    for table in ("sales_fact", "refund"):
        shop.execute(f"alter table {table} alter created_at drop not null".encode())
    return shop


@pytest.fixture
def order(insert: Insert) -> Insert:
    def order(order_id: str, created_at: str | None, **values: object) -> None:
        values = {"product_id": "P1", "order_date": DAY, "order_amount": 10} | values
        insert("sales_fact", order_id=order_id, created_at=created_at, **values)

    return order


def waiting(loader: Loader) -> list[tuple[str, str]]:
    """Key and reason of the rows in quarantine."""
    return loader.rows(
        """
        select coalesce(payload ->> 'order_id', payload ->> 'refund_id'), reason
        from ops.quarantine
        where replayed_at is null
        order by quarantine_id
        """
    )


def in_raw(loader: Loader) -> set[str]:
    return {order for (order,) in loader.rows("select order_id from raw.sales_fact")}


@pytest.mark.parametrize("type_name", ["timestamp", "timestamptz"])
def test_undated_order_is_quarantined_by_the_load_of_any_window(
    loader: Loader, shop: psycopg.Connection, order: Insert, type_name: str
) -> None:
    """Each way of loading finds it: first load, comparison by day, and row by row."""
    shop.execute(
        f"alter table sales_fact alter created_at type {type_name} using created_at at time zone 'UTC'".encode()
    )
    order("good", f"{DAY} 12:00")
    for number, time in enumerate(UNDATED):
        order(f"O{number}", time)
    expected = [(f"O{number}", reason.split(": ")[0]) for number, reason in enumerate(UNDATED.values())]
    first = loader.load("sales_fact", DAY)
    assert (first.rows_read, first.rows_loaded, first.rows_quarantined) == (6, 1, 5)
    assert [(key, reason.split(": ")[0]) for key, reason in waiting(loader)] == expected
    # The same rows are found again, and are in quarantine once.
    for last in (DAY, "2024-03-02"):
        again = loader.load("sales_fact", "2024-02-28", last)
        assert (again.rows_read, again.rows_unchanged, again.rows_quarantined) == (6, 6, 0)
    assert [(key, reason.split(": ")[0]) for key, reason in waiting(loader)] == expected
    assert in_raw(loader) == {"good"}


def test_reason_of_an_undated_order_has_its_time(loader: Loader, order: Insert, shop: psycopg.Connection) -> None:
    for number, time in enumerate(UNDATED):
        order(f"O{number}", time)
    loader.load("sales_fact", DAY)
    assert waiting(loader) == [(f"O{number}", reason) for number, reason in enumerate(UNDATED.values())]


def test_undated_refund_is_quarantined(loader: Loader, shop: psycopg.Connection, insert: Insert) -> None:
    insert("refund", refund_id="R1", refund_date=DAY, refund_amount=1, created_at=None)
    assert loader.load("refund", DAY).rows_quarantined == 1
    assert waiting(loader) == [("R1", "created_at is missing")]


def test_many_undated_orders_do_not_fail_the_loads_of_all_windows(
    loader: Loader, shop: psycopg.Connection, order: Insert
) -> None:
    for number in range(12):
        order(f"O{number}", None)
    order("good", f"{DAY} 12:00")
    assert loader.load("sales_fact", DAY).rows_quarantined == 12
    # The ledger has them, so that the check of the share of rejected rows says how many they are.
    assert loader.rows("select rows_read, rows_refused from ops.load_batch") == [(13, 12)]


@pytest.mark.parametrize("day", [DAY, "2024-03-05"])
def test_order_that_gets_a_time_is_loaded_and_replayed(
    loader: Loader, shop: psycopg.Connection, order: Insert, day: str
) -> None:
    order("O1", None)
    order("O2", "infinity")
    loader.load("sales_fact", DAY)
    shop.execute("update sales_fact set created_at = %s", [f"{day} 10:00"])
    assert loader.load("sales_fact", day).rows_replayed == 2
    assert (in_raw(loader), waiting(loader)) == ({"O1", "O2"}, [])


def test_undated_order_that_is_deleted_is_gone_for_the_quarantine(
    loader: Loader, shop: psycopg.Connection, order: Insert
) -> None:
    order("O1", None)
    loader.load("sales_fact", DAY)
    shop.execute("delete from sales_fact")
    loader.load("sales_fact", "2024-03-07")
    ((_, reason),) = waiting(loader)
    assert reason.startswith("the source does not hold this row any more")


def test_loaded_order_that_loses_its_time_moves_to_quarantine(
    loader: Loader, shop: psycopg.Connection, order: Insert
) -> None:
    order("O1", f"{DAY} 12:00")
    order("O2", f"{DAY} 12:00")
    loader.load("sales_fact", DAY)
    shop.execute("update sales_fact set created_at = null where order_id = 'O1'")
    result = loader.load("sales_fact", DAY)
    assert (result.rows_removed, result.rows_quarantined) == (1, 1)
    assert (in_raw(loader), waiting(loader)) == ({"O2"}, [("O1", "created_at is missing")])


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Auckland"])
def test_calendar_ends_with_the_shops_days(
    loader: Loader, shop: psycopg.Connection, order: Insert, set_time_zone: Callable[..., None], zone: str
) -> None:
    """The first and the last moment are loaded, the moments beside them are quarantined: no row is in between."""
    set_time_zone(zone)
    shop.execute("alter table sales_fact alter created_at type timestamptz using created_at at time zone 'UTC'")
    order("before", f"1969-12-31 23:59:59 {zone}")
    order("first", f"1970-01-01 00:00:00 {zone}")
    order("last", f"2069-12-31 23:59:59 {zone}")
    order("after", f"2070-01-01 00:00:00 {zone}")
    loader.load("sales_fact", "1970-01-01")
    loader.load("sales_fact", "2069-12-31")
    assert {key for key, _ in waiting(loader)} | in_raw(loader) == {"before", "first", "last", "after"}
    assert {"before", "after"} <= {key for key, _ in waiting(loader)}


def test_template_is_searched_for_undated_rows_unless_it_chooses_the_window(
    loader: Loader, shop: psycopg.Connection, order: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    order("good", f"{DAY} 12:00")
    order("O1", None)
    select = "select * from public.sales_fact"
    for condition, quarantined in ((" where created_at >= %(start)s and created_at < %(end)s", 0), ("", 1)):
        set_shop(
            monkeypatch,
            templates={"orders.sql": select + condition},
            sales_fact={"connection": "shop_postgres", "template": "orders.sql"},
        )
        assert loader.load("sales_fact", DAY).rows_quarantined == quarantined


def test_search_for_undated_rows_uses_an_index(shop: psycopg.Connection) -> None:
    shop.execute(
        """
        insert into sales_fact (order_id, product_id, order_date, order_amount, created_at)
        select 'O' || n, 'P', '2024-03-01', 1, timestamp '2024-03-01' + n * interval '1 second'
        from generate_series(1, 20000) as n;
        create index created on sales_fact (created_at);
        analyze sales_fact
        """
    )
    column = TimeColumn(sql.Identifier("created_at"), "timestamp", "UTC")
    query = sql.SQL("explain select * from sales_fact where {}").format(
        column.outside(CALENDAR_WINDOW.start, CALENDAR_WINDOW.end)
    )
    plan = "\n".join(line for (line,) in shop.execute(query))
    assert "Seq Scan" not in plan
