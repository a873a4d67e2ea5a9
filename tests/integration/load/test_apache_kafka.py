"""
Loading from Apache Kafka what noida-db, the demo's broker, cannot do: times of the broker's own, ids of topics, real
retention. What both can do is in `test_kafka.py` and `test_kafka_gaps.py`; docs/kafka.md has the table.
"""

import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from ecommerce.common.errors import SourceError
from ecommerce.common.shop import shop
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Window
from ecommerce.extract import kafka_reader
from ecommerce.extract.kafka_reader import KafkaReader
from ecommerce.extract.reader_protocol import ResumePoints
from tests.integration.load.conftest import PARTITIONS, create_topic, on_apache_kafka
from tests.integration.load.events import Produce, customer_counts, event, next_offsets, once
from tests.integration.load.test_kafka_gaps import TODAY, gaps, recreate, send, transactional, wait_until_stable
from tests.integration.support import Loader, set_topic

pytestmark = on_apache_kafka


@pytest.fixture
def admin(shop_kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": shop_kafka})


@pytest.fixture
def topic_with(shop_kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Make the topic that the source reads, with settings of its own; its name."""

    def make(**config: str) -> str:
        create_topic(shop_kafka, f"{topic}-own", **config)
        set_topic(monkeypatch, f"{topic}-own")
        return f"{topic}-own"

    return make


class Paused(KafkaReader):
    """Calls a function between the first block of messages and the second."""

    def __init__(self, first: str, last: str, meanwhile: Callable[[], None]) -> None:
        window = Window.of_days(date.fromisoformat(first), date.fromisoformat(last))
        super().__init__(SOURCES["kafka_stream"], shop().location_of("kafka_stream"), window)
        self._meanwhile = meanwhile

    def new_rows(self, resume: ResumePoints, lineage: Sequence[str]) -> Iterator[bytes]:
        for number, block in enumerate(super().new_rows(resume, lineage)):
            if number == 1:
                self._meanwhile()
            yield block
        assert number > 0, "all came in one block"


@pytest.fixture
def fetches_little(shop_kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The consumer fetches little ahead of the reader, so that what happens at the broker meanwhile reaches it."""
    extra = {"bootstrap.servers": shop_kafka, "fetch.message.max.bytes": "1000", "queued.min.messages": "1"}
    extra |= {"queued.max.messages.kbytes": "1", "fetch.queue.backoff.ms": "1"}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_KAFKA", json.dumps({"conn_type": "kafka", "extra": extra}))
    monkeypatch.setattr(kafka_reader, "BATCH", 5)


def test_time_of_the_broker_decides_window(loader: Loader, shop_kafka: str, topic_with: Callable[..., str]) -> None:
    """With LogAppendTime the producer's time counts for nothing."""
    topic = topic_with(**{"message.timestamp.type": "LogAppendTime"})
    producer = Producer({"bootstrap.servers": shop_kafka, "linger.ms": 0})
    sent_at = datetime.now(UTC)
    producer.produce(topic, event("C1", "2024-03-01T10:00:00")[1], partition=0, timestamp=1709287200000)
    assert producer.flush(20) == 0
    assert loader.load("kafka_stream", "2024-03-01").rows_read == 0
    assert loader.load("kafka_stream", sent_at.date().isoformat(), TODAY).rows_loaded == 1
    published_at = loader.value("select _published_at from raw.kafka_stream")
    assert abs(published_at - sent_at) < timedelta(seconds=20)
    assert loader.pop_dirty_dates() == {("kafka_stream", "2024-03-01")}


def test_unordered_times_over_many_segments_are_loaded_once(
    loader: Loader, shop_kafka: str, topic_with: Callable[..., str]
) -> None:
    """Whatever the order of times and of windows: the windows up to the last one bring each message once."""
    topic = topic_with(**{"segment.ms": "60000", "index.interval.bytes": "200", "message.timestamp.type": "CreateTime"})
    chance, sent = random.Random(23), Counter[str]()
    producer = Producer({"bootstrap.servers": shop_kafka, "linger.ms": 50, "compression.type": "lz4"})
    start = datetime(2024, 3, 1, tzinfo=UTC)
    for number in range(600):
        at = start + timedelta(seconds=chance.randrange(5 * 86_400))
        value = event(f"C{number}", f"{at:%Y-%m-%dT%H:%M:%S}")[1]
        producer.produce(topic, value, partition=number % PARTITIONS, timestamp=int(at.timestamp() * 1000))
        sent[f"C{number}"] += 1
        if chance.random() < 0.1:
            producer.flush(20)
    assert producer.flush(20) == 0
    days = [f"2024-03-0{day}" for day in range(1, 6)]
    for day in chance.sample(days, 5):
        loader.load("kafka_stream", day)
        # Nothing twice, and nothing before its window's first message is passed over for good.
        assert set(customer_counts(loader).values()) <= {1}
    loader.load("kafka_stream", days[0], days[-1])
    assert customer_counts(loader) == sent
    assert loader.load("kafka_stream", days[0], days[-1]).rows_read == 0
    assert gaps(loader) == []


def test_open_transaction_holds_back_what_follows_until_it_ends(
    loader: Loader, shop_kafka: str, topic: str, produce: Produce
) -> None:
    produce(event("before", "2024-03-01T09:00:00"))
    still_open = transactional(shop_kafka, topic)
    send(still_open, topic, "open")
    produce(event("after", "2024-03-01T11:00:00"), event("next day", "2024-03-02T11:00:00"))
    produce(event("elsewhere", "2024-03-01T11:00:00"), partition=1)
    started = time.monotonic()
    loader.load("kafka_stream", "2024-03-01", "2024-03-02")
    assert time.monotonic() - started < 10
    assert customer_counts(loader) == once("before", "elsewhere")
    assert next_offsets(loader) == {0: 1, 1: 1, 2: 0}
    # The day after begins behind the transaction, and nothing of before may be passed over.
    assert loader.load("kafka_stream", "2024-03-02").rows_read == 0
    assert next_offsets(loader)[0] == 1
    still_open.commit_transaction(20)
    wait_until_stable(shop_kafka, topic)
    loader.load("kafka_stream", "2024-03-02", TODAY)
    assert customer_counts(loader) == once("before", "open", "after", "next day", "elsewhere")
    # 0 before, 1 open, 2 after, 3 next day, 4 the marker.
    assert next_offsets(loader) == {0: 5, 1: 1, 2: 0}
    assert gaps(loader) == [(0, 4, 4, "transaction")]


def test_transaction_that_ends_during_read_is_read_by_next_load(
    loader: Loader, shop_kafka: str, topic: str, produce: Produce, fetches_little: None
) -> None:
    produce(*(event(f"C{number}", "2024-03-01T09:00:00") for number in range(20)))
    still_open = transactional(shop_kafka, topic)
    send(still_open, topic, "open")
    reader = Paused("2024-03-01", "2024-03-01", lambda: still_open.commit_transaction(20))
    assert loader.load("kafka_stream", "2024-03-01", reader=reader).rows_loaded == 20
    assert next_offsets(loader)[0] == 20
    wait_until_stable(shop_kafka, topic)
    assert loader.load("kafka_stream", "2024-03-01", TODAY).rows_loaded == 1
    assert next_offsets(loader)[0] == 22


def test_transaction_of_a_dead_producer_is_passed_over(
    loader: Loader, shop_kafka: str, topic: str, produce: Produce
) -> None:
    """The broker aborts it when its time is over."""
    settings = {"bootstrap.servers": shop_kafka, "transactional.id": topic, "transaction.timeout.ms": 1000}
    dead = Producer(settings)
    dead.init_transactions(20)
    send(dead, topic, "dead")
    produce(event("after", "2024-03-01T11:00:00"))
    assert loader.load("kafka_stream", "2024-03-01").rows_read == 0
    wait_until_stable(shop_kafka, topic)
    assert loader.load("kafka_stream", "2024-03-01", TODAY).rows_loaded == 1
    assert customer_counts(loader) == once("after")
    # 0 of the dead one, 1 after, 2 the marker.
    assert gaps(loader) == [(0, 0, 0, "transaction"), (0, 2, 2, "transaction")]
    assert next_offsets(loader)[0] == 3


def test_interleaved_transactions_are_loaded_as_they_end(loader: Loader, shop_kafka: str, topic: str) -> None:
    """Four producers commit and abort, and loads come between: what was committed is there once, nothing else is."""
    chance = random.Random(8)
    producers = [transactional(shop_kafka, f"{topic}-{number}") for number in range(4)]
    running: dict[int, list[str]] = {}
    committed, names = Counter[str](), itertools.count()
    for _ in range(40):
        number = chance.randrange(len(producers))
        if number not in running:
            running[number] = [f"C{next(names)}" for _ in range(chance.randrange(1, 4))]
            send(producers[number], topic, *running[number])
        elif chance.random() < 0.4:
            running.pop(number)
            producers[number].abort_transaction(20)
        else:
            producers[number].commit_transaction(20)
            committed.update(running.pop(number))
        if chance.random() < 0.1:
            loader.load("kafka_stream", "2024-03-01", TODAY)
    for number in running:
        producers[number].abort_transaction(20)
    wait_until_stable(shop_kafka, topic)
    loader.load("kafka_stream", "2024-03-01", TODAY)
    assert customer_counts(loader) == committed
    held = loader.value("select count(*) from raw.kafka_stream")
    empty = sum(last - first + 1 for _, first, last, _ in gaps(loader))
    assert {cause for *_, cause in gaps(loader)} == {"transaction"}
    assert held + empty == next_offsets(loader)[0]


def first_offset(bootstrap: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "first offset"})
    low, _ = consumer.get_watermark_offsets(TopicPartition(topic, 0), 10)
    consumer.close()
    return low


def test_messages_that_expire_during_read_are_reported_and_the_read_goes_on(
    loader: Loader, shop_kafka: str, topic_with: Callable[..., str], admin: AdminClient, fetches_little: None
) -> None:
    """The broker's own retention deletes what the reader has not come to; what is left is loaded by the same load."""
    topic = topic_with(**{"segment.ms": "1000", "retention.ms": "-1"})
    producer = Producer({"bootstrap.servers": shop_kafka, "linger.ms": 0})
    started = datetime.now(UTC)
    old, new = started - timedelta(days=40), started
    for number in range(60):
        # Forty of old times, twenty of now, each in a segment of its own.
        at = (old if number < 40 else new) + timedelta(seconds=2 * number)
        _, value = event(f"C{number}", f"{at:%Y-%m-%dT%H:%M:%S}", note="x" * 500)
        producer.produce(topic, value, partition=0, timestamp=int(at.timestamp() * 1000))
        assert producer.flush(20) == 0

    def expire() -> None:
        resource = ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[ConfigEntry("retention.ms", "86400000", incremental_operation=AlterConfigOpType.SET)],
        )
        admin.incremental_alter_configs([resource])[resource].result(10)
        deadline = time.monotonic() + 30
        while first_offset(shop_kafka, topic) < 40:
            assert time.monotonic() < deadline, "retention deletes nothing"
            time.sleep(0.05)

    first = (old - timedelta(days=1)).date().isoformat()
    result = loader.load("kafka_stream", first, TODAY, reader=Paused(first, TODAY, expire))
    (lost,) = gaps(loader)
    partition, begin, end, cause = lost
    assert (partition, end, cause) == (0, 39, "retention")
    assert 5 <= begin < 40
    assert customer_counts(loader) == once(*(f"C{number}" for number in [*range(begin), *range(40, 60)]))
    assert result.lost == (f"{topic}[0] {begin}-39 (retention)",)
    assert next_offsets(loader)[0] == 60
    assert loader.load("kafka_stream", first, TODAY).rows_read == 0


