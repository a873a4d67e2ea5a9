"""Produce the events of a shop folder: all of them, in order of time, each with the timestamp of its event."""

import json
import shutil
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from include.demo.shop.fill_sources import produce_events
from include.demo.shop.shop_folder import ShopDataError

HEADER = "customer_id,product_id,interaction_type,timestamp\n"
TIMEOUT = 20


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """The name of a topic for this test alone."""
    return f"t{zlib.crc32(request.node.nodeid.encode())}"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder that has only events."""

    def write(events: str, messages: str | None = None) -> Path:
        (tmp_path / "kafka_stream.csv").write_text(HEADER + events, encoding="utf-8")
        if messages is not None:
            (tmp_path / "messages.jsonl").write_text(messages, encoding="utf-8")
        return tmp_path

    return write


def consume(bootstrap: str, topic: str, partitions: int = 3) -> list[list[Message]]:
    """Read all messages of a topic, per partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "enable.auto.commit": False})
    result: list[list[Message]] = [[] for _ in range(partitions)]
    left = 0
    for partition in range(partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT)
        left += high - low
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    while left:
        message = consumer.poll(TIMEOUT)
        assert message is not None
        assert message.error() is None
        result[message.partition() or 0].append(message)
        left -= 1
    consumer.close()
    return result


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_all_events_are_produced_in_order_of_time(kafka_bootstrap: str, topic: str, generated: Path) -> None:
    count = produce_events(kafka_bootstrap, generated, topic=topic)
    partitions = consume(kafka_bootstrap, topic)
    events = (generated / "kafka_stream.csv").read_text(encoding="utf-8").count("\n") - 1
    others = (generated / "messages.jsonl").read_text(encoding="utf-8").count("\n")
    assert count == events + others == sum(map(len, partitions))
    assert all(partitions)
    for messages in partitions:
        times = [message.timestamp()[1] for message in messages]
        assert times == sorted(times)


def test_offsets_for_times_finds_the_first_event_of_a_day(kafka_bootstrap: str, topic: str, generated: Path) -> None:
    produce_events(kafka_bootstrap, generated, topic=topic)
    day = moment("2024-01-08T00:00:00")
    consumer = Consumer({"bootstrap.servers": kafka_bootstrap, "group.id": "test"})
    found = consumer.offsets_for_times([TopicPartition(topic, n, day) for n in range(3)], timeout=TIMEOUT)
    consumer.close()
    for place, messages in zip(found, consume(kafka_bootstrap, topic), strict=True):
        expected = next(message.offset() for message in messages if message.timestamp()[1] >= day)
        assert place.offset == expected


def test_same_folder_gives_the_same_offsets(kafka_bootstrap: str, topic: str, generated: Path) -> None:
    def contents(name: str) -> list[list[tuple]]:
        produce_events(kafka_bootstrap, generated, topic=name)
        return [
            [(message.offset(), message.key(), message.value(), message.timestamp()) for message in messages]
            for messages in consume(kafka_bootstrap, name)
        ]

    assert contents(topic) == contents(f"{topic}-again")


def test_rows_are_sorted_by_time_in_any_notation(kafka_bootstrap: str, topic: str, write: Callable[..., Path]) -> None:
    folder = write(
        "CUST001,PROD001,purchase,2024-03-01T10:00:00Z\n"
        "CUST001,PROD001,add_to_cart,2024-03-01T11:30:00+02:00\n"
        "CUST001,,view,2024-03-01T09:00:00.250\n"
    )
    assert produce_events(kafka_bootstrap, folder, topic=topic, partitions=1) == 3
    (messages,) = consume(kafka_bootstrap, topic, 1)
    assert [json.loads(message.value() or b"") for message in messages] == [
        {
            "customer_id": "CUST001",
            "product_id": None,
            "interaction_type": "view",
            "timestamp": "2024-03-01T09:00:00.250",
        },
        {
            "customer_id": "CUST001",
            "product_id": "PROD001",
            "interaction_type": "add_to_cart",
            "timestamp": "2024-03-01T11:30:00+02:00",
        },
        {
            "customer_id": "CUST001",
            "product_id": "PROD001",
            "interaction_type": "purchase",
            "timestamp": "2024-03-01T10:00:00Z",
        },
    ]
    assert [message.timestamp()[1] for message in messages] == [
        moment("2024-03-01T09:00:00.250"),
        moment("2024-03-01T09:30:00"),
        moment("2024-03-01T10:00:00"),
    ]
    assert {message.key() for message in messages} == {b"CUST001"}


