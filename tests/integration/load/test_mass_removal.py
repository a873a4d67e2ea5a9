"""A load that would remove more than half of what raw has, and more than ten, fails unless it is allowed."""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException

from ecommerce.common.errors import MassRemoval
from ecommerce.common.sources import SOURCES, WriteDisposition
from ecommerce.load.extract_source import ExtractSource
from tests.integration.support import Loader, set_shop

Insert = Callable[..., None]
DAY = "2024-03-01"
VERSION_LOGS = [name for name, source in SOURCES.items() if source.write_disposition is WriteDisposition.VERSION_LOG]


@pytest.fixture
def orders(insert: Insert) -> Callable[..., None]:
    """Insert so many orders of a day into the shop."""

    def orders(count: int, day: str = DAY) -> None:
        for number in range(count):
            insert("sales_fact", order_id=f"{day} {number:02}", product_id="P1", order_date=day, order_amount=1,
                   created_at=f"{day} 12:00")  # fmt: skip

    return orders


def without_ledger(loader: Loader) -> dict[str, list[str]]:
    return {name: rows for name, rows in loader.everything().items() if name != "ops.load_batch"}


def test_window_that_lost_more_than_half_of_its_rows_fails(
    loader: Loader, shop: psycopg.Connection, orders: Insert
) -> None:
    orders(21)
    loader.load("sales_fact", DAY)
    before = without_ledger(loader)
    shop.execute("delete from sales_fact where order_id < '2024-03-01 11'")
    says = (
        "sales_fact: this load would remove 11 of 21 rows that raw has of 2024-03-01, since the source does not have "
        "them any more, or only with values that are rejected. That is more than half, so nothing was loaded. Repair "
        "the source and load again; or, if it is right, allow it: `allow_mass_removal` in the form of "
        "extract_sales_fact, or make run FROM=2024-03-01 TO=2024-03-01 SOURCES=sales_fact ALLOW_MASS_REMOVAL=1"
    )
    with pytest.raises(MassRemoval, match=f"^{re.escape(says)}$"):
        loader.load("sales_fact", DAY)
    assert without_ledger(loader) == before
    assert loader.rows("select status, error from ops.load_batch order by batch_id desc limit 1") == [("failed", says)]
    with pytest.raises(MassRemoval):
        loader.load("sales_fact", DAY, dry_run=True)
    assert loader.load("sales_fact", DAY, allow_mass_removal=True).rows_removed == 11
    assert loader.value("select count(*) from raw.sales_fact") == 10


@pytest.mark.parametrize(("held", "gone"), [(10, 10), (22, 11), (40, 12)])
def test_window_that_lost_few_rows_or_half_is_loaded(
    loader: Loader, shop: psycopg.Connection, orders: Insert, held: int, gone: int
) -> None:
    orders(held)
    loader.load("sales_fact", DAY)
    shop.execute(f"delete from sales_fact where order_id < '2024-03-01 {gone:02}'".encode())
    assert loader.load("sales_fact", DAY).rows_removed == gone


def test_lost_rows_are_compared_with_the_whole_window(loader: Loader, shop: psycopg.Connection, orders: Insert) -> None:
    """Also with the days that are equal, and need not be read."""
    orders(30)
    orders(31, "2024-03-02")
    orders(99, "2024-03-09")
    loader.load("sales_fact", DAY, "2024-03-09")
    shop.execute("delete from sales_fact where order_id < '2024-03-01 15'")
    assert loader.load("sales_fact", DAY, "2024-03-02").rows_removed == 15
    # Of each day less than half, and of the window more than before.
    shop.execute("delete from sales_fact where order_date < '2024-03-03' and order_id like '%2'")
    assert loader.load("sales_fact", DAY, "2024-03-02").rows_removed == 4
    shop.execute("delete from sales_fact where order_date < '2024-03-03'")
    with pytest.raises(MassRemoval, match=r"would remove 42 of 42 rows that raw has of 2024-03-01 to 2024-03-08"):
        loader.load("sales_fact", DAY, "2024-03-08")


