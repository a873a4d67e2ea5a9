"""Loading a topic that changed since the last load: expired, compacted, transactional, extended or recreated."""

import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from ecommerce.common.connections import LOADER, warehouse
from ecommerce.common.errors import SourceError
from ecommerce.common.shop import shop
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Window
from ecommerce.extract.kafka_reader import KafkaReader
from ecommerce.extract.reader_protocol import ResumePoints
from tests.integration.load.conftest import PARTITIONS, create_topic, on_both_brokers
from tests.integration.load.events import Produce, customer_counts, event, next_offsets, once
from tests.integration.support import Loader, set_topic

pytestmark = on_both_brokers

#: Where transactions end, windows end today: their markers have the time of the broker's clock, and a window ends
#: before the first message or marker of a later time.
TODAY = datetime.now(UTC).date().isoformat()

PAGE = (Path(__file__).parents[3] / "docs" / "kafka.md").read_text()


@pytest.fixture
def admin(shop_kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": shop_kafka})


def expire(admin: AdminClient, topic: str, before: int, partition: int = 0) -> None:
    """As retention does: the messages before an offset are gone."""
    for done in admin.delete_records([TopicPartition(topic, partition, before)]).values():
        assert done.result(10).low_watermark == before


def gaps(loader: Loader) -> list[tuple]:
    return loader.rows("select partition, first_offset, last_offset, cause from ops.kafka_gap order by 1, 2")


def five_days(produce: Produce) -> None:
    """On each of 1 to 5 March the events a<day> and b<day>, at offsets 2 × day - 2 and 2 × day - 1."""
    for day in range(1, 6):
        produce(event(f"a{day}", f"2024-03-0{day}T01:00:00"), event(f"b{day}", f"2024-03-0{day}T02:00:00"))


def test_messages_expired_before_read_are_reported_as_lost(
    loader: Loader, topic: str, produce: Produce, admin: AdminClient, caplog: pytest.LogCaptureFixture
) -> None:
    five_days(produce)
    loader.load("kafka_stream", "2024-03-01")
    expire(admin, topic, 5)
    result = loader.load("kafka_stream", "2024-03-02", "2024-03-04")
    assert customer_counts(loader) == once("a1", "b1", "b3", "a4", "b4")
    assert gaps(loader) == [(0, 2, 4, "retention")]
    assert loader.value("select batch_id from ops.kafka_gap") == result.batch_id
    assert result.lost == (f"{topic}[0] 2-4 (retention)",)
    assert f"LOST BEFORE THEY WERE READ: {topic}[0] 2-4 (retention)" in str(result)
    assert f"{topic}[0]: offsets 2 to 4 are not there any more and were not read before (retention)" in caplog.text
    assert next_offsets(loader) == {0: 8, 1: 0, 2: 0}
    # Noticed once, and what comes after is read as ever.
    assert loader.load("kafka_stream", "2024-03-01", "2024-03-05").lost == ()
    assert gaps(loader) == [(0, 2, 4, "retention")]
    assert loader.load("kafka_stream", "2024-03-01", "2024-03-05").rows_read == 0


def test_messages_expired_after_read_are_not_lost(
    loader: Loader, topic: str, produce: Produce, admin: AdminClient
) -> None:
    five_days(produce)
    produce(("2024-03-05T03:00:00", "{"))
    loader.load("kafka_stream", "2024-03-01", "2024-03-05")
    expire(admin, topic, 11)
    produce(event("a6", "2024-03-06T01:00:00"))
    result = loader.load("kafka_stream", "2024-03-01", "2024-03-06")
    assert (result.rows_read, result.lost, gaps(loader)) == (1, (), [])


def test_first_window_before_oldest_message_reports_loss(
    loader: Loader, topic: str, produce: Produce, admin: AdminClient
) -> None:
    five_days(produce)
    expire(admin, topic, 3)
    # From within what is there: what was before is none of its business.
    assert loader.load("kafka_stream", "2024-03-03").lost == ()
    assert gaps(loader) == []
    # The days that are gone are asked for, and also one of them alone.
    assert loader.load("kafka_stream", "2024-03-01").lost == (f"{topic}[0] 0-2 (retention)",)
    assert loader.load("kafka_stream", "2024-03-01", "2024-03-05").lost == ()
    assert customer_counts(loader) == once("b2", "a3", "b3", "a4", "b4", "a5", "b5")
    assert gaps(loader) == [(0, 0, 2, "retention")]


def test_skipped_window_that_expired_is_reported_around_loaded_offsets(
    loader: Loader, topic: str, produce: Produce, admin: AdminClient
) -> None:
    five_days(produce)
    loader.load("kafka_stream", "2024-03-02")
    expire(admin, topic, 6)
    loader.load("kafka_stream", "2024-03-01", "2024-03-05")
    assert gaps(loader) == [(0, 0, 1, "retention"), (0, 4, 5, "retention")]
    assert next_offsets(loader)[0] == 10


def test_fully_expired_topic_reports_all_offsets(
    loader: Loader, topic: str, produce: Produce, admin: AdminClient
) -> None:
    five_days(produce)
    loader.load("kafka_stream", "2024-03-01")
    expire(admin, topic, 10)
    assert loader.load("kafka_stream", "2024-03-02").lost == (f"{topic}[0] 2-9 (retention)",)
    assert next_offsets(loader)[0] == 10
    assert loader.load("kafka_stream", "2024-03-03").lost == ()


def test_dry_run_reports_loss_without_recording_it(
    loader: Loader, topic: str, produce: Produce, admin: AdminClient
) -> None:
    five_days(produce)
    loader.load("kafka_stream", "2024-03-01")
    expire(admin, topic, 4)
    assert loader.load("kafka_stream", "2024-03-02", dry_run=True).lost == (f"{topic}[0] 2-3 (retention)",)
    assert gaps(loader) == []


def transactional(bootstrap: str, name: str) -> Producer:
    """A producer that does transactions."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name})
    producer.init_transactions(20)
    return producer


def send(producer: Producer, topic: str, *customers: str) -> None:
    """Begin a transaction with events of 1 March in partition 0."""
    producer.begin_transaction()
    for customer in customers:
        _, value = event(customer, "2024-03-01T10:00:00")
        producer.produce(topic, value, key=customer, partition=0, timestamp=1709287200000)
    assert producer.flush(20) == 0


def wait_until_stable(bootstrap: str, topic: str, end: int | None = None) -> None:
    """
    Wait until partition 0 can be read up to an offset; None: up to its end.

    Apache Kafka writes the marker of a transaction's end some time after its producer was told that it has ended.
    """
    deadline = time.monotonic() + 30
    ends = {}
    while True:
        for level in ("read_committed", "read_uncommitted"):
            consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ends", "isolation.level": level})
            _, ends[level] = consumer.get_watermark_offsets(TopicPartition(topic, 0), 10)
            consumer.close()
        if ends["read_committed"] == (ends["read_uncommitted"] if end is None else end):
            return
        assert time.monotonic() < deadline, ends
        time.sleep(0.02)


def test_only_committed_transactions_are_read(loader: Loader, shop_kafka: str, topic: str) -> None:
    transactions = transactional(shop_kafka, topic)
    send(transactions, topic, "C1", "C2")
    transactions.commit_transaction(20)
    send(transactions, topic, "aborted")
    transactions.abort_transaction(20)
    send(transactions, topic, "C3")
    transactions.commit_transaction(20)
    # Of another producer: noida-db names aborted transactions that ended before the fetched offset, which Kafka does
    # not, and librdkafka takes what their producer sends next for aborted.
    still_open = transactional(shop_kafka, f"{topic}-2")
    send(still_open, topic, "open")
    wait_until_stable(shop_kafka, topic, 7)
    result = loader.load("kafka_stream", "2024-03-01", TODAY)
    assert customer_counts(loader) == once("C1", "C2", "C3")
    # 0 C1, 1 C2, 2 marker, 3 aborted, 4 marker, 5 C3, 6 marker, 7 open: not stable, so the read ends before it.
    assert next_offsets(loader)[0] == 7
    assert gaps(loader) == [(0, 2, 4, "transaction"), (0, 6, 6, "transaction")]
    assert result.lost == ()
    # The offsets of markers are known to hold nothing: nothing before the open transaction is read again.
    assert loader.load("kafka_stream", "2024-03-01", TODAY).rows_read == 0
    still_open.commit_transaction(20)
    wait_until_stable(shop_kafka, topic)
    assert loader.load("kafka_stream", "2024-03-01", TODAY).rows_read == 1
    assert customer_counts(loader) == once("C1", "C2", "C3", "open")
    assert next_offsets(loader)[0] == 9


def test_gap_in_compacted_topic_has_unclear_cause(
    loader: Loader, shop_kafka: str, monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    compacted = f"{topic}-compacted"
    create_topic(shop_kafka, compacted, **{"cleanup.policy": "compact,delete"})
    set_topic(monkeypatch, compacted)
    producer = transactional(shop_kafka, compacted)
    send(producer, compacted, "gone")
    producer.abort_transaction(20)
    send(producer, compacted, "C1")
    producer.commit_transaction(20)
    wait_until_stable(shop_kafka, compacted)
    result = loader.load("kafka_stream", "2024-03-01", TODAY)
    assert customer_counts(loader) == once("C1")
    assert result.lost == (
        f"{compacted}[0] 0-1 (compaction or transaction)",
        f"{compacted}[0] 3-3 (compaction or transaction)",
    )


def offsets_there(bootstrap: str, topic: str) -> list[int]:
    """The offsets of partition 0 that hold a message."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "offsets", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    while (message := consumer.poll(10)) and not message.error():
        found.append(message.offset() or 0)
    consumer.close()
    return found


def test_messages_compacted_before_read_are_reported(
    loader: Loader, shop_kafka: str, monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    """The broker's cleaner keeps the last message of a key; those of segments that are written no more."""
    compacted = f"{topic}-compacted"
    create_topic(
        shop_kafka,
        compacted,
        **{"cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0"},
    )
    set_topic(monkeypatch, compacted)
    producer = Producer({"bootstrap.servers": shop_kafka, "linger.ms": 0})

    # By the message's time too: Apache Kafka goes by that, noida-db by the clock.
    seconds = itertools.count(1709287200)

    def produce(key: str, customer: str) -> None:
        at = next(seconds) * 1000
        producer.produce(compacted, event(customer, "2024-03-01T10:00:00")[1], key, 0, timestamp=at)
        assert producer.flush(20) == 0
        # A segment of its own each.
        time.sleep(0.1)

    produce("A", "a0")
    produce("B", "b1")
    assert loader.load("kafka_stream", "2024-03-01").rows_loaded == 2
    for key, customer in (("A", "a2"), ("A", "a3"), ("C", "c4"), ("D", "d5")):
        produce(key, customer)
    deadline = time.monotonic() + 30
    while (there := offsets_there(shop_kafka, compacted)) != [1, 3, 4, 5]:
        assert time.monotonic() < deadline, there
    result = loader.load("kafka_stream", "2024-03-01")
    # Offset 0 was read before it went; 2 never was.
    assert customer_counts(loader) == once("a0", "b1", "a3", "c4", "d5")
    assert result.lost == (f"{compacted}[0] 2-2 (compaction or transaction)",)
    assert next_offsets(loader)[0] == 6
    assert loader.load("kafka_stream", "2024-03-01").lost == ()


def test_every_offset_below_stored_offset_is_accounted_for(
    loader: Loader, shop_kafka: str, topic: str, produce: Produce, admin: AdminClient
) -> None:
    five_days(produce)
    produce(("2024-03-05T10:00:00", None), ("2024-03-05T10:00:00", b"\xff"))
    expire(admin, topic, 3)
    loader.load("kafka_stream", "2024-03-01", "2024-03-02")
    transactions = transactional(shop_kafka, topic)
    send(transactions, topic, "aborted")
    transactions.abort_transaction(20)
    wait_until_stable(shop_kafka, topic)
    loader.load("kafka_stream", "2024-03-04")
    produce(event("a6", "2024-03-06T01:00:00"))
    loader.load("kafka_stream", "2024-03-06", TODAY)
    accounted = loader.rows(
        "select _offset, 'raw' from raw.kafka_stream where _partition = 0"
        " union all select (payload ->> 'offset')::bigint, 'quarantine' from ops.quarantine"
        " union all select generate_series(first_offset, last_offset), cause from ops.kafka_gap order by 1"
    )
    assert [offset for offset, _ in accounted] == list(range(next_offsets(loader)[0]))
    assert [what for _, what in accounted] == [
        *["retention"] * 3, *["raw"] * 7, *["quarantine"] * 2, *["transaction"] * 2, "raw",
    ]  # fmt: skip


def test_added_partition_is_read_from_first_message(
    loader: Loader, topic: str, produce: Produce, admin: AdminClient
) -> None:
    produce(event("C1", "2024-03-01T10:00:00"))
    loader.load("kafka_stream", "2024-03-01")
    for done in admin.create_partitions([NewPartitions(topic, PARTITIONS + 1)]).values():
        done.result(10)
    # A new client of the producer's: the old one knows three partitions for a while.
    producer = Producer({"bootstrap.servers": ",".join({str(b) for b in admin.list_topics().brokers.values()})})
    for number, (_, value) in enumerate(
        (event("C2", "2024-03-02T10:00:00"), event("C3", "2024-03-05T10:00:00"), event("C4", "2024-03-06T10:00:00"))
    ):
        producer.produce(topic, value, partition=PARTITIONS, timestamp=1709373600000 + number)
    assert producer.flush(20) == 0
    # The days between were never asked for.
    loader.load("kafka_stream", "2024-03-05")
    assert customer_counts(loader) == once("C1", "C2", "C3", "C4")
    assert next_offsets(loader)[PARTITIONS] == 3


def recreate(admin: AdminClient, bootstrap: str, topic: str) -> None:
    for done in admin.delete_topics([topic]).values():
        done.result(10)
    create_topic(bootstrap, topic)


def test_recreated_topic_is_refused(
    loader: Loader, shop_kafka: str, topic: str, produce: Produce, admin: AdminClient
) -> None:
    five_days(produce)
    produce(("2024-03-05T10:00:00", "{"))
    loader.load("kafka_stream", "2024-03-01", "2024-03-05")
    before = {name: rows for name, rows in loader.everything().items() if name != "ops.load_batch"}
    recreate(admin, shop_kafka, topic)
    producer = Producer({"bootstrap.servers": shop_kafka})
    _, value = event("new", "2024-03-06T10:00:00")
    producer.produce(topic, value, partition=0, timestamp=1709719200000)
    assert producer.flush(20) == 0
    says = (
        rf"^kafka_stream: {topic}\[0\] ends at offset 1, but was read up to 10 before: the topic was deleted and "
        r"created again, or has lost messages\. .*docs/kafka\.md, 'A topic that begins again'$"
    )
    with pytest.raises(SourceError, match=says):
        loader.load("kafka_stream", "2024-03-06")
    assert {name: rows for name, rows in loader.everything().items() if name != "ops.load_batch"} == before

    # What the page tells to do.
    section = PAGE.split("## A topic that begins again")[1].split("\n## ")[0]
    (statements,) = re.findall(r"^```sql\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    loader.connection.execute(statements.replace("customer_interactions", topic).encode())
    assert loader.load("kafka_stream", "2024-03-06").rows_loaded == 1
    assert customer_counts(loader) == once("new", *(f"{letter}{day}" for letter in "ab" for day in range(1, 6)))
    assert loader.rows("select partition, next_offset from ops.kafka_offset where topic = %s", [topic]) == [
        (0, 1),
        (1, 0),
        (2, 0),
    ]
    assert loader.load("kafka_stream", "2024-03-06").rows_read == 0


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Let the broker answer what a topic's id is, or with an error: the broker of the tests gives its topics none."""

    def says(answer: Any) -> None:
        def describe_topics(self: AdminClient, topics: TopicCollection, **_: Any) -> dict[str, Future]:
            future: Future = Future()
            if isinstance(answer, int):
                future.set_exception(KafkaException(KafkaError(answer)))
            else:
                future.set_result(SimpleNamespace(topic_id=answer))
            return dict.fromkeys(topics.topic_names, future)

        monkeypatch.setattr(AdminClient, "describe_topics", describe_topics)

    return says


def test_topic_with_other_id_is_refused(
    loader: Loader, topic: str, produce: Produce, says: Callable[[Any], None]
) -> None:
    """A topic that was made anew, and has as many messages as the one before."""
    produce(event("C1", "2024-03-01T10:00:00"))
    says("one")
    loader.load("kafka_stream", "2024-03-01")
    says("another")
    with pytest.raises(SourceError, match=r"its id was one and is another\. .*docs/kafka\.md"):
        loader.load("kafka_stream", "2024-03-01")
    # Who may not ask reads on.
    says(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert loader.load("kafka_stream", "2024-03-01").rows_read == 0


def test_unavailable_broker_is_not_taken_for_one_without_topic_ids(
    loader: Loader, topic: str, produce: Produce, says: Callable[[Any], None]
) -> None:
    produce(event("C1", "2024-03-01T10:00:00"))
    says(KafkaError._TIMED_OUT)
    with pytest.raises(SourceError, match="cannot be read"):
        loader.load("kafka_stream", "2024-03-01")
    assert next_offsets(loader) == {}


def test_late_duplicate_and_unordered_messages_are_loaded_once(loader: Loader, topic: str, produce: Produce) -> None:
    doubled = event("C1", "2024-03-01T10:00:00")
    produce(doubled, event("C3", "2024-03-03T10:00:00"), doubled, event("C2", "2024-03-02T10:00:00"))
    # 2 March is behind 3 March in the partition: the window of its day ends before it, and the next load brings it.
    loader.load("kafka_stream", "2024-03-01")
    assert customer_counts(loader) == once("C1")
    loader.load("kafka_stream", "2024-03-02")
    loader.load("kafka_stream", "2024-03-03")
    # Each message is kept; that two of them are one event is for staging to say.
    assert customer_counts(loader) == {"C1": 2, "C2": 1, "C3": 1}
    assert next_offsets(loader)[0] == 4
    # An event that happened long before it was published is read by its publication, and marks the day it happened.
    loader.pop_dirty_dates()
    _, value = event("late", "2024-02-01T10:00:00")
    produce(("2024-03-04T10:00:00", value))
    assert loader.load("kafka_stream", "2024-03-04").rows_loaded == 1
    assert loader.pop_dirty_dates() == {("kafka_stream", "2024-02-01")}


def test_rejected_message_keeps_headers_and_key(loader: Loader, produce: Produce) -> None:
    headers = [("trace", b"\xff"), ("trace", "2"), ("empty", None), ("größe", "ä")]
    produce(("2024-03-01T10:00:00", None), headers=headers)
    produce(("2024-03-01T10:00:00", "{"), key=b"C1")
    loader.load("kafka_stream", "2024-03-01")
    (tombstone,), (broken,) = loader.rows("select payload from ops.quarantine order by payload -> 'offset'")
    assert tombstone["headers"] == [["trace", {"base64": "/w=="}], ["trace", "2"], ["empty", None], ["größe", "ä"]]
    assert (tombstone["key"], tombstone["value"]) == (None, None)
    assert (broken["key"], broken["value"], "headers" in broken) == ("C1", "{", False)


def test_read_ends_while_producer_continues(loader: Loader, shop_kafka: str, topic: str) -> None:
    _, value = event("C1", "2024-03-01T10:00:00")
    producer = Producer({"bootstrap.servers": shop_kafka, "linger.ms": 0})
    is_over, sent = threading.Event(), 0

    def go_on() -> None:
        nonlocal sent
        while not is_over.is_set():
            for partition in range(PARTITIONS):
                producer.produce(topic, value, partition=partition, timestamp=1709287200000)
            producer.flush(10)
            sent += PARTITIONS

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        while sent < 300:
            time.sleep(0.01)
        total = loader.load("kafka_stream", "2024-03-01").rows_loaded
        assert total >= 300
        assert not is_over.is_set()
        total += loader.load("kafka_stream", "2024-03-01").rows_loaded
    finally:
        is_over.set()
        thread.join(20)
    total += loader.load("kafka_stream", "2024-03-01").rows_loaded
    assert total == sent == loader.value("select count(*) from raw.kafka_stream")
    assert sum(next_offsets(loader).values()) == sent


def test_concurrent_loads_take_each_message_once(loader: Loader, produce: Produce) -> None:
    """The daily run and the one of every 15 minutes."""
    for partition in range(PARTITIONS):
        produce(*(event(f"C{partition}-{n}", "2024-03-01T10:00:00") for n in range(50)), partition=partition)
    is_reading, others = threading.Event(), []

    class Slow(KafkaReader):
        def new_rows(self, resume: ResumePoints, lineage: Sequence[str]) -> Iterator[bytes]:
            for number, chunk in enumerate(super().new_rows(resume, lineage)):
                if number == 0:
                    is_reading.set()
                    # The other one has come, and waits.
                    while not loader_waits():
                        time.sleep(0.01)
                yield chunk

    def loader_waits() -> bool:
        with warehouse(LOADER) as watching:
            row = watching.execute("select exists (select from pg_locks where locktype = 'advisory' and not granted)")
            return row.fetchone() == (True,)

    def other() -> None:
        is_reading.wait(20)
        with warehouse(LOADER) as connection:
            others.append(Loader(connection).load("kafka_stream", "2024-03-01", "2024-03-02"))

    thread = threading.Thread(target=other)
    thread.start()
    day = Window.of_days(date(2024, 3, 1), date(2024, 3, 1))
    mine = loader.load(
        "kafka_stream", "2024-03-01", reader=Slow(SOURCES["kafka_stream"], shop().location_of("kafka_stream"), day)
    )
    thread.join(30)
    assert (mine.rows_loaded, others[0].rows_read) == (150, 0)
    assert len(customer_counts(loader)) == 150
    assert next_offsets(loader) == {0: 50, 1: 50, 2: 50}
