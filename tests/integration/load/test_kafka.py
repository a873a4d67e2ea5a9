"""Loading a topic: each message exactly once, in any order of windows and wherever a load breaks off."""

import json
import os
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from ecommerce.common.errors import QuarantineOverflow
from ecommerce.common.shop import shop
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Window
from ecommerce.erase.person import Person, remember
from ecommerce.extract import kafka_reader
from ecommerce.extract.kafka_reader import KafkaReader
from ecommerce.extract.reader_protocol import ResumePoints
from tests.integration.load.conftest import LARGEST, on_both_brokers
from tests.integration.load.events import Produce, customer_counts, event, next_offsets, once
from tests.integration.support import Loader


@pytest.fixture
def three_days(produce: Produce) -> None:
    """On each of 1, 2 and 3 March two events in partition 0 and one in partition 2: a1, b1, c1, a2 …"""
    for day in (1, 2, 3):
        at = f"2024-03-0{day}"
        produce(event(f"a{day}", f"{at}T00:00:00"), event(f"b{day}", f"{at}T23:59:59.999"))
        produce(event(f"c{day}", f"{at}T12:00:00"), partition=2)


ALL = once(*(f"{letter}{day}" for letter in "abc" for day in (1, 2, 3)))


@on_both_brokers
def test_message_is_loaded_with_lineage(loader: Loader, topic: str, produce: Produce) -> None:
    produce(event("C1", "2024-03-01T10:00:00.250", timestamp="2024-02-28T23:30:00-01:00"), partition=1)
    result = loader.load("kafka_stream", "2024-03-01")
    assert (result.rows_read, result.rows_loaded) == (1, 1)
    assert loader.rows("select * from raw.kafka_stream") == [
        (
            "C1",
            "P1",
            "view",
            datetime(2024, 2, 29, 0, 30, tzinfo=UTC),
            topic,
            1,
            0,
            datetime(2024, 3, 1, 10, 0, 0, 250000, tzinfo=UTC),
            result.batch_id,
            *loader.rows("select _loaded_at from raw.kafka_stream")[0],
            None,
        )
    ]
    # The window goes by the broker's time, the day that is rebuilt by the event's.
    assert loader.pop_dirty_dates() == {("kafka_stream", "2024-02-29")}


@pytest.mark.parametrize(
    ("decimals", "stored", "below"),
    [
        ("999999", "23:59:59.999999", None),
        ("9999999", "23:59:59.999999", "9"),
        ("999999999", "23:59:59.999999", "999"),
        ("999999500", "23:59:59.999999", "5"),
        ("123456000", "23:59:59.123456", None),
    ],
)
@pytest.mark.parametrize("day", ["2023-12-31", "2069-12-31"])
def test_digits_after_the_microsecond_are_cut_and_kept(
    loader: Loader, produce: Produce, day: str, decimals: str, stored: str, below: str | None
) -> None:
    """To the next day, month or year they do not lead, nor out of the calendar."""
    produce(event("C1", "2024-03-01T10:00:00", timestamp=f"{day}T23:59:59.{decimals}Z"))
    assert loader.load("kafka_stream", "2024-03-01").rows_quarantined == 0
    assert loader.rows("select timestamp::text, _below_microsecond from raw.kafka_stream") == [
        (f"{day} {stored}+00", below)
    ]
    assert loader.pop_dirty_dates() == {("kafka_stream", day)}


def test_second_60_is_rejected(loader: Loader, produce: Produce) -> None:
    produce(event("C1", "2024-03-01T10:00:00", timestamp="2016-12-31T23:59:60Z"))
    assert loader.load("kafka_stream", "2024-03-01", max_rejected_share=1).rows_quarantined == 1
    assert loader.value("select reason from ops.quarantine") == (
        "timestamp is not an ISO 8601 time such as 2024-01-31T23:59:59Z: 2016-12-31T23:59:60Z"
    )


