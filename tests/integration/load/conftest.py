"""A topic of each test's own, and a shop whose tables have every column."""

import os
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ecommerce.extract import kafka_topic
from tests.integration.load.events import Produce
from tests.integration.support import ALL_COLUMNS, set_topic

PARTITIONS = 3
#: Bytes of a message.
LARGEST = 20_000_000

#: Marks a test that runs on the demo's broker, and on Apache Kafka where that can run.
on_both_brokers = pytest.mark.parametrize("shop_kafka", ["noida-db", "Apache Kafka"], indirect=True)
#: Marks a test that runs only there.
on_apache_kafka = pytest.mark.parametrize("shop_kafka", ["Apache Kafka"], indirect=True)


def create_topic(bootstrap: str, topic: str, **config: str) -> None:
    wanted = NewTopic(
        topic,
        PARTITIONS,
        replication_factor=1,
        config={"retention.ms": "-1", "max.message.bytes": str(LARGEST)} | config,
    )
    # Held until the answer is there: it takes its requests with it.
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([wanted])[topic].result(timeout=20)


@pytest.fixture
def shop(shop: psycopg.Connection) -> psycopg.Connection:
    """The shop's database with its tables, empty, with every column that the registry knows."""
    shop.execute(ALL_COLUMNS.encode())
    return shop


@pytest.fixture
def topic(shop_kafka: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A topic of the test's own, of three partitions, that the source reads."""
    topic = f"t{os.urandom(6).hex()}"
    create_topic(shop_kafka, topic)
    set_topic(monkeypatch, topic)
    return topic


@pytest.fixture
def produce(shop_kafka: str, topic: str) -> Produce:
    """
    Produce messages: (published, value), the value text, bytes or None, or a customer_id for an event of that time.
    """
    producer = Producer(
        {
            "bootstrap.servers": shop_kafka,
            "compression.type": "zstd",
            "linger.ms": 0,
            "message.max.bytes": LARGEST,
        }
    )

    def delivered(error: KafkaError | None, _: Message) -> None:
        assert error is None, error

    def produce(*messages: tuple[str, Any], partition: int = 0, key: bytes | None = None, **more: Any) -> None:
        for published, value in messages:
            at = datetime.fromisoformat(published).replace(tzinfo=UTC)
            producer.produce(
                topic, value, key, partition, timestamp=int(at.timestamp() * 1000), on_delivery=delivered, **more
            )
        assert producer.flush(20) == 0

    return produce


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that does not answer is waited for no longer than a second."""
    monkeypatch.setattr(kafka_topic, "REQUEST_TIMEOUT", 1.0)
