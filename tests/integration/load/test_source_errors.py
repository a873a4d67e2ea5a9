"""Sources that cannot be read: the error names the source, the cause and where to look; nothing is loaded."""

import json
import re
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg
import pytest

from ecommerce.common.errors import SourceError
from ecommerce.extract import kafka_topic
from ecommerce.load.extract_source import ExtractSource
from tests.integration.support import Loader, set_topic


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def refused(loader: Loader, source: str) -> str:
    """The sentence of the failure; the ledger has it too."""
    with pytest.raises(SourceError) as caught:
        loader.load(source, "2024-03-01")
    sentence = str(caught.value)
    assert loader.rows("select status, error from ops.load_batch") == [("failed", sentence)]
    assert "Traceback" not in sentence
    return sentence


def test_missing_connection_is_named_in_error(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SHOP_POSTGRES", raising=False)
    assert refused(loader, "sales_fact") == "there is no connection 'shop_postgres'; add it under Admin → Connections"


def test_connection_of_another_kind_is_in_the_ledger(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes from the choice of a reader, before anything is read."""
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_POSTGRES", '{"conn_type": "oracle"}')
    run = SimpleNamespace(dag_id="extract_sales_fact", run_id="r1")
    context = {
        "params": {"start_date": "2024-03-01"},
        "dag_run": run,
        "ti": SimpleNamespace(try_number=1, max_tries=0),
    }
    with pytest.raises(SourceError, match="is of the type 'oracle', and a database can be read by") as caught:
        ExtractSource(task_id="extract", source="sales_fact").execute(cast("Any", context))
    assert loader.rows("select run_id, status, error from ops.load_batch") == [("r1", "failed", str(caught.value))]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda parts, port: parts._replace(netloc=f"{parts.username}:wrong@{parts.hostname}:{parts.port}"),
            "password authentication failed",
        ),
        (lambda parts, port: parts._replace(netloc=f"shop:x@127.0.0.1:{port}"), "Connection refused"),
        (lambda parts, port: parts._replace(path="/nothing"), 'database "nothing" does not exist'),
    ],
    ids=["password", "server", "database"],
)
def test_unreachable_postgres_is_named_in_error(
    loader: Loader, shop_dsn: str, free_port: int, monkeypatch: pytest.MonkeyPatch, change: Callable, says: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_POSTGRES", change(urlsplit(shop_dsn), free_port).geturl())
    sentence = refused(loader, "sales_fact")
    assert sentence.startswith("cannot connect to Postgres by the connection 'shop_postgres': ")
    assert says in sentence
    assert sentence.endswith("see Admin → Connections → shop_postgres")
    assert "wrong@" not in sentence


def test_missing_table_is_named_in_error(loader: Loader, shop: psycopg.Connection) -> None:
    shop.execute("drop table sales_fact")
    assert refused(loader, "sales_fact").startswith(
        "sales_fact: there is no table public.sales_fact at the connection 'shop_postgres'; "
        "expected one with the columns order_id, line_number, product_id, "
    )


def test_missing_column_is_named_in_error(loader: Loader, shop: psycopg.Connection) -> None:
    shop.execute("alter table sales_fact drop product_id")
    assert "is not what was expected: column product_id (text) is missing. Nothing" in refused(loader, "sales_fact")


def test_missing_privilege_is_named_in_error(loader: Loader, shop: psycopg.Connection) -> None:
    shop.execute("revoke all on product from current_user")
    assert refused(loader, "product") == (
        "product: reading 2024-03-01 from the table public.product at the connection 'shop_postgres' failed: "
        "permission denied for table product"
    )


def test_source_lost_during_read_fails_load(loader: Loader, shop: psycopg.Connection) -> None:
    shop.execute(
        "create function public.stop(n integer) returns text language plpgsql as $$ begin"
        " if n = 2000 then perform pg_terminate_backend(pg_backend_pid()); end if; return n::text; end $$;"
        " drop table product;"
        " create view product as select stop(n) as product_id, repeat('x', 1000) as product_name,"
        "  null::text as product_category_id from generate_series(1, 3000) as n"
    )
    sentence = refused(loader, "product")
    assert sentence.startswith(
        "product: reading 2024-03-01 from the table public.product at the connection 'shop_postgres' failed: "
    )
    assert "terminating connection due to administrator command" in sentence
    assert loader.value("select count(*) from raw.product") == 0


def test_extra_source_columns_are_ignored(loader: Loader, shop: psycopg.Connection) -> None:
    shop.execute("alter table product add color text; insert into product values ('P1', 'Ball', null, 'red')")
    assert loader.load("product", "2024-03-01").rows_loaded == 1


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define the connection `shop_kafka`, with little patience."""
    monkeypatch.setattr(kafka_topic, "REQUEST_TIMEOUT", 0.3)

    def broker(**extra: str) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_KAFKA", json.dumps({"conn_type": "kafka", "extra": extra}))

    return broker


def test_unreachable_broker_is_named_in_error(loader: Loader, broker: Callable[..., None], free_port: int) -> None:
    broker(**{"bootstrap.servers": f"127.0.0.1:{free_port}", "log_level": "0"})
    assert re.fullmatch(
        "kafka_stream: topic 'customer_interactions' at the connection 'shop_kafka' cannot be read: "
        "Failed to get metadata: Local: Broker transport failure "
        rf"\(127.0.0.1:{free_port}/bootstrap: Connect to ipv4#127.0.0.1:{free_port} failed: Connection refused "
        r"\(after \d+ms in state CONNECT[^)]*\)\)",
        refused(loader, "kafka_stream"),
    )


def test_connection_without_broker_is_named_in_error(loader: Loader, broker: Callable[..., None]) -> None:
    broker()
    assert refused(loader, "kafka_stream").startswith("kafka_stream: the connection 'shop_kafka' cannot be used: ")


def test_unknown_kafka_setting_is_named_in_error(loader: Loader, broker: Callable[..., None]) -> None:
    broker(**{"bootstrap.servers": "127.0.0.1:9", "bootstrap.sauce": "x"})
    assert 'No such configuration property: "bootstrap.sauce"' in refused(loader, "kafka_stream")


def test_missing_kafka_connection_is_named_in_error(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SHOP_KAFKA", raising=False)
    assert refused(loader, "kafka_stream") == (
        "kafka_stream: there is no connection 'shop_kafka'; add it under Admin → Connections"
    )


def test_missing_topic_is_named_in_error(loader: Loader, shop_kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_topic(monkeypatch, "no_such_topic")
    sentence = refused(loader, "kafka_stream")
    assert sentence.startswith("kafka_stream: topic 'no_such_topic' at the connection 'shop_kafka' cannot be read: ")
    assert "Unknown topic" in sentence
