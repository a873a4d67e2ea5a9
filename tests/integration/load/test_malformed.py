"""Hundreds of malformed inputs for each kind of source: each is loaded or quarantined and none blocks the others."""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from ecommerce.common.sources import SOURCES
from ecommerce.extract import kafka_messages
from ecommerce.extract.weather_reader import WeatherReader
from include.demo.state import State
from tests.integration.conftest import SHOP_TABLES
from tests.integration.load.events import Produce, event
from tests.integration.support import Loader

DAY = "2024-03-01"
SENT = 1_500
#: So many of each kind are certain to be refused, not only altered.
REFUSED = 500

WRONG = [
    *("", " ", "\t", "\\N", "\\.", "\n", "a\tb", "ä", "\U0001f600", "\0", "\ud800", "x" * 3000),
    *("-1", "-0.001", "NaN", "Infinity", "1e999999", "9" * 30, "9" * 5000, None, True, 0, 1.5, -1, 10**40),
    *("0000-00-00", "2024-02-30", "2024-13-01", "99999-01-01", "1999-12-31T23:59:59Z", "now", "infinity"),
    *("2024-03-01T24:00:00", "2024-03-01T10:00:60", "2024-03-01T10:00", "2024-03-01T10:00:00+25:00"),
    *([], {}, ["P1"], {"a": 1}),
]


def check(loader: Loader, result: Any, sent: int) -> None:
    """All of it is accounted for, in the figures and in the tables."""
    assert result.rows_read == sent
    held = loader.value(f"select count(*) from raw.{result.source}")
    refused = loader.value("select count(*) from ops.quarantine where reason <> ''")
    assert (held + refused, result.rows_loaded, result.rows_quarantined) == (sent, held, refused)
    assert refused >= REFUSED
    assert held > sent / 20


def damaged(chance: random.Random, value: bytes) -> bytes | None:
    """One message in two with an error in its bytes, or without a value."""
    match chance.randrange(12):
        case 0:
            return value[: chance.randrange(len(value))]
        case 1:
            place = chance.randrange(len(value))
            return value[:place] + bytes([chance.randrange(256)]) + value[place + 1 :]
        case 2:
            return chance.choice((b"", b"[]", b"null", b'"x"', b"\xff\xfe", value + b"}", b"\xef\xbb\xbf" + value))
        case 3:
            return None
        case 4:
            return value.replace(b'"view"', chance.choice((b"NaN", b"01", b"'x'", b'"view","product_id":"P2"')))
        case 5:
            return value.decode("utf-8", "replace").encode("utf-16")
    return value