@pytest.mark.parametrize("blank", ["\t", "\r\n", "\u00a0", "\u200b", "\ufeff", "\u3000", " \u2028"])
def test_message_of_blanks_is_rejected(loader: Loader, produce: Produce, blank: str) -> None:
    produce(event(blank, "2024-03-01T10:00:00"), event("C1", "2024-03-01T10:00:00"))
    assert loader.load("kafka_stream", "2024-03-01", max_rejected_share=1).rows_loaded == 1
    assert loader.value("select reason from ops.quarantine") == "customer_id is missing"


@on_both_brokers
@pytest.mark.usefixtures("three_days")
def test_window_maps_to_offsets_of_each_partition(loader: Loader) -> None:
    loader.load("kafka_stream", "2024-03-02")
    assert customer_counts(loader) == once("a2", "b2", "c2")
    assert next_offsets(loader) == {0: 4, 1: 0, 2: 2}


@on_both_brokers
@pytest.mark.usefixtures("three_days")
def test_second_read_of_topic_reads_nothing(loader: Loader) -> None:
    loader.load("kafka_stream", "2024-03-01", "2024-03-03")
    loader.pop_dirty_dates()
    before = loader.rows("select * from raw.kafka_stream order by _partition, _offset")
    for first, last in (("2024-03-01", "2024-03-03"), ("2024-03-02", "2024-03-02")):
        again = loader.load("kafka_stream", first, last)
        assert (again.rows_read, again.days_marked) == (0, 0)
    assert loader.rows("select * from raw.kafka_stream order by _partition, _offset") == before
    assert next_offsets(loader) == {0: 6, 1: 0, 2: 3}


@on_both_brokers
@pytest.mark.usefixtures("three_days")
def test_older_window_after_newer_one_is_loaded(loader: Loader) -> None:
    loader.load("kafka_stream", "2024-03-03")
    loader.load("kafka_stream", "2024-03-01")
    assert customer_counts(loader) == once("a1", "b1", "c1", "a3", "b3", "c3")
    # The position never goes back, and the day between is still missing: it must be read when it is asked for.
    assert next_offsets(loader) == {0: 6, 1: 0, 2: 3}
    assert loader.load("kafka_stream", "2024-03-02").rows_loaded == 3
    assert customer_counts(loader) == ALL
    assert loader.load("kafka_stream", "2024-03-01", "2024-03-03").rows_read == 0


@on_both_brokers
@pytest.mark.usefixtures("three_days")
def test_skipped_window_is_caught_up(loader: Loader) -> None:
    loader.load("kafka_stream", "2024-03-01")
    assert loader.load("kafka_stream", "2024-03-03").rows_loaded == 6
    assert customer_counts(loader) == ALL


@on_both_brokers
@pytest.mark.usefixtures("three_days")
def test_wide_window_loads_only_missing_messages(loader: Loader) -> None:
    loader.load("kafka_stream", "2024-03-02")
    result = loader.load("kafka_stream", "2024-03-01", "2024-03-03")
    assert result.rows_loaded == 6
    assert result.rows_read == result.rows_loaded + result.rows_unchanged
    assert customer_counts(loader) == ALL


@on_both_brokers
def test_late_message_is_read_by_next_load(loader: Loader, produce: Produce) -> None:
    produce(event("C1", "2024-03-01T10:00:00"))
    loader.load("kafka_stream", "2024-03-01")
    produce(event("C2", "2024-03-01T20:00:00"), event("C3", "2024-03-02T01:00:00"))
    assert loader.load("kafka_stream", "2024-03-01").rows_read == 1
    assert customer_counts(loader) == once("C1", "C2")


