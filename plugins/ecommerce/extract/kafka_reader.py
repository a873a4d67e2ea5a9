"""Read a window of a Kafka topic: offsets by time, bounded by the end offsets seen when the read starts."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from airflow.providers.apache.kafka.hooks.base import KafkaBaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from confluent_kafka import (
    OFFSET_END,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from ecommerce.common import fault_points
from ecommerce.common.errors import SourceError
from ecommerce.common.sources import CALENDAR, Kind, Source
from ecommerce.common.windows import Window
from ecommerce.extract.reader_protocol import COMPACTION, RETENTION, TRANSACTION, Gap, ResumePoints, TopicRead
from ecommerce.extract.texts import readable, storable

log = logging.getLogger(__name__)

#: The topic of each source that is read from Kafka.
TOPICS = {"kafka_stream": "customer_interactions"}

#: Seconds to wait for the broker's answer, and for the next message of a read that is not at its end.
REQUEST_TIMEOUT = 30.0
SILENCE_TIMEOUT = 60.0
#: Messages and seconds of one batch. As many are held at once, each of a megabyte where the topic allows it; while they
#: are written, the next are fetched.
BATCH = 500
BATCH_TIMEOUT = 0.05

#: Bytes of messages to be judged by the warehouse that are held in memory; more go to a file.
SPOOL = 64 * 1024 * 1024

#: A request that no broker answered.
_NO_ANSWER = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)

#: What a broker answers that gives its topics no ids.
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"


class _ConsumerHook(KafkaBaseHook):
    """A consumer by the Airflow connection; offsets live in the warehouse, so Kafka stores none."""

    #: Why a broker could not be reached, the last time: what is raised then says only that it could not.
    complaint = ""

    def _get_client(self, config: dict[str, Any]) -> Consumer:
        return Consumer(
            {
                "group.id": "ecommerce-warehouse",
                "error_cb": self._hear,
                **config,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
            }
        )

    def _hear(self, error: KafkaError) -> None:
        # That all brokers are down follows from what was said of each.
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.complaint = f" ({error.str()})"

    def why(self, error: KafkaError) -> str:
        """What was heard, where it may be why the broker did not answer."""
        return self.complaint if error.code() in _NO_ANSWER else ""


class _AdminHook(KafkaBaseHook):
    """What the broker says of a topic, by the same connection."""

    def _get_client(self, config: dict[str, Any]) -> AdminClient:
        # Errors only: it would warn of every setting that is for consumers.
        return AdminClient({"log_level": 3, **config})


class KafkaReader:
    """
    The messages of one topic whose broker timestamp falls into a window.

    `appended` gives the messages that are certainly good, as COPY text; `read` after it gives all others as rows of
    texts: the source's columns and the lineage columns, then the whole message as JSON and, where the value is no JSON
    object with texts, the reason. After the read, ``topics`` holds the next offsets and the gaps, ``unknown`` the names
    of fields that the registry does not know.

    A message is certain when it is new to raw, and so plain that no rule can have anything against it; the rules
    themselves are the warehouse's (`common/value_rules.py`).
    """

    def __init__(self, source: Source, window: Window) -> None:
        self.source = source
        self.topic = TOPICS[source.name]
        self.columns = [*(column.name for column in source.loaded_columns), "_payload", "_refusal"]
        self.topics: Sequence[TopicRead] = ()
        self._window = window
        self._expired: list[Gap] = []
        self._held: set[int] = set()
        self._doubtful = tempfile.SpooledTemporaryFile(SPOOL)  # noqa: SIM115
        self.begun: list[tuple[str, int, int]] = []
        self.unknown: set[str] = set()

    def read(self, resume: ResumePoints) -> Iterator[bytes]:
        """What `appended` was not certain of, as blocks of COPY text."""
        with self._doubtful:
            self._doubtful.seek(0)
            while block := self._doubtful.read(1 << 20):
                yield block

    def appended(self, resume: ResumePoints, lineage: Sequence[str]) -> Iterator[bytes]:
        """
        Messages that are certainly good, in offset order a partition, with these constants, as blocks of COPY text.

        :raises SourceError: no broker, no topic, another topic than was read before, or silence before the end
        """
        hook = _ConsumerHook(self.source.connection)
        consumer = self._client(hook)
        try:
            yield from self._read(consumer, resume, lineage)
        except KafkaException as error:
            # What was heard meanwhile is told when the consumer is asked.
            consumer.poll(0)
            raise SourceError(
                f"{self.source.name}: topic {self.topic!r} at the connection {self.source.connection!r} "
                f"cannot be read: {error.args[0].str()}{hook.why(error.args[0])}"
            ) from error
        finally:
            consumer.close()

    def _client(self, hook: KafkaBaseHook) -> Any:
        try:
            return hook.get_conn
        except AirflowNotFoundException as error:
            raise SourceError(
                f"{self.source.name}: there is no connection {self.source.connection!r}; "
                "add it under Admin → Connections"
            ) from error
        except (ValueError, KafkaException) as error:
            said = error.args[0].str() if isinstance(error, KafkaException) else error
            raise SourceError(
                f"{self.source.name}: the connection {self.source.connection!r} cannot be used: {said}"
            ) from error

    def _read(self, consumer: Consumer, resume: ResumePoints, lineage: Sequence[str]) -> Iterator[bytes]:
        ranges = self._ranges(consumer, resume)
        admin = self._client(_AdminHook(self.source.connection))
        topic_id = self._topic_id(admin, resume)
        fault_points.point("topic_asked")
        open_ends = {partition: end for partition, (begin, end) in ranges.items() if begin < end}
        #: Partition → the offset that should come next.
        expected = {partition: ranges[partition][0] for partition in open_ends}
        skipped: list[tuple[int, int, int]] = []
        consumer.assign([TopicPartition(self.topic, partition, begin) for partition, begin in expected.items()])
        self.begun = [(self.topic, partition, begin) for partition, (begin, end) in ranges.items() if begin < end]
        certain = _Certain(self.source, self.unknown)
        suffixes = {
            # Of what raw holds already the warehouse decides.
            partition: None if partition in self._held else "\t".join(["", *lineage])
            for partition in ranges
        }
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
            lines, doubtful = [], []
            for message in messages:
                partition = message.partition()
                if partition not in open_ends:
                    continue
                error, offset, end = message.error(), message.offset() or 0, open_ends[partition]
                if error and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if not error and offset < end:
                    if offset > expected[partition]:
                        skipped.append((partition, expected[partition], offset - 1))
                    expected[partition] = offset + 1
                    suffix = suffixes[partition]
                    line = None if suffix is None else certain.line(message)
                    if line is None:
                        doubtful.append(_copy_line(self._row(message)))
                    else:
                        lines.append(
                            f"{line}\t{self.topic}\t{partition}\t{offset}\t{certain.published(message)}{suffix}\n"
                        )
                # The end of the partition counts if it is the end that was seen: a replica may lag behind its leader.
                if offset >= (end if error else end - 1):
                    del open_ends[partition]
                    consumer.incremental_unassign([TopicPartition(self.topic, partition)])
            if doubtful:
                self._doubtful.write("".join(doubtful).encode())
            if lines:
                yield "".join(lines).encode()
        skipped += [
            (partition, reached, ranges[partition][1] - 1)
            for partition, reached in expected.items()
            if reached < ranges[partition][1]
        ]
        cause = self._cause(admin) if skipped else TRANSACTION
        self.topics = [
            TopicRead(
                self.topic,
                {partition: end for partition, (_, end) in ranges.items()},
                [*self._expired, *(Gap(partition, first, last, cause) for partition, first, last in skipped)],
                topic_id,
            )
        ]
        fault_points.point("topic_read")

    def _topic_id(self, admin: AdminClient, resume: ResumePoints) -> str | None:
        """
        The topic's id, where the broker gives it one.

        :raises SourceError: the topic was read under another id, so its offsets mean other messages now
        """
        described = admin.describe_topics(TopicCollection([self.topic]), request_timeout=REQUEST_TIMEOUT)
        try:
            topic_id = str(described[self.topic].result().topic_id)
        except KafkaException as error:
            if error.args[0].code() in _NO_ANSWER:
                raise
            log.info("%s: the broker does not say its id: %s", self.topic, error.args[0].str())
            return None
        if topic_id == _NO_ID:
            return None
        known = resume.topic_ids(self.topic)
        if known and topic_id not in known:
            raise SourceError(
                f"{self.source.name}: the topic {self.topic!r} at the connection {self.source.connection!r} is not the "
                f"one that was read before: its id was {', '.join(sorted(known))} and is {topic_id}. {_BEGINS_AGAIN}"
            )
        return topic_id

    def _cause(self, admin: AdminClient) -> str:
        """Why offsets between messages hold none."""
        resource = ConfigResource(ResourceType.TOPIC, self.topic)
        try:
            policy = admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT)[resource].result()
        except KafkaException as error:
            log.info("%s: its cleanup.policy cannot be asked for: %s", self.topic, error.args[0].str())
            return COMPACTION
        return COMPACTION if "compact" in policy["cleanup.policy"].value else TRANSACTION

    def _ranges(self, consumer: Consumer, resume: ResumePoints) -> dict[int, tuple[int, int]]:
        """Partition → offsets ``[begin, end)`` to read; what should be and cannot any more goes to `_expired`."""
        topics = consumer.list_topics(self.topic, timeout=REQUEST_TIMEOUT).topics
        if topics[self.topic].error:
            raise KafkaException(topics[self.topic].error)
        partitions = sorted(topics[self.topic].partitions)
        ends = {p: consumer.get_watermark_offsets(TopicPartition(self.topic, p), REQUEST_TIMEOUT) for p in partitions}
        start, end_of_window = (
            datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (self._window.start, self._window.end)
        )
        now = datetime.now(UTC)
        firsts = self._offsets_at(consumer, partitions, start)
        lasts = self._offsets_at(consumer, partitions, end_of_window)
        # A message that is stamped ahead of now ends no window, or all that stand behind it would wait for its day.
        ahead = self._offsets_at(consumer, partitions, now)
        positions = resume.of(self.topic)
        ranges = {}
        for partition in partitions:
            low, high = ends[partition]
            position = positions.get(partition)
            if position is not None and position > high:
                raise SourceError(
                    f"{self.source.name}: {self.topic}[{partition}] ends at offset {high}, but was read up to "
                    f"{position - 1} before: the topic was deleted and created again, or has lost what it held. "
                    f"{_BEGINS_AGAIN}"
                )
            first = high if firsts[partition] == OFFSET_END else max(firsts[partition], low)
            is_open = end_of_window > now or lasts[partition] in (OFFSET_END, ahead[partition])
            end = high if is_open else min(lasts[partition], high)
            # Added since the topic was first read: all of it is new, whenever it was published.
            is_added = position is None and bool(positions)
            begin = low if is_added else max(resume.resume_at(self.topic, partition, first), low)
            # A window that begins before the oldest message may have had messages that are gone.
            wanted = 0 if is_added or first == low < high else position
            if wanted is not None and wanted < low:
                self._expired.append(Gap(partition, wanted, low - 1, RETENTION))
            ranges[partition] = (begin, max(begin, end))
            if resume.holds_any(self.topic, partition, begin):
                self._held.add(partition)
            log.info("%s[%s]: offsets %s to %s (exclusive)", self.topic, partition, begin, max(begin, end))
        return ranges

    def _offsets_at(self, consumer: Consumer, partitions: list[int], moment: datetime) -> dict[int, int]:
        instant = int(moment.timestamp() * 1000)
        asked = [TopicPartition(self.topic, partition, instant) for partition in partitions]
        answered = consumer.offsets_for_times(asked, REQUEST_TIMEOUT)
        for found in answered:
            if found.error:
                raise KafkaException(found.error)
        return {found.partition: found.offset for found in answered}

    def _row(self, message: Message) -> list[str | None]:
        published = _published(message)
        fields, refusal = decode(self.source, message.value())
        payload = {
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "published_at": published,
            "key": readable(message.key()),
            "value": readable(message.value()),
        }
        headers: Any = message.headers()
        if headers:
            # A list, since a name may come twice.
            payload["headers"] = [[readable(name.encode()), readable(value)] for name, value in headers]
        return [
            *fields,
            message.topic(),
            str(message.partition()),
            str(message.offset()),
            published,
            json.dumps(payload),
            refusal,
        ]


def decode(source: Source, value: bytes | None) -> tuple[list[str | None], str | None]:
    """A message's value as the source's columns, or the reason why it cannot be taken."""
    names = [column.name for column in source.columns]
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
        if text is not None and not storable(text):
            return nothing, f"{name} holds a character that Postgres cannot store"
    return [document.get(name) for name in names], None


class _Certain:
    """
    The messages that no rule can have anything against, at a tenth of what asking all rules costs.

    Plain ASCII without an escape, so that no text holds what COPY or Postgres would take for something else; each field
    a text that is not blank; each time in one common form, of a day in the calendar. What is good and not so plain is
    not refused here but judged by the warehouse.
    """

    #: So many messages with fields that the registry does not know are looked at; which ones is known by then.
    _ENOUGH = 100

    _INSTANT = re.compile(r"(20[123]\d-\d\d-\d\d)[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?Z?")

    def __init__(self, source: Source, unknown: set[str]) -> None:
        kinds = [column.kind for column in source.columns]
        self._unknown, self._looked_at = unknown, 0
        # Bytes of a message whose fields cannot be too long; other kinds of columns are the warehouse's to judge.
        self._longest = 1_000 if set(kinds) <= {Kind.TEXT, Kind.INSTANT} else -1
        self._instants = [place for place, kind in enumerate(kinds) if kind is Kind.INSTANT]
        self._names = [column.name for column in source.columns]
        fields = [(name, str) for name in self._names]
        self._decode_lenient = msgspec.json.Decoder(msgspec.defstruct("Message", fields)).decode
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Message", fields, forbid_unknown_fields=True)).decode
        self._is_instant = self._INSTANT.fullmatch
        self._days: dict[str, bool] = {}
        self._minutes: dict[int, str] = {}

    def line(self, message: Message) -> str | None:
        """The source's columns as COPY text; None where it is not certain."""
        value: Any = message.value()
        if value is None or len(value) > self._longest or b"\\" in value or not value.isascii():
            return None
        try:
            fields = msgspec.structs.astuple(self._decode(value))
        except msgspec.MsgspecError:
            try:
                fields = msgspec.structs.astuple(self._decode_lenient(value))
            except msgspec.MsgspecError:
                return None
            self._notice(value)
        for place in self._instants:
            found = self._is_instant(fields[place])
            if found is None or not self._is_in_calendar(found[1]):
                return None
        # No control character in any, and none blank.
        return "\t".join(fields) if "".join(fields).isprintable() and all(map(str.strip, fields)) else None

    def _notice(self, value: bytes) -> None:
        # As plain as the message: names that Postgres can store.
        self._unknown.update(json.loads(value).keys() - self._names)
        self._looked_at += 1
        if self._looked_at == self._ENOUGH:
            self._decode = self._decode_lenient

    def published(self, message: Message) -> str:
        """The broker's time as COPY text."""
        kind, milliseconds = message.timestamp()
        minute, rest = divmod(milliseconds, 60_000)
        text = self._minutes.get(minute)
        if text is None or kind == TIMESTAMP_NOT_AVAILABLE:
            published = _published(message)
            if published is None:
                return "\\N"
            if len(self._minutes) > 100_000:
                self._minutes.clear()
            text = self._minutes[minute] = published[:17]
        return f"{text}{rest // 1000:02}.{rest % 1000:03}+00"

    def _is_in_calendar(self, day: str) -> bool:
        known = self._days.get(day)
        if known is None:
            try:
                known = CALENDAR[0] <= date.fromisoformat(day).isoformat() <= CALENDAR[1]
            except ValueError:
                known = False
            self._days[day] = known
        return known


def _published(message: Message) -> str | None:
    """The broker's time; None where there is none, or a producer has sent one that no calendar has."""
    kind, milliseconds = message.timestamp()
    if kind == TIMESTAMP_NOT_AVAILABLE:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None


_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def _copy_line(row: Sequence[str | None]) -> str:
    return "\t".join("\\N" if text is None else text.translate(_ESCAPES) for text in row) + "\n"


_BEGINS_AGAIN = (
    "raw holds other messages under the offsets that it gives out now, so nothing was loaded; what to do is in "
    "docs/kafka.md, 'A topic that begins again'"
)