def test_recreated_topic_with_as_many_messages_is_refused(
    loader: Loader, shop_kafka: str, topic: str, produce: Produce, admin: AdminClient
) -> None:
    """By the id that the broker gives it: its offsets look like those of before."""
    produce(event("old", "2024-03-01T10:00:00"))
    loader.load("kafka_stream", "2024-03-01")
    recreate(admin, shop_kafka, topic)
    produce(event("new", "2024-03-01T10:00:00"), event("newer", "2024-03-01T11:00:00"))
    for _ in range(2):
        with pytest.raises(SourceError, match=rf"the topic '{topic}' .* is not the one that was read before: its id"):
            loader.load("kafka_stream", "2024-03-01")
    assert customer_counts(loader) == once("old")
    assert next_offsets(loader) == {0: 1, 1: 0, 2: 0}
    # What docs/kafka.md says for a topic that has moved and kept its offsets.
    loader.connection.execute("update ops.kafka_offset set topic_id = null where topic = %s", [topic])
    assert loader.load("kafka_stream", "2024-03-01").rows_loaded == 1
    assert customer_counts(loader) == once("old", "newer")


def test_topic_that_is_recreated_during_read_is_refused(
    loader: Loader, shop_kafka: str, topic: str, produce: Produce, admin: AdminClient, fetches_little: None
) -> None:
    """Neither the messages of before nor those of the new topic are taken, so none has the place of another."""
    produce(*(event(f"old{number}", "2024-03-01T10:00:00", note="x" * 500) for number in range(60)))

    def recreate_and_fill() -> None:
        recreate(admin, shop_kafka, topic)
        produce(*(event(f"new{number}", "2024-03-01T10:00:00", note="x" * 500) for number in range(60)))

    with pytest.raises(SourceError, match=re.escape(f"topic '{topic}' at the connection 'shop_kafka'")):
        loader.load("kafka_stream", "2024-03-01", reader=Paused("2024-03-01", "2024-03-01", recreate_and_fill))
    assert (customer_counts(loader), next_offsets(loader)) == ({}, {})
    assert loader.load("kafka_stream", "2024-03-01").rows_loaded == 60
    assert customer_counts(loader) == once(*(f"new{number}" for number in range(60)))


def test_absent_topic_is_not_made_by_reading_it(
    loader: Loader, shop_kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch, admin: AdminClient
) -> None:
    """The broker makes a topic that somebody asks for, by its default; not for a reader that has mistyped it."""
    set_topic(monkeypatch, f"{topic}-mistyped")
    with pytest.raises(SourceError, match=rf"topic '{topic}-mistyped' .* cannot be read: .*Unknown topic"):
        loader.load("kafka_stream", "2024-03-01")
    assert f"{topic}-mistyped" not in admin.list_topics(timeout=10).topics
