"""Reads a window of a Kafka topic: from offsets by time up to the end offsets at the start of the read."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from ecommerce.common import fault_points
from ecommerce.common.errors import SourceError
from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import BELOW_MICROSECOND, Source
from ecommerce.common.windows import Window
from ecommerce.extract import kafka_topic
from ecommerce.extract.kafka_messages import PlainMessages, copy_line, suspect_row
from ecommerce.extract.message_contents import Contents, MessageContents
from ecommerce.extract.reader_protocol import RETENTION, TRANSACTION, Gap, MessageSchema, ResumePoints, TopicRead

log = logging.getLogger(__name__)

#: Seconds to wait for the next message of a read that is not at its end.
MESSAGE_TIMEOUT = 60.0
#: Messages and seconds of one batch. So many are in memory at once, each up to a megabyte if the topic allows it; while
#: they are written, the next ones are fetched.
BATCH = 500
BATCH_TIMEOUT = 0.05

#: Bytes of suspect messages that are kept in memory; more go to a file.
SPOOL = 64 * 1024 * 1024


class TopicReader:
    """
    Reads the messages of one topic whose broker timestamp is in a window.

    After the read ``topics`` has the next offsets and the gaps, and ``schemas`` the fields of the messages' schemas.
    """

    def __init__(self, source: Source, location: SourceLocation, window: Window) -> None:
        if location.topic is None:
            raise ValueError(f"source {source.name} is read from Kafka, and its location names no topic")
        self.source = source
        self.location = location
        self.topic: str = location.topic
        self.columns = [*(column.name for column in source.loaded_columns), "_payload", "_rejection"]
        self.topics: Sequence[TopicRead] = ()
        self.first_offsets: list[tuple[str, int, int]] = []
        self._window = window
        self._contents = MessageContents(source, location)
        self._expired: list[Gap] = []

    @property
    def schemas(self) -> Mapping[int, MessageSchema]:
        """Id → schema, of those of a registry that decoded a message."""
        return self._contents.registry.used if self._contents.registry else {}

    def messages(self, resume: ResumePoints) -> Iterator[list[Message]]:
        """
        The messages of the window that were not read before, many at a time, in offset order a partition.

        :raises SourceError: no broker, no topic, another topic than was read before or than at the begin of the read,
            or no answer before the end
        """
        hook = kafka_topic.ConsumerHook(self.location.connection)
        consumer = kafka_topic.client_of(hook, self.source, self.location)
        try:
            yield from self._read(consumer, resume)
        except KafkaException as error:
            # Errors of the broker that are waiting reach the hook when the consumer is polled.
            consumer.poll(0)
            raise SourceError(
                f"{self.source.name}: topic {self.topic!r} at the connection {self.location.connection!r} "
                f"cannot be read: {error.args[0].str()}{hook.cause_of(error.args[0])}"
                f"{kafka_topic.absent_right(error.args[0], has_begun=bool(self.first_offsets))}"
            ) from error
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, resume: ResumePoints) -> Iterator[list[Message]]:
        admin = kafka_topic.client_of(kafka_topic.AdminHook(self.location.connection), self.source, self.location)
        ranges = self.find_ranges(consumer, admin, resume)
        topic_id = self._checked_topic_id(admin, resume)
        fault_points.point("offsets_resolved")
        progress = _Progress(self.topic, ranges)
        self.first_offsets = [(self.topic, partition, begin) for partition, begin in progress.expected.items()]
        consumer.assign([TopicPartition(*place) for place in self.first_offsets])
        yield from self._batches(consumer, progress)
        self._check_still_the_same(admin, topic_id)
        skipped = progress.skipped_offsets()
        cause = kafka_topic.gap_cause(admin, self.topic) if skipped else TRANSACTION
        self.topics = [
            TopicRead(
                self.topic,
                {partition: end for partition, (_, end) in ranges.items()},
                [
                    *self._expired,
                    *progress.expired,
                    *(Gap(partition, first, last, cause) for partition, first, last in skipped),
                ],
                topic_id,
            )
        ]
        fault_points.point("topic_read")

    def _batches(self, consumer: Consumer, progress: _Progress) -> Iterator[list[Message]]:
        """
        Fetch all messages of the ranges.

        :raises SourceError: the next message does not come
        """
        waited = 0.0
        while progress.open_ends:
            began = time.monotonic()
            # `consume` waits to fill the batch, so its timeout is short, and time without a message is counted here.
            messages = self._in_range(consumer.consume(BATCH, timeout=BATCH_TIMEOUT), consumer, progress)
            if messages:
                waited = 0.0
            else:
                # Without the time that writing the batch before has taken, and whatever else the consumer reports.
                waited += time.monotonic() - began
                if waited > MESSAGE_TIMEOUT and progress.open_ends:
                    raise SourceError(
                        f"{self.source.name}: no message from {self.topic!r} for {MESSAGE_TIMEOUT:.0f} s, with "
                        f"partitions {sorted(progress.open_ends)} not at their ends; is the broker up?"
                    )
            if messages:
                yield messages

    def _in_range(self, messages: Sequence[Message], consumer: Consumer, progress: _Progress) -> list[Message]:
        """The messages of a batch that are in the ranges, in their order; ends and gaps are noted."""
        taken = []
        open_ends, expected = progress.open_ends, progress.expected
        for message in messages:
            partition: Any = message.partition()
            end = open_ends.get(partition)
            if end is None:
                continue
            error, offset = message.error(), message.offset() or 0
            if error:
                # No consumer group is used, and the user need have no right on it; librdkafka asks for it all the same.
                if error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
                    progress.handle(consumer, partition, offset, error)
                continue
            if offset < end:
                if offset > expected[partition]:
                    progress.skip(partition, offset)
                expected[partition] = offset + 1
                taken.append(message)
            if offset >= end - 1:
                progress.close(consumer, partition)
        return taken

    def _checked_topic_id(self, admin: AdminClient, resume: ResumePoints) -> str | None:
        """
        The topic's id, if the broker has one.

        :raises SourceError: the topic was read under another id, so its offsets belong to other messages now
        """
        topic_id = kafka_topic.topic_id(admin, self.topic)
        known = resume.topic_ids(self.topic) if topic_id else set()
        if known and topic_id not in known:
            raise SourceError(
                f"{self.source.name}: the topic {self.topic!r} at the connection {self.location.connection!r} is not "
                f"the one that was read before: its id was {', '.join(sorted(known))} and is {topic_id}. {_RECREATED}"
            )
        return topic_id

    def _check_still_the_same(self, admin: AdminClient, topic_id: str | None) -> None:
        """
        Check the id again after the read.

        :raises SourceError: the topic was deleted meanwhile: what was read last may be messages of a new one
        """
        if topic_id and kafka_topic.topic_id(admin, self.topic) != topic_id:
            raise SourceError(
                f"{self.source.name}: the topic {self.topic!r} at the connection {self.location.connection!r} was "
                f"deleted, and perhaps created again, while it was read; so nothing was loaded"
            )

    def find_ranges(self, consumer: Consumer, admin: AdminClient, resume: ResumePoints) -> dict[int, tuple[int, int]]:
        """Partition → offsets ``[begin, end)`` to read; offsets that have expired unread go to `_expired`."""
        bounds = kafka_topic.partition_bounds(consumer, self.topic)
        start, end = self._window.moments
        now, partitions = datetime.now(UTC), list(bounds)
        times = _WindowOffsets(
            firsts=kafka_topic.first_offsets(consumer, admin, self.topic, bounds, start),
            lasts=kafka_topic.offsets_at(consumer, self.topic, partitions, end),
            future=kafka_topic.offsets_at(consumer, self.topic, partitions, now),
            is_open=end > now,
        )
        stored = resume.of(self.topic)
        ranges = {}
        for partition, (low, high) in bounds.items():
            self._check_stored_offset(partition, stored.get(partition), high)
            begin = self._begin(partition, low, times.first(partition, low, high), stored, resume, high)
            ranges[partition] = (begin, max(begin, times.end(partition, high)))
            log.info("%s[%s]: offsets %s to %s (exclusive)", self.topic, partition, *ranges[partition])
        return ranges

    def _check_stored_offset(self, partition: int, stored: int | None, high: int) -> None:
        if stored is not None and stored > high:
            raise SourceError(
                f"{self.source.name}: {self.topic}[{partition}] ends at offset {high}, but was read up to "
                f"{stored - 1} before: the topic was deleted and created again, or has lost messages. {_RECREATED}"
            )

    def _begin(
        self, partition: int, low: int, first: int, stored: Mapping[int, int], resume: ResumePoints, high: int
    ) -> int:
        """
        The first offset to read; notes those before it that have expired unread.

        :param low: the partition's first offset; ``high``: the one after its last
        :param first: the first offset of the window
        """
        next_offset = stored.get(partition)
        # Added since the topic was first read: all of it is new, whenever it was published.
        is_added = next_offset is None and bool(stored)
        # A window that begins before the oldest message may have had messages that are gone.
        wanted = 0 if is_added or first == low < high else next_offset
        if wanted is not None and wanted < low:
            self._expired.append(Gap(partition, wanted, low - 1, RETENTION))
        return low if is_added else max(resume.resume_at(self.topic, partition, first), low)


class KafkaReader(TopicReader):
    """
    Reads the messages of a topic that are rows.

    `new_rows` returns the plain messages that are new to raw, as COPY text. `read` after it returns all others as rows
    of texts, for the warehouse to validate: the source's columns and the lineage columns, the whole message as JSON,
    and a reason to reject it if the value is no JSON object of texts. Afterwards ``unknown_fields`` has the names of
    fields that the registry does not have.
    """

    def __init__(self, source: Source, location: SourceLocation, window: Window) -> None:
        super().__init__(source, location, window)
        self.unknown_fields: set[str] = set()
        #: Partitions of which raw already has messages of the range: which ones are new, the warehouse decides.
        self._overlapping: set[int] = set()
        self._suspect = tempfile.SpooledTemporaryFile(SPOOL)  # noqa: SIM115

    def read(self, resume: ResumePoints) -> Iterator[bytes]:
        """The messages that `new_rows` left out, as blocks of COPY text."""
        with self._suspect:
            self._suspect.seek(0)
            while block := self._suspect.read(1 << 20):
                yield block

    def new_rows(self, resume: ResumePoints, lineage: Sequence[str]) -> Iterator[bytes]:
        """
        Plain messages that are new to raw, in offset order a partition, with these constants, as blocks of COPY text.

        :raises SourceError: as `messages`, and if the schema registry cannot be asked
        """
        plain = PlainMessages(self.source, self.unknown_fields)
        # Of a plain message no digit of its time is lost.
        nothing_lost = ["\\N"] if BELOW_MICROSECOND in self.source.lineage else []
        suffix = "\t".join(["", *nothing_lost, *lineage])
        with closing(self.messages(resume)) as batches:  # type: ignore[type-var]
            for messages in batches:
                lines, suspect = self._lines(messages, plain, suffix)
                if suspect:
                    self._suspect.write("".join(suspect).encode())
                if lines:
                    yield "".join(lines).encode()

    def find_ranges(self, consumer: Consumer, admin: AdminClient, resume: ResumePoints) -> dict[int, tuple[int, int]]:
        """As for any topic; notes the partitions of which raw holds some messages already."""
        ranges = super().find_ranges(consumer, admin, resume)
        self._overlapping = {
            partition for partition, (begin, _) in ranges.items() if resume.holds_any(self.topic, partition, begin)
        }
        return ranges

    def _lines(self, messages: Sequence[Message], plain: PlainMessages, suffix: str) -> tuple[list[str], list[str]]:
        """Messages as lines of COPY text: plain ones that are new to raw, and suspect ones."""
        overlapping, suspect = self._overlapping, []
        if overlapping:
            suspect = self._suspect_rows([message for message in messages if message.partition() in overlapping])
            messages = [message for message in messages if message.partition() not in overlapping]
        contents = self._contents.of([message.value() for message in messages])
        lines = []
        for number, (message, line) in enumerate(zip(messages, plain.lines(contents.values), strict=True)):
            if line is None:
                suspect.append(self._suspect_row(message, contents, number))
            else:
                place = f"{self.topic}\t{message.partition()}\t{message.offset()}\t{plain.published(message)}"
                lines.append(f"{line}\t{place}{suffix}\n")
        return lines, suspect

    def _suspect_rows(self, messages: Sequence[Message]) -> list[str]:
        contents = self._contents.of([message.value() for message in messages])
        return [self._suspect_row(message, contents, number) for number, message in enumerate(messages)]

    def _suspect_row(self, message: Message, contents: Contents, number: int) -> str:
        return copy_line(suspect_row(self.source, message, contents.values[number], contents.rejections.get(number)))


@dataclass(frozen=True)
class _WindowOffsets:
    """
    Offsets by time of each partition; OFFSET_END where no message is so late.

    :param firsts: at the start of the window; ``lasts``: at its end; ``future``: now
    :param is_open: the window is not over yet
    """

    firsts: Mapping[int, int]
    lasts: Mapping[int, int]
    future: Mapping[int, int]
    is_open: bool

    def first(self, partition: int, low: int, high: int) -> int:
        """The window's first offset."""
        return high if self.firsts[partition] == OFFSET_END else max(self.firsts[partition], low)

    def end(self, partition: int, high: int) -> int:
        """The offset after the window's last."""
        # A message with a time in the future does not end a window: all messages behind it would wait until then.
        is_open = self.is_open or self.lasts[partition] in (OFFSET_END, self.future[partition])
        return high if is_open else min(self.lasts[partition], high)


