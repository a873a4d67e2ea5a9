"""Kind `rows_of_loads`: rows that raw has lost, or got, behind the loader's back are found, and their day is named."""

import re
from collections.abc import Callable

import psycopg
import pytest

from ecommerce.common.sources import SOURCES
from tests.integration.support import Loader, Rows

DAYS = ["2024-03-01", "2024-03-02", "2024-03-03"]
CHECK = "rows_of_loads"


class Messages(Rows):
    """Messages with their places in the topic."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.columns = [column.name for column in self.source.loaded_columns]


@pytest.fixture
def loaded(loader: Loader, insert: Callable[..., None]) -> Loader:
    """Three orders of each of three days, dated a year earlier, loaded from the shop; and rows of other sources."""
    for number in range(9):
        insert(
            "sales_fact", order_id=f"O{number}", product_id="P", order_amount=1,
            order_date="2023-01-01", created_at=f"{DAYS[number // 3]} 10:00",
        )  # fmt: skip
    loader.load("sales_fact", DAYS[0], DAYS[-1])
    loader.load(
        "weather_data", DAYS[0], DAYS[-1], rows=[{"date": day, "city": "Oslo", "temperature": "1"} for day in DAYS]
    )
    for names in (("Ada", "Bo"), ("Ada",), ("Eve",)):
        loader.load(
            "customer", DAYS[0], rows=[{"customer_id": f"C{n}", "customer_name": name} for n, name in enumerate(names)]
        )
    event = {"customer_id": "C", "product_id": "P", "interaction_type": "view", "timestamp": f"{DAYS[0]} 10:00:00+00"}
    for offsets in ((0, 1), (2,)):
        places = [{"_topic": "t", "_partition": "0", "_offset": str(offset)} for offset in offsets]
        messages = [event | place for place in places]
        loader.load("kafka_stream", DAYS[0], reader=Messages(SOURCES["kafka_stream"], messages))
    return loader


def failures(results: list[tuple[str, str, str]]) -> dict[str, str]:
    return {subject: message for subject, status, message in results if status == "fail"}


def test_rows_of_loads_passes_while_raw_is_as_the_loads_have_left_it(
    evaluate, loaded: Loader, shop: psycopg.Connection
) -> None:
    results = evaluate(CHECK, DAYS[-1])
    assert failures(results) == {}
    assert ("raw.sales_fact", "pass", "9 rows, as the loads have left them") in results
    assert ("raw.customer", "pass", "4 rows, as the loads have left them") in results
    assert ("raw.refund", "pass", "0 rows, as the loads have left them") in results
    # Changes at the source, a row that moves to a day of another window, and a day that becomes empty.
    shop.execute("update sales_fact set created_at = '2023-05-05' where order_id = 'O0'")
    shop.execute("delete from sales_fact where order_id in ('O3', 'O4', 'O5')")
    shop.execute(
        "create temp table new as select * from sales_fact where order_id = 'O8'; update new set order_id = 'new'"
    )
    shop.execute("insert into sales_fact select * from new")
    loaded.load("sales_fact", DAYS[0], DAYS[-1])
    assert failures(evaluate(CHECK, DAYS[-1])) == {}
    assert loaded.rows("select day::text, rows from ops.loaded_day where source = 'sales_fact' order by 1") == [
        ("2023-05-05", 1), (DAYS[0], 2), (DAYS[1], 0), (DAYS[2], 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "subject", "message"),
    [
        pytest.param(
            "delete from raw.sales_fact where order_id in ('O3', 'O6', 'O7')", "raw.sales_fact",
            "2 of 3 days have other rows than the loads have left: 2024-03-02 has 2 rows, not 3, "
            "2024-03-03 has 1 rows, not 3; load these days again",
            id="lost orders",
        ),
        pytest.param(
            "delete from raw.sales_fact where created_at < '2024-03-02'", "raw.sales_fact",
            "1 of 3 days have other rows than the loads have left: 2024-03-01 has 0 rows, not 3; load these days again",
            id="lost day",
        ),
        pytest.param(
            "create temp table by_hand as select * from raw.sales_fact where order_id = 'O1';"
            " update by_hand set order_id = 'by hand', created_at = '2024-04-01';"
            " insert into raw.sales_fact select * from by_hand; drop table by_hand", "raw.sales_fact",
            "1 of 4 days have other rows than the loads have left: 2024-04-01 has 1 rows, not 0; load these days again",
            id="order by hand",
        ),
        pytest.param(
            "delete from raw.weather_data where date = '2024-03-02'", "raw.weather_data",
            "1 of 3 days have other rows than the loads have left: 2024-03-02 has 0 rows, not 1; load these days again",
            id="lost weather",
        ),
        pytest.param(
            "delete from raw.kafka_stream where _offset = 1", "raw.kafka_stream",
            r"1 of 2 loads have other rows than the loads have left: batch \d+ \(2024-03-01 to 2024-03-01\) has 1 rows,"
            " not 2; no load brings such rows back: restore them from a backup",
            id="lost event",
        ),
        pytest.param(
            "delete from raw.customer where _is_deleted", "raw.customer",
            r"1 of 3 loads have other rows than the loads have left: batch \d+ \(2024-03-01 to 2024-03-01\) has 0 rows,"
            " not 1; no load brings such rows back: restore them from a backup",
            id="lost tombstone",
        ),
    ],
)  # fmt: skip
def test_rows_of_loads_names_the_day_or_load_whose_rows_differ(
    evaluate, loaded: Loader, fault: str, subject: str, message: str
) -> None:
    """Also of days that are not those of the run."""
    loaded.connection.execute(fault.encode())
    found = failures(evaluate(CHECK, "2024-03-20"))
    assert found.keys() == {subject}
    assert re.fullmatch(message, found[subject])


def test_load_repairs_lost_orders_whether_or_not_the_shop_still_has_them(
    evaluate, loaded: Loader, shop: psycopg.Connection
) -> None:
    loaded.connection.execute("delete from raw.sales_fact where order_id in ('O1', 'O4')")
    shop.execute("delete from sales_fact where order_id = 'O4'")
    assert failures(evaluate(CHECK, DAYS[0])).keys() == {"raw.sales_fact"}
    loaded.load("sales_fact", DAYS[0], DAYS[1])
    assert failures(evaluate(CHECK, DAYS[0])) == {}
    assert loaded.value("select count(*) from raw.sales_fact") == 8
    # Also if raw has nothing of the window any more, nor has the source.
    loaded.connection.execute("delete from raw.sales_fact where created_at < '2024-03-02'")
    shop.execute("delete from sales_fact where created_at < '2024-03-02'")
    assert failures(evaluate(CHECK, DAYS[0])).keys() == {"raw.sales_fact"}
    loaded.load("sales_fact", DAYS[0])
    assert failures(evaluate(CHECK, DAYS[0])) == {}


def test_days_are_those_of_the_shops_time_zone(evaluate, loaded: Loader, set_time_zone: Callable[..., None]) -> None:
    """They are counted again when the shop has another zone."""
    set_time_zone("Pacific/Auckland")
    assert failures(evaluate(CHECK, DAYS[0])) == {}
    assert loaded.rows("select day::text, rows from ops.loaded_day where source = 'sales_fact' order by 1") == [
        ("2024-03-01", 3), ("2024-03-02", 3), ("2024-03-03", 3),
    ]  # fmt: skip