def test_row_with_unreadable_time_gets_the_time_of_the_row_before(
    kafka_bootstrap: str, topic: str, write: Callable[..., Path]
) -> None:
    folder = write(
        ",P1,view,never\n"
        "C1,P2,view,2024-03-01T10:00:00\n"
        "C1,P3,view,2024-13-45T10:00:00\n"
        "C1,P4,view,1924-03-01T10:00:00\n"
        "C1,P5,view,2024-03-01T08:00:00\n"
        "C1,P6,view,\n"
    )
    produce_events(kafka_bootstrap, folder, topic=topic, partitions=1)
    (messages,) = consume(kafka_bootstrap, topic, 1)
    early, late = moment("2024-03-01T08:00:00"), moment("2024-03-01T10:00:00")
    assert [(json.loads(message.value() or b"")["product_id"], message.timestamp()[1]) for message in messages] == [
        ("P5", early),
        ("P6", early),
        ("P1", late),
        ("P2", late),
        ("P3", late),
        ("P4", late),
    ]


def test_messages_file_is_produced_unchanged(kafka_bootstrap: str, topic: str, write: Callable[..., Path]) -> None:
    folder = write(
        "C1,P1,view,2024-03-01T10:00:00\n",
        '{"published_at": "2024-03-01T11:00:00Z", "key": "C2", "value": null}\n'
        '{"published_at": "2024-03-01T12:00:00Z", "key": null, "value": "{broken"}\n'
        '{"published_at": "2024-03-01T09:00:00Z", "key": "C3", "value_base64": "R3L232U="}\n',
    )
    assert produce_events(kafka_bootstrap, folder, topic=topic, partitions=1) == 4
    (messages,) = consume(kafka_bootstrap, topic, 1)
    assert [(message.key(), message.value()) for message in messages[:1] + messages[2:]] == [
        (b"C3", "Größe".encode("latin-1")),
        (b"C2", None),
        (None, b"{broken"),
    ]


def test_topic_that_has_messages_is_an_error(kafka_bootstrap: str, topic: str, write: Callable[..., Path]) -> None:
    folder = write("C1,P1,view,2024-03-01T10:00:00\n")
    produce_events(kafka_bootstrap, folder, topic=topic, partitions=2)
    with pytest.raises(ShopDataError, match="already holds 1 messages"):
        produce_events(kafka_bootstrap, folder, topic=topic, partitions=2)
    with pytest.raises(ShopDataError, match="has 2 partitions, expected 3"):
        produce_events(kafka_bootstrap, folder, topic=topic)


@pytest.mark.parametrize(
    ("events", "messages", "message"),
    [
        ("C1,P1,view\n", None, r"kafka_stream.csv, line 2: 3 fields, expected 4"),
        ("C1,P1,view,soon\n", None, r"kafka_stream.csv, column timestamp: no row has a time"),
        ("", "no json\n", r"messages.jsonl, line 1: .* expected"),
        ("", '{"key": "C1", "value": "x"}\n', r"messages.jsonl, line 1: .*published_at"),
        ("", '{"published_at": "soon", "value": "x"}\n', r"messages.jsonl, line 1: .*soon"),
        ("", '{"published_at": "2024-03-01", "value": 5}\n', r"messages.jsonl, line 1: "),
        ("", '{"published_at": "2024-03-01", "value_base64": "?"}\n', r"messages.jsonl, line 1: "),
    ],
)
def test_wrong_folder_creates_no_topic(
    kafka_bootstrap: str,
    topic: str,
    write: Callable[..., Path],
    events: str,
    messages: str | None,
    message: str,
) -> None:
    with pytest.raises(ShopDataError, match=message):
        produce_events(kafka_bootstrap, write(events, messages), topic=topic)
    consumer = Consumer({"bootstrap.servers": kafka_bootstrap, "group.id": "test"})
    assert topic not in consumer.list_topics(timeout=TIMEOUT).topics
    consumer.close()


def test_folder_without_messages_file_is_complete(
    kafka_bootstrap: str, topic: str, generated: Path, tmp_path: Path
) -> None:
    shutil.copy(generated / "kafka_stream.csv", tmp_path)
    events = (generated / "kafka_stream.csv").read_text(encoding="utf-8").count("\n") - 1
    assert produce_events(kafka_bootstrap, tmp_path, topic=topic) == events