def test_days_that_are_emptied_one_by_one_fail(loader: Loader, shop: psycopg.Connection, orders: Insert) -> None:
    """None of the loads would remove half of its window."""
    days = [f"2024-03-0{day}" for day in range(1, 5)]
    for day in days:
        orders(12, day)
    loader.load("sales_fact", days[0], days[-1])
    before = without_ledger(loader)
    shop.execute("delete from sales_fact where order_date = '2024-03-02'")
    with pytest.raises(MassRemoval, match=r"would remove 12 of 12 rows that raw has of 2024-03-02, since"):
        loader.load("sales_fact", days[0], days[-1])
    assert without_ledger(loader) == before
    assert loader.load("sales_fact", days[0], days[-1], allow_mass_removal=True).rows_removed == 12


def test_day_whose_rows_are_replaced_by_others_fails(loader: Loader, shop: psycopg.Connection, orders: Insert) -> None:
    orders(12)
    orders(40, "2024-03-02")
    loader.load("sales_fact", DAY, "2024-03-02")
    shop.execute("update sales_fact set order_id = 'other ' || order_id where order_date = '2024-03-01'")
    with pytest.raises(MassRemoval, match=r"would remove 12 of 12 rows that raw has of 2024-03-01, since"):
        loader.load("sales_fact", DAY, "2024-03-02")


