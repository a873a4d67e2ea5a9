"""Read a window of a Kafka topic: offsets by time, bounded by the end offsets seen when the read starts."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from airflow.providers.apache.kafka.hooks.base import KafkaBaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from confluent_kafka import (
    OFFSET_END,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from ecommerce import faults
from ecommerce.errors import SourceError
from ecommerce.loading.ledger import Positions
from ecommerce.sources import Source
from ecommerce.windows import Window

log = logging.getLogger(__name__)

#: The topic of each source that is read from Kafka.
TOPICS = {"kafka_stream": "customer_interactions"}

#: Seconds to wait for the broker's answer, and for the next message of a read that is not at its end.
REQUEST_TIMEOUT = 30.0
SILENCE_TIMEOUT = 60.0
#: Messages and seconds of one batch.
BATCH = 10_000
BATCH_TIMEOUT = 0.2


class _ConsumerHook(KafkaBaseHook):
    """A consumer by the Airflow connection; offsets live in the warehouse, so Kafka stores none."""

    def _get_client(self, config: dict[str, Any]) -> Consumer:
        return Consumer(
            {
                "group.id": "ecommerce-warehouse",
                **config,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
            }
        )


class KafkaReader:
    """
    The messages of one topic whose broker timestamp falls into a window.

    Rows are the source's columns followed by the lineage columns, then the whole message as JSON and, where the
    value is no JSON object with texts, the reason. ``positions`` holds topic → partition → next offset after the read.
    """

    def __init__(self, source: Source, window: Window) -> None:
        self.source = source
        self.topic = TOPICS[source.name]
        self.columns = [*(column.name for column in source.loaded_columns), "_payload", "_refusal"]
        self.positions: dict[str, Mapping[int, int]] = {}
        self._window = window

    def read(self, resume: Positions) -> Iterator[list[str | None]]:
        """
        Rows in offset order a partition.

        :raises SourceError: no broker, no topic, or silence before the end of the read
        """
        try:
            consumer = self._connect()
            try:
                yield from self._read(consumer, resume)
            finally:
                consumer.close()
        except KafkaException as error:
            raise SourceError(
                f"{self.source.name}: topic {self.topic!r} at the connection {self.source.connection!r} "
                f"cannot be read: {error.args[0].str()}"
            ) from error

    def _connect(self) -> Consumer:
        try:
            return _ConsumerHook(self.source.connection).get_conn
        except AirflowNotFoundException as error:
            raise SourceError(
                f"{self.source.name}: there is no connection {self.source.connection!r}; "
                "add it under Admin → Connections"
            ) from error
        except ValueError as error:
            raise SourceError(
                f"{self.source.name}: the connection {self.source.connection!r} cannot be used: {error}"
            ) from error

    def _read(self, consumer: Consumer, resume: Positions) -> Iterator[list[str | None]]:
        ranges = self._ranges(consumer, resume)
        faults.point("topic_asked")
        open_ends = {partition: end for partition, (begin, end) in ranges.items() if begin < end}
        consumer.assign([TopicPartition(self.topic, p, ranges[p][0]) for p in open_ends])
        heard = time.monotonic()
        while open_ends:
            # `consume` waits to fill the batch, so its timeout is short and silence is counted here.
            messages = consumer.consume(BATCH, timeout=BATCH_TIMEOUT)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_TIMEOUT:
                raise SourceError(
                    f"{self.source.name}: no message from {self.topic!r} for {SILENCE_TIMEOUT:.0f} s, with partitions "
                    f"{sorted(open_ends)} not at their ends; is the broker up?"
                )
            for message in messages:
                partition = message.partition()
                if partition not in open_ends:
                    continue
                error, offset = message.error(), message.offset() or 0
                if error and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if not error and offset < open_ends[partition]:
                    yield self._row(message)
                if error or offset >= open_ends[partition] - 1:
                    del open_ends[partition]
                    consumer.incremental_unassign([TopicPartition(self.topic, partition)])
        self.positions = {self.topic: {partition: end for partition, (_, end) in ranges.items()}}
        faults.point("topic_read")

    def _ranges(self, consumer: Consumer, resume: Positions) -> dict[int, tuple[int, int]]:
        """Partition → offsets ``[begin, end)`` to read."""
        topics = consumer.list_topics(self.topic, timeout=REQUEST_TIMEOUT).topics
        if topics[self.topic].error:
            raise KafkaException(topics[self.topic].error)
        partitions = sorted(topics[self.topic].partitions)
        ends = {p: consumer.get_watermark_offsets(TopicPartition(self.topic, p), REQUEST_TIMEOUT) for p in partitions}
        firsts = self._offsets_at(consumer, partitions, self._window.start)
        lasts = self._offsets_at(consumer, partitions, self._window.end)
        ranges = {}
        for partition in partitions:
            low, high = ends[partition]
            first = high if firsts[partition] == OFFSET_END else max(firsts[partition], low)
            end = high if lasts[partition] == OFFSET_END else min(lasts[partition], high)
            begin = resume.resume_at(self.topic, partition, first)
            if begin < low:
                log.warning(
                    "%s: offsets %s to %s of %s[%s] were lost by the topic's retention before they were read",
                    self.source.name, begin, low - 1, self.topic, partition,
                )  # fmt: skip
                begin = low
            ranges[partition] = (begin, max(begin, end))
            log.info("%s[%s]: offsets %s to %s (exclusive)", self.topic, partition, begin, max(begin, end))
        return ranges

    def _offsets_at(self, consumer: Consumer, partitions: list[int], day: date) -> dict[int, int]:
        instant = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
        asked = [TopicPartition(self.topic, partition, instant) for partition in partitions]
        answered = consumer.offsets_for_times(asked, REQUEST_TIMEOUT)
        for found in answered:
            if found.error:
                raise KafkaException(found.error)
        return {found.partition: found.offset for found in answered}

    def _row(self, message: Message) -> list[str | None]:
        kind, milliseconds = message.timestamp()
        published = (
            None if kind == TIMESTAMP_NOT_AVAILABLE else datetime.fromtimestamp(milliseconds / 1000, tz=UTC).isoformat()
        )
        fields, refusal = self._decode(message.value())
        payload = {
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "published_at": published,
            "key": _readable(message.key()),
            "value": _readable(message.value()),
        }
        return [
            *fields,
            message.topic(),
            str(message.partition()),
            str(message.offset()),
            published,
            json.dumps(payload),
            refusal,
        ]

    def _decode(self, value: bytes | None) -> tuple[list[str | None], str | None]:
        names = [column.name for column in self.source.columns]
        nothing: list[str | None] = [None] * len(names)
        if value is None:
            return nothing, "the message has no value (a tombstone)"
        try:
            document = json.loads(value)
        except (ValueError, RecursionError) as error:
            # ValueError: bad UTF-8, bad JSON, or a number of thousands of digits, which Python refuses to read.
            return nothing, f"the value is not JSON: {type(error).__name__}"
        if not isinstance(document, dict):
            return nothing, f"the value is not a JSON object but {type(document).__name__}"
        for name in names:
            text = document.get(name)
            if text is not None and not isinstance(text, str):
                return nothing, f"{name} is not a text but {type(text).__name__}"
            if text is not None and not _storable(text):
                return nothing, f"{name} holds a character that Postgres cannot store"
        return [document.get(name) for name in names], None


def _storable(text: str) -> bool:
    # NUL, and lone surrogates that JSON can spell but UTF-8 cannot.
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _readable(value: bytes | None) -> Any:
    """Bytes as text where Postgres can store it, otherwise as base64, so that nothing of a refused message is lost."""
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
    return text if _storable(text) else {"base64": base64.b64encode(value).decode()}
