"""
Fill the systems that the warehouse reads from a shop folder: the shop's Postgres and the Kafka topic.

The weather has its own server, ``weather_api``, which reads the folder itself.
"""

import base64
import json
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from psycopg import sql

from include.demo.shop.shop_folder import (
    COLUMNS,
    EVENTS,
    MESSAGES,
    SHOP_TABLES,
    ShopDataError,
    csv_file,
    has_numbered_subscribers,
    header,
    read_folder,
    rows,
)

log = logging.getLogger(__name__)

TOPIC = "customer_interactions"

EXPECTED_VALUES = {
    "text": "UTF-8 text",
    "integer": "a whole number such as 3",
    "bigint": "a whole number such as 3",
    "numeric": "a number such as 12.50",
    "boolean": "true or false",
    "date": "a date such as 2024-01-31",
    "timestamp": "a time such as 2024-01-31 09:30:00 (UTC, or with an offset)",
    "timestamptz": "a time such as 2024-01-31 09:30:00 (UTC, or with an offset)",
}
COPY_ERROR_PLACE = re.compile(
    r'COPY \w+, line (?P<line>\d+)(?:, column (?P<column>\w+)(?:: "(?P<value>.*)")?)?', re.DOTALL
)
CHUNK_BYTES = 1 << 20

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
DELIVERY_SECONDS = 60
REPORT_EVERY = 25_000


def fill_shop(dsn: str, folder: Path, tables: Sequence[str] | None = None) -> dict[str, int]:
    """
    Replace the tables of the shop's Postgres by the CSV files of a shop folder, all in one transaction.

    Times without an offset are UTC; an empty field is null.

    :param tables: replace only the rows of these tables, e.g. by the folder ``opening``; None: make all tables new, and
        no table for a source that the folder does not have
    :return: table → number of rows
    :raises ShopDataError: a file is missing, malformed or has a value of the wrong type; nothing is changed
    """
    is_whole = tables is None
    if tables is None:
        tables = [table for table in SHOP_TABLES if table in read_folder(folder).sources]
    # First the headers, so that a wrong file is reported before a table is locked.
    columns = {table: header(folder, table) for table in tables}
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        # An ambiguous date such as 01/02/2024 is an error.
        cursor.execute("set local datestyle to 'ISO, YMD'; set local timezone to 'UTC'")
        if is_whole:
            _drop_tables(cursor, SHOP_TABLES)
        cursor.execute(sql.SQL((Path(__file__).parent / "shop.sql").read_text(encoding="utf-8")))
        if is_whole:
            _drop_tables(cursor, set(SHOP_TABLES) - set(tables))
            if "subscription_data" in tables and not has_numbered_subscribers(folder):
                cursor.execute("alter table subscription_data alter customer_id type text")
        return {table: _copy_table(cursor, folder, table, columns[table]) for table in tables}


def _drop_tables(cursor: psycopg.Cursor, tables: Iterable[str]) -> None:
    for table in tables:
        cursor.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(table)))


def _copy_table(cursor: psycopg.Cursor, folder: Path, table: str, columns: list[str]) -> int:
    path = csv_file(folder, table)
    name = sql.Identifier(table)
    times = [sql.Identifier(column) for column, kind in COLUMNS[table].items() if kind == "timestamp"]
    copy = sql.SQL("copy {} ({}) from stdin (format csv, header true, force_null *, encoding 'UTF8')").format(
        name, sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    cursor.execute(sql.SQL("truncate {}").format(name))
    # Postgres drops the offset of a time that it reads into a timestamp without time zone.
    for time in times:
        cursor.execute(sql.SQL("alter table {} alter {} type timestamptz").format(name, time))
    try:
        with cursor.copy(copy) as sink, path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                sink.write(chunk)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise ShopDataError(_error_message(path, table, columns, error)) from error
    count = cursor.rowcount
    for time in times:
        cursor.execute(sql.SQL("alter table {} alter {} type timestamp").format(name, time))
    log.info("%s: %d rows from %s", table, count, path)
    return count


def _error_message(path: Path, table: str, columns: Sequence[str], error: psycopg.Error) -> str:
    """Translate an error of COPY into terms of the file: name, line, column, value and the expected value."""
    place = COPY_ERROR_PLACE.match(error.diag.context or "")
    if place is None:
        return f"{path}: {error}"
    column = place["column"] or error.diag.column_name
    message = f"{path}, line {place['line']}"
    if column is None:
        return f"{message}: {error.diag.message_primary}; expected {len(columns)} fields in UTF-8"
    value = "nothing" if place["value"] is None else repr(place["value"])
    return f"{message}, column {column}: found {value}, expected {EXPECTED_VALUES[COLUMNS[table][column]]}"


class KafkaMessage(NamedTuple):
    """A message to produce; ``published`` in milliseconds since 1970."""

    published: int
    key: bytes | None
    value: bytes | None


def produce_events(bootstrap: str, folder: Path, *, topic: str = TOPIC, partitions: int = 3) -> int:
    """
    Create the topic and produce the events of ``kafka_stream.csv`` and ``messages.jsonl``, in order of time.

    A message has the timestamp of its event or, if that cannot be read, of the event before it in the file. The same
    folder gives the same messages at the same offsets.

    :return: number of messages, each confirmed by the broker
    :raises ShopDataError: a file is malformed, or the topic already has messages
    :raises KafkaException: the broker cannot be reached, or rejected the topic or a message
    """
    messages = sorted([*_events(folder), *_messages(folder)], key=lambda message: message.published)
    _empty_topic(bootstrap, topic, partitions)
    failures: list[KafkaError] = []

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "compression.type": "zstd",
            "linger.ms": 50,
            "message.timeout.ms": DELIVERY_SECONDS * 1000,
            # A message that is sent again must not come after a later one: offsets are in order of time.
            "max.in.flight.requests.per.connection": 1,
        }
    )
    for number, message in enumerate(messages, start=1):
        # As librdkafka does for messages with a key; it would spread those without a key at random.
        partition = zlib.crc32(message.key or b"") % partitions
        while True:
            try:
                producer.produce(
                    topic, message.value, message.key, partition, on_delivery=on_delivery, timestamp=message.published
                )
                break
            except BufferError:  # the queue is full
                producer.poll(1)
        producer.poll(0)
        if failures:
            break
        if number % REPORT_EVERY == 0:
            log.info("%s: %d of %d messages", topic, number, len(messages))
    producer.flush()
    if failures:
        raise KafkaException(failures[0])
    log.info("%s: %d messages in %d partitions", topic, len(messages), partitions)
    return len(messages)