def messages(chance: random.Random) -> Iterator[bytes | None]:
    """Good messages, with a field that is not, a byte that is not, or an end that comes too early."""
    for number in range(SENT):
        fields: dict[str, Any] = json.loads(event(f"C{number}", f"{DAY}T10:00:00")[1])
        for _ in range(chance.choice((0, 1, 1, 2))):
            name = chance.choice([*fields, "extra"])
            if chance.random() < 0.2:
                fields.pop(name, None)
            else:
                fields[name] = chance.choice(WRONG)
        try:
            value = json.dumps(fields, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
        except ValueError:
            continue
        yield damaged(chance, value)


def test_malformed_messages_are_loaded_or_quarantined(
    loader: Loader, produce: Produce, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [*messages(random.Random(4))]
    produce(*((f"{DAY}T10:00:00", value) for value in sent))
    result = loader.load("kafka_stream", DAY, max_rejected_share=1.0)
    check(loader, result, len(sent))
    facts = "select customer_id, product_id, interaction_type, timestamp, _offset, _published_at from raw.kafka_stream"
    raw, refused = loader.rows(f"{facts} order by _offset"), "select reason, payload from ops.quarantine order by 2"
    quarantined = loader.rows(refused)
    # The same, message for message, as when the warehouse judges all of them.
    loader.empty()
    monkeypatch.setattr(kafka_messages.PlainMessages, "lines", lambda self, messages: [None] * len(messages))
    check(loader, loader.load("kafka_stream", DAY, max_rejected_share=1.0), len(sent))
    assert loader.rows(f"{facts} order by _offset") == raw
    assert loader.rows(refused) == quarantined


def test_impossible_publication_time_is_stored_as_null(loader: Loader, shop_kafka: str, topic: str) -> None:
    """It is kept without one, and what stands behind it does not wait for it."""
    producer = Producer({"bootstrap.servers": shop_kafka})
    _, value = event("C1", f"{DAY}T10:00:00")
    for milliseconds in (1709287200000, 10**17, 1709287200000):
        producer.produce(topic, value, partition=0, timestamp=milliseconds)
    assert producer.flush(20) == 0
    loader.load("kafka_stream", DAY)
    assert loader.value("select count(*) from raw.kafka_stream where _published_at is null") == 1
    assert loader.value("select count(*) from raw.kafka_stream") == 3


def test_ten_megabyte_message_is_quarantined(loader: Loader, produce: Produce) -> None:
    _, value = event("C1", f"{DAY}T10:00:00", timestamp=random.Random(7).randbytes(5_000_000).hex())
    produce((f"{DAY}T10:00:00", value), event("C2", f"{DAY}T10:00:00"))
    assert loader.load("kafka_stream", DAY).rows_loaded == 1
    assert loader.value("select payload -> 'value' from ops.quarantine") == {
        "cut": value[:1_000],
        "bytes": len(value),
        "sha256": hashlib.sha256(value.encode()).hexdigest(),
    }


def test_message_as_long_as_brokers_take_by_default_is_kept_whole(loader: Loader, produce: Produce) -> None:
    _, value = event("C1", f"{DAY}T10:00:00", timestamp="x" * 1_040_000)
    produce((f"{DAY}T10:00:00", value))
    loader.load("kafka_stream", DAY)
    assert loader.value("select payload ->> 'value' from ops.quarantine") == value


def test_malformed_weather_days_are_loaded_or_quarantined(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(5)
    first = date(2020, 1, 1)
    days: list[Any] = [str(first + timedelta(days=n)) for n in range(SENT)]
    values: dict[str, list[Any]] = {
        name: [n % 30 for n in range(SENT)] for name in ("temperature_2m_mean", "precipitation_sum")
    }
    for number in range(SENT):
        for each in (days, *values.values()):
            if chance.random() < 0.2:
                each[number] = chance.choice(WRONG)
    daily = {"time": days, **values}
    sent = sum(t is not None or p is not None for t, p in zip(*values.values(), strict=True))
    body = json.dumps({"daily": daily})
    monkeypatch.setenv("AIRFLOW_VAR_WEATHER_CITIES", '{"Berlin": [52.52, 13.41]}')
    monkeypatch.setattr(
        WeatherReader, "_ask", lambda self, *_: json.loads(body, parse_int=str, parse_float=str, parse_constant=str)
    )
    check(
        loader,
        loader.load("weather_data", "2020-01-01", str(first + timedelta(days=SENT)), max_rejected_share=1.0),
        sent,
    )


def test_malformed_table_rows_are_loaded_or_quarantined(loader: Loader, shop: psycopg.Connection) -> None:
    chance = random.Random(6)
    shop.execute("drop table product_category")
    # Nothing at the shop keeps anyone from writing anything that the types can hold.
    kinds = {column.name: "text" for column in SOURCES["product_category"].columns} | {
        "cost_price": "numeric",
        "retail_price": "float8",
        "margin_percent": "numeric",
        "stock_level": "bigint",
        "reorder_point": "bigint",
        "discontinued": "boolean",
        "launch_date": "date",
        "last_updated": "date",
    }
    columns = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    shop.execute(f"create table product_category ({columns})".encode())
    endless = "".join(chr(chance.randrange(33, 0x2FFF)) for _ in range(5000))
    wrong: dict[str, list[Any]] = {
        "numeric": ["NaN", "Infinity", "-Infinity", "-1", "1e100", "9" * 17, "-0.00001", "0.1"],
        "float8": ["NaN", "Infinity", "-Infinity", "-1", "1e300", "-1e-300", "5e-324"],
        "bigint": ["-1", str(2**31), str(2**63 - 1), str(-(2**63))],
        "boolean": ["true", None],
        "date": ["infinity", "-infinity", "0001-01-01 BC", "10000-01-01", "0001-01-01", "9999-12-31"],
        "text": [None, "", " ", "\t", "\\.", "\\N", "a\nb", "ä", "x" * 3000, endless],
    }
    places = ", ".join(f"%s::{kind}" for kind in kinds.values())
    for number in range(SENT):
        row: dict[str, Any] = dict.fromkeys(kinds) | {
            "product_id": f"P{number}",
            "category_id": "K",
            "category_name": "Toys",
        }
        for _ in range(chance.choice((0, 1, 1, 2))):
            name = chance.choice([*kinds])
            row[name] = chance.choice(wrong[kinds[name]])
        shop.execute(f"insert into product_category values ({places})".encode(), list(row.values()))
    result = loader.load("product_category", DAY, max_rejected_share=1.0)
    check(loader, result, SENT)


def test_ten_megabyte_field_is_quarantined(
    loader: Loader, shop: psycopg.Connection, insert: Callable[..., None]
) -> None:
    insert("product", product_id="P1", product_name="x" * 10_000_000)
    insert("product", product_id="y" * 10_000_000, product_name="Ball")
    insert("product", product_id="P3", product_name="Ball")
    result = loader.load("product", DAY)
    assert (result.rows_loaded, result.rows_quarantined) == (1, 2)
    fields = "payload ->> 'product_id', payload ->> 'product_name'"
    cut = {
        letter: f"{letter * 1_000}… (cut: 10000000 bytes, sha256 {hashlib.sha256(letter.encode() * 10**7).hexdigest()})"
        for letter in "xy"
    }
    assert loader.rows(f"select reason, {fields} from ops.quarantine order by 1") == [
        (f"product_id is longer than 1,000 bytes: {'y' * 80}", cut["y"], "Ball"),
        (f"product_name is longer than 1,000 bytes: {'x' * 80}", "P1", cut["x"]),
    ]
    assert loader.value("select max(pg_column_size(payload)) < 3000 from ops.quarantine")


def test_long_fields_that_begin_alike_are_two_rows_and_each_is_stored_once(
    loader: Loader, shop: psycopg.Connection, insert: Callable[..., None]
) -> None:
    for last in "yz":
        insert("product", product_id="x" * 100_000 + last, product_name="Ball")
    insert("product", product_id="P3", product_name="Ball")
    assert loader.load("product", DAY).rows_quarantined == 2
    assert loader.load("product", DAY).rows_quarantined == 0
    assert loader.value("select count(distinct payload) from ops.quarantine") == 2


def test_invalid_utf8_in_sql_ascii_database_is_quarantined(
    loader: Loader, postgres: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as admin:
        admin.execute("create database bytes template template0 encoding 'SQL_ASCII' locale_provider libc locale 'C'")
    try:
        dsn = postgres.dsn("bytes", "postgres")
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_POSTGRES", dsn)
        with psycopg.connect(dsn, autocommit=True, client_encoding="SQL_ASCII") as shop:
            shop.execute(SHOP_TABLES.encode())
            shop.execute(
                b"insert into product (product_id, product_name) values"
                b" ('P1', 'Caf\xe9'), ('P2', 'Caf\xc3\xa9'), ('P3', '\xf0\x9f\x8d\xb5'), ('P4', '\xed\xa0\x80'),"
                b" ('\xff', 'Cup'), ('P5', 'Cup'), ('P6', null), ('P7', 'a\\b')"
            )
        result = loader.load("product", DAY)
        assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (8, 4, 4)
        assert loader.rows("select product_id, product_name from raw.product order by 1") == [
            ("P2", "Café"), ("P3", "\N{TEACUP WITHOUT HANDLE}"), ("P5", "Cup"), ("P7", "a\\b")
        ]  # fmt: skip
        assert loader.rows("select reason, payload ->> 'product_id' from ops.quarantine order by 1") == [
            (r"product_id has bytes that are not UTF-8: \377", r"\377"),
            (r"product_name has bytes that are not UTF-8: Caf\351", "P1"),
            (r"product_name has bytes that are not UTF-8: \355\240\200", "P4"),
            ("product_name is missing", "P6"),
        ]
        again = loader.load("product", DAY)
        assert (again.rows_unchanged, again.rows_loaded) == (8, 0)
    finally:
        with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as admin:
            admin.execute("drop database bytes with (force)")