def test_rows_that_a_joined_view_hides_fail(
    loader: Loader, shop: psycopg.Connection, orders: Insert, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row is missing in the other table of the view, and with it half of the orders."""
    orders(30)
    shop.execute(
        """
        create table payment (number integer);
        insert into payment values (0), (1);
        create view joined as
        select sales_fact.*
        from sales_fact
        inner join payment on right(order_id, 1)::integer % 2 = payment.number
        """
    )
    set_shop(monkeypatch, sales_fact={"connection": "shop_postgres", "table": "joined"})
    assert loader.load("sales_fact", DAY).rows_loaded == 30
    shop.execute("delete from payment where number = 0; delete from sales_fact where order_id like '%3'")
    with pytest.raises(MassRemoval, match="would remove 18 of 30 rows"):
        loader.load("sales_fact", DAY)


def test_changed_rows_are_not_lost(loader: Loader, shop: psycopg.Connection, orders: Insert) -> None:
    orders(30)
    loader.load("sales_fact", DAY)
    shop.execute("update sales_fact set order_amount = 2, order_date = '2024-02-01', created_at = '2024-03-02 10:00'")
    assert loader.load("sales_fact", DAY, "2024-03-02").rows_removed == 30
    # Nor are those that move into the window from another.
    shop.execute("update sales_fact set created_at = '2024-03-05 10:00'")
    assert loader.load("sales_fact", "2024-03-05").rows_removed == 30


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("update sales_fact set order_id = 'new ' || order_id", id="key recast"),
        pytest.param("update sales_fact set order_amount = -1", id="rejected"),
    ],
)
def test_every_way_to_lose_rows_counts(loader: Loader, shop: psycopg.Connection, orders: Insert, change: str) -> None:
    orders(11)
    loader.load("sales_fact", DAY)
    shop.execute(change.encode())
    with pytest.raises(MassRemoval, match="would remove 11 of 11 rows"):
        loader.load("sales_fact", DAY, max_rejected_rows=100)
    assert loader.value("select count(*) from raw.sales_fact") == 11


def test_rows_that_moved_to_another_day_are_not_lost(loader: Loader, shop: psycopg.Connection, orders: Insert) -> None:
    orders(11)
    loader.load("sales_fact", DAY)
    shop.execute("update sales_fact set created_at = '2023-05-01'")
    result = loader.load("sales_fact", DAY)
    assert (result.rows_read, result.rows_loaded, result.rows_removed) == (11, 11, 11)
    assert loader.value("select count(*) from raw.sales_fact where created_at = '2023-05-01'") == 11


def test_api_that_answers_with_nothing_removes_nothing(loader: Loader) -> None:
    days = [{"date": f"2024-03-{day:02}", "city": "Oslo", "temperature": "1"} for day in range(1, 13)]
    loader.load("weather_data", DAY, "2024-03-12", rows=days)
    before = without_ledger(loader)
    for answered in ([], days[:6]):
        assert loader.load("weather_data", DAY, "2024-03-12", rows=answered).rows_removed == 0
    assert without_ledger(loader) == before


def keys(source: str, count: int) -> list[dict[str, str]]:
    values = {column.name: "1" for column in SOURCES[source].columns if column.required and "date" not in column.name}
    key = SOURCES[source].key[0]
    return [values | {"subscription_start_date": DAY, key: f"K{number:02}"} for number in range(count)]


@pytest.mark.parametrize("source", VERSION_LOGS)
def test_version_log_that_lost_more_than_half_of_its_keys_fails(loader: Loader, source: str) -> None:
    loader.load(source, DAY, rows=keys(source, 21))
    before = without_ledger(loader)
    for left in (0, 10):
        message = rf"would remove {21 - left} of 21 current {SOURCES[source].key[0]}s, since"
        with pytest.raises(MassRemoval, match=message):
            loader.load(source, DAY, rows=keys(source, left))
    assert without_ledger(loader) == before
    assert loader.load(source, DAY, rows=keys(source, 11)).rows_removed == 10
    # Deleted keys do not count any more.
    with pytest.raises(MassRemoval, match="would remove 11 of 11 current"):
        loader.load(source, DAY, rows=[])
    allowed = loader.load(source, DAY, rows=[], allow_mass_removal=True)
    assert (allowed.rows_read, allowed.rows_removed) == (0, 11)
    assert loader.load(source, DAY, rows=[]).rows_removed == 0


def test_version_log_whose_keys_were_recast_fails(loader: Loader, shop: psycopg.Connection, insert: Insert) -> None:
    """As many keys as before, and every one of them new."""
    for number in range(12):
        insert("customer", customer_id=str(number), customer_name="Ada")
    loader.load("customer", DAY)
    shop.execute("update customer set customer_id = 'CUST' || customer_id")
    with pytest.raises(MassRemoval, match="would remove 12 of 12 current customer_ids"):
        loader.load("customer", DAY)
    recast = loader.load("customer", DAY, allow_mass_removal=True)
    assert (recast.rows_loaded, recast.rows_removed) == (12, 12)


def test_empty_version_log_of_few_keys_is_loaded(loader: Loader, shop: psycopg.Connection, insert: Insert) -> None:
    assert loader.load("product", DAY).rows_read == 0
    insert("product", product_id="P1", product_name="Ball")
    loader.load("product", DAY)
    shop.execute("delete from product")
    assert loader.load("product", DAY).rows_removed == 1


def test_key_of_a_rejected_row_is_not_lost(loader: Loader, shop: psycopg.Connection, insert: Insert) -> None:
    for number in range(12):
        insert("product", product_id=f"P{number}", product_name="Ball")
    loader.load("product", DAY)
    shop.execute("update product set product_name = null")
    result = loader.load("product", DAY, max_rejected_rows=12)
    assert (result.rows_quarantined, result.rows_removed) == (12, 0)


@pytest.mark.usefixtures("loader")
def test_task_fails_at_once_and_form_allows_it(loader: Loader, shop: psycopg.Connection, orders: Insert) -> None:
    orders(11)
    loader.load("sales_fact", DAY)
    shop.execute("delete from sales_fact")

    def extract(**form: Any) -> dict[str, Any]:
        run = SimpleNamespace(
            dag_id="a_dag", run_id="another_run", logical_date=None, run_after=None,
            data_interval_start=None, data_interval_end=None,
        )  # fmt: skip
        context: Any = {
            "params": {"start_date": DAY, "end_date": DAY} | form,
            "dag_run": run,
            "ti": SimpleNamespace(try_number=1, max_tries=0),
            "outlet_events": {asset: SimpleNamespace(extra={}) for asset in task.outlets},
        }
        return task.execute(context)

    task = ExtractSource(task_id="extract", source="sales_fact")
    with pytest.raises(AirflowFailException, match="would remove 11 of 11 rows"):
        extract()
    assert extract(allow_mass_removal=True)["rows_removed"] == 11