class _Progress:
    """
    How far the read of each partition has come.

    ``open_ends``: partition → end of its range, until that is reached; ``expected``: partition → the next offset;
    ``expired``: what was deleted by the topic's retention while it was read.
    """

    def __init__(self, topic: str, ranges: Mapping[int, tuple[int, int]]) -> None:
        self._topic = topic
        self._ends = {partition: end for partition, (begin, end) in ranges.items() if begin < end}
        self._skipped: list[tuple[int, int, int]] = []
        self.expired: list[Gap] = []
        self.open_ends = dict(self._ends)
        self.expected = {partition: ranges[partition][0] for partition in self._ends}

    def skip(self, partition: int, offset: int) -> None:
        """Note that no message came between the expected offset and this one."""
        self._skipped.append((partition, self.expected[partition], offset - 1))

    def close(self, consumer: Consumer, partition: int) -> None:
        """Stop reading a partition."""
        del self.open_ends[partition]
        consumer.incremental_unassign([TopicPartition(self._topic, partition)])

    def handle(self, consumer: Consumer, partition: int, offset: int, error: KafkaError) -> None:
        """Handle the end of a partition, and an offset that the broker has no more; any other error is raised."""
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._pass_over_expired(consumer, partition, error)
        elif error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        # Only at the end of the range: a replica may be behind its leader, whose end that was.
        elif offset >= self.open_ends[partition]:
            self.close(consumer, partition)

    def _pass_over_expired(self, consumer: Consumer, partition: int, error: KafkaError) -> None:
        """Go on at the first message that is left; the error is raised if none before it has expired."""
        expected, end = self.expected[partition], self.open_ends[partition]
        low, _ = consumer.get_watermark_offsets(TopicPartition(self._topic, partition), kafka_topic.REQUEST_TIMEOUT)
        if low <= expected:
            raise KafkaException(error)
        self.expected[partition] = min(low, end)
        self.expired.append(Gap(partition, expected, min(low, end) - 1, RETENTION))
        if low >= end:
            self.close(consumer, partition)
        else:
            consumer.incremental_unassign([TopicPartition(self._topic, partition)])
            consumer.incremental_assign([TopicPartition(self._topic, partition, low)])

    def skipped_offsets(self) -> list[tuple[int, int, int]]:
        """Partition, first and last of offsets in the ranges that have no message."""
        at_the_end = [
            (partition, offset, self._ends[partition] - 1)
            for partition, offset in self.expected.items()
            if offset < self._ends[partition]
        ]
        return [*self._skipped, *at_the_end]


_RECREATED = (
    "raw has other messages under the offsets that the topic uses now, so nothing was loaded; see docs/kafka.md, "
    "'A topic that begins again'"
)