@on_both_brokers
@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_messages_of_each_codec_are_read(loader: Loader, shop_kafka: str, topic: str, codec: str) -> None:
    # Many in one batch: a producer compresses none that would not get smaller.
    producer = Producer({"bootstrap.servers": shop_kafka, "compression.type": codec, "linger.ms": 200})
    for number in range(300):
        _, value = event(f"C{number}", "2024-03-01T10:00:00")
        producer.produce(topic, value, partition=number % 3, timestamp=1709287200000 + number)
    assert producer.flush(20) == 0
    assert loader.load("kafka_stream", "2024-03-01").rows_loaded == 300
    assert customer_counts(loader) == once(*(f"C{number}" for number in range(300)))
    assert next_offsets(loader) == {0: 100, 1: 100, 2: 100}


@on_both_brokers
def test_message_larger_than_a_fetch_is_read(
    loader: Loader, shop_kafka: str, topic: str, produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer asks for 1 MB of a partition and 50 MB of all by default, and for less here."""
    extra = {"bootstrap.servers": shop_kafka, "fetch.message.max.bytes": "10000", "fetch.max.bytes": "20000"}
    extra |= {"message.max.bytes": "15000"}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_KAFKA", json.dumps({"conn_type": "kafka", "extra": extra}))
    noise = os.urandom(LARGEST // 5).hex()
    sizes = [100, 9_000, 40_000, 1_000_000, 6_000_000, 100]
    for number, size in enumerate(sizes):
        produce(event(f"C{number}", "2024-03-01T10:00:00", note=noise[:size]), partition=number % 2)
    assert loader.load("kafka_stream", "2024-03-01").rows_loaded == len(sizes)
    assert customer_counts(loader) == once(*(f"C{number}" for number in range(len(sizes))))


@on_both_brokers
def test_empty_topic_is_read_to_end(loader: Loader, topic: str) -> None:
    assert loader.load("kafka_stream", "2024-03-01").rows_read == 0
    assert next_offsets(loader) == {0: 0, 1: 0, 2: 0}


@on_both_brokers
def test_window_without_messages_is_read_to_end(loader: Loader, produce: Produce) -> None:
    produce(event("C1", "2024-03-01T10:00:00"), event("C2", "2024-03-05T10:00:00"))
    assert loader.load("kafka_stream", "2024-03-03").rows_read == 0
    assert next_offsets(loader)[0] == 1


@on_both_brokers
def test_read_is_bounded_by_end_offsets(loader: Loader, produce: Produce) -> None:
    produce(*(event(f"C{n}", "2024-03-01T10:00:00") for n in range(5)))

    class Overtaken(KafkaReader):
        """Messages arrive between the look at the ends and the reading."""

        def find_ranges(self, consumer: Any, admin: Any, resume: ResumePoints) -> dict[int, tuple[int, int]]:
            ranges = super().find_ranges(consumer, admin, resume)
            produce(*(event(f"D{n}", "2024-03-01T11:00:00") for n in range(20)))
            return ranges

    window = Window.of_days(datetime(2024, 3, 1).date(), datetime(2024, 3, 1).date())
    result = loader.load(
        "kafka_stream",
        "2024-03-01",
        reader=Overtaken(SOURCES["kafka_stream"], shop().location_of("kafka_stream"), window),
    )
    assert result.rows_read == 5
    assert next_offsets(loader) == {0: 5, 1: 0, 2: 0}
    assert loader.load("kafka_stream", "2024-03-01").rows_loaded == 20
    assert customer_counts(loader) == once(*(f"C{n}" for n in range(5)), *(f"D{n}" for n in range(20)))


@on_both_brokers
@pytest.mark.usefixtures("three_days")
def test_loader_killed_between_messages_leaves_nothing(
    loader: Loader, other_connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = loader.connection.info.backend_pid
    window = Window.of_days(datetime(2024, 3, 1).date(), datetime(2024, 3, 3).date())

    class Killed(KafkaReader):
        def new_rows(self, resume: ResumePoints, lineage: Sequence[str]) -> Iterator[bytes]:
            for number, block in enumerate(super().new_rows(resume, lineage)):
                if number == 2:
                    other_connection.execute("select pg_terminate_backend(%s, 5000)", [pid])
                yield block

    monkeypatch.setattr(kafka_reader, "BATCH", 2)

    reader = Killed(SOURCES["kafka_stream"], shop().location_of("kafka_stream"), window)
    with pytest.raises(psycopg.OperationalError):
        loader.load("kafka_stream", "2024-03-01", "2024-03-03", reader=reader)
    loader.connection = other_connection
    assert (customer_counts(loader), next_offsets(loader), loader.pop_dirty_dates()) == ({}, {}, set())
    loader.load("kafka_stream", "2024-03-01", "2024-03-03")
    assert customer_counts(loader) == ALL


@on_both_brokers
def test_offsets_and_messages_commit_together(loader: Loader, produce: Produce) -> None:
    produce(event("C1", "2024-03-01T10:00:00"), *(("2024-03-01T10:00:00", "{") for _ in range(20)))
    with pytest.raises(QuarantineOverflow):
        loader.load("kafka_stream", "2024-03-01")
    assert (customer_counts(loader), next_offsets(loader)) == ({}, {})
    loader.load("kafka_stream", "2024-03-01", max_rejected_share=1.0)
    assert (customer_counts(loader), next_offsets(loader)) == (once("C1"), {0: 21, 1: 0, 2: 0})


def test_dry_run_leaves_no_trace(loader: Loader, produce: Produce) -> None:
    produce(event("C1", "2024-03-01T10:00:00"), ("2024-03-01T10:00:00", "{"))
    before = loader.everything()
    result = loader.load("kafka_stream", "2024-03-01", dry_run=True)
    assert (result.rows_loaded, result.rows_quarantined) == (1, 1)
    assert loader.everything() == before


GOOD = {"customer_id": "C1", "product_id": "P1", "interaction_type": "view", "timestamp": "2024-03-01T10:00:00"}


def but(**values: Any) -> str:
    return json.dumps(GOOD | values)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(None, "the message has no value (a tombstone)", id="tombstone"),
        pytest.param(b"", "the value is not JSON: JSONDecodeError", id="empty"),
        pytest.param("{broken", "the value is not JSON: JSONDecodeError", id="half JSON"),
        pytest.param("Größe".encode("latin-1"), "the value is not JSON: UnicodeDecodeError", id="not UTF-8"),
        pytest.param(b'{"customer_id": "\0"}', "the value is not JSON: JSONDecodeError", id="NUL byte"),
        pytest.param('{"customer_id": ' + "9" * 5000 + "}", "the value is not JSON: ValueError", id="endless number"),
        pytest.param("[" * 50_000, "the value is not JSON: RecursionError", id="endless nesting"),
        pytest.param("[1]", "the value is not a JSON object but list", id="list"),
        pytest.param("null", "the value is not a JSON object but NoneType", id="JSON null"),
        pytest.param(but(customer_id=17), "customer_id is not a text but int", id="number for text"),
        pytest.param(but(product_id=["P1"]), "product_id is not a text but list", id="list for text"),
        pytest.param(but(product_id="\0"), "product_id holds a character that Postgres cannot store", id="NUL"),
        pytest.param(
            but(product_id="\udc80"), "product_id holds a character that Postgres cannot store", id="surrogate"
        ),
        pytest.param(but(customer_id=None), "customer_id is missing", id="null"),
        pytest.param(but(interaction_type=" "), "interaction_type is missing", id="blank"),
        pytest.param("{}", "; ".join(f"{name} is missing" for name in GOOD), id="nothing in it"),
        pytest.param(
            but(timestamp="1709287200"),
            "timestamp is not an ISO 8601 time such as 2024-01-31T23:59:59Z: 1709287200",
            id="epoch",
        ),
        pytest.param(
            but(timestamp="1969-12-31T23:00:00Z"),
            "timestamp is outside the calendar 1970-01-01 to 2069-12-31: 1969-12-31T23:00:00Z",
            id="long ago",
        ),
    ],
)
def test_bad_message_is_quarantined_with_reason(
    loader: Loader, topic: str, produce: Produce, value: str | bytes | None, reason: str
) -> None:
    produce(event("before", "2024-03-01T09:00:00"))
    produce(("2024-03-01T10:00:00", value), key=b"\xffkey")
    produce(event("after", "2024-03-01T11:00:00"))
    result = loader.load("kafka_stream", "2024-03-01")
    assert customer_counts(loader) == once("before", "after")
    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (3, 2, 1)
    raw = value.encode() if isinstance(value, str) else value
    try:
        # Whole, and byte by byte where it is no text.
        kept: Any = raw.decode() if raw is not None and b"\0" not in raw else None
    except UnicodeDecodeError:
        kept = None
    if kept is None and raw is not None:
        kept = {"base64": b64encode(raw).decode()}
    assert loader.rows("select reason, payload from ops.quarantine") == [
        (
            reason,
            {
                "topic": topic,
                "partition": 0,
                "offset": 1,
                "published_at": "2024-03-01T10:00:00+00:00",
                "key": {"base64": "/2tleQ=="},
                "value": kept,
            },
        )
    ]


@on_both_brokers
def test_rejected_messages_count_as_read_and_are_kept_once(loader: Loader, produce: Produce) -> None:
    broken = ("2024-03-02T10:00:00", "{")
    produce(event("a1", "2024-03-01T10:00:00"), broken, broken, event("a2", "2024-03-02T11:00:00"))
    loader.load("kafka_stream", "2024-03-02")
    assert loader.value("select count(*) from ops.quarantine") == 2
    # Nothing is missing behind the first of this window, so nothing is read.
    assert loader.load("kafka_stream", "2024-03-02").rows_read == 0
    # With the day before, which was never read, all of it is read again.
    result = loader.load("kafka_stream", "2024-03-01", "2024-03-02")
    assert (result.rows_read, result.rows_loaded, result.rows_unchanged, result.rows_quarantined) == (4, 1, 3, 0)
    assert loader.value("select count(*) from ops.quarantine") == 2
    assert customer_counts(loader) == once("a1", "a2")


def test_customer_who_was_erased_is_not_read_again(loader: Loader, topic: str, produce: Produce) -> None:
    erasure_id = loader.value(
        "insert into ops.erasure (run_id, customers, erased_at) values ('an_erasure', 1, now()) returning erasure_id"
    )
    remember(loader.connection, Person({"C1": "erased-1"}, e_mails=["Anna@Example.org"]), erasure_id)
    # One that is copied straight into raw, one that the warehouse validates, and three that are rejected.
    produce(event("C1", "2024-03-01T10:00:00"), event("C2", "2024-03-01T10:00:00"), key=b"C1")
    produce(event("\u00a0C1", "2024-03-01T11:00:00"))
    produce(event("C1", "2024-03-01T12:00:00", timestamp="never", note="Anna"), key=b"C1")
    produce(("2024-03-01T13:00:00", b"no JSON of anna@example.org, C12 and C1"), ("2024-03-01T13:00:00", b"C12"))
    result = loader.load("kafka_stream", "2024-03-01")
    assert (result.rows_loaded, result.rows_quarantined) == (3, 3)
    assert customer_counts(loader) == {"erased-1": 2, "C2": 1}
    key, value = loader.rows(
        "select payload ->> 'key', payload ->> 'value' from ops.quarantine where reason ~ 'never'"
    )[0]
    assert (key, json.loads(value)["customer_id"], "note" in json.loads(value)) == ("erased-1", "erased-1", False)
    values = [value for (value,) in loader.rows("select payload ->> 'value' from ops.quarantine where reason ~ 'JSON'")]
    assert sorted(values) == ["(erased)", "C12"]
    # Read again, nothing is new.
    loader.connection.execute("update ops.kafka_offset set next_offset = 0")
    again = loader.load("kafka_stream", "2024-03-01")
    assert (again.rows_loaded, again.rows_quarantined) == (0, 0)