def _empty_topic(bootstrap: str, topic: str, partitions: int) -> None:
    """Create the topic; a topic that exists must be empty and have this number of partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    known = admin.list_topics(timeout=DELIVERY_SECONDS).topics.get(topic)
    if known is None or known.error is not None:
        # The events have old timestamps: with a retention time the broker would delete them at once.
        new_topic = NewTopic(topic, partitions, replication_factor=1, config={"retention.ms": "-1"})
        admin.create_topics([new_topic])[topic].result(timeout=DELIVERY_SECONDS)
        return
    if len(known.partitions) != partitions:
        raise ShopDataError(f"topic {topic} has {len(known.partitions)} partitions, expected {partitions}")
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "shop-feed"})
    try:
        messages = 0
        for partition in known.partitions:
            place = TopicPartition(topic, partition)
            low, high = reader.get_watermark_offsets(place, timeout=DELIVERY_SECONDS)
            messages += high - low
    finally:
        reader.close()
    if messages:
        raise ShopDataError(f"topic {topic} already holds {messages} messages: delete it, or use another topic")


def _events(folder: Path) -> Iterator[KafkaMessage]:
    """Read the rows of ``kafka_stream.csv``, in the file's order."""
    path = csv_file(folder, EVENTS)
    undated: list[KafkaMessage] = []  # rows before the first time that can be read
    published: int | None = None
    for _, row in rows(folder, EVENTS):
        published = _milliseconds(row["timestamp"] or "") or published
        value = json.dumps({column: row[column] for column in COLUMNS[EVENTS]}, ensure_ascii=False)
        message = KafkaMessage(published or 0, _encode(row["customer_id"]), value.encode())
        if published is None:
            undated.append(message)
            continue
        yield from (earlier._replace(published=published) for earlier in undated)
        undated.clear()
        yield message
    if undated:
        raise ShopDataError(f"{path}, column timestamp: no row has a time that can be read (ISO 8601)")


def _messages(folder: Path) -> Iterator[KafkaMessage]:
    """Read the lines of ``messages.jsonl``, if the folder has one."""
    path = folder / MESSAGES
    if not path.is_file():
        return
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            fields = json.loads(line)
            published = _milliseconds(fields["published_at"])
            if published is None:
                raise ValueError(f"published_at {fields['published_at']!r} is no time after 1970 (ISO 8601)")
            if "value_base64" in fields:
                value: bytes | None = base64.b64decode(fields["value_base64"], validate=True)
            else:
                value = _encode(fields["value"])
            yield KafkaMessage(published, _encode(fields.get("key")), value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            expected = '{"published_at": time, "key": text or null, "value": text or null} or value_base64'
            raise ShopDataError(f"{path}, line {number}: {error!r}; expected {expected}") from error


def _encode(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _milliseconds(text: str) -> int | None:
    """Convert an ISO 8601 time (naive: UTC) to milliseconds since 1970; None if it is no time, or before 1970."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    milliseconds = ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // MILLISECOND
    return milliseconds if milliseconds > 0 else None
