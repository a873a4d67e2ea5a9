"""`make shop-check` and the DAG `check_shop`: what they say of a shop, and that they change nothing."""

import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException

from ecommerce.common.connections import LOADER
from ecommerce.common.windows import Window
from ecommerce.extract.postgres_reader import PostgresReader
from ecommerce.load import shop_check
from ecommerce.load.shop_check import CheckShop, SourceReport, check_shop
from tests.integration.load.events import Produce, event
from tests.integration.support import Loader, set_shop

ONLY_TABLES = dict.fromkeys(
    ("kafka_stream", "weather_data", "refund", "product_category", "subscription_data"), "absent"
)
WINDOW = Window.of_days(date(2024, 3, 1), date(2024, 3, 2))


@pytest.fixture
def small_shop(shop: psycopg.Connection, insert: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A shop of three tables, two orders of which are good and two are not."""
    set_shop(monkeypatch, **ONLY_TABLES)
    shop.execute("alter table sales_fact add colour text")
    for number, amount in ((1, 10.5), (2, 20), (3, -1), (4, -2)):
        insert(
            "sales_fact", order_id=f"O{number}", product_id="P1", customer_id="C1", order_date="2024-03-01",
            order_amount=amount, created_at=f"2024-03-01 1{number}:00",
        )  # fmt: skip
    insert("product", product_id="P1", product_name="Ball")
    insert("product", product_id="P1", product_name="Box")


def report_of(loader: Loader, source: str, window: Window | None = WINDOW) -> SourceReport:
    return next(report for report in check_shop(loader.connection, window).sources if report.source.name == source)


@pytest.mark.usefixtures("small_shop")
def test_report_shows_columns_examples_and_rejections(loader: Loader) -> None:
    before = loader.everything()
    found = check_shop(loader.connection, WINDOW)
    assert found.problems == []
    assert loader.everything() == before
    text = str(found)
    assert text.startswith("The shop shop-")
    assert "2024-03-01 to 2024-03-02" in text
    assert "absent: kafka_stream, product_category, refund, subscription_data, weather_data" in text
    assert text.endswith("All can be loaded.")
    lines = str(report_of(loader, "sales_fact")).splitlines()
    assert lines[0] == "sales_fact: the table public.sales_fact at the connection 'shop_postgres'"
    columns = {line.split()[0]: line.split()[1:] for line in lines[2:15]}
    assert columns["order_id"] == ["text", "text", "O1"]
    assert columns["order_amount"] == ["numeric", "numeric", "10.5"]
    assert lines[-3:] == [
        "  not used: colour",
        "  4 rows; of 4 checked, 2 would be rejected",
        "    2 × order_amount is negative: -1",
    ]


@pytest.mark.usefixtures("small_shop")
def test_report_counts_repeated_keys(loader: Loader) -> None:
    product = report_of(loader, "product")
    assert (product.rows, product.checked) == (2, 2)
    assert [(rejection.rows, rejection.reason) for rejection in product.rejections] == [
        (1, "product_id came more than once; another row with this key was taken")
    ]


@pytest.mark.usefixtures("small_shop")
def test_default_window_ends_with_the_newest_order(loader: Loader) -> None:
    assert check_shop(loader.connection).window == Window.of_days(date(2024, 2, 24), date(2024, 3, 1))


@pytest.mark.usefixtures("small_shop")
def test_days_without_an_order_are_not_called_well(loader: Loader) -> None:
    found = check_shop(loader.connection, Window.of_days(date(2023, 3, 1), date(2023, 3, 2)))
    assert found.problems == []
    assert str(found).endswith(
        "There is no order in these days, so none was checked: choose days that have some (FROM= and TO=)."
    )


@pytest.mark.usefixtures("small_shop")
def test_missing_column_and_missing_table_are_problems(loader: Loader, shop: psycopg.Connection) -> None:
    shop.execute("alter table sales_fact drop product_id; drop table customer")
    found = check_shop(loader.connection, WINDOW)
    assert [problem.split(":")[0] for problem in found.problems] == ["sales_fact", "customer"]
    assert "column product_id (text) is missing" in found.problems[0]
    assert "there is no table public.customer at the connection 'shop_postgres'" in found.problems[1]
    assert str(found).endswith("2 sources cannot be loaded: sales_fact, customer")
    table = str(report_of(loader, "sales_fact")).splitlines()
    row = next(line for line in table if line.startswith("  product_id"))
    assert row.split() == ["product_id", "text", "MISSING"]


@pytest.mark.usefixtures("small_shop")
def test_connection_that_fails_is_a_problem(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SHOP_POSTGRES")
    assert check_shop(loader.connection).problems == [
        f"{source}: there is no connection 'shop_postgres'; add it under Admin → Connections"
        for source in ("product", "sales_fact", "customer")
    ]


@pytest.mark.usefixtures("small_shop")
def test_large_table_is_read_in_part(loader: Loader, shop: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop_check, "MAX_BLOCKS", 2)
    shop.execute(
        "insert into sales_fact (order_id, product_id, customer_id, order_date, order_amount, created_at)"
        " select 'L' || n, repeat('p', 500), 'C', '2024-03-01', case n % 2 when 0 then 1 else -1 end, '2024-03-02'"
        " from generate_series(1, 10000) as n"
    )
    sales = report_of(loader, "sales_fact")
    assert sales.problem is None
    assert sales.rows == 10_004
    assert 2 < sales.checked < 2_000
    assert 0 < sales.rejections[0].rows < sales.checked


@pytest.mark.usefixtures("shop")
def test_topic_is_checked(loader: Loader, produce: Produce, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_shop(monkeypatch, **dict.fromkeys(ONLY_TABLES.keys() - {"kafka_stream"}, "absent"))
    produce(event("C1", "2024-03-01T10:00:00"), ("2024-03-01T11:00:00", "no JSON"))
    before = loader.everything()
    events = report_of(loader, "kafka_stream")
    assert loader.everything() == before
    assert str(events).startswith(f"kafka_stream: the topic '{topic}' at the connection 'shop_kafka'")
    assert (events.problem, events.rows, events.checked) == (None, 2, 2)
    assert events.example["customer_id"] == "C1"
    assert [rejection.rows for rejection in events.rejections] == [1]


def context(**params: Any) -> Any:
    run = SimpleNamespace(
        data_interval_start=None, data_interval_end=None, logical_date=None, run_after=datetime.now(UTC)
    )
    return {"params": {"start_date": None, "end_date": None, **params}, "dag_run": run}


@pytest.mark.usefixtures("small_shop", "connection")
def test_task_fails_with_the_problems(shop: psycopg.Connection) -> None:
    task = CheckShop(task_id="check", warehouse_conn_id=LOADER)
    rows = {"product": 2, "sales_fact": 4, "customer": 0}
    assert task.execute(cast("Any", context(start_date="2024-03-01", end_date="2024-03-02"))) == rows
    assert task.execute(cast("Any", context())) == rows
    shop.execute("drop table product")
    with pytest.raises(AirflowFailException, match=r"product: there is no table public\.product"):
        task.execute(cast("Any", context()))


@pytest.mark.usefixtures("small_shop", "connection")
def test_task_with_a_last_day_alone_fails() -> None:
    task = CheckShop(task_id="check", warehouse_conn_id=LOADER)
    with pytest.raises(AirflowFailException, match="end_date 2024-03-01 was given without a start_date"):
        task.execute(cast("Any", context(end_date="2024-03-01")))


@pytest.mark.usefixtures("small_shop")
def test_rows_that_are_not_counted_are_not_shown_as_none(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader may leave it to raw to tell the days of the rows."""
    monkeypatch.setattr(PostgresReader, "rows_by_day", lambda reader: None)
    sales = report_of(loader, "sales_fact")
    assert (sales.rows, sales.checked) == (None, 4)
    assert "  rows not counted; of 4 checked, 2 would be rejected" in str(sales).splitlines()


@pytest.mark.usefixtures("small_shop")
def test_each_source_is_read_in_one_snapshot(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template is described and checked for each."""
    opened: list[str] = []
    original = PostgresReader.snapshot

    def counted(reader: PostgresReader) -> Any:
        opened.append(reader.source.name)
        return original(reader)

    monkeypatch.setattr(PostgresReader, "snapshot", counted)
    check_shop(loader.connection, WINDOW)
    assert opened == ["product", "sales_fact", "customer"]


@pytest.mark.usefixtures("small_shop", "connection")
def test_command_ends_with_1_if_a_source_cannot_be_loaded(
    shop: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["shop_check", "--from=2024-03-01"])
    assert shop_check.main() == 0
    assert "4 rows; of 4 checked, 2 would be rejected" in capsys.readouterr().out
    shop.execute("drop table product")
    assert shop_check.main() == 1
    assert "1 sources cannot be loaded: product" in capsys.readouterr().out
    monkeypatch.setenv("ECOMMERCE_SHOP", "nowhere")
    assert shop_check.main() == 1
    assert "error: ECOMMERCE_SHOP is 'nowhere'" in capsys.readouterr().err
