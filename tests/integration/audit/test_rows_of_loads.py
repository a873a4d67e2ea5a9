"""Kind `rows_of_loads`: rows that raw has lost, or got, behind the loader's back are found, and their day is named."""

import re
from collections.abc import Callable

import psycopg
import pytest

from ecommerce.common.sources import SOURCES
from tests.integration.support import Loader, Rows

DAYS = ["2024-03-01", "2024-03-02", "2024-03-03"]
CHECK = "rows_of_loads"
MESSAGE = {"customer_id": "C", "product_id": "P", "interaction_type": "view", "timestamp": f"{DAYS[0]} 10:00:00+00"}


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
    for offsets in ((0, 1), (2,)):
        places = [{"_topic": "t", "_partition": "0", "_offset": str(offset)} for offset in offsets]
        messages = [MESSAGE | place for place in places]
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


LIMITED = "kind: rows_of_loads, rows_at_once: 3, sources: [sales_fact]"
#: Two runs that come one after the other and do not load sales: each counts the last day, and one of the others.
COUNTS_FIRST, COUNTS_SECOND = "2024-03-20", "2024-03-21"
WEATHER = {"sources": ["weather_data"]}


def lost_rows(evaluate: Callable[..., list[tuple[str, str, str]]], limited: str, run: str) -> list[str]:
    """The days of which a run says that raw has lost rows."""
    found = failures(evaluate(limited, run, **WEATHER))
    return re.findall(r"(\S+) has 2 rows, not 3", found.get("raw.sales_fact", ""))


def test_newest_rows_are_always_counted_and_older_ones_in_turn(evaluate, only, loaded: Loader) -> None:
    limited = only(LIMITED)
    passed = "6 rows, as the loads have left them; older rows are counted in turn, all of them by the runs of 2 days"
    assert evaluate(limited, COUNTS_FIRST, **WEATHER) == [("raw.sales_fact", "pass", passed)]
    loaded.connection.execute("delete from raw.sales_fact where order_id = 'O4'")
    assert lost_rows(evaluate, limited, COUNTS_FIRST) == []
    assert lost_rows(evaluate, limited, COUNTS_SECOND) == [DAYS[1]]
    loaded.connection.execute("delete from raw.sales_fact where order_id = 'O7'")
    assert lost_rows(evaluate, limited, COUNTS_SECOND) == DAYS[1:]


def test_day_that_differs_fails_each_run_until_it_is_right(evaluate, only, loaded: Loader) -> None:
    limited = only(LIMITED)
    loaded.connection.execute("delete from raw.sales_fact where order_id in ('O1', 'O4')")
    assert lost_rows(evaluate, limited, COUNTS_FIRST) == DAYS[:1]
    # A run that was under way and had another turn ended later.
    loaded.connection.execute(
        "insert into ops.check_result (checked_at, run_id, check_name, subject, status, message)"
        " values (now(), 'other', %s, 'raw.sales_fact', 'pass', '')",
        [limited],
    )
    assert lost_rows(evaluate, limited, COUNTS_SECOND) == DAYS[:2]
    assert lost_rows(evaluate, limited, COUNTS_FIRST) == DAYS[:2]
    loaded.load("sales_fact", DAYS[0], DAYS[1])
    assert lost_rows(evaluate, limited, COUNTS_FIRST) == []
    assert lost_rows(evaluate, limited, COUNTS_SECOND) == []


def test_days_of_the_run_and_of_what_it_builds_are_counted(evaluate, only, loaded: Loader) -> None:
    limited = only(LIMITED)
    loaded.connection.execute("delete from raw.sales_fact where order_id = 'O4'")
    # The turn is that of the first day.
    assert failures(evaluate(limited, DAYS[0], COUNTS_FIRST)) != {}
    loaded.connection.execute("delete from ops.check_failure")
    assert lost_rows(evaluate, limited, COUNTS_FIRST) == []
    loaded.connection.execute(
        "insert into ops.claimed_date (run_id, source, dirty_date, batch_id, claimed_at)"
        " select 'a_run', source, '2023-01-01', batch_id, now() from ops.load_batch where source = 'sales_fact'"
    )
    assert lost_rows(evaluate, limited, COUNTS_FIRST) == [DAYS[1]]


@pytest.mark.parametrize("lost", [1, 2])
def test_messages_of_each_load_are_counted_in_turn(evaluate, only, loaded: Loader, lost: int) -> None:
    limited = only("kind: rows_of_loads, rows_at_once: 1, sources: [kafka_stream]")
    # One more load: the newest, an older one, and the oldest.
    messages = Messages(SOURCES["kafka_stream"], [MESSAGE | {"_topic": "t", "_partition": "0", "_offset": "3"}])
    loaded.load("kafka_stream", DAYS[0], reader=messages)
    loaded.connection.execute(f"delete from raw.kafka_stream where _offset = {lost}".encode())
    runs = [COUNTS_FIRST, COUNTS_SECOND, COUNTS_FIRST, COUNTS_SECOND]
    statuses = [status for run in runs for _, status, _ in evaluate(limited, run)]
    # From the turn of its load on.
    assert statuses in (["fail"] * 4, ["pass", "fail", "fail", "fail"])


def test_row_by_hand_of_a_day_that_was_never_loaded_is_found(evaluate, only, loaded: Loader) -> None:
    limited = only(LIMITED)
    loaded.connection.execute("create temp table by_hand as select * from raw.sales_fact where order_id = 'O1'")
    for day in ("0044-03-15 BC", "infinity", "2023-01-01", "2024-04-01"):
        loaded.connection.execute("update by_hand set order_id = 'by hand', created_at = %s", [day])
        loaded.connection.execute("insert into raw.sales_fact select * from by_hand")
        assert len(failures(evaluate(limited, COUNTS_FIRST))) == 1
        loaded.connection.execute("delete from raw.sales_fact where order_id = 'by hand'")
    assert failures(evaluate(limited, COUNTS_FIRST)) == {}


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
