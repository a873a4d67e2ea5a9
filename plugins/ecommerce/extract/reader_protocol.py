"""What the loader expects of a reader, and what a reader hands it: rows, column types, offsets of topics."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Protocol, runtime_checkable

from psycopg import sql

from ecommerce.common.fingerprint import Fingerprint
from ecommerce.common.sources import Source

#: Why a message is not there: the topic's retention (or someone's DeleteRecords) took it; a control record or a message
#: of an aborted transaction has its offset; or, where the topic is compacted or does not say, either of compaction and
#: transactions.
RETENTION, TRANSACTION, COMPACTION = "retention", "transaction", "compaction or transaction"


@dataclass(frozen=True)
class FoundType:
    """A column's type at the source: its name in `pg_type` (of a domain, that of its base), and as people write it."""

    name: str
    spelled: str


@dataclass(frozen=True)
class Gap:
    """Offsets of a partition, ``first`` to ``last`` inclusive, under which no message came."""

    partition: int
    first: int
    last: int
    cause: str

    @property
    def is_loss(self) -> bool:
        """Whether messages that were committed may have been lost."""
        return self.cause != TRANSACTION


@dataclass(frozen=True)
class TopicRead:
    """How a read leaves a topic: partition → next offset; what was not there; its id, where the broker gives it one."""

    topic: str
    next_offsets: Mapping[int, int]
    gaps: Sequence[Gap] = ()
    topic_id: str | None = None


class ResumePoints(Protocol):
    """Where a topic's partitions stand in the warehouse: what a Kafka reader asks before it reads."""

    def of(self, topic: str) -> dict[int, int]:
        """Partition → next offset, of every partition that was ever read."""

    def topic_ids(self, topic: str) -> set[str]:
        """The ids under which the topic was read."""

    def resume_at(self, topic: str, partition: int, first: int) -> int:
        """The offset at which to begin, for a window whose first offset is ``first``."""

    def holds_any(self, topic: str, partition: int, begin: int) -> bool:
        """Whether raw holds a message of the partition from ``begin`` on."""


#: A block of Postgres COPY text, or one row of texts.
Chunk = bytes | bytearray | memoryview | Sequence[str | None]


class Reader(Protocol):
    """What an extractor offers: it only reads, and knows nothing of `raw`."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of the staged columns, in the order of the chunks' values."""

    @property
    def topics(self) -> Sequence[TopicRead]:
        """How the read leaves the topics, once everything was read; empty where the source has none."""

    def read(self, resume: ResumePoints) -> Iterator[Chunk]:
        """
        Everything the source has for the window, as COPY blocks or rows, in any order.

        ``resume`` can be asked until the first chunk is out.
        """


@runtime_checkable
class VouchingReader(Protocol):
    """
    A reader whose source judges its own rows by the registry's rules, and knows the types of its values.

    `vouched` gives the rows that pass, `Reader.read` only the others. All of it is about one `snapshot`.
    """

    source: Source

    def snapshot(self) -> AbstractContextManager[None]:
        """What is asked inside is answered from one moment of the source."""

    @property
    def found(self) -> Mapping[str, FoundType]:
        """The columns of the source's table."""

    def is_large(self, rows: int) -> bool:
        """Whether the source is thought to hold more rows than that."""

    def rows_by_day(self) -> dict[str | None, int]:
        """How many rows the window has by the day whose facts they change, those included that do not pass."""

    def has_fingerprints(self) -> bool:
        """Whether the source can compute them."""

    def fingerprints(self, seed: int, days: Collection[date] | None = None) -> dict[date, Fingerprint]:
        """By day: of all rows of the window, or, of some days, of the rows that pass."""

    def vouched(self, days: Collection[date] | None, lineage: Sequence[sql.Composable]) -> Iterator[bytes]:
        """Rows that pass, of some days or of the whole window, with these constants, as binary COPY."""

    def doubtful(self, days: Collection[date] | None) -> Iterator[bytes]:
        """Rows that do not pass, of some days or of the whole window, as COPY text."""

    def cancel(self) -> None:
        """End what the source is being asked in another thread."""


@runtime_checkable
class AppendingReader(Protocol):
    """A reader of what is only ever appended, that knows of most rows that they are good and new to raw."""

    @property
    def begun(self) -> Sequence[tuple[str, int, int]]:
        """Topic, partition and first offset of what was read."""

    @property
    def unknown(self) -> Collection[str]:
        """Names of fields that the registry does not know, once everything was read."""

    def appended(self, resume: ResumePoints, lineage: Sequence[str]) -> Iterator[bytes]:
        """Those rows, with these constants, as COPY text; `Reader.read` gives the others afterwards."""
