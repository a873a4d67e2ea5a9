"""A shop that changes while it is read: its tables and its topic, and what can happen to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from ecommerce.common.sources import SOURCES, WriteDisposition
from ecommerce.common.windows import Window
from ecommerce.extract.kafka_messages import below_microsecond
from ecommerce.extract.reader_protocol import ResumePoints, TopicRead
from tests.integration.support import Row

#: A month, a quarter and a year end inside.
FIRST, LAST = date(2023, 12, 12), date(2024, 1, 20)
DAYS = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
TOPIC = "customer_interactions"
PARTITIONS = 2


@dataclass(frozen=True)
class Message:
    """One message of the topic, as the broker holds it."""

    partition: int
    published: datetime
    row: Row


def key_of(table: str, row: Row) -> tuple[str | None, ...]:
    """The key of a row as the warehouse has it: what a key's column has no value for is its default."""
    columns = {column.name: column for column in SOURCES[table].columns}
    return tuple(row[name] if row[name] is not None else columns[name].default for name in SOURCES[table].key)


@dataclass
class Shop:
    """
    Rows by table and key, and the topic's messages by partition.

    :param zone: the time zone of its days; a row's time is in UTC
    """

    tables: dict[str, dict[tuple, Row]] = field(default_factory=lambda: {source: {} for source in SOURCES})
    topic: list[list[Message]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    zone: str = "UTC"

    def day_of(self, moment: datetime) -> date:
        return moment.astimezone(ZoneInfo(self.zone)).date()

    def put(self, table: str, row: Row) -> None:
        """Add a row, or change the one with its key."""
        key = key_of(table, row)
        self.tables[table][key] = {**self.tables[table].get(key, {}), **row}

    def remove(self, table: str, key: tuple) -> None:
        """A row vanishes, if it is there."""
        self.tables[table].pop(key, None)

    def rows(self, source: str, window: Window) -> list[Row]:
        """What the source has for a window: a version log is read whole."""
        rows = list(self.tables[source].values())
        entry = SOURCES[source]
        if entry.write_disposition is WriteDisposition.VERSION_LOG or entry.window_column is None:
            return rows
        return [row for row in rows if window.start <= self._recorded_on(row[entry.window_column]) < window.end]

    def _recorded_on(self, text: str | None) -> date:
        """The day of a date, or of a time in UTC."""
        assert text
        moment = datetime.fromisoformat(text)
        return moment.date() if len(text) == len("2024-01-31") else self.day_of(moment.replace(tzinfo=UTC))


class TopicReader:
    """Reads the topic as the Kafka extractor does: a window is turned into offsets, and the read resumes."""

    def __init__(self, shop: Shop, window: Window) -> None:
        self.columns = [column.name for column in SOURCES["kafka_stream"].loaded_columns]
        self.topics: Sequence[TopicRead] = ()
        self._shop = shop
        self._window = window

    def read(self, resume: ResumePoints) -> Iterator[list[str | None]]:
        ranges = {}
        for partition, messages in enumerate(self._shop.topic):
            days = [self._shop.day_of(message.published) for message in messages]
            first, end = (sum(day < limit for day in days) for limit in (self._window.start, self._window.end))
            begin = resume.resume_at(TOPIC, partition, first)
            ranges[partition] = (begin, max(begin, end))
        for partition, (begin, end) in ranges.items():
            for offset in range(begin, end):
                message = self._shop.topic[partition][offset]
                values = {
                    **message.row,
                    "_topic": TOPIC,
                    "_partition": str(partition),
                    "_offset": str(offset),
                    "_published_at": str(message.published),
                    "_below_microsecond": below_microsecond(message.row.get("timestamp")),
                }
                yield [values.get(name) for name in self.columns]
        self.topics = [TopicRead(TOPIC, {partition: end for partition, (_, end) in ranges.items()})]
