"""A read while nodes of Apache Kafka end and come back: three nodes, one of which may be killed."""

import json
import os
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from ecommerce.extract import kafka_reader
from tests.apache_kafka.server import ApacheKafka, Node, apache_kafka
from tests.integration.load.events import customer_counts, event, next_offsets, once
from tests.integration.load.test_apache_kafka import Paused
from tests.integration.load.test_kafka_gaps import gaps
from tests.integration.support import Loader, set_topic

pytestmark = pytest.mark.slow

MESSAGES = 300
#: A node that is silent for so long is taken for dead.
SETTINGS = {"broker.session.timeout.ms": 3000, "broker.heartbeat.interval.ms": 300}


@pytest.fixture(scope="module")
def cluster(apache_kafka_can_run: None, set_connection: Callable[[str, str], None]) -> Iterator[ApacheKafka]:
    """Three nodes; the connection fetches little ahead of the reader."""
    with apache_kafka(3, SETTINGS) as cluster:
        extra = {"bootstrap.servers": cluster.bootstrap, "fetch.message.max.bytes": "1000", "queued.min.messages": "1"}
        extra |= {"queued.max.messages.kbytes": "1", "fetch.queue.backoff.ms": "1", "log_level": "0"}
        set_connection("shop_kafka", json.dumps({"conn_type": "kafka", "extra": extra}))
        yield cluster


@pytest.fixture
def topic_on(cluster: ApacheKafka, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[list[int]]], str]:
    """Make a topic whose partitions lie on these nodes, with messages of 1 March; its name."""
    monkeypatch.setattr(kafka_reader, "BATCH", 5)

    def make(replicas: list[list[int]]) -> str:
        topic = f"t{os.urandom(6).hex()}"
        wanted = NewTopic(topic, len(replicas), replica_assignment=replicas, config={"retention.ms": "-1"})
        cluster.admin.create_topics([wanted])[topic].result(20)
        set_topic(monkeypatch, topic)
        producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 0})
        for number in range(MESSAGES):
            _, value = event(f"C{number}", "2024-03-01T10:00:00", note="x" * 200)
            producer.produce(topic, value, partition=number % len(replicas), timestamp=1709287200000)
            producer.flush(20)
        return topic

    return make


def leader(cluster: ApacheKafka, topic: str) -> Node:
    """The node that has partition 0 now."""
    number = cluster.admin.list_topics(topic, timeout=10).topics[topic].partitions[0].leader
    return next(node for node in cluster.nodes if node.number == number)


def is_whole(loader: Loader) -> None:
    assert customer_counts(loader) == once(*(f"C{number}" for number in range(MESSAGES)))
    assert sum(next_offsets(loader).values()) == MESSAGES
    assert gaps(loader) == []
    assert loader.load("kafka_stream", "2024-03-01").rows_read == 0


def test_read_goes_on_at_next_leader(
    loader: Loader, cluster: ApacheKafka, topic_on: Callable[[list[list[int]]], str]
) -> None:
    topic = topic_on([[1, 2, 3], [2, 3, 1], [3, 1, 2]])
    killed = leader(cluster, topic)

    def kill() -> None:
        killed.kill()
        deadline = time.monotonic() + 30
        while leader(cluster, topic) is killed:
            assert time.monotonic() < deadline, "no other node leads the partition"
            time.sleep(0.1)

    try:
        loader.load("kafka_stream", "2024-03-01", reader=Paused("2024-03-01", "2024-03-01", kill))
        is_whole(loader)
    finally:
        killed.start()
        cluster.wait_until_it_answers()


def test_read_waits_for_broker_that_is_started_again(
    loader: Loader, cluster: ApacheKafka, topic_on: Callable[[list[list[int]]], str]
) -> None:
    """The only one that has the messages."""
    topic = topic_on([[2]])
    killed = leader(cluster, topic)

    def kill_and_start() -> None:
        killed.kill()
        killed.start()

    reader = Paused("2024-03-01", "2024-03-01", kill_and_start)
    assert loader.load("kafka_stream", "2024-03-01", reader=reader).rows_loaded == MESSAGES
    is_whole(loader)
